"""The name of the space that vectors lie in: equal names mean vectors that can be compared, on any machine."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal

VERSION_PREFIX = "hearth1"
Verdict = Literal["same", "compatible", "other"]
# Forms that hold the same numbers, but for rounding.
_FLOATS = ("float32", "float16")
# The field of a space whose vectors are not known yet, as those of a folder that nobody has loaded.
UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class VectorSpace:
    """What decides the numbers of a vector.

    model: of the weights, tokenizer, pooling and prompts, 16 hexadecimal digits.
    dtype: what the network computes in, or UNKNOWN; another one rounds otherwise.
    max_tokens: where a long text ends.
    form: the numbers given out, with the calibration behind them.
    dimensions: how many there are.
    scale: unit for length 1, raw for what the model gives.
    """

    model: str
    dtype: str
    max_tokens: int
    form: str
    dimensions: int
    scale: Literal["unit", "raw"]

    def __str__(self) -> str:
        parts = (self.model, self.dtype, self.max_tokens, self.form, self.dimensions, self.scale)
        return ".".join([VERSION_PREFIX, *map(str, parts)])


def read_space(name: str) -> VectorSpace | None:
    """The space of a name that str() gave; None for any other text."""
    version, *parts = name.strip().split(".")
    if version != VERSION_PREFIX or len(parts) != 6 or not all(parts):
        return None
    model, dtype, max_tokens, form, dimensions, scale = parts
    if not (max_tokens.isdecimal() and dimensions.isdecimal()) or scale not in ("unit", "raw"):
        return None
    return VectorSpace(model, dtype, int(max_tokens), form, int(dimensions), "unit" if scale == "unit" else "raw")


def compare_spaces(one: VectorSpace, other: VectorSpace) -> tuple[Verdict, Mapping[str, tuple[str, str]]]:
    """Whether vectors of two spaces can be compared, and the fields in which the spaces differ.

    compatible: the same but for rounding, or for texts longer than the shorter of two limits.
    """
    pairs = zip(asdict(one).items(), asdict(other).values(), strict=True)
    different = {name: (str(value), str(theirs)) for (name, value), theirs in pairs if value != theirs}
    if UNKNOWN in different.get("dtype", ()):
        del different["dtype"]
    is_rounding = {one.form, other.form} <= set(_FLOATS)
    if different.keys() - {"dtype", "max_tokens", *(["form"] if is_rounding else [])}:
        return "other", different
    return ("compatible" if different else "same"), different
