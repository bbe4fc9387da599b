"""The packed backend equals transformers in any batch; copies of it with one fault each do not."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models import (
    Backend,
    Item,
    LoadOptions,
    ModelError,
    NonFinite,
    OutOfMemory,
    Readout,
    load_backend,
    load_preprocessor,
)
from models.backends import micro_batch, packed
from models.backends.selfcheck import check_backend
from models.interface import Dtype, Ids
from models.packing import AttentionLayout, Branch, PrefixForest, Segment, pack
from tests.support.checkpoints.calibration import DOCUMENTS, INSTRUCTION, QUERIES
from tests.support.checkpoints.qwen3 import build
from tests.support.networks.one_at_a_time import Matrix, cosines, reference, sigmoid

VECTOR, SCORE = Readout("vector"), Readout("score")
TERMINATOR = 260

SHAPES: dict[str, dict[str, Any]] = {
    "two layers, heads 2:1": {},
    "one layer": {"num_hidden_layers": 1},
    "heads 1:1, untied": {"num_key_value_heads": 4, "tie_word_embeddings": False},
    "heads 4:1": {"num_key_value_heads": 1, "seed": 1},
    "heads 8:1, wide heads": {"num_attention_heads": 8, "num_key_value_heads": 1, "head_dim": 128},
    "narrow heads": {"head_dim": 16, "num_hidden_layers": 3},
    "hidden equals heads x head_dim": {"hidden_size": 128, "head_dim": 32},
    "smallest vocabulary": {"vocab_size": 300, "num_hidden_layers": 4},
    "Qwen3's vocabulary": {"vocab_size": 151669, "hidden_size": 64},
    "Qwen3's vocabulary, untied, 3 files": {
        "vocab_size": 151665,
        "hidden_size": 64,
        "tie_word_embeddings": False,
        "shards": 3,
    },
    "six layers, no prefix in names": {"num_hidden_layers": 6, "prefix": False},
    "other rotary base and epsilon": {"rope_theta": 10000.0, "rms_norm_eps": 1e-5, "seed": 3},
    "odd sizes": {
        "hidden_size": 72,
        "intermediate_size": 88,
        "num_attention_heads": 6,
        "num_key_value_heads": 3,
        "head_dim": 24,
    },
    "28 layers": {"num_hidden_layers": 28, "hidden_size": 64, "intermediate_size": 96},
}
every_shape = pytest.mark.parametrize("shape", SHAPES)


def texts(vocabulary: int = 286) -> list[Ids]:
    """Lengths 1 to 300, shared and nested prefixes, duplicates, and the terminator inside."""
    random = np.random.default_rng(7)
    drawn = [random.integers(0, vocabulary, n, dtype=np.int32) for n in (1, 2, 7, 33, 33, 130, 300)]
    head = random.integers(0, vocabulary, 90, dtype=np.int32)
    shared = [np.concatenate([head, random.integers(0, vocabulary, n, dtype=np.int32)]) for n in (1, 20, 61)]
    ended = np.concatenate([drawn[3], np.array([TERMINATOR, 5, TERMINATOR], dtype=np.int32)])
    return [*drawn, *shared, head, head[:40], drawn[3], ended]


class Case:
    """One checkpoint, and the results of transformers for it."""

    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        # Stored in bfloat16, as published weights are, so that only activations lose precision in bfloat16.
        self.folder = build(folder, "reranker", dtype=torch.bfloat16, **config)
        self.preprocessor = load_preprocessor(self.folder)
        self.texts = texts()
        self.vectors, _ = reference(self.folder, self.texts)

    def backend(self, dtype: Dtype = "float32", name: str = "packed") -> packed.PackedBackend:
        backend = load_backend(self.folder, self.preprocessor.info, LoadOptions(dtype=dtype, backend=name))
        assert isinstance(backend, packed.PackedBackend)
        return backend

    def pairs(self, suffix: Ids | None = None) -> list[Ids]:
        frame = self.preprocessor.rerank
        assert frame is not None
        frame = frame if suffix is None else replace(frame, suffix=suffix)
        heads = [frame.head(INSTRUCTION, query) for query in QUERIES]
        return [frame.join(head, ids) for head in heads for ids in frame.documents(DOCUMENTS)]

    @cache  # noqa: B019 - a case lives as long as the module
    def log_odds(self) -> NDArray[np.float32]:
        frame = self.preprocessor.rerank
        assert frame is not None
        _, logits = reference(self.folder, self.pairs())
        return np.asarray(logits[:, frame.yes] - logits[:, frame.no])

    @cache  # noqa: B019
    def half_vectors(self) -> Matrix:
        return reference(self.folder, self.texts, dtype=torch.bfloat16)[0]


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Case]:
    @cache
    def of(shape: str) -> Case:
        return Case(tmp_path_factory.mktemp("checkpoint"), SHAPES[shape])

    return of


def vectors(backend: Backend, items: Sequence[Ids]) -> Matrix:
    return np.stack(backend.launch([Item(ids, VECTOR) for ids in items]).rows())


def scores(backend: Backend, items: Sequence[Ids], *, keep_prefix: bool = False) -> NDArray[np.float32]:
    return np.concatenate(backend.launch([Item(ids, SCORE) for ids in items], keep_prefix=keep_prefix).rows())


@every_shape
def test_vectors_equal_transformers_in_float32(case: Callable[[str], Case], shape: str) -> None:
    parity = case(shape)

    assert cosines(vectors(parity.backend(), parity.texts), parity.vectors).min() >= 0.999999


@every_shape
def test_scores_equal_transformers_in_float32(case: Callable[[str], Case], shape: str) -> None:
    parity = case(shape)

    ours = scores(parity.backend(), parity.pairs())

    assert parity.log_odds().std() >= 1.5
    assert np.abs(sigmoid(ours) - sigmoid(parity.log_odds())).max() <= 1e-5


@every_shape
def test_bfloat16_vectors_are_as_near_as_those_of_transformers(case: Callable[[str], Case], shape: str) -> None:
    parity = case(shape)

    ours = cosines(vectors(parity.backend("bfloat16"), parity.texts), parity.vectors).min()

    assert ours >= 0.999
    assert ours >= cosines(parity.half_vectors(), parity.vectors).min() - 0.0002


@pytest.mark.parametrize("shape", list(SHAPES)[:8])
def test_bfloat16_scores_stay_near_float32(case: Callable[[str], Case], shape: str) -> None:
    parity = case(shape)

    ours = scores(parity.backend("bfloat16"), parity.pairs())

    assert np.abs(sigmoid(ours) - sigmoid(parity.log_odds())).max() <= 2e-2


def test_a_text_of_4096_tokens_equals_transformers(case: Callable[[str], Case]) -> None:
    parity = case("two layers, heads 2:1")
    long = np.random.default_rng(1).integers(0, 286, 4096, dtype=np.int32)

    ours = vectors(parity.backend(), [long, long[:4000], parity.texts[2]])

    assert cosines(ours, reference(parity.folder, [long, long[:4000], parity.texts[2]])[0]).min() >= 0.999999


# Copies with one fault: each must fail the parity test that the real backend passes.


def without_prefix(*args: Any) -> PrefixForest:
    forest = pack(*args)
    return replace(forest, layout=AttentionLayout(forest.layout.segments, ()))


def with_positions_restarted(*args: Any) -> PrefixForest:
    forest = pack(*args)
    starts = np.array([segment.queries[0] for segment in forest.layout.segments])
    tokens = np.arange(len(forest.tokens))
    return replace(forest, positions=tokens - starts[np.searchsorted(starts, tokens, side="right") - 1])


def without_causal_mask(*args: Any) -> PrefixForest:
    forest = pack(*args)
    # One query per segment and all keys of the segment: what each token sees without a mask.
    segments = [Segment((t, t + 1), s.keys) for s in forest.layout.segments for t in range(*s.queries)]
    return replace(forest, layout=AttentionLayout(tuple(segments), forest.layout.branches))


faults = pytest.mark.parametrize("fault", [without_prefix, with_positions_restarted, without_causal_mask])


@faults
def test_a_broken_twin_fails_vector_parity(
    case: Callable[[str], Case], monkeypatch: pytest.MonkeyPatch, fault: Callable[..., PrefixForest]
) -> None:
    parity = case("two layers, heads 2:1")
    twin = parity.backend()
    monkeypatch.setattr(micro_batch, "pack", fault)

    assert cosines(vectors(twin, parity.texts), parity.vectors).min() < 0.99


@faults
def test_a_broken_twin_fails_score_parity(
    case: Callable[[str], Case], monkeypatch: pytest.MonkeyPatch, fault: Callable[..., PrefixForest]
) -> None:
    parity = case("two layers, heads 2:1")
    twin = parity.backend()
    monkeypatch.setattr(micro_batch, "pack", fault)

    assert np.abs(sigmoid(scores(twin, parity.pairs())) - sigmoid(parity.log_odds())).max() > 0.05


def with_the_text_before_in_sight(*args: Any) -> PrefixForest:
    forest = pack(*args)
    segments = forest.layout.segments
    branches = [Branch(segment.queries, before.keys, 0) for before, segment in pairwise(segments)]
    return replace(forest, layout=AttentionLayout(segments, tuple(branches)))


def without_causal_mask_among_equal_lengths(*args: Any) -> PrefixForest:
    # https://github.com/huggingface/text-embeddings-inference/issues/882
    return without_causal_mask(*args) if len({len(ids) for ids in args[0]}) == 1 else pack(*args)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("fault", [with_the_text_before_in_sight, without_causal_mask_among_equal_lengths])
def test_a_twin_whose_answers_depend_on_the_batch_is_refused_when_it_loads(
    case: Callable[[str], Case], monkeypatch: pytest.MonkeyPatch, fault: Callable[..., PrefixForest], dtype: Dtype
) -> None:
    parity = case("two layers, heads 2:1")
    twin = parity.backend(dtype)
    monkeypatch.setattr(micro_batch, "pack", fault)

    with pytest.raises(ModelError, match="changes with its batch"):
        check_backend(twin, parity.preprocessor.info)


def test_a_suffix_one_newline_short_fails_score_parity(case: Callable[[str], Case]) -> None:
    parity = case("two layers, heads 2:1")
    frame = parity.preprocessor.rerank
    assert frame is not None
    newline = parity.preprocessor.tokenizer.encode_control("\n")

    short = parity.pairs(np.concatenate([frame.suffix[:-1], newline]))

    assert np.abs(sigmoid(scores(parity.backend(), short)) - sigmoid(parity.log_odds())).max() > 0.05


@pytest.mark.parametrize(("dtype", "least"), [("float32", 0.999999), ("bfloat16", 0.9999)])
def test_a_text_is_the_same_alone_and_among_200_others(case: Callable[[str], Case], dtype: Dtype, least: float) -> None:
    parity = case("two layers, heads 2:1")
    backend = parity.backend(dtype)
    random = np.random.default_rng(3)
    others = [random.integers(0, 286, n, dtype=np.int32) for n in random.integers(1, 40, 200)]
    alone = np.stack([vectors(backend, [ids])[0] for ids in parity.texts])

    together = vectors(backend, [*others[:100], *parity.texts, *others[100:]])[100 : 100 + len(parity.texts)]

    assert cosines(alone, together).min() >= least


@pytest.mark.parametrize(("dtype", "most"), [("float32", 1e-5), ("bfloat16", 5e-3)])
def test_a_score_is_the_same_alone_and_behind_a_shared_prefix(
    case: Callable[[str], Case], dtype: Dtype, most: float
) -> None:
    parity = case("two layers, heads 2:1")
    backend, pairs = parity.backend(dtype), parity.pairs()
    alone = np.concatenate([scores(backend, [ids]) for ids in pairs])

    together = scores(backend, pairs)

    assert np.abs(sigmoid(alone) - sigmoid(together)).max() <= most


def test_a_text_is_the_same_among_others_of_its_length(case: Callable[[str], Case]) -> None:
    backend = case("two layers, heads 2:1").backend()
    batch = list(np.random.default_rng(4).integers(0, 286, (16, 24), dtype=np.int32))

    alone = np.stack([vectors(backend, [ids])[0] for ids in batch])

    assert cosines(alone, vectors(backend, batch)).min() >= 0.999999


@pytest.mark.parametrize("cut", [1, 2, 5, 9])
def test_scores_are_the_same_wherever_batches_are_cut(case: Callable[[str], Case], cut: int) -> None:
    parity = case("two layers, heads 2:1")
    backend, pairs = parity.backend(), parity.pairs()

    pieces = [scores(backend, pairs[n : n + cut]) for n in range(0, len(pairs), cut)]

    assert np.abs(sigmoid(np.concatenate(pieces)) - sigmoid(parity.log_odds())).max() <= 1e-5


def test_duplicates_get_the_same_row(case: Callable[[str], Case]) -> None:
    parity = case("two layers, heads 2:1")

    rows = vectors(parity.backend(), [parity.texts[3], parity.texts[4], parity.texts[3]])

    assert (rows[0] == rows[2]).all()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_softmax_of_the_logits_of_no_and_yes_is_the_score(case: Callable[[str], Case], dtype: Dtype) -> None:
    parity = case("heads 1:1, untied")
    frame = parity.preprocessor.rerank
    assert frame is not None
    no_yes = Readout("logits", (frame.no, frame.yes))
    pairs = parity.pairs()

    rows = parity.backend(dtype).launch([Item(ids, readout) for ids in pairs for readout in (no_yes, SCORE)]).rows()

    no_yes, score = np.stack(rows[::2]), np.concatenate(rows[1::2])
    assert np.abs(sigmoid(no_yes[:, 1] - no_yes[:, 0]) - sigmoid(score)).max() <= 1e-6


def test_one_batch_mixes_read_outs_and_keeps_the_order(case: Callable[[str], Case]) -> None:
    parity = case("two layers, heads 2:1")
    ids = parity.texts[5]
    readouts = [VECTOR, Readout("logits", (7, 3, 7)), SCORE, Readout("logits"), Readout("logits", (3,)), VECTOR]

    rows = parity.backend().launch([Item(ids, readout) for readout in readouts]).rows()

    assert [len(row) for row in rows] == [96, 3, 1, 320, 1, 96]
    np.testing.assert_allclose(rows[1], rows[3][[7, 3, 7]], atol=1e-5)
    np.testing.assert_allclose(rows[3], reference(parity.folder, [ids])[1][0], atol=1e-4)
    assert rows[4][0] == rows[1][1]
    assert all(row.dtype == np.float32 for row in rows)


def test_an_embedder_has_no_head_to_read(tmp_path: Path) -> None:
    folder = build(tmp_path, "embedder")
    backend = load_backend(folder, load_preprocessor(folder).info)

    with pytest.raises(ModelError, match="has no head, so it cannot give a 'score' readout"):
        backend.launch([Item(texts()[0], SCORE)])


@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
def test_other_poolings_equal_the_library(tmp_path: Path, pooling: Any) -> None:
    folder = build(tmp_path, "embedder")
    info = replace(load_preprocessor(folder).info, pooling=pooling)

    ours = vectors(load_backend(folder, info, LoadOptions(dtype="float32")), texts())

    library = load_backend(folder, info, LoadOptions(dtype="float32", backend="transformers"))
    assert cosines(ours, vectors(library, texts())).min() >= 0.999999


def test_the_next_batch_of_a_request_computes_the_documents_alone(
    case: Callable[[str], Case], monkeypatch: pytest.MonkeyPatch
) -> None:
    parity = case("two layers, heads 2:1")
    backend, pairs = parity.backend(), parity.pairs()
    computed = []

    def counting(*args: Any) -> PrefixForest:
        forest = pack(*args)
        computed.append(len(forest.tokens))
        return forest

    monkeypatch.setattr(micro_batch, "pack", counting)

    first, second, third = (scores(backend, pairs[n : n + 2], keep_prefix=n < 4) for n in (0, 2, 4))

    assert computed[1] < computed[0] - 100
    assert computed[2] < computed[0] - 100
    ours = np.concatenate([first, second, third])
    assert np.abs(sigmoid(ours) - sigmoid(parity.log_odds()[:6])).max() <= 1e-5


def test_a_request_that_fits_one_batch_is_computed_in_the_same_way_each_time(case: Callable[[str], Case]) -> None:
    parity = case("two layers, heads 2:1")
    backend, pairs = parity.backend("bfloat16"), parity.pairs()[:4]

    first, second = scores(backend, pairs), scores(backend, pairs)

    assert first.tolist() == second.tolist()


def test_nothing_is_kept_when_the_last_batch_of_a_request_is_done(case: Callable[[str], Case]) -> None:
    parity = case("two layers, heads 2:1")
    backend, pairs = parity.backend(), parity.pairs()
    scores(backend, pairs[:2], keep_prefix=True)
    cached_between = backend._prefix_cache.prefixes()

    scores(backend, pairs[2:4])

    assert cached_between
    assert backend._prefix_cache.prefixes() == []


def spoil(backend: packed.PackedBackend, token: int, value: float) -> None:
    backend._network.embed_tokens[token] = value


def test_nan_is_reported_for_its_rows_and_the_others_are_good(case: Callable[[str], Case]) -> None:
    parity = case("two layers, heads 2:1")
    backend = parity.backend()
    good, bad = parity.texts[2], np.array([5, 299, 5], dtype=np.int32)
    before = vectors(backend, [good])
    spoil(backend, 299, float("nan"))

    with pytest.raises(NonFinite) as caught:
        vectors(backend, [good, bad, good])

    assert caught.value.indexes == (1,)
    assert cosines([caught.value.rows[0], caught.value.rows[2]], [before[0], before[0]]).min() >= 0.999999


def test_a_bfloat16_row_that_overflows_is_computed_again_in_float32(
    case: Callable[[str], Case], monkeypatch: pytest.MonkeyPatch
) -> None:
    parity = case("two layers, heads 2:1")
    backend = parity.backend("bfloat16")
    layer = backend._network.layers[1]
    down_proj = layer.down_proj

    def overflowing(hidden: torch.Tensor) -> torch.Tensor:
        product = down_proj(hidden)
        return product if hidden.dtype == torch.float32 else torch.full_like(product, torch.inf)

    monkeypatch.setattr(layer, "down_proj", overflowing)

    ours = vectors(backend, parity.texts)

    assert cosines(ours, parity.vectors).min() >= 0.999


def test_a_prefix_is_not_kept_from_a_batch_with_nan(case: Callable[[str], Case]) -> None:
    parity = case("two layers, heads 2:1")
    backend = parity.backend()
    spoil(backend, 299, float("nan"))
    head = np.arange(40, dtype=np.int32)
    bad = [np.concatenate([head, np.array([299, n], dtype=np.int32)]) for n in range(3)]

    with pytest.raises(NonFinite):
        backend.launch([Item(ids, VECTOR) for ids in bad], keep_prefix=True).rows()

    assert backend._prefix_cache.prefixes() == []


def test_memory_that_runs_out_is_told_by_rows(case: Callable[[str], Case], monkeypatch: pytest.MonkeyPatch) -> None:
    backend = case("two layers, heads 2:1").backend()

    def full(*_args: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB\nmore")

    monkeypatch.setattr(type(backend._network), "__call__", full)
    pending = backend.launch([Item(texts()[0], VECTOR)])

    assert pending.done()
    with pytest.raises(OutOfMemory, match=r"20\.00 GiB$"):
        pending.rows()


def test_the_host_allocator_s_refusal_is_memory_too(
    case: Callable[[str], Case], monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = case("two layers, heads 2:1").backend()

    def full(*_args: Any) -> torch.Tensor:
        return torch.empty(1 << 60)

    monkeypatch.setattr(type(backend._network), "__call__", full)

    with pytest.raises(OutOfMemory):
        backend.launch([Item(texts()[0], VECTOR)]).rows()


def test_qwen3_with_known_settings_is_packed(case: Callable[[str], Case]) -> None:
    info = case("two layers, heads 2:1").backend(name="auto").info

    assert (info.backend, info.dtype, info.device) == ("packed", "float32", "cpu")
    assert info.reason == "every setting of this qwen3 checkpoint is supported"


def test_parameters_are_those_of_the_files(case: Callable[[str], Case]) -> None:
    # 320 x 96 table; 2 layers of q 128, k and v 64, o, gate, up and down 160, four norms; one norm.
    layer = 96 * (128 + 64 + 64) + 128 * 96 + 3 * 96 * 160 + 2 * 32 + 2 * 96

    assert case("two layers, heads 2:1").backend().info.parameters == 320 * 96 + 2 * layer + 96


def test_an_unknown_setting_goes_to_transformers_with_its_reason(tmp_path: Path) -> None:
    folder = build(tmp_path, "llm", rope_scaling={"rope_type": "linear", "factor": 2.0})

    info = load_backend(folder, load_preprocessor(folder).info, LoadOptions(dtype="float32")).info

    assert info.backend == "transformers"
    assert "rope_scaling = {'rope_type': 'linear', 'factor': 2.0}" in info.reason
