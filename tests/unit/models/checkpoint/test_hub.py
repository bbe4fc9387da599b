"""Where models come from: folders, the hub's local cache, and nothing else when offline."""

import shutil
from pathlib import Path

import pytest

from models import ModelError, demo_models, find_checkpoint, model_id


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub cache that holds one model, as huggingface_hub lays it out."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    repository = tmp_path / "models--Qwen--Qwen3-Embedding-0.6B"
    snapshot = repository / "snapshots" / "97b0c614be4d"
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("97b0c614be4d", "utf-8")
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (snapshot / name).write_text("{}", "utf-8")
    return snapshot


def test_a_folder_is_taken_as_it_is(tmp_path: Path) -> None:
    assert find_checkpoint(str(tmp_path)) == tmp_path
    assert model_id(f"{tmp_path}/") == tmp_path.name


@pytest.mark.parametrize("source", ["/nowhere/model", "./nowhere", "~/nowhere", "nowhere"])
def test_a_folder_that_is_not_there_is_named(source: str) -> None:
    with pytest.raises(ModelError, match=f"no such model folder: {source}"):
        find_checkpoint(source)


def test_a_hub_id_is_found_in_the_cache(cache: Path) -> None:
    assert find_checkpoint("Qwen/Qwen3-Embedding-0.6B") == cache
    assert model_id("Qwen/Qwen3-Embedding-0.6B") == "Qwen/Qwen3-Embedding-0.6B"
    assert model_id(str(cache)) == "Qwen/Qwen3-Embedding-0.6B"


def test_offline_a_model_that_is_not_cached_is_one_sentence(cache: Path) -> None:
    with pytest.raises(ModelError, match="HF_HUB_OFFLINE is set, and the local cache has no such model: Qwen/Other"):
        find_checkpoint("Qwen/Other")


def test_a_download_that_was_interrupted_is_not_taken_for_a_model(cache: Path) -> None:
    (cache / "model.safetensors").unlink()

    with pytest.raises(ModelError, match="the local cache has no such model"):
        find_checkpoint("Qwen/Qwen3-Embedding-0.6B")


def test_the_demo_pair_has_an_embedder_and_a_reranker() -> None:
    assert [Path(folder).name for folder in demo_models()] == ["demo-embedding", "demo-reranker"]


def test_a_revision_is_found_in_the_cache_by_its_commit_and_by_its_branch(cache: Path) -> None:
    assert find_checkpoint("Qwen/Qwen3-Embedding-0.6B", "main") == cache
    newer = shutil.copytree(cache, cache.parent / ("c" * 40))
    assert find_checkpoint("Qwen/Qwen3-Embedding-0.6B", newer.name) == newer

    with pytest.raises(ModelError, match=r"no such model: Qwen/Qwen3-Embedding-0\.6B at v2"):
        find_checkpoint("Qwen/Qwen3-Embedding-0.6B", "v2")


def test_a_folder_has_no_revision(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="can be given only for a hub id; got main"):
        find_checkpoint(str(tmp_path), "main")
