"""Pooling on CUDA, by the same few kernels for any number of texts, equals pooling on the CPU."""

import pytest
import torch

from models.interface import Pooling
from models.layers.pooler import pool_texts

LENGTHS = (3, 1, 40, 2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("pooling", ["cls", "lasttoken", "max", "mean"])
def test_pooled_texts_equal_those_of_the_cpu(pooling: Pooling, dtype: torch.dtype) -> None:
    states = torch.randn(sum(LENGTHS), 24, generator=torch.Generator().manual_seed(0)).to(dtype)

    pooled = pool_texts(states.cuda(), LENGTHS, pooling)

    assert pooled.dtype == torch.float32
    torch.testing.assert_close(pooled.cpu(), pool_texts(states, LENGTHS, pooling), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("pooling", ["max", "mean"])
def test_nan_stays_in_its_text(pooling: Pooling) -> None:
    states = torch.ones(sum(LENGTHS), 4)
    states[1, 2] = torch.nan

    pooled = pool_texts(states.cuda(), LENGTHS, pooling).cpu()

    assert pooled.isnan().nonzero().tolist() == [[0, 2]]
