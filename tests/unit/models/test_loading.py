"""Folders to models: what the files say is read, what would give wrong numbers is refused in one sentence."""

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from models import LoadOptions, ModelError, load_backend, load_preprocessor
from models.checkpoint.folder import Checkpoint
from models.loading import BACKENDS
from tests.support.checkpoints.qwen3 import build
from tests.support.checkpoints.vocabulary import write_tokenizer


def change(folder: Path, name: str, **entries: Any) -> Path:
    file = folder / name
    file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | entries), "utf-8")
    return folder


class OpenCounter:
    """How often Python code opened each file below a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder, self.counts = f"{folder}/", Counter[str]()
        sys.addaudithook(self._count)

    def _count(self, event: str, arguments: tuple[object, ...]) -> None:
        if event == "open" and str(arguments[0]).startswith(self._folder):
            self.counts[str(arguments[0]).removeprefix(self._folder)] += 1


@pytest.mark.parametrize("backend", ["packed", "transformers"])
def test_each_configuration_is_read_once(tmp_path: Path, backend: str) -> None:
    folder = build(tmp_path / "m")
    options = LoadOptions(dtype="float32", backend=backend)
    opened = OpenCounter(folder)

    checkpoint = Checkpoint(folder)
    load_backend(checkpoint, load_preprocessor(checkpoint, options).info, options)

    configurations = {name: count for name, count in opened.counts.items() if name.endswith(".json")}
    assert configurations == dict.fromkeys(configurations, 1)
    assert {"config.json", "modules.json", "1_Pooling/config.json", "tokenizer.json"} <= configurations.keys()


@pytest.mark.parametrize(
    ("kind", "reason", "head_rows"),
    [
        ("embedder", "modules.json has a Pooling module", 0),
        ("reranker", "a causal model with the chat tokens, and 'rerank' in its name", 320),
        ("llm", "a causal model without modules.json and without 'rerank' in its name", 320),
    ],
)
def test_the_kind_is_decided_from_the_files(tmp_path: Path, kind: Any, reason: str, head_rows: int) -> None:
    info = load_preprocessor(build(tmp_path / "some-model", kind)).info

    assert (info.kind, info.kind_reason, info.head_rows) == (kind, reason, head_rows)


def test_the_configuration_decides_before_the_files(tmp_path: Path) -> None:
    info = load_preprocessor(build(tmp_path / "Some-Reranker", "reranker"), LoadOptions(kind="llm")).info

    assert (info.kind, info.kind_reason) == ("llm", "kind: in the configuration")


def test_what_the_files_say_is_read(tmp_path: Path) -> None:
    text = load_preprocessor(build(tmp_path / "m", "embedder", hidden_size=64, vocab_size=300))

    info = text.info
    assert (info.width, info.table_rows, info.max_tokens, info.pooling) == (64, 300, 4096, "lasttoken")
    assert text.prompts.by_name["query"].endswith("\nQuery:")
    assert text.rerank is None


@pytest.mark.parametrize(
    ("sentence_bert", "tokenizer", "kind", "limit"),
    [
        ({"max_seq_length": 256}, {}, "embedder", 256),
        ({"max_seq_length": 256}, {"model_max_length": 128}, "embedder", 256),
        ({}, {"model_max_length": 128}, "embedder", 128),
        ({}, {"model_max_length": 10**30}, "embedder", 4096),
        ({"max_seq_length": 9999}, {}, "embedder", 4096),
        ({}, {"model_max_length": 128}, "llm", 4096),
    ],
)
def test_a_lower_limit_of_the_files_is_honoured(
    tmp_path: Path, sentence_bert: dict[str, int], tokenizer: dict[str, int], kind: Any, limit: int
) -> None:
    folder = build(tmp_path / "m", kind)
    (folder / "sentence_bert_config.json").write_text(json.dumps(sentence_bert), "utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer), "utf-8")

    assert load_preprocessor(folder).info.max_tokens == limit


def test_a_longer_limit_than_the_models_own_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"max_tokens of .* must be at most 4096; got 5000"):
        load_preprocessor(build(tmp_path / "m"), LoadOptions(max_tokens=5000))


def test_an_embedder_whose_tokenizer_appends_no_terminator_is_refused(tmp_path: Path) -> None:
    folder = build(tmp_path / "m")
    write_tokenizer(folder, terminator=False)

    with pytest.raises(ModelError, match=r"must end each text with <\|endoftext\|> \(260\)"):
        load_preprocessor(folder)


def test_a_reranker_whose_tokenizer_appends_one_is_refused(tmp_path: Path) -> None:
    folder = build(tmp_path / "m", "reranker")
    write_tokenizer(folder, terminator=True)

    with pytest.raises(ModelError, match=r"must add no tokens; it adds: \[260\]"):
        load_preprocessor(folder)


def test_a_reranker_whose_untied_head_is_missing_is_refused(tmp_path: Path) -> None:
    folder = change(build(tmp_path / "m", "reranker"), "config.json", tie_word_embeddings=False)

    with pytest.raises(ModelError, match=r"its weights have no lm_head\.weight"):
        load_preprocessor(folder)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("LSTM", "lists a module that is not supported: LSTM"),
        ("Dense", r"3_Part/config\.json must give a positive whole number for out_features; got None"),
    ],
)
def test_a_part_that_would_be_left_out_is_refused(tmp_path: Path, name: str, message: str) -> None:
    folder = build(tmp_path / "m")
    modules = json.loads((folder / "modules.json").read_text("utf-8"))
    part = {"idx": 3, "name": "3", "path": "3_Part", "type": f"sentence_transformers.models.{name}"}
    (folder / "modules.json").write_text(json.dumps([*modules, part]), "utf-8")

    with pytest.raises(ModelError, match=message):
        load_preprocessor(folder)


@pytest.mark.parametrize(
    ("name", "matryoshka", "layer_norm"),
    [("bge-base-en-v1.5", False, False), ("nomic-embed-text-v1.5", True, True), ("Qwen3-Embedding-0.6B", True, False)],
)
def test_what_is_known_of_a_model_is_known_by_its_name(
    tmp_path: Path, name: str, matryoshka: bool, layer_norm: bool
) -> None:
    info = load_preprocessor(build(tmp_path / name)).info

    assert (info.matryoshka, info.layer_norm_before_dimensions) == (matryoshka, layer_norm)


def test_what_is_known_goes_by_the_configured_id_too(tmp_path: Path) -> None:
    build(tmp_path / "model")

    info = load_preprocessor(tmp_path / "model", LoadOptions(id="nomic-ai/nomic-embed-text-v1.5")).info

    assert info.layer_norm_before_dimensions


def test_the_configuration_wins_over_what_is_known(tmp_path: Path) -> None:
    folder = build(tmp_path / "gte-base")

    assert load_preprocessor(folder, LoadOptions(matryoshka=True)).info.matryoshka is True


def test_other_quantised_weights_are_refused_by_name(tmp_path: Path) -> None:
    folder = change(build(tmp_path / "m"), "config.json", quantization_config={"quant_method": "hqq"})

    with pytest.raises(ModelError, match=r"has weights quantised as hqq, which is not supported; use the checkpoint"):
        load_preprocessor(folder)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", None, r"missing: config\.json"),
        ("config.json", "{", r"config\.json is not valid JSON"),
        ("model.safetensors", None, r"missing: model\.safetensors"),
        ("model.safetensors", "short", "is damaged or not a safetensors file"),
        ("tokenizer.json", None, r"missing: tokenizer\.json"),
        ("tokenizer.json", "[", "not a tokenizer that can be read"),
        ("1_Pooling/config.json", None, r"missing: 1_Pooling/config\.json"),
        ("1_Pooling/config.json", '{"pooling_mode": "odd"}', "uses a pooling that is not supported: odd"),
    ],
)
def test_a_damaged_folder_is_one_sentence(tmp_path: Path, name: str, content: str | None, message: str) -> None:
    file = build(tmp_path / "m") / name
    file.unlink()
    file.write_text(content, "utf-8") if content is not None else None

    with pytest.raises(ModelError, match=message):
        load_preprocessor(tmp_path / "m")


def test_a_truncated_weight_file_is_one_sentence(tmp_path: Path) -> None:
    file = build(tmp_path / "m") / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])

    with pytest.raises(ModelError, match="is damaged or not a safetensors file"):
        load_preprocessor(tmp_path / "m")


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    folder = build(tmp_path / "m", shards=3)
    (folder / "model-00002-of-00003.safetensors").unlink()

    with pytest.raises(ModelError, match=r"lacks weight files: model-00002-of-00003\.safetensors"):
        load_preprocessor(folder)


def test_an_unknown_backend_is_named_with_those_that_are_known(tmp_path: Path) -> None:
    folder = build(tmp_path / "m")

    with pytest.raises(ModelError, match=r"unknown backend .magic"):
        load_backend(folder, load_preprocessor(folder).info, LoadOptions(backend="magic"))


def test_every_backend_of_the_table_can_be_found() -> None:
    from importlib.util import find_spec

    assert all(find_spec(module) for module in BACKENDS.values())
