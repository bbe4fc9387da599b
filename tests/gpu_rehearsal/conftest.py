"""Tests of the CUDA path on a simulated GPU, and of the simulation; each is skipped where none is simulated."""

import pytest

from tests.support.simulated_cuda.install import is_installed


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "/gpu_rehearsal/" in str(item.path):
            item.add_marker(pytest.mark.skipif(not is_installed(), reason="no GPU is simulated: make gpu-rehearsal"))
