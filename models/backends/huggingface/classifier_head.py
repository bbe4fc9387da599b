"""The classification head of a library network, over one state a text: the class's own code, its body taken out."""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from models.devices import to_device
from models.interface import Ids, ModelError, Pooling
from models.layers.pooler import pool_texts

HEAD_POOLINGS: tuple[Pooling, ...] = ("cls", "lasttoken", "mean")
# Between two ways to compute one logit in float32, as a share of the largest.
SCORE_TOLERANCE = 1e-4


class Classifier:
    """A ...ForSequenceClassification network: `body` gives states, the rest of it logits, in float32."""

    def __init__(self, whole: Any) -> None:
        self._whole = whole
        self.body = cast("nn.Module", whole.base_model)
        self._given = _Given(self.body)
        setattr(whole, whole.base_model_prefix, self._given)
        whole.float()
        # Causal classes read the last token that is no padding by its id; ours is the last, whatever its id is.
        whole.config.pad_token_id = -1

    def logits(self, states: Tensor, ids: tuple[int, ...]) -> Tensor:
        """Logits [n, len(ids)] of labels, of every one if `ids` is empty, from pooled float32 states [n, H]."""
        logits = self._read(states[:, None])
        return logits[:, to_device(np.array(ids), logits.device)] if ids else logits

    def scores(self, states: Tensor) -> Tensor:
        """The first label's logit, [n, 1]."""
        return self.logits(states, (0,))

    def pooling(self, states: Tensor, texts: Sequence[Ids]) -> Pooling:
        """Which one state of each text the head reads, found by what it makes of all of them, [T, H].

        Raises: ModelError: it reads several.
        """
        lengths = [len(ids) for ids in texts]
        wanted = torch.cat([self._read(part[None]) for part in states.split(lengths)])
        for pooling in HEAD_POOLINGS:
            found = self.logits(pool_texts(states, lengths, pooling), ())
            if (found - wanted).abs().max() <= SCORE_TOLERANCE * wanted.abs().max():
                return pooling
        name = type(self._whole).__name__
        raise ModelError(f"the head of {name} reads neither one token nor the mean of all, which is not supported")

    def _read(self, states: Tensor) -> Tensor:
        """Logits [B, labels] of texts of one length, states [B, L, H]."""
        self._given.states = states
        ones = torch.ones(states.shape[:2], dtype=torch.long, device=states.device)
        return cast("Tensor", self._whole(input_ids=ones, attention_mask=ones).logits)


class _Given(nn.Module):
    """Stands where the body stood, and gives states that were computed elsewhere."""

    def __init__(self, body: Any) -> None:
        super().__init__()
        # BERT's pooler is a part of the head: it reads one token.
        self.pooler: nn.Module | None = getattr(body, "pooler", None)
        if self.pooler is not None:
            body.pooler = None
        self.states = torch.empty(0)

    def forward(self, *_: Any, **__: Any) -> Any:
        from transformers.modeling_outputs import BaseModelOutputWithPoolingAndCrossAttentions

        pooled = None if self.pooler is None else self.pooler(self.states)
        return BaseModelOutputWithPoolingAndCrossAttentions(last_hidden_state=self.states, pooler_output=pooled)
