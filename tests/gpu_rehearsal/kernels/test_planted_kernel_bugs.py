"""The check at load finds each mistake that is planted in a kernel here, and none where none is planted."""

from pathlib import Path

import pytest
import torch

from models.cuda.choice import LayerShape, differences
from tests.gpu_rehearsal.kernels.sources import interpreted_kernels

CPU = torch.device("cpu")
SHAPE = LayerShape(hidden=96, intermediate=100, heads=4, groups=2, head_dim=16)
ATTENTION, ELEMENTWISE = "attention_kernel", "elementwise"
ATTEND, ENDS = "attend", "attend, ends alone"

# Where and what is changed, to what, and which checks fail.
BUGS: dict[str, tuple[str, str, str, set[str]]] = {
    "a query sees the key after itself": (
        ATTENTION, "<= last_own[:, None]", "<= last_own[:, None] + 1", {ATTEND, ENDS}
    ),
    "a query sees the text before its own": (
        ATTENTION, "(numbers[None, :] >= first_own[:, None]) & ", "", {ATTEND}
    ),
    "a query does not see the first key of its text": (
        ATTENTION, ">= first_own[:, None]", "> first_own[:, None]", {ATTEND, ENDS}
    ),
    "a span is seen by the queries before it": (
        ATTENTION, "there & (places >= tl.load(span + 3))", "there", {ATTEND}
    ),
    "a span is seen by the queries after it": (
        ATTENTION, " & (places < tl.load(span + 4))", "", {ATTEND}
    ),
    "sums of earlier blocks keep the old maximum": (
        ATTENTION, "sums * shrink[:, None]", "sums", {ATTEND, ENDS}
    ),
    "the denominator of earlier blocks keeps the old maximum": (
        ATTENTION, "total * shrink", "total", {ATTEND, ENDS}
    ),
    "weights are powers of e": (
        ATTENTION, "weights = tl.exp2(", "weights = tl.exp(", {ATTEND, ENDS}
    ),
    "heads of a group take the keys of the next one": (
        ATTENTION, "head_columns = key_head * width", "head_columns = (1 - key_head) * width", {ATTEND, ENDS}
    ),
    "cached values are cached keys": (
        ATTENTION, "tl.load(entry + 1)", "tl.load(entry)", {ATTEND, ENDS}
    ),
    "the last keys of a block are left out": (
        ATTENTION, "numbers < stop\n", "numbers < stop - 1\n", {ATTEND, ENDS}
    ),
    "the mean is taken over the block": (
        ELEMENTWISE, "tl.sum(wide * wide, 0) / width", "tl.sum(wide * wide, 0) / 128", {"embed", "rms_norm"}
    ),
    "the row of another token is taken": (
        ELEMENTWISE, "tl.load(tokens + row)", "tl.load(tokens)", {"embed"}
    ),
    "heads are rotated backwards": (
        ELEMENTWISE, "a * cos - b * sin", "a * cos + b * sin", {"rotate_heads"}
    ),
    "a key takes the weight of the queries": (
        ELEMENTWISE, "head < query_heads", "head <= query_heads", {"rotate_heads"}
    ),
    "both halves of a head take one weight": (
        ELEMENTWISE, "weight + half + columns", "weight + columns", {"rotate_heads"}
    ),
    "up is activated, not gate": (
        ELEMENTWISE, "wide = gate.to(tl.float32)", "wide = up.to(tl.float32)", {"silu_mul"}
    ),
}  # fmt: skip


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_found_by_the_check_at_load(bug: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module, text, replacement, failing = BUGS[bug]
    kernels = interpreted_kernels(tmp_path, monkeypatch, {module: {text: replacement}})

    wrong = differences(kernels, SHAPE, CPU, torch.float16)

    assert {sentence.rsplit(" by ", 1)[0] for sentence in wrong} == failing


def test_without_a_bug_no_kernel_differs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert differences(interpreted_kernels(tmp_path, monkeypatch), SHAPE, CPU, torch.float16) == []
