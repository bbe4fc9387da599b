"""prompt_template: Jinja from an allow-list, or plain {name}. A template runs no code, and its output is bounded."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from server.errors import InvalidValue, MissingVariable
from server.processing.templates.template_sandbox import (
    MAX_CALLS,
    TRUNCATE,
    Missing,
    RenderBudget,
    TemplateRefused,
    TruncateTokens,
    Variables,
    compile_template,
)

MAX_TEMPLATE_CHARACTERS = 20_000
MAX_OUTPUT_CHARACTERS = 4_000_000
# A field is filled in some 2 us, in which a filter reads this many characters.
FIELD_COST = 500

# {name}, {name.sub}, {truncate_tokens(name)} and {truncate_tokens(name, 5)}.
_FIELD = re.compile(r"\{(?:(truncate_tokens)\(\s*)?([A-Za-z_]\w*(?:\.\w+)*)\s*(?:,\s*(\d{1,9})\s*)?(\))?\}")


@dataclass(frozen=True, slots=True)
class Template:
    """A checked template; all inputs of one request are rendered with it."""

    _pieces: Callable[[Variables], Iterable[str]]

    def render(self, variables: Variables, where: str) -> str:
        """The text for one input, which errors name as `where`.

        Raises: MissingVariable. InvalidValue: a value of the wrong type, or too much output or work.
        """
        try:
            return _joined(self._pieces(variables))
        except Missing as error:
            raise MissingVariable(str(error), where) from None
        except TemplateRefused as error:
            raise InvalidValue("prompt_template", f"cannot be rendered for {where}: {error}") from None


def read_template(source: str, truncate: TruncateTokens) -> Template:
    """Check a template: Jinja if it contains `{{` or `{%`, else plain fields; other braces are text.

    Raises: InvalidValue: a syntax error, with its line, or a construct that is not on the allow-list.
    """
    if len(source) > MAX_TEMPLATE_CHARACTERS:
        raise InvalidValue(
            "prompt_template", f"expected at most {MAX_TEMPLATE_CHARACTERS} characters; got {len(source)}."
        )
    if "{{" not in source and "{%" not in source:
        return _plain(source, truncate)
    try:
        return Template(compile_template(source, truncate))
    except TemplateRefused as error:
        raise InvalidValue("prompt_template", str(error)) from None


def _joined(pieces: Iterable[str]) -> str:
    parts: list[str] = []
    characters = 0
    for piece in pieces:
        characters += len(piece)
        if characters > MAX_OUTPUT_CHARACTERS:
            raise TemplateRefused(f"the text is longer than {MAX_OUTPUT_CHARACTERS} characters.")
        parts.append(piece)
    return "".join(parts)


def _plain(source: str, truncate: TruncateTokens) -> Template:
    fields = list(_FIELD.finditer(source))
    calls = sum(1 for field in fields if field.group(1))
    if calls > MAX_CALLS:
        raise InvalidValue("prompt_template", f"expected at most {MAX_CALLS} calls of {TRUNCATE}(); got {calls}.")

    budget = RenderBudget()
    charged = budget.charged_truncate(truncate)
    steps = sum(1 + field.group(2).count(".") for field in fields)

    def pieces(variables: Variables) -> Iterator[str]:
        budget.charge(FIELD_COST * steps)
        end = 0
        for field in fields:
            yield source[end : field.start()]
            yield _fill(field, variables, budget, charged)
            end = field.end()
        yield source[end:]

    return Template(pieces)


def _fill(field: re.Match[str], variables: Variables, budget: RenderBudget, truncate: TruncateTokens) -> str:
    call, name, count, closing = field.groups()
    if (call is None) != (closing is None) or (count is not None and call is None):
        return field.group()
    text = _as_text(budget.charge_value(_look_up(name, variables)))
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
