"""A sound backend passes the self-check; a backend that mixes its rows up, gives NaN or has no head does not."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from models.backends.selfcheck import check_backend
from models.interface import BackendInfo, Item, ModelError, ModelInfo, NonFinite, Pending, Row

Compute = Callable[[Sequence[Item]], list[Row]]
INFO = ModelInfo(
    path="x",
    kind="reranker",
    kind_reason="test",
    architecture="Qwen3ForCausalLM",
    model_type="qwen3",
    width=8,
    max_tokens=64,
    table_rows=300,
    head_rows=300,
    pooling="lasttoken",
    matryoshka=True,
    layer_norm_before_dimensions=False,
)


class Computed:
    def __init__(self, compute: Compute, items: Sequence[Item]) -> None:
        self._compute, self._items = compute, items

    def done(self) -> bool:
        return True

    def rows(self) -> list[Row]:
        return self._compute(self._items)


class Scripted:
    """A backend whose rows depend on the batch."""

    info = BackendInfo(backend="scripted", reason="test", device="cpu", dtype="float32", parameters=0)

    def __init__(self, compute: Compute, dtype: str = "float32") -> None:
        self._compute = compute
        self.info = replace(self.info, dtype=dtype)

    def launch(self, items: Sequence[Item], *, keep_prefix: bool = False) -> Pending:
        return Computed(self._compute, items)


def row(item: Item) -> Row:
    random = np.random.default_rng(item.ids.astype(np.uint32))
    return random.standard_normal(8 if item.readout.what == "vector" else 1).astype(np.float32)


def sound(items: Sequence[Item]) -> list[Row]:
    return [row(item) for item in items]


def mixing_equal_lengths(items: Sequence[Item]) -> list[Row]:
    equal = len(items) > 1 and len({len(item.ids) for item in items}) == 1
    return [row(item) + equal for item in items]


def mixing_unequal_lengths(items: Sequence[Item]) -> list[Row]:
    unequal = len({len(item.ids) for item in items}) > 1
    return [np.roll(row(item), int(unequal)) for item in items]


def rounding_otherwise_in_batches(items: Sequence[Item]) -> list[Row]:
    """Vectors rotated so that their cosine with the vector alone is 0.9995."""
    return [row(item) + 0.0316 * across(row(item)) * (len(items) > 1) for item in items]


def across(vector: Row) -> Row:
    """A vector of the same length at a right angle."""
    return np.stack([-vector[1::2], vector[::2]], axis=1).ravel() if len(vector) > 1 else np.zeros_like(vector)


def without_head(items: Sequence[Item]) -> list[Row]:
    return [row(item) * (item.readout.what == "vector") for item in items]


def not_finite(items: Sequence[Item]) -> list[Row]:
    raise NonFinite((0,), sound(items))


def test_a_sound_backend_passes() -> None:
    check_backend(Scripted(sound), INFO)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("compute", [mixing_equal_lengths, mixing_unequal_lengths])
def test_a_vector_that_changes_with_its_batch_is_refused(compute: Compute, dtype: str) -> None:
    with pytest.raises(ModelError, match="changes with its batch"):
        check_backend(Scripted(compute, dtype), INFO)


def test_half_precision_may_round_otherwise_in_a_batch() -> None:
    check_backend(Scripted(rounding_otherwise_in_batches, "bfloat16"), INFO)


def test_float32_may_not() -> None:
    with pytest.raises(ModelError, match=r"has the cosine 0\.9995"):
        check_backend(Scripted(rounding_otherwise_in_batches), INFO)


def test_a_head_of_zeros_is_refused() -> None:
    with pytest.raises(ModelError, match=r"every score would be 0\.5"):
        check_backend(Scripted(without_head), INFO)


def test_nan_for_a_short_text_is_refused_with_the_dtype() -> None:
    with pytest.raises(ModelError, match="NaN or Inf for a short text in float32"):
        check_backend(Scripted(not_finite), INFO)


def half_wrong_in_batches(items: Sequence[Item]) -> list[Row]:
    """Vectors rotated so that their cosine with the vector alone is 0.9968."""
    return [row(item) + 0.08 * across(row(item)) * (len(items) > 1) for item in items]


def test_half_precision_that_differs_more_passes_if_float32_is_close_to_both(caplog: pytest.LogCaptureFixture) -> None:
    check_backend(Scripted(half_wrong_in_batches, "bfloat16"), INFO, exact=row)

    assert "both are close to float32" in caplog.text


@pytest.mark.parametrize(
    ("compute", "dtype", "exact"),
    [
        (half_wrong_in_batches, "float32", row),
        (half_wrong_in_batches, "bfloat16", lambda item: row(item) + 0.2 * across(row(item))),
        (mixing_unequal_lengths, "bfloat16", row),
        (half_wrong_in_batches, "bfloat16", None),
    ],
    ids=["float32", "both far", "one far", "unknown"],
)
def test_a_vector_far_from_float32_is_refused(
    compute: Compute, dtype: str, exact: Callable[[Item], Row] | None
) -> None:
    with pytest.raises(ModelError, match="changes with its batch"):
        check_backend(Scripted(compute, dtype), INFO, exact=exact)
