"""sentence_bert_config.json: what it asks of tokens and network is done, or refused by name."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import modules as library

from models import Item, LoadOptions, ModelError, Readout, finish_vectors, load_backend, load_preprocessor
from tests.support.checkpoints.encoders import WIDTH, save_encoder
from tests.support.checkpoints.qwen3 import build
from tests.unit.models.test_loading import change

TEXT = {"method": "forward", "method_output_name": "last_hidden_state"}


def asking(folder: Path, name: str = "sentence_bert_config.json", **entries: Any) -> Path:
    (folder / name).write_text(json.dumps(entries), "utf-8")
    return folder


def test_texts_in_lower_case_have_the_librarys_vectors(tmp_path: Path) -> None:
    folder = asking(build(tmp_path / "m"), do_lower_case=True, max_seq_length=64)
    library = SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": torch.float32})
    expected = library.encode("The Red PLANET")
    text = load_preprocessor(folder)

    ids = text.tokenizer.with_special_tokens(text.tokenizer.encode(["The Red PLANET"])[0])

    backend = load_backend(folder, text.info, LoadOptions(dtype="float32"))
    ours = finish_vectors(backend.launch([Item(ids, Readout("vector"))]).rows(), normalize=True)[0]
    assert ours @ expected >= 0.999999
    assert np.array_equal(text.tokenizer.encode(["RED"])[0], text.tokenizer.encode(["red"])[0])
    assert not np.array_equal(*load_preprocessor(build(tmp_path / "cased")).tokenizer.encode(["RED", "red"]))


@pytest.mark.parametrize(
    "entries",
    [
        {"max_seq_length": 64, "do_lower_case": False},
        {"transformer_task": "feature-extraction", "modality_config": {"text": TEXT}},
        {"processing_kwargs": {"chat_template": {"add_generation_prompt": True}}, "modality_config": {"text": TEXT}},
        {"processing_kwargs": None, "query_expansion": None},
    ],
)
def test_entries_that_change_nothing_are_taken(tmp_path: Path, entries: dict[str, Any]) -> None:
    assert load_preprocessor(asking(build(tmp_path / "m"), **entries)).info.kind == "embedder"


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (
            {"processing_kwargs": {"text": {"add_special_tokens": False}}},
            "has entries that are not supported: processing_kwargs",
        ),
        ({"query_expansion": {"strategy": "fixed"}}, "has entries that are not supported: query_expansion"),
        ({"modality_config": {"text": TEXT | {"method": "get_text_features"}}}, "not supported: feature-extraction"),
        ({"modality_config": {"image": TEXT}}, "not supported: feature-extraction, None"),
        ({"transformer_task": "fill-mask", "modality_config": {"text": TEXT}}, "not supported: fill-mask"),
        ({"transformer_task": ["a"], "modality_config": {"text": TEXT}}, r"not supported: \['a'\]"),
    ],
)
def test_entries_that_change_tokens_or_states_are_refused(
    tmp_path: Path, entries: dict[str, Any], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        load_preprocessor(asking(build(tmp_path / "m"), **entries))


def test_the_file_has_other_names_in_older_folders(tmp_path: Path) -> None:
    folder = asking(build(tmp_path / "m"), "sentence_roberta_config.json", max_seq_length=77)

    assert load_preprocessor(folder).info.max_tokens == 77


def test_an_activation_of_foreign_code_is_refused(tmp_path: Path) -> None:
    folder = save_encoder(tmp_path / "m", [library.Pooling(WIDTH, "mean"), library.Dense(WIDTH, WIDTH)])
    change(folder / "2_Dense", "config.json", activation_function="custom.Swish")

    with pytest.raises(ModelError, match=r"no remote code is run: custom\.Swish"):
        load_preprocessor(folder)
