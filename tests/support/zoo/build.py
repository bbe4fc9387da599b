"""Writes the folder of a recipe, which a server loads as it would load the published one."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from tests.support.checkpoints.calibration import calibrate
from tests.support.zoo.families.classifier_heads import calibrate_classifier
from tests.support.zoo.families.quantized import FP8_BLOCK, QUANTISED
from tests.support.zoo.families.random_weights import random_weights, unread_beside
from tests.support.zoo.recipe import JsonObject, Modules, Recipe
from tests.support.zoo.tokenizers.tokenizer_files import write_vocabulary
from tests.support.zoo.tokenizers.vocabularies import Vocabulary

LOG_ODDS_STD = 2.0


def build(recipe: Recipe, parent: Path, *, seed: int = 0) -> Path:
    """Write the small twin of a published model and return its folder, named like the repository.

    The same recipe and seed give the same files.
    """
    folder = parent / recipe.name.rsplit("/", 1)[-1]
    folder.mkdir(parents=True)
    ids = write_vocabulary(folder, recipe.vocabulary)
    _write(folder / "config.json", _fitted(recipe.small, recipe.vocabulary, ids))
    native = _fitted(recipe.small_native, recipe.vocabulary, ids)
    tensors = unread_beside(random_weights(recipe.saved_as, native, seed), native)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    if recipe.modules is not None:
        _write_modules(folder, recipe.modules, recipe.small_width)
        _write_dense(folder, recipe.modules, seed)
    if recipe.kind == "reranker":
        (calibrate if recipe.saved_as == "AutoModelForCausalLM" else calibrate_classifier)(folder, LOG_ODDS_STD)
    return folder


def build_quantised(recipe: Recipe, parent: Path) -> tuple[Path, Path]:
    """Write the small twin with its weights stored as published, and the same twin with the numbers that they mean."""
    assert recipe.quantised is not None, "a recipe whose weights are published as they are"
    meant = build(recipe, parent / "meant")
    stored = parent / meant.name
    shutil.copytree(meant, stored)
    tensors, numbers = QUANTISED[recipe.quantised](load_file(meant / "model.safetensors"))
    save_file(tensors, stored / "model.safetensors", metadata={"format": "pt"})
    save_file(numbers, meant / "model.safetensors", metadata={"format": "pt"})
    quantization = dict(recipe.config["quantization_config"])
    if "weight_block_size" in quantization:
        quantization["weight_block_size"] = [FP8_BLOCK, FP8_BLOCK]
    config = json.loads((stored / "config.json").read_text("utf-8"))
    _write(stored / "config.json", config | {"quantization_config": quantization})
    return stored, meant


def _fitted(config: JsonObject, vocabulary: Vocabulary, ids: Mapping[str, int]) -> dict[str, Any]:
    """The configuration with the small tokenizer's ids in place of the published ones, and no quantised weights."""
    fitted = {key: value for key, value in config.items() if key != "quantization_config"}
    fitted["vocab_size"] = len(ids)
    for role, token in vocabulary.roles:
        if fitted.get(f"{role}_id") is not None:
            fitted[f"{role}_id"] = ids[token]
    return fitted


def _write_modules(folder: Path, modules: Modules, width: int) -> None:
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling")]
    kinds += [(f"{number}_Dense", "Dense") for number in range(2, 2 + len(modules.dense))]
    kinds += [(f"{len(kinds)}_Normalize", "Normalize")] if modules.normalize else []
    for path, _ in kinds:
        (folder / path).mkdir(exist_ok=True)
    _write(
        folder / "modules.json",
        [
            {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for number, (path, kind) in enumerate(kinds)
        ],
    )
    modes = {"cls": "cls_token", "mean": "mean_tokens", "max": "max_tokens", "lasttoken": "lasttoken"}
    flags = {f"pooling_mode_{mode}": pooling == modules.pooling for pooling, mode in modes.items()}
    _write(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": width, **flags, "include_prompt": True})
    prompts = {"prompts": dict(modules.prompts), "default_prompt_name": None, "similarity_fn_name": "cosine"}
    _write(folder / "config_sentence_transformers.json", prompts)
    if modules.max_seq_length is not None:
        limits = {"max_seq_length": modules.max_seq_length, "do_lower_case": False}
        _write(folder / "sentence_bert_config.json", limits)


def _write_dense(folder: Path, modules: Modules, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for number, (inner, outer) in enumerate(modules.dense, start=2):
        place = folder / f"{number}_Dense"
        about = {"in_features": inner, "out_features": outer, "bias": False}
        _write(place / "config.json", about | {"activation_function": "torch.nn.modules.linear.Identity"})
        weight = torch.randn(outer, inner, generator=generator) / inner**0.5
        save_file({"linear.weight": weight}, place / "model.safetensors", metadata={"format": "pt"})


def _write(file: Path, document: Any) -> None:
    file.write_text(json.dumps(document, indent=2, ensure_ascii=False), "utf-8")
