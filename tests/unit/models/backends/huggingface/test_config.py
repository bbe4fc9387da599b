"""A config.json becomes the configuration of the library, or is refused with the names of the entries that differ."""

import json
from pathlib import Path
from typing import Any

import pytest
import transformers

from models import LoadOptions, ModelError, load_backend, load_preprocessor
from models.backends.huggingface.config import library_config
from models.checkpoint.folder import Checkpoint
from tests.support.networks.one_at_a_time import cosines
from tests.support.networks.tiny_networks import CONFIGS, alone, save
from tests.support.zoo.build import build
from tests.support.zoo.catalogue import ZOO
from tests.support.zoo.recipe import published
from tests.unit.models.backends.huggingface.test_layouts import vectors

NOMIC = published("nomic-embed-text-v1.5")
PUBLISHED = {
    "moonshotai/Kimi-K2-Instruct-0905": "deepseek_v3",
    "deepseek-ai/DeepSeek-R1-0528": "deepseek_v3",
    "openai/gpt-oss-20b": "gpt_oss",
    "zai-org/GLM-4.5": "glm4_moe",
    "Alibaba-NLP/gte-modernbert-base": "modernbert",
    "BAAI/bge-reranker-v2-m3": "xlm-roberta",
    "cross-encoder/ms-marco-MiniLM-L6-v2": "bert",
    "mixedbread-ai/mxbai-rerank-base-v1": "deberta-v2",
}


def write(folder: Path, config: dict[str, Any]) -> Checkpoint:
    (folder / "config.json").write_text(json.dumps(config))
    return Checkpoint(folder)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_configurations_are_known(tmp_path: Path, name: str) -> None:
    recipe = next(recipe for recipe in ZOO if recipe.name == name)

    config = library_config(write(tmp_path, dict(recipe.config)))

    assert config.model_type == PUBLISHED[name]


def test_kimi_k2_runs_as_deepseek_v3(tmp_path: Path) -> None:
    config = CONFIGS["deepseek_v3"]()
    info = save(tmp_path, config)
    truth = alone(tmp_path)
    file = tmp_path / "config.json"
    own = {"model_type": "kimi_k2", "auto_map": {"AutoConfig": "configuration_deepseek.DeepseekV3Config"}}
    file.write_text(json.dumps(json.loads(file.read_text()) | own))

    backend = load_backend(tmp_path, info, LoadOptions(dtype="float32"))

    assert backend.info.layout == "unpadded"
    assert cosines(vectors(backend), truth).min() >= 0.999999


@pytest.mark.parametrize("sizes", [{}, {"n_embd": 64, "n_head": 4, "n_inner": 96, "n_layer": 3}])
def test_nomics_own_words_are_understood(tmp_path: Path, sizes: dict[str, int]) -> None:
    config = library_config(write(tmp_path, {**NOMIC, **sizes, "rotary_emb_base": 2000}))

    published = {**NOMIC, **sizes}
    assert config.hidden_size == published["n_embd"]
    assert config.num_hidden_layers == published["n_layer"]
    assert config.num_attention_heads == published["n_head"]
    assert config.intermediate_size == published["n_inner"]
    assert config.head_dim == published["n_embd"] // published["n_head"]
    assert config.rope_parameters["rope_theta"] == 2000


def test_nomics_words_and_the_librarys_give_the_same_network(tmp_path: Path) -> None:
    entries = library_config(write(tmp_path, dict(NOMIC))).to_dict()

    expected = transformers.NomicBertConfig().to_dict()
    differ = {key for key in expected if entries[key] != expected[key]}
    assert differ <= {"max_position_embeddings", "bos_token_id", "eos_token_id"}


@pytest.mark.parametrize(
    ("entries", "named"),
    [
        ({"rotary_emb_fraction": 0.5}, "rotary_emb_fraction"),
        ({"qkv_proj_bias": True, "prenorm": True}, "prenorm, qkv_proj_bias"),
        ({"num_experts": 8}, "num_experts"),
        ({"rotary_scaling_factor": 2}, "rotary_scaling_factor"),
    ],
)
def test_another_nomic_is_refused_by_name(tmp_path: Path, entries: dict[str, Any], named: str) -> None:
    with pytest.raises(ModelError, match=f"missing or have another value: {named}$"):
        library_config(write(tmp_path, {**NOMIC, **entries}))


def test_a_nomic_that_leaves_out_what_it_means_is_refused(tmp_path: Path) -> None:
    config = {key: value for key, value in NOMIC.items() if key != "rotary_emb_fraction"}

    with pytest.raises(ModelError, match=r"missing or have another value: rotary_emb_fraction$"):
        library_config(write(tmp_path, config))


def test_nomic_takes_2048_tokens_unless_more_are_published_for(tmp_path: Path) -> None:
    folder = build(next(recipe for recipe in ZOO if recipe.name == "nomic-ai/nomic-embed-text-v1.5"), tmp_path)

    assert load_preprocessor(folder).info.max_tokens == 2048
    assert load_preprocessor(folder, LoadOptions(max_tokens=8192)).info.max_tokens == 8192
    with pytest.raises(ModelError, match="must be at most 8192; got 9000"):
        load_preprocessor(folder, LoadOptions(max_tokens=9000))


@pytest.mark.parametrize(
    ("entries", "named"),
    [
        ({"scoring_func": "softmax"}, "scoring_func"),
        ({"topk_method": "greedy"}, "topk_method"),
        ({"moe_layer_freq": 2}, "moe_layer_freq"),
    ],
)
def test_a_deepseek_of_another_kind_is_refused(tmp_path: Path, entries: dict[str, Any], named: str) -> None:
    with pytest.raises(ModelError, match=rf"unknown to DeepseekV3, .*: {named}; "):
        library_config(write(tmp_path, {**published("deepseek-r1-0528"), **entries}))


def test_a_second_name_must_say_what_the_first_says(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="two values for one setting: experts_per_token: 8"):
        library_config(write(tmp_path, {**published("gpt-oss-20b"), "experts_per_token": 8}))
