"""The programs that users have, run as they are but for base URL, key and model name: the folder seeds/.

They come from Fireworks' guide "Embeddings & Reranking"; the demo pair answers them, with nothing configured.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.http.requests import BODIES, FIREWORKS, fireworks_error, scores
from tests.support.server.process import ServerProcess

SEEDS = Path(__file__).parent / "seeds"
# "clearly above the rest": the next document speaks of France too.
CLEARLY = 0.3


@pytest.fixture
def run(newcomer_server: ServerProcess) -> Any:
    """Run a seed program against the server; its variables come back."""

    def _run(name: str, **replaced: str) -> dict[str, Any]:
        changes = {
            "https://api.fireworks.ai": newcomer_server.url,
            "<FIREWORKS_API_KEY>": "none",
            "fireworks/qwen3-embedding-8b": "demo-embedding",
            "fireworks/qwen3-reranker-8b": "demo-reranker",
        }
        program = (SEEDS / name).read_text("utf-8")
        for old, new in (changes | replaced).items():
            program = program.replace(old, new)
        variables: dict[str, Any] = {}
        exec(compile(program, name, "exec"), variables)
        return variables

    return _run


def test_the_embeddings_program_prints_a_vector(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    answer = run("embeddings.py")["response"]

    body = answer.json()
    assert answer.status_code == 200
    assert len(body["data"][0]["embedding"]) == 256
    assert body["usage"] == {"prompt_tokens": 10, "total_tokens": 10}
    assert "'object': 'list'" in capsys.readouterr().out


def test_it_takes_dimensions_as_the_guide_says(run: Any) -> None:
    answer = run("embeddings.py", **{'"input"': '"dimensions": 128, "input"'})["response"]

    assert len(answer.json()["data"][0]["embedding"]) == 128


def test_the_rerank_program_finds_paris_first(run: Any) -> None:
    variables = run("rerank.py")

    data = variables["response"].json()["data"]
    assert next(item["index"] for item in data) == 0
    assert len(data) == variables["payload"]["top_n"]
    assert data[0]["document"] == variables["payload"]["documents"][0]
    assert data[0]["relevance_score"] > data[1]["relevance_score"] + CLEARLY


def test_53_its_answer_has_fireworks_keys_and_no_others(run: Any) -> None:
    body = run("rerank.py")["response"].json()

    assert set(body) == {"object", "model", "data", "usage"}
    assert {key for item in body["data"] for key in item} == {"index", "relevance_score", "document"}


def test_38_the_logits_program_finds_paris_first(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    variables = run("logits.py")

    results = variables["results"]
    assert (variables["token_false_id"], variables["token_true_id"]) == (2753, 9454)
    assert results[0]["index"] == 0
    assert results[0]["relevance_score"] > results[1]["relevance_score"] + CLEARLY
    assert "Paris is the capital" in capsys.readouterr().out.splitlines()[0]


def test_38_its_probabilities_sum_to_1(run: Any) -> None:
    data = run("logits.py")["response"]["data"]

    assert np.sum([item["embedding"] for item in data], axis=1) == pytest.approx(1, abs=1e-6)


def test_38_its_prompts_are_framed(newcomer_server: ServerProcess) -> None:
    answer = newcomer_server.client.post(FIREWORKS, json={"input": BODIES, "return_logits": [2753, 9454]})

    assert answer.headers["x-hearth-framed"] == "4"


def test_38_an_id_outside_the_vocabulary_is_400_and_named(run: Any, newcomer_server: ServerProcess) -> None:
    payload = run("logits.py")["payload"] | {"return_logits": [2753, 999999]}

    error = fireworks_error(newcomer_server.client.post(FIREWORKS, json=payload), 400)

    assert "return_logits[1]" in error["message"]
    assert "999999" in error["message"]


def test_the_parallel_program_runs_as_it_stands(run: Any) -> None:
    assert len(run("logits_parallel.py")["scores"]) == 1


def test_and_agrees_with_the_simple_one(run: Any) -> None:
    simple = run("logits.py")

    found = run("logits_parallel.py", **{"[...]": repr(simple["documents"]), "batch_size=100": "batch_size=1"})[
        "scores"
    ]

    expected = {item["index"]: item["relevance_score"] for item in simple["results"]}
    assert found == pytest.approx([expected[index] for index in range(4)], abs=2e-2)


def test_39_with_the_ids_of_no_and_yes_it_gives_the_rerank_scores(run: Any) -> None:
    data = run("logits.py", **{"2753": "2152", "9454": "9693"})["response"]["data"]

    reranked = run("rerank.py", **{'"top_n": 3': '"top_n": 4'})["response"]
    assert [item["embedding"][1] for item in data] == pytest.approx(scores(reranked), abs=1e-6)
