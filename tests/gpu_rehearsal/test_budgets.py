"""No change makes a batch cost more on a GPU than budgets.json allows, and the table follows when it costs less."""

import pytest

from models import Item
from tests.gpu_rehearsal.budgets import WORKLOADS, Budget, budget_of, count, lowered, read_table
from tests.support.simulated_cuda.tensor import GPU

LAYERS = 28
LOWER = "Lower the table: .venv/bin/python -m tests.gpu_rehearsal.budgets"


def differences(table: Budget, counted: Budget) -> list[str]:
    """A sentence for each cost that is not the one of the table."""
    too_high = [f"{name}: {counted[name]} are more than {most}" for name, most in table.items() if counted[name] > most]
    lower = [f"{name}: {counted[name]} for {most}. {LOWER}" for name, most in table.items() if counted[name] < most]
    return too_high + lower


@pytest.mark.parametrize("workload", WORKLOADS)
def test_a_batch_costs_what_the_table_says(workload: str) -> None:
    counts = count(workload)

    assert not differences(read_table()[workload], budget_of(counts)), (counts.operators.most_common(), counts.waits)


def test_to_keep_and_to_continue_a_prefix_costs_a_kernel_a_layer_at_most() -> None:
    make, readout, texts = WORKLOADS["qwen3 0.6B, one query with 100 documents"]
    items = [Item(ids, readout) for ids in texts]
    usual = read_table()["qwen3 0.6B, one query with 100 documents"]["kernels"]
    with GPU.shapes_only():
        backend = make()
        kernels = []
        for batch in (items[:50], items[50:]):
            with GPU.counting() as counts:
                pending = backend.launch(batch, keep_prefix=True)
            pending.rows()
            kernels.append(counts.kernels)

    assert kernels == [usual + LAYERS, usual]


def test_the_table_has_every_workload_and_promises_no_wait() -> None:
    table = read_table()

    assert list(table) == list(WORKLOADS)
    assert {budget["waits"] for budget in table.values()} == {0}


def test_a_cost_above_and_one_below_the_table_are_both_told() -> None:
    told = differences({"kernels": 10, "waits": 0, "copies_in": 9}, {"kernels": 9, "waits": 1, "copies_in": 9})

    assert told == ["waits: 1 are more than 0", f"kernels: 9 for 10. {LOWER}"]


def test_the_table_is_never_raised() -> None:
    table = {"a": {"kernels": 10, "waits": 0}}

    assert lowered(table, {"a": {"kernels": 12, "waits": 0}, "b": {"kernels": 5}}) == table | {"b": {"kernels": 5}}
    assert lowered(table, {"a": {"kernels": 8, "waits": 3}}) == {"a": {"kernels": 8, "waits": 0}}
