"""Tests of tiny networks: threads would cost more than they compute, above all beside other work."""

from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def varlen_on_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """varlen_attn on a processor."""
    from models.layers import varlen_attention as varlen
    from tests.support.networks.flash_varlen import flash_varlen

    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", flash_varlen)
    varlen._parameters.cache_clear()
