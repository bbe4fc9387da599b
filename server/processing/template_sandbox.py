"""Jinja templates that clients write, from a closed list: nothing in one can run, loop for ever, or reach an object.

The sandbox alone does not hold: Jinja folds constants while it compiles, and a Python thread cannot be stopped. So a
template is parsed first, and only then compiled, if every node in it is on the list; what may still be dear, a long
text in a filter or a turn of a loop, is paid from a purse that all inputs of a request share.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from math import isfinite
from typing import Any

from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError, Undefined, nodes
from jinja2.runtime import LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment

TRUNCATE = "truncate_tokens"
MAX_TURNS = 256
# In characters that a filter or a comparison goes through: a quarter of a second's worth.
MAX_RENDER_COST = 100_000_000
NODE_COSTS = 100
# Tokenising is slower than any filter.
CALL_COSTS = 4


class Missing(Exception):
    """The message is the name of a variable that is not there."""


class TemplateRefused(Exception):
    """The template, or what it is filled with, is not taken; the message says why, in words for the client."""


class RenderBudget:
    """What one request may still spend."""

    def __init__(self) -> None:
        self._left = MAX_RENDER_COST

    def pay(self, cost: int) -> None:
        """Raises: Refused: there is not so much left."""
        self._left -= cost
        if self._left < 0:
            raise TemplateRefused("takes too long to fill; send shorter texts or a simpler template.")

    def paid(self, made: Callable[..., Any]) -> Callable[..., Any]:
        """A filter that pays for what it goes through."""

        # wraps() keeps the marks by which Jinja knows filters that want the environment first.
        @wraps(made)
        def filtered(*arguments: Any) -> Any:
            for argument in arguments:
                self._weigh(argument)
            return made(*arguments)

        return filtered

    def paid_call(self, truncate: Callable[[str, int | None], str]) -> Callable[..., str]:
        """truncate_tokens() as templates call it."""

        def truncate_tokens(text: Any, count: Any = None) -> str:
            if isinstance(count, Undefined):
                raise Missing(str(count._undefined_name))  # noqa: SLF001
            if count is not None and (type(count) is not int or count < 0):
                raise TemplateRefused(f"{TRUNCATE}() takes a number of tokens, 0 or more.")
            self._weigh(text)
            written = str(text)
            self.pay(CALL_COSTS * len(written))
            return truncate(written, count)

        return truncate_tokens

    def compared(self, value: Any) -> Any:
        """A value that is about to be compared."""
        self._weigh(value)
        return value

    def turns(self, value: Any, nodes_inside: int) -> Any:
        """A value that a loop is about to go over.

        Raises: Missing, Refused.
        """
        if isinstance(value, Undefined):
            raise Missing(str(value._undefined_name))  # noqa: SLF001
        if not isinstance(value, list | Mapping):
            raise TemplateRefused("a loop goes over a list or an object.")
        if len(value) > MAX_TURNS:
            raise TemplateRefused(f"a loop has at most {MAX_TURNS} turns.")
        self.pay(NODE_COSTS * nodes_inside * len(value))
        return value

    def _weigh(self, value: Any) -> None:
        open_values = [value]
        while open_values:
            value = open_values.pop()
            if isinstance(value, str):
                self.pay(len(value))
            elif isinstance(value, list | Mapping):
                self.pay(NODE_COSTS * len(value))
                open_values += value.values() if isinstance(value, Mapping) else value


MAX_CALLS = 4
MAX_FILTERS = 16
MAX_LOOPS = 2
MAX_NODES = 1000
# Python, which Jinja makes of a template, takes no more than 100 levels.
MAX_DEPTH = 40

_NODES: tuple[type[nodes.Node], ...] = (
    *(nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name, nodes.Getattr, nodes.Getitem, nodes.Const),
    *(nodes.If, nodes.And, nodes.Or, nodes.Not, nodes.Compare, nodes.Operand, nodes.CondExpr),
    *(nodes.For, nodes.Filter, nodes.Call, nodes.Test),
)
# None of these makes a text longer than what goes in, but for the two that are bounded by their own name.
_FILTERS = frozenset(
    ("trim", "lower", "upper", "capitalize", "title", "default", "d", "length", "first", "last", "string")
)
_TESTS = frozenset(("defined", "undefined", "none", "string", "mapping", "sequence"))
_LOOP = frozenset(("index", "index0", "first", "last", "length"))
# Filters that no client can write: put around what a loop goes over, and around what is compared.
_TURNS, _COMPARED = " turns", " compared"


def compile_template(
    source: str, truncate: Callable[[str, int | None], str]
) -> Callable[[Mapping[str, Any]], Iterator[str]]:
    """A function from variables to the pieces of the text.

    Raises: Refused: a syntax error, with its line, or something that is not on the list. The function raises
        Missing and Refused too.
    """
    purse = RenderBudget()
    environment = _Sandbox(undefined=_Strict, keep_trailing_newline=True, autoescape=False, optimized=False)
    environment.globals = {TRUNCATE: purse.paid_call(truncate)}
    environment.filters = {name: purse.paid(made) for name, made in environment.filters.items() if name in _FILTERS}
    environment.filters |= {_TURNS: purse.turns, _COMPARED: purse.compared}
    try:
        tree = environment.parse(source)
        count = _check(tree)
        _put_filters(tree)
        compiled = environment.from_string(tree)
    except TemplateSyntaxError as error:
        raise TemplateRefused(f"line {error.lineno}: {error.message}") from None
    except (RecursionError, SyntaxError):
        raise TemplateRefused("is nested too deeply.") from None
    except ValueError:  # a number of thousands of digits
        raise TemplateRefused("holds a number that is too long.") from None

    def pieces(variables: Mapping[str, Any]) -> Iterator[str]:
        purse.pay(NODE_COSTS * count)
        try:
            yield from compiled.generate(dict(variables))
        except (TemplateError, TypeError, ValueError, LookupError, ArithmeticError, RecursionError) as error:
            # Their own words are about Python.
            raise TemplateRefused(f"line {_line(error)}: a value is of the wrong kind.") from None

    return pieces


def _check(tree: nodes.Template) -> int:
    # Not by find_all(), which goes as deep as the template does.
    found: list[nodes.Node] = []
    level: list[nodes.Node] = [tree]
    for _ in range(MAX_DEPTH):
        found += level
        if len(found) > MAX_NODES:
            raise TemplateRefused(f"has more than {MAX_NODES} parts.")
        level = [child for node in level for child in node.iter_child_nodes()]
    if level:
        raise TemplateRefused("is nested too deeply.")
    for node in found:
        _check_node(node)
    for kind, name, limit in (
        (nodes.Call, f"{TRUNCATE}()", MAX_CALLS),
        (nodes.Filter, "filters", MAX_FILTERS),
        (nodes.For, "loops", MAX_LOOPS),
    ):
        if sum(isinstance(node, kind) for node in found) > limit:
            raise TemplateRefused(f"expected at most {limit} {name}.")
    _check_names(found)
    return len(found)


def _check_node(node: nodes.Node) -> None:
    match node:
        case _ if not isinstance(node, _NODES):
            raise _not_allowed(type(node).__name__.lower(), node)
        case nodes.Filter() if node.name not in _FILTERS:
            raise _not_allowed(f"filter {node.name}", node)
        case nodes.Test() if node.name not in _TESTS:
            raise _not_allowed(f"test {node.name}", node)
        case nodes.Filter() | nodes.Test() | nodes.Call() if node.dyn_args or node.dyn_kwargs:
            raise _not_allowed("* and ** in a call", node)
        case nodes.Call() if not (isinstance(node.node, nodes.Name) and node.node.name == TRUNCATE):
            raise _not_allowed("call", node)
        case nodes.Call() if not 1 <= len(node.args) <= 2:
            raise _not_allowed(f"{TRUNCATE}() of anything but a text and a number", node)
        case nodes.For() if not isinstance(node.iter, nodes.Name | nodes.Getattr | nodes.Getitem):
            raise _not_allowed("loop over anything but a variable", node)
        case nodes.For() if next(node.find_all((nodes.For, nodes.Call)), None):
            raise _not_allowed("loop or call inside a loop", node)
        case nodes.Getattr() if node.attr.startswith("_"):
            raise _not_allowed(f"attribute {node.attr}", node)
        case nodes.Const(value=float() as value) if not isfinite(value):
            raise _not_allowed("infinite number", node)


def _check_names(found: list[nodes.Node]) -> None:
    # By themselves these three are objects of Python's, and would be written as such.
    in_place = [node.node for node in found if isinstance(node, nodes.Call)]
    in_place += [
        node.node
        for node in found
        if isinstance(node, nodes.Getattr) and isinstance(node.node, nodes.Name) and node.node.name == "loop"
    ]
    places = set(map(id, in_place))
    for node in found:
        if isinstance(node, nodes.Name) and node.name in ("self", "loop", TRUNCATE) and id(node) not in places:
            raise _not_allowed(node.name, node)


def _put_filters(tree: nodes.Template) -> None:
    compares = list(tree.find_all((nodes.Compare, nodes.Operand)))
    for loop in tree.find_all(nodes.For):
        inside = nodes.Const(len(list(loop.find_all(nodes.Node))))
        loop.iter = nodes.Filter(loop.iter, _TURNS, [inside], [], None, None, lineno=loop.lineno)
    for compare in compares:
        assert isinstance(compare, nodes.Compare | nodes.Operand), "find_all gives what it was asked for"
        compare.expr = nodes.Filter(compare.expr, _COMPARED, [], [], None, None, lineno=compare.lineno)


def _not_allowed(what: str, node: nodes.Node) -> TemplateRefused:
    return TemplateRefused(f"line {node.lineno}: not allowed in a template: {what[:64]}")


def _line(error: BaseException) -> int:
    # Jinja rewrites tracebacks so that they tell the template's own lines.
    line, trace = 1, error.__traceback__
    while trace is not None:
        line = trace.tb_lineno if trace.tb_frame.f_code.co_filename == "<template>" else line
        trace = trace.tb_next
    return line


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
        raise Missing("an item" if self._undefined_name is None else str(self._undefined_name))

    __str__ = __iter__ = __len__ = __bool__ = __eq__ = __ne__ = __hash__ = _fail_with_undefined_error
    __lt__ = __le__ = __gt__ = __ge__ = __contains__ = _fail_with_undefined_error
    __getattr__ = __getitem__ = __call__ = _fail_with_undefined_error
