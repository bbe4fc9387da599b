"""How a reranker is shown a query and a document: the interface of a prompt form, and which form a checkpoint has."""

from collections.abc import Sequence
from typing import Protocol

from models.checkpoint.folder import Checkpoint
from models.checkpoint.kind import has_frame, is_classifier
from models.interface import Ids, ModelError
from models.text.chat_prompt import chat_prompt, render
from models.text.long_text import TextIds, TextLimit
from models.text.pair_prompt import pair_prompt
from models.text.qwen3_prompt import FRAME_PREFIX, FRAME_SUFFIX, prompt_body, qwen3_rerank_prompt
from models.text.tokenizer import Tokenizer

# sentence-transformers, cross_encoder/modules/logit_score.py: the module that names the ids of "yes" and "no".
LOGIT_SCORE = "LogitScore"
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


def read_rerank_prompt(checkpoint: Checkpoint, tokenizer: Tokenizer) -> RerankPrompt:
    """The prompt form of a reranker, by its files.

    Raises: ModelError: the files do not give a prompt, or the tokenizer does not fit it.
    """
    if not is_classifier(checkpoint, "reranker"):
        return chat_prompt(checkpoint, tokenizer) if _has_template(checkpoint) else qwen3_rerank_prompt(tokenizer)
    # A Qwen3 classifier is a Qwen3 reranker whose head was folded into one row, which keeps its prompt.
    if checkpoint.model_type == "qwen3" and has_frame(tokenizer.added):
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
