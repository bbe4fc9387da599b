"""The zoo's measurements, each taken once, on one thread: its networks are tiny."""

import asyncio
import functools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from tests.support.zoo.build import build
from tests.support.zoo.measure import Measured, measure
from tests.support.zoo.recipe import Recipe


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Recipe], Path]:
    """A recipe's small twin, built when the first test asks for it."""
    return functools.cache(lambda recipe: build(recipe, tmp_path_factory.mktemp("zoo")))


@pytest.fixture(scope="session")
def measured(folder_of: Callable[[Recipe], Path]) -> Callable[[Recipe], Measured]:
    """The same, served and measured."""
    return functools.cache(lambda recipe: asyncio.run(measure(recipe, folder_of(recipe))))
