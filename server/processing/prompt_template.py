"""prompt_template: Jinja from a closed list, or plain {name}; nothing a client writes can run, or grow without end."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from server.errors import InvalidValue, MissingVariable
from server.processing.template_sandbox import MAX_CALLS, Missing, TemplateRefused, compile_template

MAX_TEMPLATE_CHARACTERS = 20_000
MAX_OUTPUT_CHARACTERS = 4_000_000

_FIELD = re.compile(r"\{(?:(truncate_tokens)\(\s*)?([A-Za-z_]\w*(?:\.\w+)*)\s*(?:,\s*(\d{1,9})\s*)?(\))?\}")

Variables = Mapping[str, Any]
# Cuts a text to n tokens, or to what fits the model when n is None.
TruncateTokens = Callable[[str, int | None], str]


@dataclass(frozen=True, slots=True)
class Template:
    """A checked template for the inputs of one request."""

    _pieces: Callable[[Variables], Iterable[str]]

    def render(self, variables: Variables, where: str) -> str:
        """The text for one input, which `where` names in errors.

        Raises: InvalidValue: a missing variable, a value of the wrong kind, or an output that is too long.
        """
        try:
            return _joined(self._pieces(variables))
        except Missing as error:
            raise MissingVariable(str(error), where) from None
        except TemplateRefused as error:
            raise InvalidValue("prompt_template", f"cannot be filled from {where}: {error}") from None


def read_template(source: str, truncate: TruncateTokens) -> Template:
    """Jinja if it holds `{{` or `{%`, else every `{name}` and `{name.sub}` is replaced and other braces stay.

    Raises: InvalidValue: a syntax error, with its line, or something that is not on the list.
    """
    if len(source) > MAX_TEMPLATE_CHARACTERS:
        raise InvalidValue("prompt_template", f"expected at most {MAX_TEMPLATE_CHARACTERS} characters.")
    if "{{" not in source and "{%" not in source:
        return _plain(source, truncate)
    try:
        return Template(compile_template(source, truncate))
    except TemplateRefused as error:
        raise InvalidValue("prompt_template", str(error)) from None


def _joined(pieces: Iterable[str]) -> str:
    kept: list[str] = []
    characters = 0
    for piece in pieces:
        characters += len(piece)
        if characters > MAX_OUTPUT_CHARACTERS:
            raise TemplateRefused(f"more than {MAX_OUTPUT_CHARACTERS} characters.")
        kept.append(piece)
    return "".join(kept)


def _plain(source: str, truncate: TruncateTokens) -> Template:
    fields = list(_FIELD.finditer(source))
    if sum(1 for field in fields if field.group(1)) > MAX_CALLS:
        raise InvalidValue("prompt_template", f"expected at most {MAX_CALLS} truncate_tokens().")

    def pieces(variables: Variables) -> Iterator[str]:
        end = 0
        for field in fields:
            yield source[end : field.start()]
            yield _fill(field, variables, truncate)
            end = field.end()
        yield source[end:]

    return Template(pieces)


def _fill(match: re.Match[str], variables: Variables, truncate: TruncateTokens) -> str:
    call, name, count, closing = match.groups()
    if (call is None) != (closing is None) or (count is not None and call is None):
        return match.group()
    text = _as_text(_look_up(name, variables))
    return truncate(text, int(count) if count else None) if call else text


def _look_up(name: str, variables: Any) -> Any:
    value = variables
    for part in name.split("."):
        if not isinstance(value, Mapping) or part not in value:
            raise Missing(name)
        value = value[part]
    return value


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError:
        raise TemplateRefused("a value is nested too deeply.") from None
