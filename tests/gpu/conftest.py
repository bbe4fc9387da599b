"""Tests that need a CUDA device; each is skipped where there is none."""

from collections.abc import Iterator

import pytest
import torch

from models.prefix_trie import FREE


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "/gpu/" in str(item.path):
            item.add_marker(pytest.mark.gpu)
            item.add_marker(pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"))


@pytest.fixture
def varlen() -> None:
    """A device that supports torch's flash attention."""
    if torch.cuda.get_device_capability() < (8, 0):
        pytest.skip("flash attention needs compute capability 8.0")


@pytest.fixture(scope="session", autouse=True)
def every_prefix_is_shared() -> Iterator[None]:
    """The models of these tests are so small that computing a prefix twice costs less than sharing it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("models.backends.packed.sharing_costs", lambda *_, **__: FREE)
        yield
