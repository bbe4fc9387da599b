"""The zoo's measurements, made once per model, on one thread because its networks are tiny."""

import asyncio
import functools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from tests.support.zoo.build import build
from tests.support.zoo.measure import Measurement, measure
from tests.support.zoo.recipe import Recipe


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Recipe], Path]:
    """The folder of a recipe's small twin, built for the first test that uses it."""
    return functools.cache(lambda recipe: build(recipe, tmp_path_factory.mktemp("zoo")))


@pytest.fixture(scope="session")
def measured(folder_of: Callable[[Recipe], Path]) -> Callable[[Recipe], Measurement]:
    """The measurement of a recipe's small twin."""
    return functools.cache(lambda recipe: asyncio.run(measure(recipe, folder_of(recipe))))
