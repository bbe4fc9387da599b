"""Scores of classification heads over unpadded and padded texts equal those of the whole class, one text at a time."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from models import Item, LoadOptions, ModelError, Readout, load_backend
from models.backends.huggingface.classifier_head import Classifier
from models.interface import Ids
from models.layers.pooler import pool_texts
from tests.support.networks.one_at_a_time import Matrix, sigmoid
from tests.support.networks.tiny_networks import CONFIGS, enliven, info_of, texts

SEPARATOR = 290
SCORE = Readout("score")
UNPADDED = ("bert", "distilbert", "xlm-roberta", "modernbert", "qwen2", "llama", "mistral", "gemma")


def save_classifier(folder: Path, config: Any, labels: int = 1) -> Any:
    torch.manual_seed(0)
    config.num_labels = labels
    network = transformers.AutoModelForSequenceClassification.from_config(config)
    enliven(network)
    last = next(part for part in network.modules() if getattr(part, "out_features", None) == labels)
    last.weight.data.mul_(8)
    network.save_pretrained(folder)
    return info_of(folder, config, "mean", kind="reranker", classifier=True, separator=SEPARATOR)


def pairs() -> list[Ids]:
    """Texts with one separator at a third of the length, and one at the end."""
    items = [ids.copy() for ids in texts()]
    for ids in items:
        ids[len(ids) // 3] = ids[-1] = SEPARATOR
    return items


def one_at_a_time(folder: Path) -> Matrix:
    """Logits of the library's whole class; token type 1 starts after the first separator."""
    network = transformers.AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    rows = []
    for ids in pairs():
        types = torch.zeros(1, len(ids), dtype=torch.long)
        types[0, np.flatnonzero(ids == SEPARATOR)[0] + 1 :] = 1
        more = {"token_type_ids": types} if network.config.model_type == "bert" else {}
        with torch.inference_mode():
            rows.append(network(input_ids=torch.from_numpy(ids).long()[None], **more).logits[0])
    return torch.stack(rows).numpy()


def scores(folder: Path, info: Any, options: LoadOptions) -> Matrix:
    return np.stack(load_backend(folder, info, options).launch([Item(ids, SCORE) for ids in pairs()]).rows())


@pytest.mark.parametrize("kind", [*UNPADDED, "deberta-v2"])
def test_scores_equal_those_of_the_whole_class(tmp_path: Path, kind: str) -> None:
    info = save_classifier(tmp_path, CONFIGS[kind]())

    actual = scores(tmp_path, info, LoadOptions(dtype="float32"))

    expected = one_at_a_time(tmp_path)
    assert expected.std() > 0.5  # a tolerance proves nothing on equal scores
    assert np.abs(sigmoid(actual) - sigmoid(expected)).max() <= 1e-5


@pytest.mark.parametrize("kind", UNPADDED)
def test_classifiers_run_unpadded(tmp_path: Path, kind: str) -> None:
    info = save_classifier(tmp_path, CONFIGS[kind]())

    assert load_backend(tmp_path, info, LoadOptions(dtype="float32")).info.layout == "unpadded"


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_modernbert_reads_the_state_that_its_config_names(tmp_path: Path, pooling: str) -> None:
    config = CONFIGS["modernbert"]()
    config.classifier_pooling = pooling
    info = save_classifier(tmp_path, config)

    actual = scores(tmp_path, info, LoadOptions(dtype="float32"))

    assert np.abs(sigmoid(actual) - sigmoid(one_at_a_time(tmp_path))).max() <= 1e-5


def test_token_types_matter(tmp_path: Path) -> None:
    info = save_classifier(tmp_path, CONFIGS["bert"]())

    actual = scores(
        tmp_path, info_of(tmp_path, CONFIGS["bert"](), "mean", classifier=True), LoadOptions(dtype="float32")
    )

    assert info.separator is not None
    assert np.abs(sigmoid(actual) - sigmoid(one_at_a_time(tmp_path))).max() > 1e-3


@pytest.mark.parametrize("kind", ["bert", "xlm-roberta", "qwen2"])
def test_scores_in_bfloat16_stay_near(tmp_path: Path, kind: str) -> None:
    info = save_classifier(tmp_path, CONFIGS[kind]())

    actual = scores(tmp_path, info, LoadOptions(dtype="bfloat16"))

    assert np.abs(sigmoid(actual) - sigmoid(one_at_a_time(tmp_path))).max() <= 2e-2


def test_logits_are_those_of_labels(tmp_path: Path) -> None:
    info = save_classifier(tmp_path, CONFIGS["bert"](), labels=3)
    backend = load_backend(tmp_path, info, LoadOptions(dtype="float32"))

    rows = backend.launch([Item(ids, Readout("logits", (2, 0))) for ids in pairs()]).rows()

    np.testing.assert_allclose(np.stack(rows), one_at_a_time(tmp_path)[:, [2, 0]], atol=1e-5)


def test_a_head_that_reads_several_tokens_is_refused() -> None:
    config = CONFIGS["bert"]()
    classifier = Classifier(transformers.BertForSequenceClassification(config).eval())
    classifier._whole.dropout.register_forward_pre_hook(lambda *_: None)
    states = torch.randn(12, 32)
    ids = [np.zeros(4, dtype=np.int32), np.zeros(8, dtype=np.int32)]
    assert classifier.pooling(states, ids) == "cls"
    classifier._states.pooler = Middle()

    with pytest.raises(ModelError, match="reads neither one token nor the mean of all"):
        classifier.pooling(states, ids)
    assert pool_texts(states, [4, 8], "cls").shape == (2, 32)


class Middle(torch.nn.Module):
    """A pooler that no pooling of ours equals."""

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """The maximum of each dimension."""
        return states.amax(1)


def test_weights_of_the_head_must_be_there(tmp_path: Path) -> None:
    info = save_classifier(tmp_path, CONFIGS["bert"]())
    transformers.BertModel(CONFIGS["bert"](), add_pooling_layer=False).save_pretrained(tmp_path)

    with pytest.raises(ModelError, match=r"lacks weights of BertForSequenceClassification.*pooler\.dense"):
        load_backend(tmp_path, info, LoadOptions(dtype="float32"))
