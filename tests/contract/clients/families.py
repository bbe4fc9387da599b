"""The client families: which there are, what their locks pin, and how their programs are started."""

import hashlib
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from server.processing.cl100k import FILE

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
ENVIRONMENTS = ROOT / ".clients"


@dataclass(frozen=True, slots=True)
class Family:
    """Clients that can share an environment: a folder with a lock file and a program."""

    folder: Path

    @property
    def name(self) -> str:
        """The folder's."""
        return self.folder.name

    @property
    def is_node(self) -> bool:
        """Whether npm and node run it, not pip and Python."""
        return (self.folder / "package.json").is_file()

    @property
    def environment(self) -> Path:
        """Where its packages are installed."""
        return ENVIRONMENTS / self.name

    @property
    def lock(self) -> str:
        """Changes when the environment must be made again."""
        names = ("package.json", "package-lock.json") if self.is_node else ("requirements.txt",)
        content = b"".join((self.folder / name).read_bytes() for name in names)
        return hashlib.sha256(content + sys.version.encode()).hexdigest()

    def command(self) -> list[str]:
        """How its program is started; node finds packages only above the program, so it runs from a copy."""
        if not self.is_node:
            return [str(self.environment / "bin" / "python"), str(self.folder / "run.py")]
        for file in self.folder.glob("*.mjs"):
            shutil.copy(file, self.environment)
        return ["node", str(self.environment / "run.mjs")]


def find_vocabulary() -> Path | None:
    """A folder with the vocabulary of OpenAI's embedders, which LiteLLM's wheel carries, if an environment has that."""
    found = ENVIRONMENTS.glob(f"*/lib/python*/site-packages/litellm/litellm_core_utils/tokenizers/{FILE}")
    return next((file.parent for file in found), None)


def find_families() -> dict[str, Family]:
    """All of them by name."""
    found = [Family(file.parent) for file in sorted(HERE.glob("*/run.*")) if file.suffix in (".py", ".mjs")]
    return {family.name: family for family in found}
