"""One environment per family, from the registries that pip and npm know; made again when its lock changes."""

import shutil
import subprocess
import sys
from time import monotonic

from rich.console import Console

from tests.contract.clients.families import Family


def make_environment(family: Family, console: Console) -> None:
    """Install what the lock pins, unless that is there already.

    Raises: CalledProcessError: pip or npm failed, and said why.
    """
    stamp = family.environment / "lock"
    if stamp.is_file() and stamp.read_text("ascii") == family.lock:
        return
    started = monotonic()
    shutil.rmtree(family.environment, ignore_errors=True)
    family.environment.mkdir(parents=True)
    with console.status(f"{family.name}: installs"):
        (_install_node if family.is_node else _install_python)(family)
    stamp.write_text(family.lock, "ascii")
    console.print(f"{family.name}: installed in {monotonic() - started:.0f} s", markup=False)


def _install_python(family: Family) -> None:
    subprocess.run([sys.executable, "-m", "venv", family.environment], check=True)
    # The lock names everything; what is there for one of its files alone needs nothing else.
    command = ["-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-deps"]
    lock = ["-r", family.folder / "requirements.txt"]
    subprocess.run([family.environment / "bin" / "python", *command, *lock], check=True)


def _install_node(family: Family) -> None:
    for name in ("package.json", "package-lock.json"):
        shutil.copy(family.folder / name, family.environment)
    subprocess.run(["npm", "ci", "--silent", "--no-audit", "--no-fund"], cwd=family.environment, check=True)
