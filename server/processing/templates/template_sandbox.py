"""A sandbox for the Jinja templates that clients write: no code runs, no Python object is reached, no loop is endless.

Jinja's own sandbox does not suffice, because Jinja evaluates constants while it compiles, and a Python thread cannot be
stopped. A template is therefore parsed first, and compiled only if every node of it is on the allow-list. Work that may
still be expensive (a filter over a long text, an iteration of a loop) is charged to a budget before it is done.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from math import isfinite
from typing import Any

from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError, Undefined, nodes
from jinja2.runtime import LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment

TRUNCATE = "truncate_tokens"
MAX_CALLS = 4
MAX_FILTERS = 16
MAX_LOOPS = 2
MAX_ITERATIONS = 256
MAX_NODES = 1000
# The Python code that Jinja generates may be nested 100 levels deep at most.
MAX_DEPTH = 40

# In characters that a filter or a comparison reads: about a quarter of a second.
MAX_RENDER_COST = 100_000_000
NODE_COST = 100
# Per character: tokenizing is slower than any filter.
TRUNCATE_COST = 4

Variables = Mapping[str, Any]
# Cuts a text to n tokens, or with None to what fits the model.
TruncateTokens = Callable[[str, int | None], str]

_NODES: tuple[type[nodes.Node], ...] = (
    *(nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name, nodes.Getattr, nodes.Getitem, nodes.Const),
    *(nodes.If, nodes.And, nodes.Or, nodes.Not, nodes.Compare, nodes.Operand, nodes.CondExpr),
    *(nodes.For, nodes.Filter, nodes.Call, nodes.Test),
)
# None of these filters makes a text longer than its input, except `default` and `d`, whose argument is in the template.
_FILTERS = frozenset(
    ("trim", "lower", "upper", "capitalize", "title", "default", "d", "length", "first", "last", "string")
)
_TESTS = frozenset(("defined", "undefined", "none", "string", "mapping", "sequence"))
_LOOP_ATTRIBUTES = frozenset(("index", "index0", "first", "last", "length"))
# Inserted around what a loop iterates over and what is compared. The space keeps clients from naming them.
_CHARGE_LOOP, _CHARGE_COMPARISON = " loop", " comparison"


class Missing(Exception):
    """The message is the name of a variable that the input does not have."""


class TemplateRefused(Exception):
    """The template, or what it is rendered with, is not accepted; the message tells the client why."""


class RenderBudget:
    """The work that the rendering of one request may still do, shared by all its inputs."""

    def __init__(self) -> None:
        self._left = MAX_RENDER_COST

    def charge(self, cost: int) -> None:
        """Raises: TemplateRefused: the budget is spent."""
        self._left -= cost
        if self._left < 0:
            raise TemplateRefused("takes too long to render; send shorter texts or a simpler template.")

    def charge_value(self, value: Any) -> Any:
        """Charge for reading a value with everything in it, and return it."""
        stack = [value]
        while stack:
            part = stack.pop()
            if isinstance(part, str):
                self.charge(len(part))
            elif isinstance(part, list | Mapping):
                self.charge(NODE_COST * len(part))
                stack += part.values() if isinstance(part, Mapping) else part
        return value

    def charge_loop(self, value: Any, nodes_inside: int) -> Any:
        """Charge for iterating over a value, and return it.

        Raises: Missing, TemplateRefused.
        """
        _raise_if_missing(value)
        if not isinstance(value, list | Mapping):
            raise TemplateRefused("a loop needs a list or an object.")
        if len(value) > MAX_ITERATIONS:
            raise TemplateRefused(f"a loop has at most {MAX_ITERATIONS} iterations; got {len(value)}.")
        self.charge(NODE_COST * nodes_inside * len(value))
        return value

    def charged_filter(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A filter that charges for its arguments before it runs."""

        # wraps() copies the attribute by which Jinja knows filters that want the environment first.
        @wraps(function)
        def charged(*arguments: Any) -> Any:
            for argument in arguments:
                self.charge_value(argument)
            return function(*arguments)

        return charged

    def charged_truncate(self, truncate: TruncateTokens) -> Callable[..., str]:
        """truncate_tokens() as templates call it."""

        def truncate_tokens(value: Any, count: Any = None) -> str:
            _raise_if_missing(count)
            if count is not None and (type(count) is not int or count < 0):
                raise TemplateRefused(f"{TRUNCATE}() takes a number of tokens, 0 or more.")
            text = str(self.charge_value(value))
            self.charge(TRUNCATE_COST * len(text))
            return truncate(text, count)

        return truncate_tokens


def compile_template(source: str, truncate: TruncateTokens) -> Callable[[Variables], Iterator[str]]:
    """A function from variables to the pieces of the text, which raises Missing and TemplateRefused too.

    Raises: TemplateRefused: a syntax error, with its line, or a construct that is not on the allow-list.
    """
    budget = RenderBudget()
    environment = _environment(budget, truncate)
    try:
        tree = environment.parse(source)
        count = _check(tree)
        _insert_charges(tree)
        compiled = environment.from_string(tree)
    except TemplateSyntaxError as error:
        raise TemplateRefused(f"line {error.lineno}: {error.message}") from None
    except (RecursionError, SyntaxError):
        raise TemplateRefused("is nested too deeply.") from None
    except ValueError:  # a number of thousands of digits
        raise TemplateRefused("contains a number that is too long.") from None

    def pieces(variables: Variables) -> Iterator[str]:
        budget.charge(NODE_COST * count)
        try:
            yield from compiled.generate(dict(variables))
        except (TemplateError, TypeError, ValueError, LookupError, ArithmeticError, RecursionError) as error:
            # The messages of these speak of Python.
            raise TemplateRefused(f"line {_line(error)}: a value is of the wrong type.") from None

    return pieces


def _environment(budget: RenderBudget, truncate: TruncateTokens) -> "_Sandbox":
    environment = _Sandbox(undefined=_Strict, keep_trailing_newline=True, autoescape=False, optimized=False)
    environment.globals = {TRUNCATE: budget.charged_truncate(truncate)}
    environment.filters = {
        name: budget.charged_filter(function) for name, function in environment.filters.items() if name in _FILTERS
    }
    environment.filters |= {_CHARGE_LOOP: budget.charge_loop, _CHARGE_COMPARISON: budget.charge_value}
    return environment


def _raise_if_missing(value: Any) -> None:
    if isinstance(value, Undefined):
        raise Missing(str(value._undefined_name))  # noqa: SLF001


def _check(tree: nodes.Template) -> int:
    """The number of nodes. Level by level, because find_all() recurses as deep as the template does."""
    seen: list[nodes.Node] = []
    level: list[nodes.Node] = [tree]
    for _ in range(MAX_DEPTH):
        seen += level
        if len(seen) > MAX_NODES:
            raise TemplateRefused(f"has more than {MAX_NODES} parts.")
        level = [child for node in level for child in node.iter_child_nodes()]
    if level:
        raise TemplateRefused("is nested too deeply.")
    for node in seen:
        _check_node(node)
    for kind, name, limit in (
        (nodes.Call, f"calls of {TRUNCATE}()", MAX_CALLS),
        (nodes.Filter, "filters", MAX_FILTERS),
        (nodes.For, "loops", MAX_LOOPS),
    ):
        if (count := sum(isinstance(node, kind) for node in seen)) > limit:
            raise TemplateRefused(f"expected at most {limit} {name}; got {count}.")
    _check_names(seen)
    return len(seen)


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


def _check_names(seen: list[nodes.Node]) -> None:
    # Elsewhere these names stand for Python objects, which would be rendered as such.
    allowed = [node.node for node in seen if isinstance(node, nodes.Call)]
    allowed += [
        node.node
        for node in seen
        if isinstance(node, nodes.Getattr) and isinstance(node.node, nodes.Name) and node.node.name == "loop"
    ]
    allowed_ids = set(map(id, allowed))
    for node in seen:
        if isinstance(node, nodes.Name) and node.name in ("self", "loop", TRUNCATE) and id(node) not in allowed_ids:
            raise _not_allowed(node.name, node)


def _insert_charges(tree: nodes.Template) -> None:
    comparisons = list(tree.find_all((nodes.Compare, nodes.Operand)))
    for loop in tree.find_all(nodes.For):
        nodes_inside = nodes.Const(len(list(loop.find_all(nodes.Node))))
        loop.iter = nodes.Filter(loop.iter, _CHARGE_LOOP, [nodes_inside], [], None, None, lineno=loop.lineno)
    for comparison in comparisons:
        assert isinstance(comparison, nodes.Compare | nodes.Operand), "find_all() returns the types it was given"
        comparison.expr = nodes.Filter(
            comparison.expr, _CHARGE_COMPARISON, [], [], None, None, lineno=comparison.lineno
        )


def _not_allowed(what: str, node: nodes.Node) -> TemplateRefused:
    return TemplateRefused(f"line {node.lineno}: not allowed in a template: {what[:64]}")


def _line(error: BaseException) -> int:
    # Jinja rewrites tracebacks so that they show the lines of the template.
    line, trace = 1, error.__traceback__
    while trace is not None:
        line = trace.tb_lineno if trace.tb_frame.f_code.co_filename == "<template>" else line
        trace = trace.tb_next
    return line


class _Sandbox(ImmutableSandboxedEnvironment):
    """Reaches only what is in the client's own objects: no method and no attribute of a Python object."""

    def getattr(self, obj: Any, attribute: str) -> Any:
        if isinstance(obj, Mapping) and attribute in obj:
            return obj[attribute]
        if isinstance(obj, LoopContext) and attribute in _LOOP_ATTRIBUTES:
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
    """Every use of a missing variable raises its name, except in `default` and `defined`."""

    def _fail_with_undefined_error(self, *args: Any, **kwargs: Any) -> Any:
        raise Missing("an item" if self._undefined_name is None else str(self._undefined_name))

    __str__ = __iter__ = __len__ = __bool__ = __eq__ = __ne__ = __hash__ = _fail_with_undefined_error
    __lt__ = __le__ = __gt__ = __ge__ = __contains__ = _fail_with_undefined_error
    __getattr__ = __getitem__ = __call__ = _fail_with_undefined_error
