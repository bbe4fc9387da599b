"""Long texts: the ids that are read of them are those of the whole text, for every kind of tokenizer."""

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from models.checkpoint.hub import demo_models
from models.interface import Ids, Side
from models.text import long_text
from models.text import tokenizer as module
from models.text.long_text import TextLimit
from models.text.tokenizer import Tokenizer, TokenizerFailed, cut
from tests.support.zoo.tokenizers import vocabularies
from tests.support.zoo.tokenizers.tokenizer_files import write_vocabulary

KINDS = {
    "wordpiece": vocabularies.BERT_WORDS,
    "unigram": vocabularies.XLM_ROBERTA_WORDS,
    "byte-level": vocabularies.QWEN3_EMBEDDING_WORDS,
    "metaspace": vocabularies.GEMMA_WORDS,
}
RANDOM = random.Random(5)
CHARACTERS = 6_000
PIECES = [
    "the ",
    "capital",
    "日本",
    "  ",
    "\n\n",
    "!",
    "...",
    "é",
    "e\u0301",
    "🙂",
    "\t",
    "1",
    "99 ",
    "don't ",
    "x" * 50,
]


def _some(*pieces: str) -> str:
    text = ""
    while len(text) < CHARACTERS:
        text += RANDOM.choice(pieces)
    return text


TEXTS = {
    "words": _some("the capital of France ", "is Paris, ", "don't (we)? ", "12345 "),
    "lines": _some("the red planet\n", "  return value\n\n", "\r\n"),
    "without spaces": _some(*"日本語のテキスト漢字、。"),
    "all at once": _some(*PIECES),
    "one letter": "a" * CHARACTERS,
    "one mark": "=" * CHARACTERS,
    "digits": "7" * CHARACTERS,
    "spaces": " " * CHARACTERS,
    "newlines": "\n" * CHARACTERS,
    "runs of spaces": _some(" " * 90 + "x", " " * 1000 + "a"),
    "two by two": "ab" * (CHARACTERS // 2),
    "words of any length": " ".join("abc"[i % 3] * RANDOM.randrange(1, 1500) for i in range(20)),
    "combining marks": "e" + "\u0301" * CHARACTERS,
    "hangul letters": "\u1100\u1161\u11a8" * (CHARACTERS // 3),
    "characters of several tokens": _some(*(chr(RANDOM.randrange(0x1F300, 0x1F600)) for _ in range(50))),
    "nothing": "\0" * CHARACTERS,
    "control tokens": "<|im_start|>" * (CHARACTERS // 12),
}


@pytest.fixture(scope="session", params=["demo", *KINDS])
def tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    if request.param == "demo":
        return Tokenizer(Path(demo_models()[0]) / "tokenizer.json")
    folder = tmp_path_factory.mktemp(request.param)
    write_vocabulary(folder, KINDS[request.param])
    return Tokenizer(folder / "tokenizer.json")


@pytest.fixture
def _short_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_text, "SLICE_CHARACTERS", 1500)
    monkeypatch.setattr(long_text, "EDGE_CHARACTERS", 200)
    monkeypatch.setattr(long_text, "SHORT_CHARACTERS", 500)
    monkeypatch.setattr(long_text, "CHARACTERS_PER_TOKEN", 2)


@pytest.mark.usefixtures("_short_slices")
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_the_ids_up_to_the_limit_are_those_of_the_whole_text(tokenizer: Tokenizer, text: str, side: Side) -> None:
    whole = tokenizer.encode([text])[0]
    limits = {1, 7, len(whole) // 5 + 1, len(whole) // 2, len(whole) - 1, len(whole), CHARACTERS}

    for limit in limits:
        read = tokenizer.encode_within([text], TextLimit(max(limit, 1), side))
        assert np.array_equal(cut(read.ids[0], max(limit, 1), side), cut(whole, max(limit, 1), side))
        assert (0 in read.partial) <= (len(whole) > limit)
        assert 0 in read.partial or np.array_equal(read.ids[0], whole)


def _read(tokenizer: Tokenizer, texts: list[str], limit: TextLimit) -> list[Ids]:
    return tokenizer.encode_within(texts, limit).ids


@pytest.mark.usefixtures("_short_slices")
def test_long_texts_stand_among_short_ones(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GROUP_CHARACTERS", 1000)
    texts = ["the capital", TEXTS["words"], "", "of France", "x" * 400, "is " * 150, "Paris"]
    read = tokenizer.encode_within(texts, TextLimit(100))

    assert read.partial == {1}
    for text, ids in zip(texts, read.ids, strict=True):
        assert np.array_equal(cut(ids, 100), cut(tokenizer.encode([text])[0], 100))


@pytest.mark.usefixtures("_short_slices")
def test_the_first_slices_of_long_texts_are_read_together(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = list[int]()
    encode = module._encode_slices
    monkeypatch.setattr(module, "_encode_slices", lambda of, texts: calls.append(len(texts)) or encode(of, texts))
    texts = [*TEXTS.values(), TEXTS["words"], TEXTS["words"][1:]]
    read = tokenizer.encode_within(texts, TextLimit(40))

    assert calls[0] == len(texts)
    for text, ids in zip(texts, read.ids, strict=True):
        assert np.array_equal(cut(ids, 40), cut(tokenizer.encode([text])[0], 40))


@pytest.mark.parametrize("side", ["left", "right"])
def test_no_more_of_a_text_is_read_than_needed(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch, side: Side
) -> None:
    pieces = list[int]()
    encode = module._encode_slices
    monkeypatch.setattr(module, "_encode_slices", lambda of, texts: pieces.extend(map(len, texts)) or encode(of, texts))
    read = tokenizer.encode_within([TEXTS["words"] * 500], TextLimit(100, side))

    assert 0 in read.partial
    assert len(read.ids[0]) > 100
    assert sum(pieces) < 40_000


def test_a_text_beyond_all_reading_is_too_long_whatever_it_holds(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(long_text, "READ_CHARACTERS", 5000)
    write_vocabulary(tmp_path, KINDS["wordpiece"])
    bert = Tokenizer(tmp_path / "tokenizer.json")
    # One unknown word.
    assert [len(ids) for ids in _read(bert, ["x" * 4999], TextLimit(10))] == [1]

    read = bert.encode_within(["x" * 20_001], TextLimit(10))
    assert read.partial == {0}
    assert len(read.ids[0]) == 1


def _stop_after(calls: int) -> Callable[[int], object]:
    left = iter(range(calls))

    def between(_: int) -> None:
        if next(left, None) is None:
            raise InterruptedError

    return between


def test_the_work_may_be_ended_between_slices_and_groups(tokenizer: Tokenizer) -> None:
    with pytest.raises(InterruptedError):
        tokenizer.encode_within([" " * 1_000_000], TextLimit(100_000, between=_stop_after(2)))
    with pytest.raises(InterruptedError):
        tokenizer.encode_within(["a" * 200_000] * 3, TextLimit(100_000, between=_stop_after(2)))


def test_the_tokens_so_far_are_told(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GROUP_CHARACTERS", 1)
    counts = list[int]()
    tokenizer.encode_within(["the the", "of", "the " * 5], TextLimit(3, between=counts.append))

    assert counts[0] == 0
    assert counts == sorted(counts)
    assert counts[-1] <= 9


def test_a_panic_of_the_library_is_an_error_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    class PanicException(BaseException):
        pass

    def fail() -> list[object]:
        raise PanicException("retry-limit-in-match over")

    with pytest.raises(TokenizerFailed, match="retry-limit"):
        module._guarded(fail)  # type: ignore[arg-type]
