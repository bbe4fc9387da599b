"""The pytest plugin that simulates a GPU before any test module is imported."""

import pytest

from tests.support.simulated_cuda.install import install

try:
    install()
except RuntimeError as error:
    pytest.exit(str(error), returncode=2)
