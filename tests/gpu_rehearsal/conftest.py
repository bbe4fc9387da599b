"""Tests of the CUDA path on a simulated GPU, and of the simulation; each is skipped where none is simulated."""

from collections.abc import Iterator

import pytest

from models.prefix_trie import FREE
from tests.support.simulated_cuda.install import is_installed


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "/gpu_rehearsal/" in str(item.path):
            item.add_marker(pytest.mark.skipif(not is_installed(), reason="no GPU is simulated: make gpu-rehearsal"))


@pytest.fixture(scope="session", autouse=True)
def every_prefix_is_shared() -> Iterator[None]:
    """The models of these tests are so small that computing a prefix twice costs less than sharing it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("models.backends.packed.sharing_costs", lambda *_, **__: FREE)
        yield
