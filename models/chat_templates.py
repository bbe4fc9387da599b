"""A checkpoint's own chat template, rendered for a query and a document. Strings alone; what it may call is a list."""

from typing import Any, NoReturn

from models.checkpoint import Checkpoint
from models.interface import ModelError

SPECIAL_TOKENS = ("bos_token", "eos_token", "pad_token", "unk_token")


def render(checkpoint: Checkpoint, instruction: str | None, query: str, document: str) -> str:
    """The prompt of one pair, as sentence-transformers' CrossEncoder has it made: roles system, query and document.

    Raises: ModelError: the template does not hold.
    """
    from jinja2 import TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    # transformers, chat_template_utils: _cached_compile_jinja_template.
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.globals["raise_exception"] = _refuse
    system = [{"role": "system", "content": instruction}] if instruction else []
    pair = [{"role": "query", "content": query}, {"role": "document", "content": document}]
    try:
        template = environment.from_string(checkpoint.chat_template)
        return template.render(messages=[*system, *pair], **_given(checkpoint))
    except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError) as error:
        line = str(error).split("\n", 1)[0]
        raise ModelError(f"{checkpoint.path} has a chat template that makes no prompt of a pair: {line}") from error


def _given(checkpoint: Checkpoint) -> dict[str, Any]:
    tokens = {name: checkpoint.tokenizer_config.get(name) for name in SPECIAL_TOKENS}
    spelt = {name: token["content"] if isinstance(token, dict) else token for name, token in tokens.items() if token}
    asked = (checkpoint.first_part.get("processing_kwargs") or {}).get("chat_template") or {}
    return {"add_generation_prompt": False, "tools": None, "documents": None} | spelt | asked


def _refuse(message: str) -> NoReturn:
    raise ValueError(message)
