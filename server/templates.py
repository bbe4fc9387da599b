"""prompt_template: Jinja from a closed list, or plain {name}; nothing a client writes can run, loop for ever or grow.

The sandbox alone does not hold: Jinja folds constants while it compiles, and a Python thread cannot be stopped. So a
template is parsed first, and only then compiled, if every node in it is on the list.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError, nodes
from jinja2.runtime import LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment

from server.errors import InvalidValue, MissingVariable

MAX_TEMPLATE_CHARACTERS = 20_000
MAX_OUTPUT_CHARACTERS = 4_000_000
# What a template may cost: every call and every turn of a loop may go through a whole text.
MAX_CALLS = 4
MAX_FILTERS = 16
MAX_LOOPS = 2
MAX_TURNS = 256

_NODES: tuple[type[nodes.Node], ...] = (
    *(nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name, nodes.Getattr, nodes.Getitem, nodes.Const),
    *(nodes.If, nodes.And, nodes.Or, nodes.Not, nodes.Compare, nodes.Operand, nodes.CondExpr),
    *(nodes.For, nodes.Filter, nodes.Call, nodes.Test),
)
# None of these makes a text longer than what goes in, but for the two that are bounded by their own name.
_FILTERS = frozenset(
    ("trim", "lower", "upper", "capitalize", "title", "default", "d", "length", "first", "last", "string")
)
_LOOP = frozenset(("index", "index0", "first", "last", "length"))
# Put around what a loop goes over; no client can write it.
_TURNS = " turns"
_TESTS = frozenset(("defined", "undefined", "none", "string", "mapping", "sequence"))

_FIELD = re.compile(r"\{(?:(truncate_tokens)\(\s*)?([A-Za-z_]\w*(?:\.\w+)*)\s*(?:,\s*(\d+)\s*)?(\))?\}")

Variables = Mapping[str, Any]
# Cuts a text to n tokens, or to what fits the model when n is None.
TruncateTokens = Callable[[str, int | None], str]


@dataclass(frozen=True, slots=True)
class Template:
    """A checked template. render() may be called from any thread."""

    _render: Callable[[Variables], str]

    def render(self, variables: Variables, where: str) -> str:
        """The text for one input, which `where` names in errors.

        Raises: InvalidValue: a missing variable, a value of the wrong kind, or an output that is too long.
        """
        try:
            text = self._render(variables)
        except _Missing as error:
            raise MissingVariable(str(error), where) from None
        except (TemplateError, TypeError, ValueError, ArithmeticError) as error:
            raise InvalidValue("prompt_template", f"cannot be filled from {where}: {error}") from None
        if len(text) > MAX_OUTPUT_CHARACTERS:
            raise InvalidValue("prompt_template", f"makes more than {MAX_OUTPUT_CHARACTERS} characters of {where}.")
        return text


def read_template(source: str, truncate: TruncateTokens) -> Template:
    """Jinja if it holds `{{` or `{%`, else every `{name}` and `{name.sub}` is replaced and other braces stay.

    Raises: InvalidValue: a syntax error, with its line, or something that is not on the list.
    """
    if len(source) > MAX_TEMPLATE_CHARACTERS:
        raise InvalidValue("prompt_template", f"expected at most {MAX_TEMPLATE_CHARACTERS} characters.")
    if "{{" in source or "{%" in source:
        return _jinja(source, truncate)
    if sum(1 for match in _FIELD.finditer(source) if match.group(1)) > MAX_CALLS:
        raise _too_many("truncate_tokens()", MAX_CALLS)
    return Template(lambda variables: _FIELD.sub(lambda match: _fill(match, variables, truncate), source))


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
            raise _Missing(name)
        value = value[part]
    return value


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _jinja(source: str, truncate: TruncateTokens) -> Template:
    environment = _Sandbox(undefined=_Strict, keep_trailing_newline=True, autoescape=False, optimized=False)
    try:
        tree = environment.parse(source)
    except TemplateSyntaxError as error:
        raise InvalidValue("prompt_template", f"line {error.lineno}: {error.message}") from None
    _check(tree)
    _bound_loops(tree)
    environment.globals = {"truncate_tokens": lambda text, count=None: truncate(str(text), count)}
    environment.filters = {name: made for name, made in environment.filters.items() if name in _FILTERS}
    environment.filters[_TURNS] = _turns
    compiled = environment.from_string(tree)
    return Template(lambda variables: _bounded(compiled.generate(dict(variables))))


def _bounded(parts: Any) -> str:
    pieces: list[str] = []
    length = 0
    for part in parts:
        length += len(part)
        if length > MAX_OUTPUT_CHARACTERS:
            raise ValueError(f"more than {MAX_OUTPUT_CHARACTERS} characters")
        pieces.append(part)
    return "".join(pieces)


def _check(tree: nodes.Template) -> None:
    for node in (tree, *tree.find_all(nodes.Node)):
        if not isinstance(node, _NODES):
            raise _not_allowed(type(node).__name__.lower(), node)
        match node:
            case nodes.Filter() if node.name not in _FILTERS:
                raise _not_allowed(f"filter {node.name}", node)
            case nodes.Test() if node.name not in _TESTS:
                raise _not_allowed(f"test {node.name}", node)
            case nodes.Call() if not (isinstance(node.node, nodes.Name) and node.node.name == "truncate_tokens"):
                raise _not_allowed("call", node)
            case nodes.For() if not isinstance(node.iter, (nodes.Name, nodes.Getattr, nodes.Getitem)):
                raise _not_allowed("loop over anything but a variable", node)
            case nodes.Name() if node.name == "self":
                raise _not_allowed("self", node)
            case nodes.Getattr() if node.attr.startswith("_"):
                raise _not_allowed(f"attribute {node.attr}", node)
    for kind, name, limit in (
        (nodes.Call, "truncate_tokens()", MAX_CALLS),
        (nodes.Filter, "filters", MAX_FILTERS),
        (nodes.For, "loops", MAX_LOOPS),
    ):
        if len(list(tree.find_all(kind))) > limit:
            raise _too_many(name, limit)
    for loop in tree.find_all(nodes.For):
        for inner in (each for part in loop.body for each in (part, *part.find_all((nodes.For, nodes.Call)))):
            if isinstance(inner, (nodes.For, nodes.Call)):
                raise _not_allowed("loop or call inside a loop", inner)


def _bound_loops(tree: nodes.Template) -> None:
    for loop in tree.find_all(nodes.For):
        loop.iter = nodes.Filter(loop.iter, _TURNS, [], [], None, None, lineno=loop.lineno)


def _turns(value: Any) -> Any:
    if not isinstance(value, list | Mapping):
        raise TypeError("a loop goes over a list or an object")
    if len(value) > MAX_TURNS:
        raise ValueError(f"a loop has at most {MAX_TURNS} turns")
    return value


def _too_many(name: str, limit: int) -> InvalidValue:
    return InvalidValue("prompt_template", f"expected at most {limit} {name}.")


def _not_allowed(what: str, node: nodes.Node) -> InvalidValue:
    return InvalidValue("prompt_template", f"line {node.lineno}: not allowed in a template: {what[:64]}")


class _Missing(Exception):
    """The message is the name of a variable that is not there."""


class _Sandbox(ImmutableSandboxedEnvironment):
    """Names of a client's own objects are all there is: no method and no attribute of a Python object."""

    def getattr(self, obj: Any, attribute: str) -> Any:
        if isinstance(obj, Mapping) and attribute in obj:
            return obj[attribute]
        if isinstance(obj, LoopContext) and attribute in _LOOP:
            return super().getattr(obj, attribute)
        return self.undefined(obj=obj, name=attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        if isinstance(obj, Mapping | list):
            try:
                return obj[argument]
            except (LookupError, TypeError):
                pass
        return self.undefined(obj=obj, name=argument)


class _Strict(StrictUndefined):
    """Raises by name whatever is done with a variable that is not there, but for `default` and `defined`."""

    def _fail_with_undefined_error(self, *args: Any, **kwargs: Any) -> Any:
        raise _Missing(str(self._undefined_name))

    __str__ = __iter__ = __len__ = __bool__ = __eq__ = __ne__ = __hash__ = _fail_with_undefined_error
    __getattr__ = __getitem__ = __call__ = _fail_with_undefined_error
