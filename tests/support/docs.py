"""The code that a page of docs/ shows, and how it is run: as it stands, but for address and weights."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from models import demo_models

DOCS = Path(__file__).parents[2] / "docs"
ADDRESS, KEY = "http://localhost:8000", "YOUR_KEY"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Section:
    """What stands below one heading."""

    title: str
    blocks: list[tuple[str, str]]

    def code(self, language: str) -> list[str]:
        """Its blocks in a language."""
        return [code for name, code in self.blocks if name == language]


def sections(name: str) -> list[Section]:
    """The sections of a page that show code."""
    parts = re.split(r"^## ", (DOCS / name).read_text("utf-8"), flags=re.MULTILINE)[1:]
    page_sections = [Section(part.partition("\n")[0], BLOCK.findall(part)) for part in parts]
    return [section for section in page_sections if section.blocks]


def configuration(shown: str) -> dict[str, Any]:
    """A configuration that a page shows, with the demo pair's tokenizers and no networks in the place of its models."""
    config = yaml.safe_load(shown)
    models = [model | _stand_in(model["path"]) for model in config["models"]]
    return config | {"models": models, "auth": {"keys": [KEY]}}


def run_python(code: str, url: str) -> dict[str, Any]:
    """Its variables, when it has run."""
    variables: dict[str, Any] = {}
    exec(compile(code.replace(ADDRESS, url), "page", "exec"), variables)
    return variables


def run_shell(code: str, url: str, status: int = 0) -> str:
    """What it printed; another exit status is an error."""
    here = Path(sys.executable).parent
    program = f"set -euo pipefail\nPATH={here}:$PATH\n{code.replace(ADDRESS, url)}"
    # One thread: on a busy machine several wait for each other.
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = ["bash", "-c", program]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False, env=environment)
    assert ran.returncode == status, ran.stdout + ran.stderr
    return ran.stdout


def _stand_in(name: str) -> dict[str, str]:
    embedder, reranker = demo_models()
    return {"id": name, "path": reranker if "Reranker" in name else embedder, "backend": "fake"}
