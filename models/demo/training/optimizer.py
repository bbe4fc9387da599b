"""How the reranker walks downhill: AdamW, a warm-up, a cosine."""

import math

import torch
from torch import Tensor, nn


class Descent:
    """Steps over what may change of a network; the rate rises for a twenty-fifth of them, then falls to a fiftieth."""

    def __init__(self, network: nn.Module, *, steps: int, rate: float) -> None:
        self._parameters = [p for p in network.parameters() if p.requires_grad]
        self._optimizer = torch.optim.AdamW(self._parameters, lr=rate, betas=(0.9, 0.98), weight_decay=0.0, fused=True)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(self._optimizer, lambda at: _share(at, steps))

    def step(self, loss: Tensor) -> float:
        """Go one step down; the loss as a number."""
        loss.backward()
        nn.utils.clip_grad_norm_(self._parameters, 1.0)
        self._optimizer.step()
        self._optimizer.zero_grad()
        self._schedule.step()
        return float(loss.item())


def _share(at: int, steps: int) -> float:
    warm = max(1, steps // 25)
    if at < warm:
        return (at + 1) / warm
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, (at - warm) / (steps - warm))))
