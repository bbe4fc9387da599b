"""What it may cost to fill a template for the inputs of one request; paid before the work is done."""

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

from jinja2 import Undefined

TRUNCATE = "truncate_tokens"
MAX_TURNS = 256
# In characters that a filter or a comparison goes through: a quarter of a second's worth.
PURSE = 100_000_000
NODE_COSTS = 100
# Tokenising is slower than any filter.
CALL_COSTS = 4


class Missing(Exception):
    """The message is the name of a variable that is not there."""


class Refused(Exception):
    """The template, or what it is filled with, is not taken; the message says why, in words for the client."""


class Purse:
    """What one request may still spend."""

    def __init__(self) -> None:
        self._left = PURSE

    def pay(self, cost: int) -> None:
        """Raises: Refused: there is not so much left."""
        self._left -= cost
        if self._left < 0:
            raise Refused("takes too long to fill; send shorter texts or a simpler template.")

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
                raise Refused(f"{TRUNCATE}() takes a number of tokens, 0 or more.")
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
            raise Refused("a loop goes over a list or an object.")
        if len(value) > MAX_TURNS:
            raise Refused(f"a loop has at most {MAX_TURNS} turns.")
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
