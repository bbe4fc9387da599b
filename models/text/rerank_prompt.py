"""How a reranker is shown a query and a document: the interface of a prompt form, and which form a checkpoint has."""

import logging
from collections.abc import Sequence
from typing import Protocol

from models.checkpoint.folder import Checkpoint
from models.checkpoint.kind import has_frame, is_classifier, names_of
from models.interface import Ids, ModelError, RerankFrame
from models.text.chat.chat_prompt import chat_prompt, render
from models.text.long_text import TextIds, TextLimit
from models.text.pair_prompt import pair_prompt
from models.text.qwen3_prompt import FRAME_PREFIX, FRAME_SUFFIX, prompt_body, qwen3_rerank_prompt
from models.text.tokenizer import Tokenizer

log = logging.getLogger("hearth.models")

# sentence-transformers, cross_encoder/modules/logit_score.py: the module that names the ids of "yes" and "no".
LOGIT_SCORE = "LogitScore"
FRAME_TEXTS: dict[RerankFrame, str] = {
    "qwen3": "%s is a Qwen3 classifier and is shown the prompt of Qwen3-Reranker; if it was trained on plain pairs, "
    "set `rerank_frame: none`",
    "none": "%s is a Qwen3 cross-encoder that sentence-transformers saved, and is shown plain pairs; if it was trained "
    "with the prompt of Qwen3-Reranker, set `rerank_frame: qwen3`",
}
TEMPLATE_SAMPLE = ("Find it", "What is it?", "It is that.")


class RerankPrompt(Protocol):
    """One prompt form for one vocabulary: head + document + suffix, all of them ids, int32 [n]. Any thread.

    A new form is one new file that implements this, and one row in read_rerank_prompt(). No text that a user sent may
    become a control token.
    """

    @property
    def suffix(self) -> Ids:
        """The ids after each document, never empty. The score is read at the last of them."""
        ...

    @property
    def takes_instruction(self) -> bool:
        """Whether head() shows the model its `instruction`; if not, head() ignores it."""
        ...

    @property
    def default_instruction(self) -> str:
        """The instruction when neither the request nor the checkpoint gives one; "" for none."""
        ...

    @property
    def separator(self) -> int | None:
        """As in ModelInfo: the id after whose first occurrence token type 1 begins; None without token types."""
        ...

    def head(self, instruction: str, query: str, limit: TextLimit | None = None) -> Ids:
        """Everything before the document: the same for all documents of a query, so its computation is shared.

        With a limit, a head that is longer may lack a part beyond it.
        """
        ...

    def documents(self, texts: Sequence[str]) -> list[Ids]:
        """The ids of each document as they stand after a head, one array per text; cut these to shorten a prompt."""
        ...

    def read_documents(self, texts: Sequence[str], limit: TextLimit) -> TextIds:
        """Like documents(), as far as the limit says."""
        ...

    def join(self, head: Ids, document: Ids) -> Ids:
        """One complete prompt: an input of the model, to which no special tokens are added."""
        ...


def read_rerank_prompt(checkpoint: Checkpoint, tokenizer: Tokenizer, frame: RerankFrame | None = None) -> RerankPrompt:
    """The prompt form of a reranker, by its files; `frame` decides about a Qwen3 classifier.

    Raises: ModelError: the files do not give a prompt, or the tokenizer does not fit it.
    """
    if not is_classifier(checkpoint, "reranker"):
        return chat_prompt(checkpoint, tokenizer) if _has_template(checkpoint) else qwen3_rerank_prompt(tokenizer)
    if checkpoint.model_type == "qwen3" and has_frame(tokenizer.added):
        frame = frame or _classifier_frame(checkpoint)
        log.info(FRAME_TEXTS[frame], checkpoint.path)
        if frame == "qwen3":
            return qwen3_rerank_prompt(tokenizer)
    return pair_prompt(tokenizer, has_types=checkpoint.number("type_vocab_size") > 1)


def read_score_ids(checkpoint: Checkpoint, tokenizer: Tokenizer) -> tuple[int, int]:
    """The ids of "no" and "yes" of a reranker that answers with a token: score = logit(yes) - logit(no).

    They are those of the checkpoint's LogitScore module, else those of the words.

    Raises: ModelError: the module gives one id only, or a word is not a single token.
    """
    config = next((checkpoint.config_of(path) for name, path in checkpoint.module_paths if name == LOGIT_SCORE), None)
    if config is None:
        return tokenizer.single("no"), tokenizer.single("yes")
    no, yes = config.get("false_token_id"), config.get("true_token_id")
    if not isinstance(no, int) or not isinstance(yes, int):
        raise ModelError(
            f"{checkpoint.path} scores by one token only, which is not supported: its LogitScore module must give "
            f"true_token_id and false_token_id; got {config}"
        )
    return no, yes


def _classifier_frame(checkpoint: Checkpoint) -> RerankFrame:
    """Whether a Qwen3 classifier is a Qwen3 reranker whose head was folded into one row, which keeps its prompt."""
    # CrossEncoder.save_pretrained() of sentence-transformers: what it has trained, it has trained on plain pairs.
    was_saved = checkpoint.sentence_transformers.get("model_type") == "CrossEncoder"
    was_trained = was_saved or "sentence_transformers" in checkpoint.config
    return "none" if was_trained and "qwen3-reranker" not in names_of(checkpoint) else "qwen3"


def _has_template(checkpoint: Checkpoint) -> bool:
    """Whether a causal reranker has a prompt of its own in its chat template, other than Qwen3's."""
    if LOGIT_SCORE not in checkpoint.modules:
        return False
    # A template without a place for documents is for chats.
    if "document" not in checkpoint.chat_template:
        if checkpoint.model_type != "qwen3":
            raise ModelError(
                f"{checkpoint.path} is a reranker without a prompt: its chat template has no place for a document"
            )
        return False
    whole = f"{FRAME_PREFIX}{prompt_body(*TEMPLATE_SAMPLE)}{FRAME_SUFFIX}"
    return render(checkpoint, [TEMPLATE_SAMPLE]) != [whole]
