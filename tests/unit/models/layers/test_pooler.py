"""readout: states -> vectors, logits and scores, exact to float32 whatever the head's size."""

from typing import Any

import numpy as np
import pytest
import torch

from models.devices import to_device
from models.interface import Item, ModelError, Pooling, Readout
from models.layers.pooler import CHUNK_ROWS, LanguageModelHead, by_readout, pool_chunk, pool_forest, pool_texts, read
from models.packing import pack

CPU = torch.device("cpu")


def head(
    rows: int = 50, *, no_yes: tuple[int, int] | None = (3, 8), scale: float = 1.0
) -> tuple[LanguageModelHead, torch.Tensor]:
    weight = torch.randn(rows, 64, generator=torch.Generator().manual_seed(0)) * scale
    return LanguageModelHead(weight, device=CPU, no_yes=no_yes), weight


class Saturating:
    """A head after a tanh, like BERT's."""

    def logits(self, states: torch.Tensor, ids: tuple[int, ...]) -> torch.Tensor:
        return torch.tanh(states)[:, list(ids)]

    def scores(self, states: torch.Tensor) -> torch.Tensor:
        return self.logits(states, (0,))


def states(count: int = 5) -> torch.Tensor:
    return torch.randn(count, 64, generator=torch.Generator().manual_seed(1))


def test_a_vector_is_the_state() -> None:
    assert read(states(), Readout("vector"), None) is not None
    assert (read(states(), Readout("vector"), None) == states()).all()


def test_logits_come_in_the_order_asked_repeats_included() -> None:
    reader, weight = head()

    logits = read(states(), Readout("logits", (7, 2, 7)), reader)

    torch.testing.assert_close(logits, states() @ weight[[7, 2, 7]].T)


def test_no_ids_ask_for_every_token_over_chunks() -> None:
    reader, weight = head(CHUNK_ROWS + 3)

    torch.testing.assert_close(read(states(), Readout("logits"), reader), states() @ weight.T)


def test_the_score_is_yes_minus_no() -> None:
    reader, weight = head()

    torch.testing.assert_close(read(states(), Readout("score"), reader), states() @ (weight[8] - weight[3])[:, None])


@pytest.mark.parametrize("scale", [1.0, 5.0])
def test_softmax_of_no_and_yes_is_the_score_also_for_large_logits(scale: float) -> None:
    reader, _ = head(scale=scale)
    many = states(500)

    no_yes = read(many, Readout("logits", (3, 8)), reader).double()
    score = read(many, Readout("score"), reader).double()

    assert no_yes.abs().max() > 20 * scale
    assert (no_yes.softmax(1)[:, 1:] - score.sigmoid()).abs().max() <= 1e-6


def test_a_bfloat16_head_is_read_in_float32() -> None:
    weight = head()[1].bfloat16()

    logits = LanguageModelHead(weight, device=CPU, no_yes=None).logits(states(), (1, 2))

    torch.testing.assert_close(logits, states() @ weight[[1, 2]].float().T)


def test_many_different_questions_do_not_pile_up() -> None:
    reader, weight = head()
    for first in range(40):
        reader.logits(states(), (first, first + 1))

    torch.testing.assert_close(reader.logits(states(), (0, 1)), states() @ weight[[0, 1]].T)
    assert len(reader._cached_rows) <= 16


def test_a_score_without_yes_and_no_is_refused() -> None:
    with pytest.raises(ModelError, match="cannot give scores"):
        read(states(), Readout("score"), head(no_yes=None)[0])


def test_logits_without_a_head_are_refused() -> None:
    with pytest.raises(ModelError, match="has no head, so it cannot give a 'logits' readout"):
        read(states(), Readout("logits", (1,)), None)


def test_items_are_grouped_by_what_is_read() -> None:
    ids = np.array([1], dtype=np.int32)
    readouts = [Readout("vector"), Readout("logits", (1,)), Readout("vector"), Readout("logits", (2,))]

    groups = by_readout([Item(ids, readout) for readout in readouts])

    assert list(groups.values()) == [[0, 2], [1], [3]]


@pytest.mark.parametrize(("pooling", "wanted"), [("cls", [0.0, 0.0]), ("max", [3.0, 1.0]), ("mean", [4 / 3, 0.5])])
def test_pooling_reads_the_whole_path(pooling: Pooling, wanted: list[float]) -> None:
    forest = pack([np.array(values, dtype=np.int32) for values in ([5, 6, 8], [5, 6])])
    values = torch.tensor([0.0, 1.0, 3.0])[:, None]

    pooled = pool_forest(values, forest, pooling)

    torch.testing.assert_close(pooled[torch.from_numpy(forest.rows)][:, 0], torch.tensor(wanted))


@pytest.mark.parametrize("pooling", ["cls", "max", "mean"])
def test_the_paths_of_all_ends_are_sent_to_the_device_together(
    pooling: Pooling, monkeypatch: pytest.MonkeyPatch
) -> None:
    forest = pack([np.array(values, dtype=np.int32) for values in ([5, 6, 8], [5, 6], [7])])
    sent = []

    def counting(array: Any, device: torch.device) -> torch.Tensor:
        sent.append(array)
        return to_device(array, device)

    monkeypatch.setattr("models.layers.pooler.to_device", counting)
    pool_forest(states(4), forest, pooling)

    assert len(sent) == 1


@pytest.mark.parametrize("wrong", [torch.inf, -torch.inf, torch.nan])
@pytest.mark.parametrize("what", ["vector", "score"])
def test_a_tail_or_head_that_saturates_hides_no_overflow(wrong: float, what: Any) -> None:
    spoilt = states(3)
    spoilt[1] = wrong

    rows = read(spoilt, Readout(what), Saturating(), torch.tanh)

    assert torch.isfinite(rows).all(1).tolist() == [True, False, True]
    assert torch.equal(rows[0], read(states(3), Readout(what), Saturating(), torch.tanh)[0])


@pytest.mark.parametrize("pooling", ["mean", "max", "cls"])
def test_chunks_are_pooled_as_the_whole_text(pooling: Pooling) -> None:
    text, pooled = states(10), None

    for start, stop in ((0, 4), (4, 9), (9, 10)):
        padded = torch.cat([text[start:stop], torch.full((2, 64), torch.inf)])
        pooled = pool_chunk(padded, (start, stop), pooling, pooled)

    torch.testing.assert_close(pooled, pool_texts(text, [10], pooling))
