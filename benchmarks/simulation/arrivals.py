"""Requests and their arrival times in virtual seconds, synthetic or from a file. Knows no queue and no device."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

Kind = Literal["query", "rerank", "bulk", "crowd", "recorded"]

# Qwen3-Reranker's prompt, the instruction and a short query.
HEAD_TOKENS = 90


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request. `shared` is the number of leading tokens that each text has in common with the text before it.

    With `again` the client sends the same request once more whenever it has its answer. A caller may be many clients.
    """

    seconds: float
    kind: Kind
    lengths: Sequence[int]
    shared: int = 0
    again: bool = False
    caller: str = ""

    @property
    def unique_tokens(self) -> int:
        """The tokens that are computed when the whole request runs in one batch."""
        return sum(self.lengths) - self.shared * (len(self.lengths) - 1)


def queries(seed: int, per_second: float, seconds: float, start: float = 0.0) -> list[Arrival]:
    """Poisson arrivals of one text of 20 to 40 tokens."""
    random = np.random.default_rng((seed, 1))
    return [
        Arrival(start + at, "query", (int(random.integers(20, 41)),)) for at in _poisson(random, per_second, seconds)
    ]


def reranks(seed: int, per_second: float, seconds: float) -> list[Arrival]:
    """Poisson arrivals of one query with 100 documents; the query is their shared prefix."""
    random = np.random.default_rng((seed, 2))
    return [
        Arrival(at, "rerank", tuple((HEAD_TOKENS + _document_lengths(random, 100)).tolist()), HEAD_TOKENS)
        for at in _poisson(random, per_second, seconds)
    ]


def bulk_jobs(seed: int, per_second: float, seconds: float) -> list[Arrival]:
    """Poisson arrivals of 64 to 2,048 texts; each power of two is equally likely."""
    random = np.random.default_rng((seed, 3))
    return [
        bulk(random, at, int(2 ** random.integers(6, 12)))  # 64 ... 2,048
        for at in _poisson(random, per_second, seconds)
    ]


def bulk(random: np.random.Generator, at: float, texts: int, *, again: bool = False) -> Arrival:
    """One request with many texts of log-normal length: median 54."""
    return Arrival(at, "bulk", tuple(_document_lengths(random, texts).tolist()), again=again)


def bulk_clients(seed: int, clients: int, texts: int = 2048) -> list[Arrival]:
    """Clients that always have one bulk request in progress."""
    random = np.random.default_rng((seed, 4))
    return [bulk(random, 0.0, texts, again=True) for _ in range(clients)]


def crowd(seed: int, clients: int, caller: str) -> list[Arrival]:
    """Clients of one caller that always have one text of 20 to 40 tokens in progress."""
    lengths = np.random.default_rng((seed, 6)).integers(20, 41, clients)
    return [Arrival(0.0, "crowd", (int(tokens),), again=True, caller=caller) for tokens in lengths]


def recorded(file: Path) -> list[Arrival]:
    """Read requests from a file with one JSON object a line: {"seconds": 0.25, "lengths": [31, 28], "shared": 0}."""
    lines = (json.loads(line) for line in file.read_text("utf-8").splitlines() if line.strip())
    return [
        Arrival(float(line["seconds"]), "recorded", tuple(line["lengths"]), int(line.get("shared", 0)))
        for line in lines
    ]


def write_recorded(file: Path, arrivals: Iterable[Arrival]) -> None:
    """Write a file that recorded() reads."""
    lines = (
        json.dumps({"seconds": arrival.seconds, "lengths": list(arrival.lengths), "shared": arrival.shared})
        for arrival in arrivals
    )
    file.write_text("\n".join(lines) + "\n", "utf-8")


def _poisson(random: np.random.Generator, per_second: float, seconds: float) -> list[float]:
    gaps = random.exponential(1 / per_second, int(per_second * seconds * 2) + 20)
    times = np.cumsum(gaps)
    return [float(at) for at in times[times < seconds]]


def _document_lengths(random: np.random.Generator, count: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.clip(random.lognormal(np.log(54), 0.6, count), 8, 512).astype(np.int64)
