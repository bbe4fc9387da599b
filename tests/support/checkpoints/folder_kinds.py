"""Kinds of model folders that people have: each is made from a plain folder, and read or refused in one sentence.

docs/folders.md is the table of them; tests/model_zoo/test_folder_kinds.py compares with sentence-transformers.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file, save_file

from models import LoadOptions, ModelError, OfflineModel
from tests.support.checkpoints.encoders import save_encoder
from tests.support.checkpoints.qwen3 import build
from tests.support.checkpoints.vocabulary import write_tokenizer

Base = Literal["qwen3", "qwen3-llm", "bert"]
WEIGHTS = "model.safetensors"
LIBRARY = "sentence_transformers.models"


PLAIN = LoadOptions()


@dataclass(frozen=True, slots=True)
class FolderKind:
    """One kind: its words, the plain folder that it is made from, how, and the options that it is loaded with.

    `like_library`: whether sentence-transformers gives the same vectors; not where its reading is not the authors'.
    """

    words: str
    base: Base
    change: Callable[[Path], object]
    options: LoadOptions = PLAIN
    like_library: bool = True


def edit(file: Path, **entries: Any) -> None:
    document = json.loads(file.read_text("utf-8")) if file.exists() else {}
    file.write_text(json.dumps(document | entries, indent=1), "utf-8")


def entries(**values: Any) -> Callable[[Path], object]:
    return lambda folder: edit(folder / "config.json", **values)


def pooled(mode: str) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        file = folder / "1_Pooling" / "config.json"
        width = json.loads(file.read_text("utf-8")).get("word_embedding_dimension") or 32
        pooling = {"word_embedding_dimension": width, f"pooling_mode_{mode}": True, "include_prompt": True}
        file.write_text(json.dumps(pooling), "utf-8")

    return change


def two_poolings(folder: Path) -> None:
    pooled("mean_tokens")(folder)
    edit(folder / "1_Pooling" / "config.json", pooling_mode_cls_token=True)


def trained(*changes: Callable[[Path], object], terminator: bool = False) -> Callable[[Path], object]:
    """What sentence-transformers saves of an embedder that it trained from a Qwen3 language model."""

    def change(folder: Path) -> None:
        edit(folder / "config_sentence_transformers.json", prompts={})
        write_tokenizer(folder, terminator=terminator)
        for each in changes:
            each(folder)

    return change


def tokenizer_config(**values: Any) -> Callable[[Path], object]:
    return lambda folder: edit(folder / "tokenizer_config.json", **values)


def tensors(convert: Callable[[str, torch.Tensor], torch.Tensor]) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        stored = load_file(str(folder / WEIGHTS))
        save_file({n: convert(n, t) for n, t in stored.items()}, str(folder / WEIGHTS), metadata={"format": "pt"})

    return change


def renamed(prefix: str) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        stored = load_file(str(folder / WEIGHTS))
        save_file({prefix + n: t for n, t in stored.items()}, str(folder / WEIGHTS), metadata={"format": "pt"})

    return change


def written(**files: str) -> Callable[[Path], object]:
    """Files by name, with / as __ and . as _DOT_."""

    def change(folder: Path) -> None:
        for name, text in files.items():
            file = folder / name.replace("__", "/").replace("_DOT_", ".")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, "utf-8")

    return change


def removed(*names: str) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        for name in names:
            path = folder / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()

    return change


def masked(folder: Path) -> None:
    removed("modules.json", "1_Pooling")(folder)
    edit(folder / "config.json", architectures=["BertForMaskedLM"])


def pickled(folder: Path) -> None:
    torch.save(load_file(str(folder / WEIGHTS)), folder / "pytorch_model.bin")
    (folder / WEIGHTS).unlink()


def shards_without_index(folder: Path) -> None:
    stored = load_file(str(folder / WEIGHTS))
    for number in (1, 2):
        part = {name: stored[name] for name in list(stored)[number - 1 :: 2]}
        save_file(part, str(folder / f"model-0000{number}-of-00002.safetensors"), metadata={"format": "pt"})
    (folder / WEIGHTS).unlink()


def linked(folder: Path) -> None:
    blobs = folder.with_name(f"{folder.name}-blobs")
    folder.rename(blobs)
    for file in [path for path in blobs.rglob("*") if path.is_file()]:
        link = folder / file.relative_to(blobs)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(file)


def windows(folder: Path) -> None:
    for file in folder.rglob("*.json"):
        file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n"))


def merges_as_text(folder: Path) -> None:
    document = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    document["model"]["merges"] = [" ".join(merge) for merge in document["model"]["merges"]]
    (folder / "tokenizer.json").write_text(json.dumps(document), "utf-8")


def vocabulary_alone(folder: Path) -> None:
    vocabulary = json.loads((folder / "tokenizer.json").read_text("utf-8"))["model"]["vocab"]
    (folder / "vocab.txt").write_text("\n".join(sorted(vocabulary, key=vocabulary.__getitem__)), "utf-8")
    (folder / "tokenizer.json").unlink()


def inner_transformer(folder: Path) -> None:
    inner = folder / "0_Transformer"
    inner.mkdir()
    for file in [path for path in folder.iterdir() if path.is_file()]:
        if not file.name.startswith(("modules", "config_")):
            file.rename(inner / file.name)
    modules = json.loads((folder / "modules.json").read_text("utf-8"))
    modules[0]["path"] = "0_Transformer"
    (folder / "modules.json").write_text(json.dumps(modules), "utf-8")


def module(name: str, path: str) -> Callable[[Path], object]:
    """Another module at the end of modules.json."""

    def change(folder: Path) -> None:
        modules = json.loads((folder / "modules.json").read_text("utf-8"))
        modules.append({"idx": len(modules), "name": str(len(modules)), "path": path, "type": name})
        (folder / "modules.json").write_text(json.dumps(modules), "utf-8")
        (folder / path).mkdir(exist_ok=True)

    return change


def with_adapter(folder: Path) -> None:
    edit(folder / "adapter_config.json", peft_type="LORA", base_model_name_or_path="base")


CODE = {"AutoModel": "modeling_x.X"}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 512}
GOOGLE = {"directionality": "bidi", "pooler_fc_size": 768, "pooler_num_fc_layers": 3, "pooler_type": "first_token"}
IM_END = tokenizer_config(add_eos_token=True, eos_token="<|im_end|>")
KINDS = (
    FolderKind("a Qwen3 embedder as published", "qwen3", lambda folder: None),
    FolderKind("trained from a Qwen3 language model, mean of the states", "qwen3", trained(pooled("mean_tokens"))),
    FolderKind(
        "the same in both directions (`is_causal: false`)",
        "qwen3",
        trained(pooled("mean_tokens"), entries(is_causal=False)),
    ),
    FolderKind("trained from a Qwen3 language model, last token, no terminator", "qwen3", trained()),
    FolderKind("`add_eos_token: true`, and tokenizer.json adds no token", "qwen3", trained(IM_END), like_library=False),
    FolderKind(
        "Qwen3-Embedding with the tokenizer of a language model",
        "qwen3",
        lambda folder: write_tokenizer(folder, terminator=False),
    ),
    FolderKind(
        "the same with `terminator: <|endoftext|>`",
        "qwen3",
        lambda folder: write_tokenizer(folder, terminator=False),
        LoadOptions(terminator="<|endoftext|>"),
        like_library=False,
    ),
    FolderKind("YaRN in `rope_scaling`", "qwen3", entries(rope_scaling=YARN, max_position_embeddings=512)),
    FolderKind("entries that trainers write (`unsloth_version`)", "qwen3", entries(unsloth_version="2026.5.2")),
    FolderKind("an entry that nothing reads", "qwen3", entries(entry_of_next_year=1)),
    FolderKind("an entry that changes numbers", "qwen3", entries(use_bidirectional_attention=True)),
    FolderKind(
        "the same with `ignore_entries: [use_bidirectional_attention]`",
        "qwen3",
        entries(use_bidirectional_attention=True),
        LoadOptions(ignore_entries=("use_bidirectional_attention",)),
    ),
    FolderKind("code of its own for a known architecture (`auto_map`)", "qwen3", entries(auto_map=CODE)),
    FolderKind("`chat_template.jinja`, `generation_config.json`", "qwen3", written(generation_config_DOT_json="{}")),
    FolderKind("merges of tokenizer.json as texts", "qwen3", merges_as_text),
    FolderKind("names from torch.compile", "qwen3", renamed("_orig_mod.")),
    FolderKind("an adapter beside whole weights", "qwen3", with_adapter),
    FolderKind("shards without their index", "qwen3", shards_without_index),
    FolderKind("modules that `kind: llm` would skip", "qwen3", pooled("weightedmean_tokens"), LoadOptions(kind="llm")),
    FolderKind("a BERT embedder", "bert", lambda folder: None),
    FolderKind("a BERT as Google published it (`directionality`, ...)", "bert", entries(**GOOGLE)),
    FolderKind("relative positions", "bert", entries(position_embedding_type="relative_key")),
    FolderKind("weights in float64", "bert", tensors(lambda _, tensor: tensor.double())),
    FolderKind(
        "weights in several dtypes",
        "bert",
        tensors(lambda name, tensor: tensor.bfloat16() if "layer.0" in name else tensor),
    ),
    FolderKind("pytorch_model.bin alone", "bert", pickled),
    FolderKind(
        "weights in other formats beside safetensors",
        "bert",
        written(pytorch_model_DOT_bin="x", onnx__model_DOT_onnx="x", openvino__openvino_model_DOT_bin="x"),
    ),
    FolderKind("links into the hub's cache", "bert", linked),
    FolderKind("files from Windows: byte order marks, CRLF", "bert", windows, like_library=False),
    FolderKind("the largest of each number as pooling", "bert", pooled("max_tokens")),
    FolderKind("several poolings", "bert", two_poolings),
    FolderKind("the square-root mean as pooling", "bert", pooled("mean_sqrt_len_tokens")),
    FolderKind("no modules.json", "bert", removed("modules.json", "1_Pooling")),
    FolderKind("a masked language model without modules.json", "bert", masked),
    FolderKind(
        "a SPLADE model without modules.json",
        "bert",
        lambda folder: (masked(folder), entries(_name_or_path="splade-v3")(folder)),
    ),
    FolderKind("a SPLADE model", "bert", module(f"{LIBRARY}.SpladePooling", "9_SpladePooling")),
    FolderKind("a ColBERT model", "bert", entries(architectures=["HF_ColBERT"])),
    FolderKind("a module of other code", "bert", module("pylate.models.Dense.Dense", "9_Dense")),
    FolderKind("`model_max_length: 1e30`", "bert", tokenizer_config(model_max_length=10**30)),
    FolderKind("vocab.txt without tokenizer.json", "bert", vocabulary_alone),
    FolderKind("a Transformer in a folder of its own", "bert", inner_transformer),
    FolderKind("no config.json", "bert", removed("config.json")),
)


def make(kind: FolderKind, folder: Path) -> Path:
    """Write a folder of this kind."""
    if kind.base == "bert":
        from sentence_transformers.sentence_transformer.modules import Pooling

        save_encoder(folder, [Pooling(32, "mean")])
    else:
        build(folder)
    kind.change(folder)
    return folder


def load(kind: FolderKind, folder: Path) -> OfflineModel | str:
    """The loaded model, or the sentence that refuses it, without the folder's path."""
    try:
        return OfflineModel.load(folder, replace(kind.options, dtype="float32", device="cpu"))
    except ModelError as error:
        return str(error).replace(str(folder), "FOLDER")
