"""The pytest plugin that simulates a GPU before any test module is imported."""

from tests.support.simulated_cuda.install import install

install()
