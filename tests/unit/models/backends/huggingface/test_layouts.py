"""The unpadded layout gives the states of one text at a time, for every architecture that supports it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models import Backend, Item, LoadOptions, Readout, load_backend
from models.backends.huggingface import layouts as unpadded
from models.backends.huggingface.network import LibraryNetwork
from models.backends.huggingface.transformers_backend import PADDED, TransformersBackend
from models.interface import Ids
from models.layers.sequence_attention import Rule, SequenceLayout
from tests.support.networks.one_at_a_time import Matrix, cosines
from tests.support.networks.tiny_networks import CONFIGS, alone, save, texts

FLOAT32 = LoadOptions(dtype="float32", backend="transformers")
UNPADDED = {
    *("bert", "nomic_bert", "roberta", "xlm-roberta", "distilbert", "modernbert", "embeddinggemma", "gemma3_text"),
    *("qwen2", "qwen3_moe", "mistral", "llama", "gemma", "phi3", "glm4_moe", "deepseek_v3", "gpt_oss", "gpt2"),
}


def vectors(backend: Backend) -> Matrix:
    return np.stack(backend.launch([Item(ids, Readout("vector")) for ids in texts()]).rows())


@pytest.mark.parametrize("kind", sorted(UNPADDED))
def test_unpadded_texts_equal_one_at_a_time(tmp_path: Path, kind: str) -> None:
    info = save(tmp_path, CONFIGS[kind]())

    backend = load_backend(tmp_path, info, FLOAT32)

    assert backend.info.layout == "unpadded", backend.info.layout_reason
    assert cosines(vectors(backend), alone(tmp_path)).min() >= 0.999999


@pytest.mark.parametrize("kind", sorted(CONFIGS.keys() - UNPADDED))
def test_what_cannot_lie_unpadded_is_padded_and_equals_one_at_a_time(tmp_path: Path, kind: str) -> None:
    info = save(tmp_path, CONFIGS[kind](), "lasttoken")

    backend = load_backend(tmp_path, info, FLOAT32)

    assert backend.info.layout == "padded"
    assert backend.info.layout_reason
    assert cosines(vectors(backend), alone(tmp_path, "lasttoken")).min() >= 0.99999


@pytest.mark.parametrize("kind", ["bert", "gpt_oss", "mpnet"])
def test_the_padded_way_can_be_asked_for(tmp_path: Path, kind: str) -> None:
    info = save(tmp_path, CONFIGS[kind]())

    backend = load_backend(tmp_path, info, LoadOptions(dtype="float32", backend=PADDED))

    assert (backend.info.layout, backend.info.layout_reason) == ("padded", "asked for")
    assert cosines(vectors(backend), alone(tmp_path)).min() >= 0.999999


def without(field: str) -> Callable[..., Rule]:
    """Rules that lose one of their fields."""
    return lambda **fields: Rule(**fields | {field: False if field == "causal" else None})


def as_one(lengths: Sequence[int], device: torch.device) -> SequenceLayout:
    """A layout that lets texts see each other."""
    return SequenceLayout([sum(lengths)], device)


def from_zero(_network: LibraryNetwork, ids: Ids) -> Any:
    """Positions that start at 0, unlike RoBERTa's."""
    return np.arange(len(ids))


@pytest.mark.parametrize(
    ("kind", "owner", "name", "broken"),
    [
        ("gpt_oss", unpadded, "Rule", without("sinks")),
        ("gpt_oss", unpadded, "Rule", without("window")),
        ("modernbert", unpadded, "Rule", without("window")),
        ("embeddinggemma", unpadded, "Rule", without("window")),
        ("qwen2", unpadded, "Rule", without("causal")),
        ("gemma3_text", unpadded, "Rule", without("scale")),
        ("bert", unpadded, "SequenceLayout", as_one),
        ("deepseek_v3", unpadded, "SequenceLayout", as_one),
        ("xlm-roberta", LibraryNetwork, "positions", from_zero),
    ],
)
def test_a_broken_twin_is_found_out_when_it_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, owner: object, name: str, broken: object
) -> None:
    info = save(tmp_path, CONFIGS[kind]())
    monkeypatch.setattr(owner, name, broken)

    backend = load_backend(tmp_path, info, FLOAT32)

    assert backend.info.layout == "padded"
    assert "not run unpadded: token states differ from running each text alone by" in backend.info.layout_reason
    assert cosines(vectors(backend), alone(tmp_path)).min() >= 0.999999


def test_a_window_too_long_to_try_must_at_least_be_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = save(tmp_path, CONFIGS["mistral"]())
    monkeypatch.setattr("models.backends.huggingface.layout_check.MAX_WINDOW", {"cpu": 0})
    assert load_backend(tmp_path, info, FLOAT32).info.layout == "unpadded"

    monkeypatch.setattr(unpadded, "Rule", without("window"))

    assert load_backend(tmp_path, info, FLOAT32).info.layout == "padded"


def test_overflow_in_bfloat16_is_computed_again_in_float32_unpadded(tmp_path: Path) -> None:
    info = save(tmp_path, CONFIGS["modernbert"]())
    backend = load_backend(tmp_path, info, LoadOptions(dtype="bfloat16"))
    assert isinstance(backend, TransformersBackend)
    assert backend.info.layout == "unpadded"

    again = torch.stack([backend._rerun(Item(ids, Readout("vector")))[0] for ids in texts()]).numpy()

    assert cosines(again, vectors(backend)).min() >= 0.999
    assert cosines(again, alone(tmp_path)).min() >= 0.9999
