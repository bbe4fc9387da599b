"""Named prompts: the authors' own, under the names that clients use, with the operator's instruction in its place."""

import json
from pathlib import Path

import pytest
import torch
from sentence_transformers import SentenceTransformer

from models import Item, LoadOptions, ModelError, Readout, finish_vectors, load_backend, load_preprocessor
from models.text.named_prompts import NamedPrompts
from tests.support.checkpoints.classifiers import cross_encoder
from tests.support.checkpoints.qwen3 import build
from tests.support.server.in_process import pair_model, text_model

QWEN3 = NamedPrompts({"query": "Instruct: find\nit\nQuery:", "document": ""})
REPRESENT = "Represent this sentence for searching relevant passages: "
WEB_SEARCH = "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:"


def write_prompts(folder: Path, prompts: dict[str, str], default: str | None = None) -> Path:
    document = {"prompts": prompts, "default_prompt_name": default}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(document), "utf-8")
    return folder


@pytest.mark.parametrize(
    ("prompts", "name", "found"),
    [
        ({"query": "q: "}, "query", "q: "),
        ({"search_query": "q: "}, "query", "q: "),
        ({"passage": "p: ", "corpus": "c: "}, "document", "p: "),
        ({"document": "", "passage": "p: "}, "document", ""),
        ({"query": "q: "}, "document", None),
        ({"passage": "p: "}, "query", None),
    ],
)
def test_a_prompt_is_found_by_the_names_that_clients_use(prompts: dict[str, str], name: str, found: str | None) -> None:
    assert NamedPrompts(prompts).find(name) == found


@pytest.mark.parametrize("name", ["query", "document"])
def test_a_text_behind_its_prompt_is_that_of_sentence_transformers(tmp_path: Path, name: str) -> None:
    folder = write_prompts(build(tmp_path / "m"), {"query": "Find: ", "document": "title: none | "})
    library = SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": torch.float32})
    theirs = {"query": library.encode_query, "document": library.encode_document}[name]("red planet")
    text = load_preprocessor(folder)

    ids = text.tokenizer.with_special_tokens(text.tokenizer.encode([f"{text.prompts.find(name)}red planet"])[0])

    backend = load_backend(folder, text.info, LoadOptions(dtype="float32"))
    ours = finish_vectors(backend.launch([Item(ids, Readout("vector"))]).rows(), normalize=True)[0]
    assert ours @ theirs >= 0.999999
    assert library.encode("red planet") @ theirs < 0.99


def test_an_instruction_takes_the_place_of_the_models_own() -> None:
    changed = QWEN3.instructed("Given a question, find its answer")

    assert changed
    assert changed.by_name == {"query": "Instruct: Given a question, find its answer\nQuery:", "document": ""}


def test_an_instruction_makes_a_query_prompt_of_the_models_other_ones() -> None:
    changed = NamedPrompts({"sts_query": "Instruct: Retrieve similar text.\nQuery: "}).instructed("Find")

    assert changed
    assert changed.by_name["query"] == "Instruct: Find\nQuery: "


def test_a_prompt_without_a_place_for_an_instruction_is_refused(tmp_path: Path) -> None:
    folder = write_prompts(build(tmp_path / "m"), {"query": "Represent this sentence: "})

    with pytest.raises(ModelError, match=r"takes no instruction; remove the configured one: .Find"):
        load_preprocessor(folder).instructed("Find")


def test_a_pair_has_no_place_for_an_instruction_and_the_qwen3_frame_has(tmp_path: Path) -> None:
    framed = text_model(tmp_path / "framed", "reranker")

    assert framed.instructed("Find") == framed
    with pytest.raises(ModelError, match="takes no instruction"):
        pair_model(tmp_path / "pairs").instructed("Find")


@pytest.mark.parametrize(
    ("name", "query"),
    [
        ("nomic-embed-text-v1.5", "search_query: "),
        ("UAE-Large-V1", REPRESENT),
        ("mxbai-embed-large-v1", REPRESENT),
        ("Qwen3-Embedding-0.6B", WEB_SEARCH),
        ("gte-large", None),
    ],
)
def test_prompts_of_published_models_are_known_where_their_files_lack_them(
    tmp_path: Path, name: str, query: str | None
) -> None:
    folder = build(tmp_path / name)
    (folder / "config_sentence_transformers.json").unlink()

    assert load_preprocessor(folder).prompts.find("query") == query


def test_the_files_win_over_what_is_known(tmp_path: Path) -> None:
    folder = write_prompts(build(tmp_path / "bge-base-en-v1.5"), {"query": ""}, default="query")

    prompts = load_preprocessor(folder).prompts

    assert (prompts.find("query"), prompts.find("document"), prompts.default_name) == ("", "", "query")


def test_a_prompt_that_is_left_out_of_the_mean_is_known_as_such(tmp_path: Path) -> None:
    folder = build(tmp_path / "m")
    file = folder / "1_Pooling" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | {"include_prompt": False}), "utf-8")

    assert not load_preprocessor(folder).prompts.are_pooled
    assert load_preprocessor(cross_encoder(tmp_path / "pairs", "Bert")).prompts.are_pooled
