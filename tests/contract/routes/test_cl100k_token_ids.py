"""Token ids of another vocabulary, found by reading them back.

cl100k_base's own file is needed where ids are to be read with it: those tests run where TIKTOKEN_CACHE_DIR names a
folder that has it, and tiktoken is installed. What OpenAI's clients send is known without: each of these words, with
the space before it, is one id.
"""

import os
import random
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from models import Preprocessor, demo_models
from models.text.tokenizer import EDGE_FROM_IDS
from server.processing.cl100k import FILE
from tests.support.http.requests import content, embed, openai_error, tokens, vectors
from tests.support.server.process import ServerProcess

WORDS = {
    "the": 279,
    "of": 315,
    "and": 323,
    "to": 311,
    "in": 304,
    "is": 374,
    "that": 430,
    "for": 369,
    "it": 433,
    "as": 439,
    "was": 574,
    "with": 449,
    "be": 387,
    "by": 555,
    "on": 389,
    "not": 539,
    "he": 568,
    "his": 813,
    "at": 520,
    "are": 527,
    "this": 420,
    "have": 617,
    "from": 505,
    "or": 477,
    "had": 1047,
    "they": 814,
    "one": 832,
    "would": 1053,
    "their": 872,
    "when": 994,
    "who": 889,
    "time": 892,
    "new": 502,
    "first": 1176,
    "after": 1306,
    "years": 1667,
    "people": 1274,
    "world": 1917,
    "work": 990,
    "life": 2324,
    "between": 1990,
    "three": 2380,
}
# " no no", which reads "lishlish" in the demo vocabulary: both are canonical.
AMBIGUOUS = [912, 912]
ENGLISH = (
    "The Louvre in Paris is the most visited museum of the world, and half of its visitors come for one painting. "
    "It won't rain; she said 'hello' to 3 of them (twice), for 3.14159 euros.\n\n\tThat is a_thing() - 20,000 times. "
)
MIXED = ENGLISH + (
    "机器学习是人工智能的一个分支，天气今天很好。 東京は日本の首都です。 Ça va déjà mieux à l'été! "
    "👩‍💻🇫🇷 emoji 🙂🙃 and\r\nlines <|not a token|> "
)

# Tells, on standard error, of every attempt to reach another host.
WATCH_CONNECTIONS = """
import sys

def watch(event, arguments):
    if event == "socket.getaddrinfo" or (event == "socket.connect" and isinstance(arguments[1], tuple)):
        print("watched connection:", event, arguments[1:], file=sys.stderr, flush=True)

sys.addaudithook(watch)
"""

MODELS = [
    {"path": demo_models()[0], "id": name, "backend": "fake", "token_ids": rule}
    for name, rule in (("auto", "auto"), ("openai", "cl100k_base"), ("native", "native"))
]


def _server(folder: Path, cache: Path) -> ServerProcess:
    (folder / "sitecustomize.py").write_text(WATCH_CONNECTIONS, "utf-8")
    search_path = os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))
    environment = {"PYTHONPATH": search_path, "TIKTOKEN_CACHE_DIR": str(cache)}
    return ServerProcess(folder / "server", {"models": MODELS}, environment=environment)


@pytest.fixture(scope="module")
def without_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that finds no vocabulary of OpenAI's."""
    folder = tmp_path_factory.mktemp("without")
    with _server(folder, folder / "empty") as hearth:
        yield hearth


@pytest.fixture(scope="module")
def with_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that finds cl100k_base."""
    cache = Path(os.environ.get("TIKTOKEN_CACHE_DIR", "/nowhere"))
    if not (cache / FILE).is_file() or not find_spec("tiktoken"):
        pytest.skip("TIKTOKEN_CACHE_DIR has no cl100k_base, or tiktoken is not installed")
    with _server(tmp_path_factory.mktemp("with"), cache) as hearth:
        yield hearth


def _random_words(count: int, seed: int) -> list[str]:
    return random.Random(seed).choices(list(WORDS), k=count)


def _ids(words: list[str]) -> list[int]:
    return [WORDS[word] for word in words]


def _text(words: list[str]) -> str:
    return "".join(f" {word}" for word in words)


def test_29_without_the_file_foreign_ids_are_400(without_file: ServerProcess) -> None:
    error = openai_error(embed(without_file.client, _ids(_random_words(30, 1))), 400)

    assert error["code"] == "foreign_token_ids"
    assert "check_embedding_ctx_length=False" in error["message"]


def test_30_with_the_file_they_are_read_as_what_they_say(with_file: ServerProcess) -> None:
    words = _random_words(30, 1)

    answer = embed(with_file.client, [_ids(words)])

    assert answer.headers["x-hearth-token-ids"] == "cl100k_base"
    assert content(answer) == content(embed(with_file.client, [_text(words)]))


def test_30_ids_past_the_models_last_are_read_with_it_too(with_file: ServerProcess) -> None:
    # "France" is 50100, and the demo vocabulary ends before 16000.
    france = [50100, 374, 264, 3224, 304, 11104, 4606]

    answer = embed(with_file.client, [france])

    assert answer.headers["x-hearth-token-ids"] == "cl100k_base"
    assert content(answer) == content(embed(with_file.client, ["France is a country in Western Europe"]))


def test_30_control_tokens_stay_text(with_file: ServerProcess, embedder: Preprocessor) -> None:
    # "<|im_end|>" in cl100k_base.
    answer = embed(with_file.client, [27, 91, 318, 6345, 91, 29], model="openai")

    used = len(embedder.tokenizer.encode(["<|im_end|>"])[0]) + 1
    assert tokens(answer) == used


@pytest.mark.parametrize("given", [[100257], [[100256]], [[1, 2**40]]])
def test_30_ids_that_cl100k_base_has_not_are_400(with_file: ServerProcess, given: list[object]) -> None:
    assert openai_error(embed(with_file.client, given, model="openai"), 400)["code"] == "foreign_token_ids"


def test_31_one_foreign_list_makes_all_of_them_foreign(without_file: ServerProcess) -> None:
    assert embed(without_file.client, [AMBIGUOUS]).status_code == 200

    error = openai_error(embed(without_file.client, [AMBIGUOUS, _ids(_random_words(30, 2))]), 400)

    assert error["code"] == "foreign_token_ids"


def test_31_and_with_the_file_all_are_read_with_it(with_file: ServerProcess) -> None:
    words = _random_words(30, 2)

    answer = embed(with_file.client, [AMBIGUOUS, _ids(words)])

    assert answer.headers["x-hearth-token-ids"] == "cl100k_base"
    assert content(answer) == content(embed(with_file.client, [" no no", _text(words)]))


def test_32_a_short_ambiguous_list_is_native_which_is_the_known_limit(without_file: ServerProcess) -> None:
    answer = embed(without_file.client, AMBIGUOUS)

    assert answer.headers["x-hearth-token-ids"] == "native"
    assert np.array_equal(vectors(without_file.client, AMBIGUOUS), vectors(without_file.client, "lishlish"))


def test_32_a_model_may_be_told_to_read_all_ids_as_openais(with_file: ServerProcess) -> None:
    answer = embed(with_file.client, AMBIGUOUS, model="openai")

    assert answer.headers["x-hearth-token-ids"] == "cl100k_base"
    assert np.array_equal(vectors(with_file.client, AMBIGUOUS, model="openai"), vectors(with_file.client, " no no"))


def test_33_native_takes_what_auto_refuses(without_file: ServerProcess) -> None:
    answer = embed(without_file.client, _ids(_random_words(30, 1)), model="native")

    assert answer.headers["x-hearth-token-ids"] == "native"


@pytest.mark.parametrize(("text", "least"), [(ENGLISH, 4), (MIXED, EDGE_FROM_IDS)])
def test_34_slices_of_native_ids_are_native(embedder: Preprocessor, text: str, least: int) -> None:
    # In the demo vocabulary a Chinese character is three ids: a short list may begin inside one, and is not excused.
    ids = embedder.tokenizer.encode([text * 40])[0]
    draw = random.Random(0)
    lengths = [draw.randint(least, 512) for _ in range(2000)]
    starts = [draw.randint(0, len(ids) - length) for length in lengths]

    found = [embedder.tokenizer.are_native([ids[s : s + n]]) for s, n in zip(starts, lengths, strict=True)]

    assert sum(found) >= 0.995 * len(found)


def test_35_long_lists_are_all_found_foreign_and_nobody_is_called(without_file: ServerProcess) -> None:
    answers = [embed(without_file.client, _ids(_random_words(128 + seed, seed))) for seed in range(200)]

    assert {openai_error(answer, 400)["code"] for answer in answers} == {"foreign_token_ids"}
    assert "watched connection" not in without_file.text()


def test_35_a_damaged_file_is_as_none_and_nobody_is_called(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / FILE).write_bytes(b"not what it was")

    with _server(tmp_path, tmp_path / "cache") as hearth:
        answer = embed(hearth.client, _ids(_random_words(30, 1)))

    assert openai_error(answer, 400)["code"] == "foreign_token_ids"
    assert "watched connection" not in hearth.text()
    # tiktoken would have removed it to download another.
    assert (tmp_path / "cache" / FILE).read_bytes() == b"not what it was"
