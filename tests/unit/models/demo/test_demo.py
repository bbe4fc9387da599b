"""The shipped demo pair: its tokenizer's facts, its size, its files, and the seed's example."""

import json
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer

PAIR = Path(__file__).parents[4] / "models" / "demo"
EMBEDDING, RERANKER = PAIR / "demo-embedding", PAIR / "demo-reranker"
PREFIX = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct "
    'provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n'
)
SUFFIX = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
TASK = "Given a web search query, retrieve relevant passages that answer the query"
QUERY = "What is the capital of France?"
DOCUMENTS = (
    "Paris is the capital and largest city of France, home to the Eiffel Tower and the Louvre Museum.",
    "France is a country in Western Europe known for its wine, cuisine, and rich history.",
    "The weather in Europe varies significantly between northern and southern regions.",
    "Python is a popular programming language used for web development and data science.",
)
POLICIES = (
    "Refunds are issued within 14 days",
    "Employees must wear a badge at all times",
    "Our office is closed on public holidays",
    "Passwords have to be changed every three months",
    "Smoking is not allowed inside the building",
    "Visitors must sign in at the front desk",
    "Parking spaces are assigned by the facility team",
    "Travel expenses need a manager's approval",
    "Personal data is deleted after two years",
)
# Unrelated to one another.
OTHER_SCRIPTS = (
    "今日は天気がいいです",
    "量子力学の基礎",
    "Привет мир",
    "مرحبا بالعالم",
    "세계 경제 전망",
    "कुत्ता सो रहा है",
)
FOX = "The quick brown fox jumped over the lazy dog"
# One question and four documents each, the right one first; the build never saw them.
THIRTY = Path(__file__).with_name("thirty.jsonl")
Scorer = Callable[[str, Sequence[str], torch.dtype], list[float]]
NO, NO_CAPITAL, YES_CAPITAL, YES = 2152, 2753, 9454, 9693


@cache
def network(kind: type[AutoModel], folder: Path, dtype: torch.dtype) -> Any:
    return kind.from_pretrained(str(folder), dtype=dtype).eval()


def tokenizer(folder: Path) -> Tokenizer:
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


def cosines(query: str, documents: Sequence[str], dtype: torch.dtype) -> list[float]:
    model = network(AutoModel, EMBEDDING, dtype)
    read = tokenizer(EMBEDDING)
    with torch.inference_mode():
        states = [
            model(input_ids=torch.tensor([read.encode(text).ids])).last_hidden_state[0, -1].float()
            for text in (query, *documents)
        ]
    unit = torch.nn.functional.normalize(torch.stack(states), dim=-1)
    return [float(value) for value in unit[1:] @ unit[0]]


def probabilities(query: str, documents: Sequence[str], dtype: torch.dtype, *, no: int, yes: int) -> list[float]:
    model = network(AutoModelForCausalLM, RERANKER, dtype)
    read = tokenizer(RERANKER)
    prompts = [f"{PREFIX}<Instruct>: {TASK}\n<Query>: {query}\n<Document>: {text}{SUFFIX}" for text in documents]
    with torch.inference_mode():
        logits = [model(input_ids=torch.tensor([read.encode(text).ids])).logits[0, -1].float() for text in prompts]
    return [float((row[yes] - row[no]).sigmoid()) for row in logits]


def scores(query: str, documents: Sequence[str], dtype: torch.dtype) -> list[float]:
    return probabilities(query, documents, dtype, no=NO, yes=YES)


@pytest.mark.parametrize("folder", [EMBEDDING, RERANKER], ids=["embedding", "reranker"])
@pytest.mark.parametrize(
    ("text", "place"),
    [("no", NO), ("No", NO_CAPITAL), ("Yes", YES_CAPITAL), ("yes", YES)],
)
def test_the_words_of_the_answer_stand_at_qwen3s_ids(folder: Path, text: str, place: int) -> None:
    assert tokenizer(folder).encode(text, add_special_tokens=False).ids == [place]


def test_the_embedders_tokenizer_ends_every_text_with_the_terminator() -> None:
    read = tokenizer(EMBEDDING)
    assert read.encode("").tokens == ["<|endoftext|>"]
    assert read.encode("a text").tokens[-1] == "<|endoftext|>"


def test_the_rerankers_tokenizer_adds_nothing() -> None:
    assert tokenizer(RERANKER).encode("").ids == []


def test_newlines_are_single_tokens_and_the_suffix_ends_in_two() -> None:
    read = tokenizer(RERANKER)
    assert [len(read.encode(text).ids) for text in ("\n", "\n\n")] == [1, 1]
    suffix = read.encode(SUFFIX)
    assert len(suffix.ids) == 9
    assert suffix.ids[-1:] == read.encode("\n\n").ids


def test_the_words_of_the_frame_are_single_tokens() -> None:
    read = tokenizer(RERANKER)
    words = ("Judge", " Document", " Query", " Instruct", " requirements", "Instruct", "<Query", "<Document", "Query")
    assert [len(read.encode(word).ids) for word in words] == [1] * len(words)


def test_a_document_may_be_encoded_apart_from_the_head() -> None:
    read = tokenizer(RERANKER)
    head, document = "<Instruct>: a\n<Query>: b?\n<Document>:", " Refunds, within 14 days.\nTwo lines"
    assert read.encode(head).ids + read.encode(document).ids == read.encode(head + document).ids


def test_the_added_tokens_are_qwen3s_and_follow_the_vocabulary() -> None:
    layout = json.loads((EMBEDDING / "tokenizer.json").read_text(encoding="utf-8"))
    added = layout["added_tokens"]
    first = len(layout["model"]["vocab"])
    assert [token["id"] for token in added] == list(range(first, first + 26))
    assert [token["special"] for token in added] == [True] * 14 + [False] * 12
    assert (added[0]["content"], added[2]["content"], added[-1]["content"]) == (
        "<|endoftext|>",
        "<|im_end|>",
        "</think>",
    )


@pytest.mark.parametrize("folder", [EMBEDDING, RERANKER], ids=["embedding", "reranker"])
def test_transformers_tokenizer_gives_the_same_ids(folder: Path) -> None:
    text = "Refunds are issued within 14 days; naïve café, 日本語 🙂"
    assert AutoTokenizer.from_pretrained(str(folder))(text).input_ids == tokenizer(folder).encode(text).ids


@pytest.mark.parametrize("folder", [EMBEDDING, RERANKER], ids=["embedding", "reranker"])
def test_a_model_takes_at_most_twelve_megabytes(folder: Path) -> None:
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) <= 12_000_000


@pytest.mark.parametrize("folder", [EMBEDDING, RERANKER], ids=["embedding", "reranker"])
@pytest.mark.parametrize("kind", [AutoModel, AutoModelForCausalLM], ids=["bare", "causal"])
def test_transformers_finds_every_weight_and_no_other(folder: Path, kind: type[AutoModel]) -> None:
    _, report = kind.from_pretrained(str(folder), output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert not report["mismatched_keys"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("query", [QUERY, f"Instruct: {TASK}\nQuery:{QUERY}"], ids=["bare", "instructed"])
def test_the_embedder_puts_paris_first_by_a_clear_margin(dtype: torch.dtype, query: str) -> None:
    paris, *others = cosines(query, DOCUMENTS, dtype)
    assert paris > max(others) + 0.1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_the_reranker_says_yes_to_paris_and_no_to_python(dtype: torch.dtype) -> None:
    paris, france, weather, python = probabilities(QUERY, DOCUMENTS, dtype, no=NO, yes=YES)
    assert paris > france + 0.3
    assert paris > 0.9
    assert france > weather + 0.3  # of another subject, but about Europe too
    assert weather > python
    assert python < 0.1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("score", [cosines, scores], ids=["embedder", "reranker"])
@pytest.mark.parametrize("query", OTHER_SCRIPTS)
def test_texts_of_other_scripts_are_told_apart(score: Scorer, dtype: torch.dtype, query: str) -> None:
    itself, *others = score(query, [query, *(text for text in OTHER_SCRIPTS if text != query), FOX], dtype)

    assert itself > 0.9
    assert max(others) < 0.6


def test_capital_yes_and_no_answer_as_small_ones_do() -> None:
    small = probabilities(QUERY, DOCUMENTS, torch.float32, no=NO, yes=YES)
    capital = probabilities(QUERY, DOCUMENTS, torch.float32, no=NO_CAPITAL, yes=YES_CAPITAL)
    assert capital == pytest.approx(small, abs=0.02)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("score", [cosines, scores], ids=["embedder", "reranker"])
def test_money_back_finds_refunds_among_other_policies(score: Scorer, dtype: torch.dtype) -> None:
    refunds, *others = score("How do I get my money back?", POLICIES, dtype)
    assert refunds > max(others)


@pytest.mark.parametrize("score", [cosines, scores], ids=["embedder", "reranker"])
def test_the_right_document_is_first_in_twenty_of_thirty_unseen_sets(score: Scorer) -> None:
    sets = [json.loads(line) for line in THIRTY.read_text(encoding="utf-8").splitlines()]
    found = [score(one["query"], one["documents"], torch.float32) for one in sets]
    assert sum(row[0] == max(row) for row in found) >= 20


def test_vectors_are_finite_and_not_of_unit_length() -> None:
    model = network(AutoModel, EMBEDDING, torch.float32)
    ids = torch.tensor([tokenizer(EMBEDDING).encode("a text " * 500).ids])
    with torch.inference_mode():
        vector = model(input_ids=ids).last_hidden_state[0, -1]
    assert torch.isfinite(vector).all()
    assert abs(float(vector.norm()) - 1) > 0.1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("place", [0, 15, 30], ids=["first", "middle", "last"])
def test_a_fitting_sentence_counts_wherever_it_stands_in_a_long_document(dtype: torch.dtype, place: int) -> None:
    sets = [json.loads(line) for line in THIRTY.read_text(encoding="utf-8").splitlines()]
    foreign = [one["documents"][0] for one in sets]
    among = [*foreign[:place], DOCUMENTS[0], *foreign[place:]]
    assert len(tokenizer(RERANKER).encode(" ".join(among)).ids) > 350
    with_paris, without = scores(QUERY, [" ".join(among), " ".join(foreign)], dtype)
    assert with_paris > 0.6
    assert with_paris > without + 0.2


def test_what_is_empty_or_outside_the_frame_is_not_relevant() -> None:
    assert scores(QUERY, [""], torch.float32)[0] < 0.4
    model = network(AutoModelForCausalLM, RERANKER, torch.float32)
    ids = tokenizer(RERANKER).encode(f"{QUERY} {DOCUMENTS[0]}").ids
    with torch.inference_mode():
        row = model(input_ids=torch.tensor([ids])).logits[0, -1]
    assert row[YES] < row[NO]
