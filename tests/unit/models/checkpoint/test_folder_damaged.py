"""Whatever a folder lacks or holds instead of a model: one sentence, of one class, that says what it is."""

import json
import os
import shutil
import struct
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from models import Item, LoadOptions, ModelError, Readout, Row, find_checkpoint, load_backend, load_preprocessor
from models.checkpoint import files as reading
from models.verify.reference import vector_reference
from tests.support.checkpoints.qwen3 import CONFIG, build

POINTER = (
    "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32\nsize 12345\n"
)
TEXT = "The quick brown fox jumped over the lazy dog"
Damage = Callable[[Path], object]


def load(source: Path | str, **options: Any) -> None:
    path = find_checkpoint(str(source))
    chosen = LoadOptions(dtype="float32", device="cpu", **options)
    load_backend(path, load_preprocessor(path, chosen).info, chosen)


def without(*names: str) -> Damage:
    return lambda folder: [(folder / name).unlink() for name in names]


def holding(name: str, content: str | bytes) -> Damage:
    return lambda folder: (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)


def instead(*names: str, **contents: object) -> Damage:
    """These files and nothing else."""

    def damage(folder: Path) -> None:
        shutil.rmtree(folder)
        folder.mkdir()
        for name in names:
            (folder / name).write_bytes(b"x")
        for name, content in contents.items():
            (folder / f"{name}.json").write_text(json.dumps(content), "utf-8")

    return damage


def entry(**changes: object) -> Damage:
    def damage(folder: Path) -> None:
        file = folder / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | changes), "utf-8")

    return damage


def tensors(change: Callable[[dict[str, torch.Tensor]], object]) -> Damage:
    def damage(folder: Path) -> None:
        held = load_file(folder / "model.safetensors")
        change(held)
        save_file(held, folder / "model.safetensors", metadata={"format": "pt"})

    return damage


def wrapped(prefix: str) -> Damage:
    def damage(folder: Path) -> None:
        held = load_file(folder / "model.safetensors")
        save_file({f"{prefix}{name}": tensor for name, tensor in held.items()}, folder / "model.safetensors")

    return damage


def all_of(*damages: Damage) -> Damage:
    return lambda folder: [damage(folder) for damage in damages]


def truncated(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def link_to_nowhere(name: str) -> Damage:
    return lambda folder: ((folder / name).unlink(), (folder / name).symlink_to("/nowhere/blob"))


NORM = "layers.1.input_layernorm.weight"
NO_MODEL = "holds no model that can be served; "
INDEX = "model.safetensors.index.json"

DAMAGES: dict[str, tuple[Damage, str]] = {
    "empty": (instead(), NO_MODEL + "it is empty"),
    "only a card": (instead("README.md"), NO_MODEL + r"missing: config\.json"),
    "no config": (without("config.json"), NO_MODEL + r"missing: config\.json"),
    "no weights": (without("model.safetensors"), NO_MODEL + r"missing: model\.safetensors"),
    "no tokenizer": (without("tokenizer.json"), r"missing: tokenizer\.json \(make it: AutoTokenizer"),
    "adapter": (
        instead("adapter_model.safetensors", adapter_config={"base_model_name_or_path": "Qwen/Qwen3-0.6B"}),
        r"it is a PEFT adapter without the model that it adapts, Qwen/Qwen3-0\.6B; merge .*merge_and_unload\(\)",
    ),
    "adapter beside a config": (
        all_of(without("model.safetensors"), holding("adapter_config.json", "{}")),
        "it is a PEFT adapter without the model that it adapts, its base model; merge",
    ),
    "ggufs": (
        instead("m-Q8_0.gguf", "m-Q4_K_M.gguf"),
        r"holds several GGUF files, and does not say which is meant: m-Q4_K_M\.gguf, m-Q8_0\.gguf; put one into",
    ),
    "gguf": (instead("m-Q8_0.gguf", "README.md"), r"m-Q8_0\.gguf is damaged or not a GGUF file: "),
    "pickles": (
        all_of(without("model.safetensors"), holding("pytorch_model.bin", "x"), holding("optimizer.pt", "x")),
        r"its weights are pickles, which can run code when they are read \(pytorch_model\.bin\)",
    ),
    "onnx": (all_of(without("model.safetensors"), holding("m.onnx", "x")), r"in another format \(m\.onnx\)"),
    "shard": (
        all_of(without("model.safetensors"), holding(INDEX, '{"weight_map": {"a": "model-1.safetensors"}}')),
        r"lacks weight files: model-1\.safetensors",
    ),
    "shard elsewhere": (
        all_of(without("model.safetensors"), holding(INDEX, '{"weight_map": {"a": "../m/model.safetensors"}}')),
        r"lists a file outside the folder: '\.\./m/model\.safetensors'",
    ),
    "index of nothing": (
        all_of(without("model.safetensors"), holding(INDEX, "{}")),
        "must map each tensor to a file in weight_map",
    ),
    "index of numbers": (
        all_of(without("model.safetensors"), holding(INDEX, '{"weight_map": {"a": 1}}')),
        "must map each tensor to a file",
    ),
    "no tensors": (
        all_of(without("model.safetensors"), holding(INDEX, '{"weight_map": {}}')),
        "its config.json or weights are empty",
    ),
    "shards without an index": (
        all_of(without("model.safetensors"), holding("model-00001-of-00002.safetensors", "x")),
        r"has 1 shards, such as model-00001-of-00002\.safetensors, without model\.safetensors\.index\.json; copy that",
    ),
    "adapter beside weights": (
        holding("adapter_config.json", "{}"),
        r"holds a whole model and an adapter \(adapter_config\.json\), and does not say which is meant",
    ),
    "compiled": (wrapped("_orig_mod."), r"was saved from inside torch\.compile: .* begins with '_orig_mod\.'"),
    "parallel": (wrapped("module."), r"was saved from inside DataParallel: .* begins with 'module\.'"),
    "truncated": (truncated, "is damaged or not a safetensors file"),
    "weights of nothing": (holding("model.safetensors", ""), "is damaged or not a safetensors file"),
    "weights of zeros": (holding("model.safetensors", b"\0" * 1000), "is damaged or not a safetensors file"),
    "weights of all memory": (
        holding("model.safetensors", struct.pack("<Q", 2**60)),
        "is damaged or not a safetensors",
    ),
    "pointer": (holding("model.safetensors", POINTER), r"model\.safetensors is a Git LFS pointer, .*`git lfs pull`"),
    "pointer tokenizer": (holding("tokenizer.json", POINTER), r"tokenizer\.json is a Git LFS pointer"),
    "shape": (
        tensors(lambda held: held.update({NORM: torch.ones(5)})),
        rf"{NORM} has the shape \(96,\)",
    ),
    "tensor": (tensors(lambda held: held.pop(NORM)), f"lacks the tensor {NORM}"),
    "tensor more": (
        tensors(lambda held: held.update(odd=torch.ones(2))),
        "holds tensors that Qwen3 does not have by config.json: odd",
    ),
    "nan": (tensors(lambda held: held["norm.weight"].fill_(torch.nan)), "gives NaN or Inf for a short text"),
    "table": (tensors(lambda held: held.pop("embed_tokens.weight")), "has no token table"),
    "unknown network": (
        entry(model_type="mystery", architectures=["MysteryModel"]),
        "does not have the model_type 'mystery'",
    ),
    "remote code": (entry(model_type="mystery", auto_map={"AutoModel": "m.M"}), "needs code of its own"),
    "remote code, no type": (entry(model_type=None, auto_map={"AutoModel": "m.M"}), "needs code of its own"),
    "unknown entry": (
        entry(attention_sinks=4),
        "has entries that are unknown to Qwen3, and that would change its numbers: attention_sinks",
    ),
    "garbage": (holding("config.json", b"\x80\x02}q\x00."), r"config\.json is not UTF-8 text: .* at byte 0"),
    "half of a config": (holding("config.json", '{"a": 1,'), r"config\.json is not valid JSON"),
    "list": (holding("config.json", "[]"), r"config\.json must hold a JSON object"),
    "depth": (holding("config.json", "[" * 100_000), r"config\.json is not valid JSON"),
    "empty config": (holding("config.json", "{}"), "its config.json or weights are empty"),
    "tokenizer of nothing": (holding("tokenizer.json", ""), "not a tokenizer that can be read"),
    "tokenizer of another form": (holding("tokenizer.json", "{}"), "not a tokenizer that can be read"),
    "modules of another form": (
        holding("modules.json", '{"0": {}}'),
        "must be a list of modules, each with type and path",
    ),
    "modules without path": (holding("modules.json", '[{"type": "a.Pooling"}]'), "must be a list of modules"),
    "modules elsewhere": (
        holding("modules.json", '[{"type": "sentence_transformers.models.Pooling", "path": "../1_Pooling"}]'),
        r"modules\.json lists a module outside the folder: '\.\./1_Pooling'",
    ),
    "modules with NUL": (
        holding("modules.json", json.dumps([{"type": "sentence_transformers.models.Pooling", "path": "a\0b"}])),
        r"lists a module with a control character in its name: 'a\\x00b'",
    ),
    "modules with half a character": (
        holding("modules.json", '[{"type": "sentence_transformers.models.Pooling", "path": "\\ud83d"}]'),
        r"lists a module with a character that UTF-8 does not have in its name: '\\ud83d'",
    ),
    "modules with a long name": (
        holding("modules.json", json.dumps([{"type": "sentence_transformers.models.Pooling", "path": "a" * 100_000}])),
        r"lists a module with a name of more than 255 bytes: 'a{100}\.\.\.'",
    ),
    "pipe": (
        lambda folder: ((folder / "config.json").unlink(), os.mkfifo(folder / "config.json")),
        r"config\.json is not a regular file",
    ),
    "whole numbers": (
        tensors(lambda held: held.update({NORM: torch.ones(96, dtype=torch.int16)})),
        "holds a weight that is not a floating-point number",
    ),
    "index with NUL": (
        all_of(without("model.safetensors"), holding(INDEX, json.dumps({"weight_map": {"a": "b\0.safetensors"}}))),
        r"lists a file with a control character in its name: 'b\\x00\.safetensors'",
    ),
    "pickled part": (
        all_of(
            holding(
                "modules.json",
                json.dumps(
                    [
                        {"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"},
                        {"type": "sentence_transformers.models.Dense", "path": "2_Normalize"},
                    ]
                ),
            ),
            holding("2_Normalize/pytorch_model.bin", b"\x80\x04"),
        ),
        r"2_Normalize holds the weights of Dense as a pickle, .*: pytorch_model\.bin; use a revision",
    ),
    "length": (
        entry(max_position_embeddings="long"),
        "must give a whole number for max_position_embeddings; got 'long'",
    ),
    "part's length": (
        holding("sentence_bert_config.json", '{"max_seq_length": [1]}'),
        "a whole number for max_seq_len",
    ),
    "part of another form": (holding("sentence_bert_config.json", "[1]"), "must hold a JSON object"),
    "part's modalities": (
        holding("sentence_bert_config.json", '{"modality_config": [1]}'),
        "uses a task or an output that is not supported",
    ),
    "part's settings": (
        holding("sentence_bert_config.json", '{"processing_kwargs": {"chat_template": 3}}'),
        "entries that are not supported: processing_kwargs",
    ),
    "prompts": (
        holding("config_sentence_transformers.json", '{"prompts": ["a"]}'),
        "must map each name in prompts to a text",
    ),
    "prompt": (
        holding("config_sentence_transformers.json", '{"prompts": {"query": 3}}'),
        "must map each name in prompts",
    ),
    "pooling": (
        holding("1_Pooling/config.json", '{"pooling_mode": [[1]]}'),
        r"uses a pooling that is not supported: \[1\]",
    ),
    "pooling of numbers": (holding("1_Pooling/config.json", '{"pooling_mode": 5}'), "uses a pooling .*: 5"),
    "labels": (
        all_of(entry(architectures=["Qwen3ForSequenceClassification"], id2label=5), without("modules.json")),
        "a reranker must have 1 label; it has 2",
    ),
    "count of labels": (
        all_of(entry(architectures=["Qwen3ForSequenceClassification"], num_labels="x"), without("modules.json")),
        "must give a whole number for num_labels; got 'x'",
    ),
    "link": (link_to_nowhere("config.json"), r"config\.json is a link to a file that is not there: /nowhere/blob"),
    "link of weights": (link_to_nowhere("model.safetensors"), r"model\.safetensors"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_folder_is_one_sentence(tmp_path: Path, name: str) -> None:
    damage, message = DAMAGES[name]
    folder = build(tmp_path / "m")
    damage(folder)

    with pytest.raises(ModelError, match=message) as caught:
        load(folder)
    assert str(folder) in str(caught.value) or name == "nan"
    assert "\n" not in str(caught.value)


PIPES = (
    *("config.json", "tokenizer.json", "model.safetensors", "modules.json", "1_Pooling/config.json", INDEX),
    *("tokenizer_config.json", "config_sentence_transformers.json", "sentence_bert_config.json", "manifest.json"),
    *("chat_template.jinja", "vocab.txt", "merges.txt", "added_tokens.json", "special_tokens_map.json"),
    "adapter_config.json",
)


@pytest.mark.parametrize("name", PIPES)
def test_a_pipe_in_place_of_a_file_is_not_waited_for(tmp_path: Path, name: str) -> None:
    folder = build(tmp_path / "m")
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)

    with pytest.raises(ModelError, match=r"is not a regular file|missing: model\.safetensors"):
        load(folder)


def test_a_device_in_place_of_a_file_is_not_read(tmp_path: Path) -> None:
    folder = build(tmp_path / "m")
    (folder / "config.json").unlink()
    (folder / "config.json").symlink_to("/dev/zero")

    with pytest.raises(ModelError, match="is not a regular file"):
        load(folder)


def test_a_byte_order_mark_is_no_part_of_a_file(tmp_path: Path) -> None:
    folder = build(tmp_path / "m")
    for file in folder.glob("*.json"):
        file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())

    load(folder)


@pytest.mark.parametrize("backend", ["packed", "transformers"])
def test_an_index_that_shards_left_beside_whole_weights_is_not_read(tmp_path: Path, backend: str) -> None:
    folder = build(tmp_path / "m")
    holding(INDEX, '{"weight_map": {"a": "model-00001-of-00001.safetensors"}}')(folder)

    load(folder, backend=backend)


def test_a_text_file_of_any_size_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = build(tmp_path / "m")
    monkeypatch.setattr(reading, "MAX_JSON_BYTES", 40_000)
    os.truncate(folder / "config.json", 50_000)

    with pytest.raises(ModelError, match=r"config\.json is too large; a text file of a model may have at most"):
        load(folder)


def test_a_file_in_place_of_a_folder_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"x")

    with pytest.raises(ModelError, match=r"model\.onnx is a file; a model is a folder of config\.json"):
        load(tmp_path / "model.onnx")


def test_a_link_to_nowhere_in_place_of_a_folder_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "m").symlink_to("/nowhere/m")

    with pytest.raises(ModelError, match="m is a link to a folder that is not there: /nowhere/m"):
        load(tmp_path / "m")


def test_a_folder_of_models_names_them(tmp_path: Path) -> None:
    build(tmp_path / "one")
    build(tmp_path / "two")

    with pytest.raises(ModelError, match=f"models may be in: {tmp_path}/one, {tmp_path}/two"):
        load(tmp_path)


def test_a_repository_of_the_hubs_cache_names_its_snapshots(tmp_path: Path) -> None:
    snapshot = build(tmp_path / "models--a--b" / "snapshots" / "c0ffee")

    with pytest.raises(ModelError, match=f"models may be in: {snapshot}"):
        load(tmp_path / "models--a--b")


@pytest.fixture
def as_nobody() -> Iterator[Path]:
    """A folder with a model, and no right to read it."""
    # Not pytest's own: that one no other user may enter.
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        model = build(Path(folder) / "m")
        for file in model.glob("*.*"):
            file.chmod(0o644)
        yield model


@pytest.mark.parametrize("name", ["", "config.json", "tokenizer.json", "model.safetensors"])
def test_what_may_not_be_read_is_one_sentence(as_nobody: Path, name: str) -> None:
    (as_nobody / name).chmod(0)
    user = os.geteuid()
    # Root may read everything.
    os.seteuid(65534 if user == 0 else user)
    try:
        with pytest.raises(ModelError, match=rf"{as_nobody / name}\S* cannot be read: Permission denied"):
            load(as_nobody)
    finally:
        os.seteuid(user)
        (as_nobody / name).chmod(0o755)


JUNK = [None, "x", "", -1, 0, 1.5, 10**9, True, [], [1], {}, {"a": 1}]


@pytest.mark.parametrize("backend", ["auto", "transformers"])
@pytest.mark.parametrize("key", sorted({*CONFIG, "layer_types", "rope_parameters", "quantization_config", "auto_map"}))
def test_whatever_an_entry_holds_it_loads_or_is_one_sentence(tmp_path: Path, key: str, backend: str) -> None:
    folder = build(tmp_path / "m", "llm", vocab_size=290, hidden_size=32, intermediate_size=32)
    outcomes = []
    for junk in JUNK:
        entry(**{key: junk})(folder)
        try:
            load(folder, backend=backend)
        except ModelError as error:
            outcomes.append(str(error))
    assert all(outcome.splitlines() == [outcome] for outcome in outcomes)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("config_sentence_transformers.json", "prompts"),
        ("config_sentence_transformers.json", "default_prompt_name"),
        ("config_sentence_transformers.json", "model_type"),
        ("1_Pooling/config.json", "pooling_mode_lasttoken"),
        ("1_Pooling/config.json", "pooling_mode"),
        ("1_Pooling/config.json", "include_prompt"),
        ("tokenizer_config.json", "model_max_length"),
        ("tokenizer_config.json", "chat_template"),
        ("sentence_bert_config.json", "max_seq_length"),
    ],
)
def test_so_does_any_other_file(tmp_path: Path, name: str, key: str) -> None:
    file = build(tmp_path / "m") / name
    held = json.loads(file.read_text("utf-8")) if file.exists() else {}
    outcomes = []
    for junk in JUNK:
        file.write_text(json.dumps(held | {key: junk}), "utf-8")
        try:
            load_preprocessor(tmp_path / "m")
        except ModelError as error:
            outcomes.append(str(error))
    assert all(outcome.splitlines() == [outcome] for outcome in outcomes)


@pytest.mark.parametrize("prompts", ["a", ["a"], {"query": 1}, {"query": {}}])
def test_prompts_are_texts(tmp_path: Path, prompts: object) -> None:
    file = build(tmp_path / "m") / "config_sentence_transformers.json"
    file.write_text(json.dumps({"prompts": prompts}), "utf-8")

    with pytest.raises(ModelError, match=r"config_sentence_transformers\.json must map each name in prompts"):
        load_preprocessor(tmp_path / "m")


def test_a_merged_adapter_is_a_model_like_any_other(tmp_path: Path) -> None:
    folder = build(tmp_path / "m")
    base = vector_reference(load_preprocessor(folder).info).vector(TEXT)
    tensors(merge)(folder)
    text = load_preprocessor(folder)
    backend = load_backend(folder, text.info, LoadOptions(dtype="float32", device="cpu"))

    ids = text.tokenizer.with_special_tokens(text.tokenizer.encode([TEXT])[0])
    vector = backend.launch([Item(ids, Readout("vector"))]).rows()[0]

    assert cosine(vector, vector_reference(text.info).vector(TEXT)) >= 0.999999
    assert cosine(vector, base) < 0.99


def cosine(a: Row, b: Row) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def merge(held: dict[str, torch.Tensor]) -> None:
    """What merge_and_unload() does: W + B A, of rank 4."""
    generator = torch.Generator().manual_seed(7)
    for name in [name for name in held if name.endswith(("q_proj.weight", "v_proj.weight"))]:
        rows, columns = held[name].shape
        left, right = torch.randn(rows, 4, generator=generator), torch.randn(4, columns, generator=generator)
        held[name] += 0.1 * left @ right
