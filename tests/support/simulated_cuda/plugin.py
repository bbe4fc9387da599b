"""The pytest plugin that simulates a GPU before any test module is imported."""

import os

import pytest

# Triton reads this when it is imported: from then on its kernels run in an interpreter, on tensors of the CPU.
os.environ["TRITON_INTERPRET"] = "1"

from tests.support.simulated_cuda.install import install

try:
    install()
except RuntimeError as error:
    pytest.exit(str(error), returncode=2)
