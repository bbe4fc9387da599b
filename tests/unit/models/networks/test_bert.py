"""Our BERT gives the states of transformers' BERT, with prepacked matrices and with plain ones."""

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from models.checkpoint.folder import Checkpoint
from models.layers.decoder import Gated, Linear
from models.layers.sequence_attention import SequenceLayout
from models.networks.bert import Bert
from models.networks.bert_config import read_bert_config
from models.networks.weights import Weights
from tests.support.networks.tiny_networks import CONFIGS, save

LENGTHS = (5, 1, 40, 3)


@pytest.mark.parametrize("prepacked", [True, False])
def test_every_token_has_the_state_that_transformers_gives_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, prepacked: bool
) -> None:
    save(tmp_path, CONFIGS["bert"]())
    if not prepacked:
        monkeypatch.setattr("models.networks.bert.layers_for", lambda *_: (Linear, Gated))
    texts = [torch.arange(length) * 7 % 300 for length in LENGTHS]

    ours = network(tmp_path, torch.float32)(*packed(texts), torch.float32)

    library = transformers.AutoModel.from_pretrained(tmp_path, dtype=torch.float32).eval()
    with torch.inference_mode():
        theirs = torch.cat([library(input_ids=text[None]).last_hidden_state[0] for text in texts])
    assert torch.allclose(ours, theirs, atol=2e-5)


def test_bfloat16_weights_may_be_run_with_float32_activations(tmp_path: Path) -> None:
    save(tmp_path, CONFIGS["bert"]())
    texts = [torch.arange(9)]

    half = network(tmp_path, torch.bfloat16)

    wide, narrow = half(*packed(texts), torch.float32), half(*packed(texts), torch.bfloat16)
    assert (wide.dtype, narrow.dtype) == (torch.float32, torch.bfloat16)
    assert torch.allclose(wide, narrow.float(), atol=0.1)


def network(folder: Path, dtype: torch.dtype) -> Bert:
    checkpoint = Checkpoint(folder)
    weights = Weights(checkpoint, device=torch.device("cpu"), dtype=dtype)
    return Bert(read_bert_config(checkpoint), weights)


def packed(texts: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor, SequenceLayout]:
    lengths = [len(text) for text in texts]
    positions = torch.from_numpy(np.concatenate([np.arange(length) for length in lengths]))
    return torch.cat(texts), positions, SequenceLayout(lengths, torch.device("cpu"))
