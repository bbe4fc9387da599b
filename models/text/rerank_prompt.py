"""What a causal cross-encoder's own files say of its score: which token means yes, and in which prompt."""

from models.checkpoint.folder import Checkpoint
from models.checkpoint.kind import has_frame, is_classifier
from models.interface import ModelError
from models.text.chat_prompt import ChatPrompt, chat_prompt, render
from models.text.pair_prompt import PairPrompt, pair_prompt
from models.text.qwen3_prompt import FRAME_PREFIX, FRAME_SUFFIX, Qwen3RerankPrompt, qwen3_rerank_prompt
from models.text.tokenizer import Tokenizer


def _rerank_prompt(checkpoint: Checkpoint, tokenizer: Tokenizer) -> Qwen3RerankPrompt | PairPrompt | ChatPrompt:
    if not is_classifier(checkpoint, "reranker"):
        return causal_prompt(checkpoint, tokenizer)
    # A Qwen3 classifier is a Qwen3 reranker whose head was folded into one row (MODELS: section 3): the same frame.
    if checkpoint.model_type == "qwen3" and has_frame(tokenizer.added):
        return qwen3_rerank_prompt(tokenizer)
    return pair_prompt(tokenizer, has_types=checkpoint.number("type_vocab_size") > 1)


LOGIT_SCORE = "LogitScore"
SAMPLE = ("Find it", "What is it?", "It is that.")


def causal_prompt(checkpoint: Checkpoint, tokenizer: Tokenizer) -> Qwen3RerankPrompt | ChatPrompt:
    """The prompt of a reranker that answers yes or no: Qwen3's, unless its own files have another one.

    Raises: ModelError: neither can be made.
    """
    if LOGIT_SCORE not in checkpoint.modules or not _has_own(checkpoint):
        return qwen3_rerank_prompt(tokenizer)
    return chat_prompt(checkpoint, tokenizer)


def no_yes_of(checkpoint: Checkpoint, prompt: Qwen3RerankPrompt | ChatPrompt) -> tuple[int, int]:
    """The ids of no and yes: those of the checkpoint's LogitScore module, else the words' own.

    Raises: ModelError: it scores by one token alone.
    """
    config = next((checkpoint.config_of(path) for name, path in checkpoint.module_paths if name == LOGIT_SCORE), None)
    if config is None:
        assert isinstance(prompt, Qwen3RerankPrompt), "a prompt of the checkpoint's own, without its LogitScore"
        return prompt.no, prompt.yes
    no, yes = config.get("false_token_id"), config.get("true_token_id")
    if not isinstance(no, int) or not isinstance(yes, int):
        raise ModelError(f"{checkpoint.path} scores by one token alone, which is not served; LogitScore: {config}")
    return no, yes


def _has_own(checkpoint: Checkpoint) -> bool:
    # A template that has no place for documents is for chats, and nobody ranks with it.
    if "document" not in checkpoint.chat_template:
        if checkpoint.model_type != "qwen3":
            raise ModelError(
                f"{checkpoint.path} is a reranker whose files do not say how it is asked: no chat template"
            )
        return False
    instruction, query, document = SAMPLE
    body = f"<Instruct>: {instruction}\n<Query>: {query}\n<Document>: {document}"
    return render(checkpoint, instruction, query, document) != f"{FRAME_PREFIX}{body}{FRAME_SUFFIX}"
