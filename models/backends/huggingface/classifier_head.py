"""Runs the classification head of a library network on pooled states, with the code of the library's class."""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from models.devices import to_device
from models.interface import Ids, ModelError, Pooling
from models.layers.pooler import pool_texts

HEAD_POOLINGS: tuple[Pooling, ...] = ("cls", "lasttoken", "mean")
# The largest difference between two computations of one logit in float32, relative to the largest logit.
SCORE_TOLERANCE = 1e-4


class Classifier:
    """Implements Head with a ...ForSequenceClassification network, whose `body` computes states elsewhere.

    The head computes in float32. Belongs to the thread that launches.
    """

    def __init__(self, whole: Any) -> None:
        self._whole = whole
        self.body = cast("nn.Module", whole.base_model)
        self._states = _PrecomputedStates(self.body)
        setattr(whole, whole.base_model_prefix, self._states)
        whole.float()
        # Causal classes read the last token whose id is not the padding id; ours is always the last one.
        whole.config.pad_token_id = -1

    def logits(self, states: Tensor, ids: tuple[int, ...]) -> Tensor:
        """Logits [n, len(ids)] of labels from pooled float32 states [n, H]; all labels if `ids` is empty."""
        logits = self._read(states[:, None])
        return logits[:, to_device(np.array(ids), logits.device)] if ids else logits

    def scores(self, states: Tensor) -> Tensor:
        """The logit of the first label, [n, 1], from pooled float32 states [n, H]."""
        return self.logits(states, (0,))

    def pooling(self, states: Tensor, texts: Sequence[Ids]) -> Pooling:
        """The pooling whose state gives the logits that the head gives for all states of each text, [T, H].

        Raises: ModelError: no pooling does.
        """
        lengths = [len(ids) for ids in texts]
        expected = torch.cat([self._read(part[None]) for part in states.split(lengths)])
        for pooling in HEAD_POOLINGS:
            logits = self.logits(pool_texts(states, lengths, pooling), ())
            if (logits - expected).abs().max() <= SCORE_TOLERANCE * expected.abs().max():
                return pooling
        name = type(self._whole).__name__
        raise ModelError(f"the head of {name} reads neither one token nor the mean of all tokens; it is not supported")

    def _read(self, states: Tensor) -> Tensor:
        """Logits [B, labels] of texts of one length from their states [B, L, H]."""
        self._states.states = states
        ones = torch.ones(states.shape[:2], dtype=torch.long, device=states.device)
        return cast("Tensor", self._whole(input_ids=ones, attention_mask=ones).logits)


class _PrecomputedStates(nn.Module):
    """Takes the place of the body, and returns states that were computed before."""

    def __init__(self, body: Any) -> None:
        super().__init__()
        # BERT's pooler belongs to the head: it reads one token.
        self.pooler: nn.Module | None = getattr(body, "pooler", None)
        if self.pooler is not None:
            body.pooler = None
        self.states = torch.empty(0)

    def forward(self, *_: Any, **__: Any) -> Any:
        from transformers.modeling_outputs import BaseModelOutputWithPoolingAndCrossAttentions

        pooled = None if self.pooler is None else self.pooler(self.states)
        return BaseModelOutputWithPoolingAndCrossAttentions(last_hidden_state=self.states, pooler_output=pooled)
