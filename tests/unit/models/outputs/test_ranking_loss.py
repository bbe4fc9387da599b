"""How much of float32's ranking each form keeps."""

import numpy as np

from models.outputs.output_dtype import statistics_of, unit_statistics
from models.outputs.ranking_loss import RankingLoss, _best, _ndcg, ranking_losses
from models.postprocess import finish_vectors

RANDOM = np.random.default_rng(2)


def test_fewer_bits_keep_less_and_rescoring_brings_most_of_it_back() -> None:
    rows = RANDOM.normal(0, 1, (300, 64)).astype(np.float32)

    losses = ranking_losses(rows, statistics_of(finish_vectors(rows, normalize=True)))

    assert losses["int8"] == losses["uint8"]
    assert losses["binary"] == losses["ubinary"]
    assert losses["float16"].ndcg_at_10 > losses["int8"].ndcg_at_10 > 0.95
    binary = losses["binary"]
    assert binary.rescored_ndcg_at_10 is not None
    assert 0.2 < binary.ndcg_at_10 < binary.rescored_ndcg_at_10 < 1


def test_bits_around_the_mean_keep_what_plain_signs_lose() -> None:
    # Every vector points about one way, as those of multilingual-e5-small do.
    rows = finish_vectors(RANDOM.normal(0, 1, (200, 64)) + RANDOM.normal(0, 4, 64), normalize=True)
    around_mean = statistics_of(rows)

    kept = ranking_losses(rows, around_mean)["ubinary"].ndcg_at_10
    lost = ranking_losses(rows, unit_statistics(64))["ubinary"].ndcg_at_10

    assert kept > 1.5 * lost


def test_the_gain_is_that_of_ten_documents_in_their_order() -> None:
    best = np.array([[3, 1]])

    assert _ndcg(np.array([[3, 1]]), best) == 1
    assert _ndcg(np.array([[0, 2]]), best) == 0
    # (1 + 2 / log2(3)) / (2 + 1 / log2(3))
    assert _ndcg(np.array([[1, 3]]), best) == round((1 + 2 / np.log2(3)) / (2 + 1 / np.log2(3)), 4)


def test_a_text_is_not_among_its_own_best() -> None:
    rows = np.eye(3, dtype=np.float32)

    assert ranking_losses(rows, statistics_of(rows))["float16"] == RankingLoss(1, 1, None), (
        "so few rows say nothing of rescoring"
    )
    similarities = np.array([[-np.inf, 1, 2], [3, -np.inf, 2], [0, 1, -np.inf]], dtype=np.float32)
    assert _best(similarities, 1).tolist() == [[2], [0], [1]]
