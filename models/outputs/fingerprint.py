"""Names a model by the content of its files, so that a copy has the same name and another model another one. No torch.

Weights are hashed once: their checksums are those of manifest.json, or are kept in a state folder until a file changes.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.checkpoint.files import names_in
from models.checkpoint.folder import Checkpoint
from models.checkpoint.manifest import record_files
from models.interface import ModelError
from models.networks.bookkeeping import BOOKKEEPING

CHECKSUMS = "checksums"
DIGEST_CHARACTERS = 16
# Smaller files are hashed again at each start, in 0.02 s.
KEPT_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Checksums:
    """SHA-256 of files, kept in a folder by path, size and time of the last change. None keeps nothing."""

    folder: Path | None

    def known(self, file: Path) -> str | None:
        """The checksum of a file that has not changed since it was kept."""
        if self.folder is None:
            return None
        try:
            kept = json.loads(self._entry(file).read_text("utf-8"))
            return str(kept["sha256"]) if kept["file"] == _state_of(file) else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def compute(self, files: Sequence[Path]) -> dict[Path, str]:
        """The checksums of files, of which those that are not known are read.

        Raises: ModelError: a file cannot be read.
        """
        sums = {file: self.known(file) for file in files}
        missing = [file for file, known in sums.items() if known is None]
        before = {file: _state_of(file) for file in missing}
        records = record_files(Path("/"), [str(file.absolute()) for file in missing]) if missing else {}
        for file in missing:
            sums[file] = records[str(file.absolute())].sha256
            self._keep(file, before[file], str(sums[file]))
        return {file: str(known) for file, known in sums.items()}

    def _keep(self, file: Path, state: list[int] | None, sha256: str) -> None:
        # A file that changed while it was read has no known content.
        if self.folder is None or state is None or state[0] < KEPT_BYTES or state != _state_of(file):
            return
        entry = self._entry(file)
        try:
            entry.parent.mkdir(parents=True, exist_ok=True)
            part = entry.with_suffix(f".{hashlib.sha256(sha256.encode()).hexdigest()[:8]}.part")
            part.write_text(json.dumps({"path": str(file.absolute()), "file": state, "sha256": sha256}), "utf-8")
            part.replace(entry)
        except OSError:
            return  # a folder that cannot be written to: hashed at each start

    def _entry(self, file: Path) -> Path:
        assert self.folder is not None, "no state folder"
        name = hashlib.sha256(str(file.absolute()).encode()).hexdigest()[:32]
        return self.folder / CHECKSUMS / f"{name}.json"


def model_digest(checkpoint: Checkpoint, checksums: Checksums) -> str:
    """Hexadecimal digits that name the weights, the tokenizer and what the configuration says of the network.

    Entries of config.json that change no number do not count. Files that have no known checksum are read.

    Raises: ModelError: a file cannot be read.
    """
    files = _digest_files(checkpoint)
    listed = {file: _listed(checkpoint, file) for file in files}
    sums = checksums.compute([file for file in files if listed[file] is None and file.is_file()])
    content = {
        "weights": sorted(listed[file] or sums[file] for file in files[:-1]),
        "tokenizer": listed[files[-1]] or sums.get(files[-1]),
        "config": {key: value for key, value in _config(checkpoint).items() if key not in BOOKKEEPING},
        "modules": [[name, checkpoint.config_of(path) if path else {}] for name, path in checkpoint.module_paths],
        "transformer": checkpoint.transformer_module_config,
    }
    return digest_of(content)


def bytes_to_read(checkpoint: Checkpoint, checksums: Checksums) -> int:
    """The bytes of files that model_digest() would read."""
    unlisted = [file for file in _digest_files(checkpoint) if _listed(checkpoint, file) is None and file.is_file()]
    return sum(file.stat().st_size for file in unlisted if checksums.known(file) is None)


def digest_of(content: Any) -> str:
    """Hexadecimal digits for a value that JSON can hold."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:DIGEST_CHARACTERS]


def _digest_files(checkpoint: Checkpoint) -> list[Path]:
    return [*_weights(checkpoint), checkpoint.path / "tokenizer.json"]


def _config(checkpoint: Checkpoint) -> dict[str, Any]:
    # Models of static embeddings have no config.json.
    return checkpoint.config_of(".")


def _weights(checkpoint: Checkpoint) -> list[Path]:
    """The files of weights that are loaded: those of the network, and those of modules after it."""
    modules = [path for _, path in checkpoint.module_paths if path]
    names = [name for name in names_in(checkpoint.path) if name.endswith(".safetensors")]
    below = [name for name in names if any(name.startswith(f"{path}/") for path in modules)]
    try:
        own = checkpoint.weight_files
    except ModelError:
        if not below:
            raise
        own = []
    return sorted({*own, *(checkpoint.path / name for name in below)})


def _listed(checkpoint: Checkpoint, file: Path) -> str | None:
    if checkpoint.manifest is None:
        return None
    record = checkpoint.manifest.files.get(file.relative_to(checkpoint.path).as_posix())
    return record.sha256 if record else None


def _state_of(file: Path) -> list[int] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns, status.st_ino]
