"""Damaged input for every parser: `python -m tests.fuzz.parsers [--minutes 10] [--only config] [--seed 7]`.

Bodies of requests, config.yaml, and weights, tokenizers and configurations of models are whole ones, changed at random.
A body must be answered by the contract; a file must be read, or refused by an error for the operator. Each case has a
seed, and the cases of a kind run in a process of their own, so that a crash or a hang is noticed and can be run again.
"""

import argparse
import asyncio
import json
import multiprocessing
import random
import shutil
import struct
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import httpx

from models import LoadOptions, ModelError, demo_models, load_backend, load_preprocessor
from server.config import ConfigError
from server.config_sources import load_config
from tests.support.server.in_process import InProcessServer, in_process_server, served, text_model

ROOT = Path(__file__).parents[2]
# On a busy machine the import of transformers alone takes half a minute.
CASE_TIMEOUT_S = 90.0
POSTS = ("/v1/embeddings", "/v1/rerank", "/inference/v1/embeddings", "/embed", "/score", "/tokenize", "/v2/embed", "/")
BODIES = (
    {"input": "a text", "model": "embedder", "dimensions": 4, "encoding_format": "base64"},
    {"input": [[1, 2, 3], [4]], "truncate_prompt_tokens": 2},
    {"input": [{"text": "a"}], "prompt_template": "{% if text %}{{ text|upper }}{% endif %}"},
    {"query": "q", "documents": ["a", {"text": "b"}], "top_n": 1, "return_documents": True},
    {"inputs": ["a", "b"], "normalize": True, "truncate": True},
    {"texts": ["a"], "input_type": "search_query", "embedding_types": ["float"]},
    {"text_1": "a", "text_2": ["b", "c"]},
    {"prompt": "a", "return_token_strs": True},
)
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, -(2**63), 10**400, 0.5, 1e308, 1e-320, "", "a", "\x00"),
    *("\ud83d", "é" * 50, "a" * 5000, [], {}, [[]], [None], {"a": 1}, [[1]] * 300, "NaN", "../../etc/passwd"),
)
TOKENS = (
    *(b"\x00", b"\xff", b'"', b"[", b"]", b"{", b"}", b",", b":", b"NaN", b"1e999", b"-", b"\\u0000", b"\\ud800"),
    *(
        b"&a",
        b"*a",
        b"!!python/object:os.system",
        b"<<: ",
        b"- ",
        b"\n",
        b"\t",
        b"\xef\xbb\xbf",
        b"9" * 400,
        b"[" * 2000,
    ),
)

Case = Callable[[random.Random], None]


def changed_bytes(rng: random.Random, data: bytes) -> bytes:
    """Some bytes changed, removed, repeated or put in between."""
    parts = bytearray(data)
    for _ in range(rng.randint(1, 6)):
        start = rng.randrange(len(parts) + 1)
        end = min(len(parts), start + rng.choice((0, 1, 4, 64, 4096)))
        match rng.randrange(4):
            case 0:
                parts[start:end] = rng.choice(TOKENS)
            case 1:
                del parts[start:end]
            case 2:
                parts[start:start] = parts[start:end] * rng.randint(1, 3)
            case 3:
                parts[start:end] = rng.randbytes(end - start)
    return bytes(parts)


def changed_value(rng: random.Random, value: Any) -> Any:
    """A JSON value with one of its parts replaced, removed or repeated."""
    copy = json.loads(json.dumps(value))
    holder, key = rng.choice(list(_places({"": copy})))
    match rng.randrange(4):
        case 0 | 1:
            holder[key] = rng.choice(VALUES)
        case 2 if isinstance(holder, dict) and key:
            holder[rng.choice(("x", "__class__", "model", ""))] = holder.pop(key)
        case _:
            holder[key] = [holder[key]] * rng.choice((0, 2, 100))
    return copy


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    entries = value.items() if isinstance(value, dict) else enumerate(value[:50]) if isinstance(value, list) else ()
    for key, entry in list(entries):
        yield value, key
        yield from _places(entry)


def _changed_json(rng: random.Random, value: Any) -> bytes:
    for _ in range(rng.randint(1, 3)):
        value = changed_value(rng, value)
    data = json.dumps(value).encode("utf-8", "surrogatepass")
    return changed_bytes(rng, data) if rng.random() < 0.3 else data


def bodies(folder: Path) -> Case:
    """Requests of many routes to an application in this process."""
    runner = asyncio.Runner()
    context = in_process_server(served(text_model(folder / "model"), "embedder"))
    return partial(_ask, runner, runner.run(context.__aenter__()), context)


def _ask(runner: asyncio.Runner, server: InProcessServer, context: object, rng: random.Random) -> None:
    """Post a body; `context` is held so that the server goes on."""
    body = _changed_json(rng, rng.choice(BODIES))
    request = server.client.post(rng.choice(POSTS), content=body, headers={"content-type": "application/json"})
    answer: httpx.Response = runner.run(request)
    assert answer.status_code < 500, (answer.status_code, answer.text[:300])
    assert answer.status_code == 200 or answer.headers["content-type"] == "application/json"


def config(folder: Path) -> Case:
    """config.yaml, with every setting that the file in the repository shows."""
    shown = (ROOT / "config.yaml").read_text("utf-8")
    lines = [line.removeprefix("# ") for line in shown.splitlines()]
    texts = [shown.encode(), "\n".join(line for line in lines if ":" in line).encode()]
    file = folder / "config.yaml"

    def case(rng: random.Random) -> None:
        file.write_bytes(changed_bytes(rng, rng.choice(texts)))
        with suppress(ConfigError):
            load_config(file)

    return case


def _model_file(folder: Path, name: str, change: Callable[[random.Random, bytes], bytes]) -> Case:
    """One file of the demo embedder, whose other files are whole."""
    damaged = folder / "damaged"
    shutil.copytree(demo_models()[0], damaged)
    data = (damaged / name).read_bytes()

    def case(rng: random.Random) -> None:
        (damaged / name).write_bytes(change(rng, data))
        with suppress(ModelError):
            options = LoadOptions(device="cpu")
            preprocessor = load_preprocessor(damaged, options)
            preprocessor.tokenizer.encode(["a text", "é<|im_end|>\x00"])
            load_backend(damaged, preprocessor.info, options)

    return case


def _changed_weights(rng: random.Random, data: bytes) -> bytes:
    """A safetensors file whose header, length or data is changed."""
    size = struct.unpack("<Q", data[:8])[0]
    header, tensors = json.loads(data[8 : 8 + size]), data[8 + size :]
    match rng.randrange(4):
        case 0:
            return changed_bytes(rng, data)
        case 1:
            return struct.pack("<Q", rng.choice((0, 1, size - 1, size + 1, 2**40, 2**64 - 1))) + data[8:]
        case _:
            changed = _changed_json(rng, header)
            return struct.pack("<Q", len(changed)) + changed + tensors


def _changed_text(rng: random.Random, data: bytes) -> bytes:
    return changed_bytes(rng, data) if rng.random() < 0.3 else _changed_json(rng, json.loads(data))


KINDS: dict[str, Callable[[Path], Case]] = {
    "bodies": bodies,
    "config": config,
    "weights": lambda folder: _model_file(folder, "model.safetensors", _changed_weights),
    "tokenizer": lambda folder: _model_file(folder, "tokenizer.json", _changed_text),
    "tokenizer_config": lambda folder: _model_file(folder, "tokenizer_config.json", _changed_text),
    "model_config": lambda folder: _model_file(folder, "config.json", _changed_text),
    "modules": lambda folder: _model_file(folder, "modules.json", _changed_text),
    "pooling": lambda folder: _model_file(folder, "1_Pooling/config.json", _changed_text),
}


def _work(kind: str, seed: int, folder: Path, results: "Connection[Any, Any]") -> None:
    """Run cases from `seed` on, and tell before and after each."""
    case = KINDS[kind](folder)
    while True:
        results.send((seed, None))
        fault = ""
        try:
            case(random.Random(f"{kind} {seed}"))
        except BaseException:  # a panic of a library is one
            fault = traceback.format_exc()
        results.send((seed, fault))
        seed += 1


def fuzz(kind: str, seed: int, end: float) -> tuple[int, list[str]]:
    """Run cases of a kind until `end`; the number that ran, and what went wrong."""
    faults: list[str] = []
    first = seed
    while time.monotonic() < end and len(faults) < 10:
        with tempfile.TemporaryDirectory() as folder:
            receiver, sender = multiprocessing.Pipe(duplex=False)
            process = multiprocessing.get_context("spawn").Process(
                target=_work, args=(kind, seed, Path(folder), sender), daemon=True
            )
            process.start()
            sender.close()
            seed, fault = _watch(receiver, seed, end)
            process.kill()
            process.join()
            receiver.close()  # after its end: a pipe without a reader would be an error there
        if fault:
            faults.append(f"{kind}, seed {seed - 1}: {fault}")
    return seed - first, faults


def _watch(receiver: "Connection[Any, Any]", seed: int, end: float) -> tuple[int, str]:
    """Wait until a case fails or the time is over; the seed of the next case, and the fault."""
    timeout_s = 4 * CASE_TIMEOUT_S  # the first one includes the start of the process
    while time.monotonic() < end:
        if not receiver.poll(timeout_s):
            return seed + 1, f"no end after {timeout_s:g} s"
        try:
            seed, fault = receiver.recv()
        except EOFError:
            return seed + 1, "the process died"
        if fault:
            return seed + 1, fault
        seed, timeout_s = (seed, CASE_TIMEOUT_S) if fault is None else (seed + 1, CASE_TIMEOUT_S)
    return seed, ""


def main() -> int:
    parser = argparse.ArgumentParser(description="Damaged input for every parser.")
    parser.add_argument("--minutes", type=float, default=10, help="for all kinds together")
    parser.add_argument("--only", choices=KINDS, help="one kind")
    parser.add_argument("--seed", type=int, default=0, help="of the first case")
    options = parser.parse_args()
    kinds = [options.only] if options.only else list(KINDS)
    ran: Counter[str] = Counter()
    faults: list[str] = []
    for kind in kinds:
        ran[kind], found = fuzz(kind, options.seed, time.monotonic() + 60 * options.minutes / len(kinds))
        faults += found
        sys.stdout.write(f"{kind}: {ran[kind]:,} cases, {len(found)} faults\n")
    sys.stdout.write("\n".join(faults))
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
