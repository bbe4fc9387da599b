"""OpenAI's Python client, the next major version."""

import runpy
from pathlib import Path

runpy.run_path(str(Path(__file__).parents[1] / "openai-2" / "run.py"))
