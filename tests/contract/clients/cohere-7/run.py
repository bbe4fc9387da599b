"""Cohere's Python client, the next major versions."""

import runpy
from pathlib import Path

runpy.run_path(str(Path(__file__).parents[1] / "cohere-5" / "run.py"))
