"""GGUF: a folder with one file is a model, with its own files beside it or without; all else is one sentence."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from models import Item, LoadOptions, ModelError, Readout, load_backend, load_preprocessor
from models.checkpoint.folder import Checkpoint
from models.checkpoint.hub import find_checkpoint
from tests.support.checkpoints.gguf import q8_0, write_gguf
from tests.support.checkpoints.qwen3 import CONFIG, build

NAMES = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    **{f"self_attn.{part}_proj": f"attn_{part}" for part in "qkv"},
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
METADATA: dict[str, Any] = {
    "general.architecture": "qwen3",
    "qwen3.block_count": 2,
    "qwen3.context_length": 4096,
    "qwen3.embedding_length": 96,
    "qwen3.feed_forward_length": 160,
    "qwen3.attention.head_count": 4,
    "qwen3.attention.head_count_kv": 2,
    "qwen3.attention.key_length": 32,
    "qwen3.attention.value_length": 32,
    "qwen3.attention.layer_norm_rms_epsilon": 1e-6,
    "qwen3.rope.freq_base": 1000000.0,
}


def gguf_name(name: str) -> str:
    if name in NAMES:
        return NAMES[name]
    _, _, layer, rest = name.split(".", 3)
    return f"blk.{layer}.{NAMES[rest.removesuffix('.weight')]}.weight"


def with_gguf(plain: Path, **metadata: Any) -> Path:
    """Beside a folder, the same model as a GGUF file with its own files; `plain` then has the numbers that it means."""
    folder = plain.with_name("gguf")
    folder.mkdir()
    tensors, meant = {}, {}
    for name, tensor in load_file(plain / "model.safetensors").items():
        matrix = tensor.numpy()
        content, numbers = q8_0(matrix) if matrix.ndim > 1 else (matrix.tobytes(), matrix)
        tensors[gguf_name(name)] = ("Q8_0" if matrix.ndim > 1 else "F32", matrix.shape, content)
        meant[name] = torch.from_numpy(numbers.copy())
    save_file(meant, plain / "model.safetensors", metadata={"format": "pt"})
    write_gguf(folder / "model-Q8_0.gguf", METADATA | metadata, tensors)
    for name in ("config.json", "tokenizer.json"):
        (folder / name).write_bytes((plain / name).read_bytes())
    return folder


def vector(folder: Path, backend: str) -> Any:
    loaded = load_backend(folder, load_preprocessor(folder).info, LoadOptions(dtype="float32", backend=backend))
    return loaded.launch([Item(np.arange(9, dtype=np.int32), Readout("vector"))]).rows()[0]


@pytest.mark.parametrize("backend", ["packed", "transformers"])
@pytest.mark.parametrize("beside", [True, False], ids=["config.json beside", "metadata alone"])
def test_a_gguf_gives_the_numbers_of_its_plain_weights(tmp_path: Path, backend: str, beside: bool) -> None:
    plain = build(tmp_path / "plain", "llm")
    folder = with_gguf(plain)
    if not beside:
        (folder / "config.json").unlink()

    assert np.array_equal(vector(folder, backend), vector(plain, backend))
    assert load_preprocessor(folder).info.quantization == "gguf, Q8_0"


def test_the_metadata_say_what_config_json_says(tmp_path: Path) -> None:
    folder = with_gguf(build(tmp_path / "plain", "llm"))
    (folder / "config.json").unlink()

    config = Checkpoint(folder).config

    same = ("hidden_size", "intermediate_size", "head_dim", "num_key_value_heads", "rope_theta", "tie_word_embeddings")
    assert {key: config[key] for key in same} == {key: CONFIG[key] for key in same}
    assert config["vocab_size"] == CONFIG["vocab_size"]


def test_the_path_of_the_only_file_means_its_folder(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(b"GGUF")

    assert find_checkpoint(str(tmp_path / "m.gguf")) == tmp_path


def test_safetensors_beside_a_gguf_come_first(tmp_path: Path) -> None:
    folder = build(tmp_path / "m", "llm")
    (folder / "m.gguf").write_bytes(b"GGUF")

    assert Checkpoint(folder).gguf is None
    assert load_preprocessor(folder).info.quantization == ""


# The metadata, and a part of the message.
METADATA_REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"general.architecture": "gemma3"}, "architecture gemma3, which is not supported in GGUF.*llama, qwen2, qwen3"),
    ({"qwen3.rope.scaling.type": "yarn"}, r"metadata is not enough; put .*config\.json.*rope\.scaling\.type"),
    ({"qwen3.attention.sliding_window": 64}, r"not known: attention\.sliding_window"),
    ({"qwen3.pooling_type": 1}, r"another pooling than the last token \(pooling_type 1\)"),
    ({"qwen3.block_count": "two"}, "positive whole number for block_count in its metadata; got 'two'"),
    ({"split.count": 3}, "one of several parts; merge them with llama-gguf-split"),
]


@pytest.mark.parametrize(("metadata", "message"), METADATA_REFUSED)
def test_metadata_that_are_not_known_are_named(tmp_path: Path, metadata: dict[str, Any], message: str) -> None:
    folder = with_gguf(build(tmp_path / "plain", "llm"), **metadata)
    (folder / "config.json").unlink()

    with pytest.raises(ModelError, match=message):
        Checkpoint(folder).check()


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        (
            "blk.0.ffn_gate_exps.weight",
            "F32",
            r"a tensor that its architecture is not known to have: blk\.0\.ffn_gate_e",
        ),
        ("output.weight", "IQ2_XS", "tensors of the type IQ2_XS, which is not supported"),
        ("rope_freqs.weight", "F32", r"has no config\.json beside it.*rope_freqs\.weight"),
    ],
)
def test_tensors_that_are_not_known_are_named(tmp_path: Path, name: str, kind: str, message: str) -> None:
    write_gguf(tmp_path / "m.gguf", METADATA, {name: (kind, (2, 256), bytes(2048))})

    with pytest.raises(ModelError, match=message):
        Checkpoint(tmp_path).check()


def test_several_files_are_refused(tmp_path: Path) -> None:
    for name in ("m-Q4_K_M.gguf", "m-Q8_0.gguf"):
        (tmp_path / name).write_bytes(b"GGUF")

    with pytest.raises(ModelError, match=r"several GGUF files.*m-Q4_K_M\.gguf, m-Q8_0\.gguf; put one into a folder"):
        Checkpoint(tmp_path).check()


def test_a_file_cut_anywhere_is_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "m.gguf"
    content = {name: ("F32", (2, 3), bytes(24)) for name in ("token_embd.weight", "output_norm.weight")}
    write_gguf(file, METADATA | {"tokenizer.ggml.tokens": ["a", "b"]}, content)
    whole = file.read_bytes()

    for size in [*range(0, len(whole) - 25, 7), len(whole) - 25]:
        file.write_bytes(whole[:size])
        with pytest.raises(ModelError, match=r"m\.gguf is damaged or not a GGUF file: "):
            Checkpoint(tmp_path).check()


def test_the_chat_template_and_its_tokens_are_read(tmp_path: Path) -> None:
    metadata = {
        "tokenizer.ggml.tokens": ["a", "</s>"],
        "tokenizer.ggml.eos_token_id": 1,
        "tokenizer.chat_template": "x",
    }
    write_gguf(tmp_path / "m.gguf", METADATA | metadata, {})

    checkpoint = Checkpoint(tmp_path)

    assert (checkpoint.chat_template, checkpoint.tokenizer_config["eos_token"]) == ("x", "</s>")
    assert json.dumps(checkpoint.tokenizer_config)
