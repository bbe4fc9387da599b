"""The token that ends each text of an embedder, where tokenizer.json and other files of the model disagree about it."""

import logging

from models.checkpoint.folder import Checkpoint
from models.checkpoint.kind import names_of
from models.checkpoint.published_models import QWEN3
from models.interface import ModelError
from models.text.chat.chat_template import named_special_tokens
from models.text.tokenizer import Tokenizer

log = logging.getLogger("hearth.models")

QWEN3_TERMINATOR = "<|endoftext|>"


def set_terminator(checkpoint: Checkpoint, tokenizer: Tokenizer, configured: str | None) -> None:
    """Let the tokenizer of an embedder end each text as its authors meant it.

    Args:
        checkpoint: of an embedder.
        tokenizer: its own.
        configured: the token; "" for what tokenizer.json says; None to decide by the files.
    Raises: ModelError: the files do not tell, or the vocabulary lacks the token.
    """
    if configured is not None:
        if configured:
            tokenizer.end_with(configured)
        return
    ends = tokenizer.after.tolist()
    terminator = named_special_tokens(checkpoint).get("eos_token", "")
    if checkpoint.tokenizer_config.get("add_eos_token") is True and terminator and not ends:
        tokenizer.end_with(terminator)
        log.info("%s: each text ends with %s, by add_eos_token in tokenizer_config.json", checkpoint.path, terminator)
    elif _is_read_at_its_end(checkpoint) and not ends:
        if checkpoint.model_type != "qwen3" or _is_qwen3_embedding(checkpoint):
            raise ModelError(_without_terminator(checkpoint, tokenizer, terminator))
        log.warning(
            "%s is read at the last token of a text, and tokenizer.json adds none, as sentence-transformers reads it; "
            '`terminator: ""` ends this warning, and `terminator: %s` ends each text with that token',
            checkpoint.path,
            QWEN3_TERMINATOR,
        )


def _is_read_at_its_end(checkpoint: Checkpoint) -> bool:
    """Whether a missing terminator would change what a vector is read from, and is to be expected."""
    pooling = checkpoint.pooling
    is_last = not pooling or pooling.get("pooling_mode_lasttoken") is True or pooling.get("pooling_mode") == "lasttoken"
    code = checkpoint.tokenizer_config.get("auto_map")
    return is_last and (checkpoint.model_type == "qwen3" or (isinstance(code, dict) and "AutoTokenizer" in code))


def _is_qwen3_embedding(checkpoint: Checkpoint) -> bool:
    """Whether a folder is, or was made from, one of the published embedders, which were trained with a terminator.

    Other embedders that sentence-transformers trained from a Qwen3 are read as it reads them.
    """
    is_named = "qwen3-embedding" in names_of(checkpoint)
    return is_named or not checkpoint.modules or checkpoint.prompts.get("query") == QWEN3["query"]


def _without_terminator(checkpoint: Checkpoint, tokenizer: Tokenizer, terminator: str) -> str:
    if checkpoint.model_type == "qwen3":
        terminator = QWEN3_TERMINATOR
        number = tokenizer.added.get(QWEN3_TERMINATOR)
        why = (
            f"is a Qwen3 embedder, so tokenizer.json must end each text with {QWEN3_TERMINATOR} ({number}); "
            f"its post-processor appends: {tokenizer.after.tolist()}"
        )
    else:
        why = "has a tokenizer of its own code (auto_map), which is never run and may end each text with a token"
    return (
        f"{checkpoint.path} {why}; if it was trained so, set `terminator: {terminator or '...'}`, "
        'or `terminator: ""` for texts without one'
    )
