"""`hearth pull`: what is brought, what is left out, how it goes on, and what it says when it cannot."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from models import ModelError, Pulled, find_checkpoint, load_backend, load_preprocessor, pull_model
from models.checkpoint.manifest import read_manifest
from tests.support.checkpoints.qwen3 import build
from tests.support.server.hub import REVISION, Hub, serve_hub

NAME = "Qwen/Qwen3-Embedding-Tiny"
# What lies in repositories beside the model: code, pickles, other formats, pictures.
BESIDE = {
    "modeling_custom.py": "print('run')",
    "pytorch_model.bin": "pickle",
    "onnx/config.json": "{}",
    "onnx/model.onnx": "graph",
    "original/model.safetensors": "a second copy",
    "consolidated.safetensors": "a third copy",
    "model-q8.gguf": "a fourth",
    "manifest.json": '{"somebody": "else"}',
    ".gitattributes": "*",
    "figures/plot.png": "picture",
    "README.md": "A card.",
    "LICENSE": "Apache-2.0",
}
MODEL = {
    *("1_Pooling/config.json", "config.json", "config_sentence_transformers.json", "modules.json", "tokenizer.json"),
    *("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"),
    *("README.md", "LICENSE"),
}


def pull(source: str | Path, folder: Path, revision: str | None = None) -> Pulled:
    return pull_model(str(source), folder, revision=revision, watch=lambda what, total: lambda passed: None)


def files_in(folder: Path) -> set[str]:
    return {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A repository as people publish them."""
    folder = build(tmp_path / "published", shards=2)
    for name, content in BESIDE.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content, "utf-8")
    return folder


@pytest.fixture
def hub(published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub that holds it, where huggingface_hub looks."""
    from huggingface_hub import constants

    with serve_hub({NAME: published}) as hub:
        template = f"{hub.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        monkeypatch.setenv("NO_PROXY", "*")
        yield hub


def test_a_hub_model_comes_whole_without_code_pickles_and_second_formats(hub: Hub, tmp_path: Path) -> None:
    pulled = pull(NAME, tmp_path / "m")

    assert files_in(tmp_path / "m") == MODEL | {"manifest.json"}
    assert set(pulled.manifest.files) == MODEL
    assert (pulled.manifest.source, pulled.manifest.revision, pulled.was_whole) == (NAME, REVISION, False)
    text = load_preprocessor(tmp_path / "m")
    assert load_backend(tmp_path / "m", text.info).info.backend == "packed"


def test_a_second_pull_checks_the_folder_and_asks_nobody(hub: Hub, tmp_path: Path) -> None:
    pull(NAME, tmp_path / "m")
    hub.asked.clear()

    assert pull(NAME, tmp_path / "m").was_whole
    assert hub.asked == []


def test_files_that_had_arrived_whole_are_kept(hub: Hub, tmp_path: Path) -> None:
    hub.failing.add("model-00002-of-00002.safetensors")
    with pytest.raises(ModelError, match="could not be downloaded; run the command again"):
        pull(NAME, tmp_path / "m")
    assert read_manifest(tmp_path / "m") is None
    hub.failing.clear()
    hub.asked.clear()

    pull(NAME, tmp_path / "m")

    assert [line for line in hub.asked if line.startswith("GET") and "/resolve/" in line] == [
        f"GET /{NAME}/resolve/{REVISION}/model-00002-of-00002.safetensors"
    ]


def test_a_line_that_drops_is_asked_again_for_the_rest(hub: Hub, published: Path, tmp_path: Path) -> None:
    hub.cut_after = 20_000
    pull(NAME, tmp_path / "m")

    assert read_manifest(tmp_path / "m") is not None
    # The library itself asked again, for the rest only.
    total = sum((published / name).stat().st_size for name in MODEL)
    assert hub.sent_bytes < total + 30_000


def test_what_was_damaged_since_is_brought_again_and_only_that(hub: Hub, tmp_path: Path) -> None:
    pull(NAME, tmp_path / "m")
    shard = tmp_path / "m" / "model-00002-of-00002.safetensors"
    good = shard.read_bytes()
    shard.write_bytes(b"\0" * len(good))
    hub.asked.clear()

    pulled = pull(NAME, tmp_path / "m")

    assert not pulled.was_whole
    assert shard.read_bytes() == good
    assert [line for line in hub.asked if "00001-of" in line and line.startswith("GET")] == []


def test_a_file_that_is_not_what_the_hub_says_is_removed_and_named(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.support.server.hub._sha", lambda content: "0" * 64)

    with pytest.raises(ModelError, match=r"damaged files, which were removed; run the command again: model-00001"):
        pull(NAME, tmp_path / "m")
    assert read_manifest(tmp_path / "m") is None


@pytest.mark.parametrize("name", ["../model.safetensors", "/etc/model.safetensors", "1_Pooling/../../x.json"])
def test_a_hub_that_lists_a_file_elsewhere_is_refused(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    files = hub.files(NAME)
    monkeypatch.setattr(hub, "files", lambda _: files | {name: b"x"})

    with pytest.raises(ModelError, match=f"lists a file outside the folder: '{name}'"):
        pull(NAME, tmp_path / "m")
    assert files_in(tmp_path / "m") == set()


@pytest.mark.parametrize("name", ["a\0b.json", "1_Pooling/\n.json", "a" * 300 + ".json"])
def test_a_hub_that_lists_a_name_that_no_file_has_is_refused(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    files = hub.files(NAME)
    monkeypatch.setattr(hub, "files", lambda _: files | {name: b"x"})

    with pytest.raises(ModelError, match="lists a file with a"):
        pull(NAME, tmp_path / "m")
    assert files_in(tmp_path / "m") == set()


LINKS = ("config.json", "config.json.part", "model-00001-of-00002.safetensors", "manifest.json.part")


@pytest.mark.parametrize(
    ("name", "is_local"),
    [*((name, local) for name in (*LINKS, "1_Pooling") for local in (False, True)), (".cache", False)],
)
def test_nothing_is_written_through_a_link(
    hub: Hub, published: Path, tmp_path: Path, name: str, is_local: bool
) -> None:
    folder, elsewhere = tmp_path / "m", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    (elsewhere / "file").write_text("mine", "utf-8")
    (folder / name).symlink_to(elsewhere if name in ("1_Pooling", ".cache") else elsewhere / "file")

    with pytest.raises(ModelError, match="is a link or a pipe, and nothing is written through it"):
        pull(str(published) if is_local else NAME, folder)
    assert {file.name: file.read_text("utf-8") for file in elsewhere.iterdir()} == {"file": "mine"}


def test_a_pipe_in_the_target_is_not_waited_for(published: Path, tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    os.mkfifo(tmp_path / "m" / "config.json.part")

    with pytest.raises(ModelError, match="is a link or a pipe"):
        pull(str(published), tmp_path / "m")


def test_a_damaged_folder_that_cannot_be_written_is_one_sentence(hub: Hub, tmp_path: Path) -> None:
    pull(NAME, tmp_path / "m")
    (tmp_path / "m" / "config.json").unlink()
    (tmp_path / "m" / "config.json").mkdir()

    with pytest.raises(ModelError, match=r"could not be downloaded.*config\.json"):
        pull(NAME, tmp_path / "m")


def test_another_revision_is_taken_when_it_is_asked_for(hub: Hub, published: Path, tmp_path: Path) -> None:
    pull(NAME, tmp_path / "m")
    (published / "added.json").write_text("{}", "utf-8")
    (published / "LICENSE").unlink()
    hub.revision = "b" * 40

    assert pull(NAME, tmp_path / "m").was_whole
    pulled = pull(NAME, tmp_path / "m", "main")

    assert pulled.manifest.revision == "b" * 40
    assert files_in(tmp_path / "m") == MODEL - {"LICENSE"} | {"added.json", "manifest.json"}


def test_offline_the_local_cache_is_what_is_copied(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants, snapshot_download

    snapshot_download(NAME)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub.asked.clear()

    pulled = pull(NAME, tmp_path / "m")

    assert (pulled.manifest.source, pulled.manifest.revision) == (NAME, REVISION)
    assert files_in(tmp_path / "m") == MODEL | {"manifest.json"}
    assert hub.asked == []


@pytest.mark.parametrize(
    ("source", "revision", "message"),
    [
        ("Qwen/Unknown", None, "Qwen/Unknown was not found on the hub; if it is private, set HF_TOKEN"),
        (NAME, "v2", f"{NAME} has no such revision on the hub"),
        ("nowhere", None, "no such model folder: nowhere"),
        ("/nowhere/at-all", None, "no such model folder: /nowhere/at-all"),
    ],
)
def test_what_is_not_there_is_one_sentence(
    hub: Hub, tmp_path: Path, source: str, revision: str | None, message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        pull(source, tmp_path / "m", revision)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["config.json", "pytorch_model.bin"], r"Some/Other holds no model .* pickles, .* \(pytorch_model\.bin\)"),
        (["config.json", "m-Q4_K_M.gguf"], r"its weights are GGUF"),
        (["adapter_config.json", "adapter_model.safetensors"], "it is a PEFT adapter"),
        (["README.md"], r"missing: model\.safetensors"),
    ],
)
def test_a_repository_that_holds_no_model_is_refused_before_anything_is_brought(
    hub: Hub, tmp_path: Path, names: list[str], message: str
) -> None:
    (tmp_path / "other").mkdir()
    for name in names:
        (tmp_path / "other" / name).write_text("{}", "utf-8")
    hub.repositories["Some/Other"] = tmp_path / "other"

    with pytest.raises(ModelError, match=message):
        pull("Some/Other", tmp_path / "m")
    assert files_in(tmp_path / "m") == set()


def test_a_model_that_is_named_by_its_id_is_brought_into_the_cache_once(
    hub: Hub, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "hearth")
    first = find_checkpoint(NAME)
    hub.asked.clear()

    assert find_checkpoint(NAME) == first
    assert hub.asked == []
    assert [line.split(" ")[1] for line in caplog.messages if line.startswith(NAME)] == ["downloading", "downloaded"]
    assert files_in(first) == MODEL - {"README.md", "LICENSE"} | {"manifest.json"}
    assert load_preprocessor(first).info.kind == "embedder"


def test_an_id_of_pickles_is_refused_before_anything_is_brought(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "pytorch_model.bin").write_text("x", "utf-8")
    hub.repositories["Some/Other"] = tmp_path / "other"

    with pytest.raises(ModelError, match=r"Some/Other holds no model that can be served; its weights are pickles"):
        find_checkpoint("Some/Other")


def test_a_gated_model_says_what_to_do(hub: Hub, tmp_path: Path) -> None:
    hub.gated.add(NAME)

    with pytest.raises(ModelError, match="is gated; accept its terms on its page, then set HF_TOKEN"):
        pull(NAME, tmp_path / "m")


def test_no_network_is_one_sentence(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")

    with pytest.raises(ModelError, match="could not be downloaded; run the command again"):
        pull(NAME, tmp_path / "m")


def test_a_local_folder_is_copied_without_what_lies_beside_the_model(published: Path, tmp_path: Path) -> None:
    pulled = pull(published, tmp_path / "m")

    assert files_in(tmp_path / "m") == MODEL | {"manifest.json"}
    assert (pulled.manifest.source, pulled.manifest.revision) == ("published", None)
    assert pull(published, tmp_path / "m").was_whole


def test_a_copy_of_a_pulled_folder_keeps_its_origin_and_is_held_against_its_manifest(hub: Hub, tmp_path: Path) -> None:
    pull(NAME, tmp_path / "stick")

    copied = pull(tmp_path / "stick", tmp_path / "m").manifest
    assert copied == read_manifest(tmp_path / "stick")

    weights = tmp_path / "stick" / "model-00001-of-00002.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    with pytest.raises(ModelError, match="damaged files, which were removed"):
        pull(tmp_path / "stick", tmp_path / "other")


def test_a_copy_that_broke_off_goes_on(published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copied: list[str] = []

    def copy_or_break(source: Path, target: Path, progress: Callable[[int], None]) -> None:
        if len(copied) == 5:
            raise OSError(28, "No space left on device", str(target))
        copied.append(source.name)
        shutil.copy(source, target) if target.parent.exists() else None

    with monkeypatch.context() as broken:
        broken.setattr("models.checkpoint.pull._copy_file", copy_or_break)
        with pytest.raises(ModelError, match="cannot be written: No space left on device"):
            pull(published, tmp_path / "m")
    assert read_manifest(tmp_path / "m") is None

    pull(published, tmp_path / "m")
    assert files_in(tmp_path / "m") == MODEL | {"manifest.json"}


def test_a_folder_in_place_gets_a_manifest(tmp_path: Path) -> None:
    folder = build(tmp_path / "mine")

    pull(folder, folder)

    assert read_manifest(folder) is not None
    assert load_preprocessor(folder).info.kind == "embedder"


def test_a_folder_in_place_that_was_changed_is_left_as_it_is(tmp_path: Path) -> None:
    folder = build(tmp_path / "mine")
    pull(folder, folder)
    (folder / "config.json").write_text("{}", "utf-8")

    with pytest.raises(ModelError, match=r"does not match manifest\.json; .* changed: config\.json"):
        pull(folder, folder)
    assert (folder / "config.json").read_text("utf-8") == "{}"


def test_a_copy_that_was_damaged_is_repaired_from_its_source(published: Path, tmp_path: Path) -> None:
    pull(published, tmp_path / "m")
    for name in ("config.json", "model-00001-of-00002.safetensors"):
        (tmp_path / "m" / name).write_text("damage", "utf-8")

    assert not pull(published, tmp_path / "m").was_whole
    assert pull(published, tmp_path / "m").was_whole
    assert (tmp_path / "m" / "config.json").read_bytes() == (published / "config.json").read_bytes()


def test_without_a_network_what_is_damaged_is_not_removed(hub: Hub, tmp_path: Path) -> None:
    pull(NAME, tmp_path / "m")
    (tmp_path / "m" / "config.json").write_text("{}", "utf-8")
    hub.repositories.clear()

    with pytest.raises(ModelError, match="was not found on the hub"):
        pull(NAME, tmp_path / "m")
    assert (tmp_path / "m" / "config.json").exists()


def test_another_models_folder_is_not_touched(published: Path, tmp_path: Path) -> None:
    other = build(tmp_path / "other", seed=1)
    pull(published, tmp_path / "m")

    with pytest.raises(ModelError, match="already holds published; choose an empty folder for other"):
        pull(other, tmp_path / "m")
    with pytest.raises(ModelError, match=r"holds files of another model; choose an empty folder, or remove: .*\.json"):
        pull(build(tmp_path / "llm", "llm"), other)


def test_the_origin_says_what_is_known_of_a_model(tmp_path: Path) -> None:
    pull(build(tmp_path / "nomic-embed-text-v1.5"), tmp_path / "m")

    assert load_preprocessor(tmp_path / "m").info.layer_norm_before_dimensions


def test_the_manifest_is_plain_json(published: Path, tmp_path: Path) -> None:
    pull(published, tmp_path / "m")

    document = json.loads((tmp_path / "m" / "manifest.json").read_text("utf-8"))
    assert document["schema"] == "hearth-manifest/1"
    assert document["files"]["LICENSE"]["bytes"] == len("Apache-2.0")
