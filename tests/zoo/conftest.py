"""The zoo's measurements, each taken once, on one thread: its networks are tiny."""

import asyncio
import functools
from collections.abc import Callable, Iterator

import pytest
import torch

from tests.zoo.build import build
from tests.zoo.measuring import Measured, measure
from tests.zoo.recipe import Recipe


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Recipe], Measured]:
    """A recipe's small twin, built, served and measured when the first test asks for it."""
    return functools.cache(lambda recipe: asyncio.run(measure(recipe, build(recipe, tmp_path_factory.mktemp("zoo")))))
