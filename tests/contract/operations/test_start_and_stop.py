"""How `hearth serve` starts and ends, as a shell or a supervisor sees it."""

import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from models import demo_models
from tests.support.checkpoints.qwen3 import build
from tests.support.http.requests import FOX, QUERY, V1, embed, openai_error, rerank
from tests.support.server.process import ServerProcess

# Each begins in its own way, so that nothing of one is computed for another.
BULK = [f"{number} one two three four " * 16 for number in range(250)]
MINILM = "sentence-transformers/all-MiniLM-L6-v2"
FAKE = [{"path": path, "backend": "fake"} for path in demo_models()]


def test_with_nothing_configured_minilm_and_the_demo_pair_are_served(newcomer_server: ServerProcess) -> None:
    listed = newcomer_server.client.get("/v1/models").json()["data"]

    assert [model["id"] for model in listed] == [MINILM, "demo-embedding", "demo-reranker"]
    assert embed(newcomer_server.client, FOX).json()["model"] == MINILM
    assert rerank(newcomer_server.client).status_code == 200


def test_the_default_model_refuses_shorter_vectors_and_its_page_can_know(newcomer_server: ServerProcess) -> None:
    answer = embed(newcomer_server.client, FOX, dimensions=4)
    listed = newcomer_server.client.get("/v1/models").json()["data"]

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "dimensions")
    assert [model["hearth"]["matryoshka"] for model in listed[:2]] == [False, True]


def test_the_default_models_need_neither_transformers_nor_sentence_transformers(newcomer_server: ServerProcess) -> None:
    newcomer_server.client.post(V1, json={"input": FOX}, headers={"x-request-id": "after-loading"})

    newcomer_server.wait_for("request_id=after-loading")
    watched = {line.split()[-1] for line in newcomer_server.log if "watched import:" in line}
    assert watched == {"torch"}


def test_the_log_says_what_each_model_is_and_ends_with_what_to_try(newcomer_server: ServerProcess) -> None:
    assert "embedder, ready on cpu in " in newcomer_server.wait_for("demo-embedding: embedder")
    assert "reranker, ready on cpu in " in newcomer_server.wait_for("demo-reranker: reranker")
    assert f"Ready: {newcomer_server.url} - open it in a browser, or try: curl" in newcomer_server.wait_for("Ready:")


@pytest.mark.parametrize("workers", [1, 2])
def test_the_log_names_the_start_and_the_end_once(start: Callable[..., ServerProcess], workers: int) -> None:
    hearth = start({"models": FAKE, "workers": workers})
    hearth.wait_for("Ready: ")

    hearth.stop()

    words = re.findall("(?<=hearth: )(Ready|draining|stopped)", hearth.text())
    assert words == ["Ready", "draining", "stopped"]


def test_a_log_for_machines_says_who_asked_and_what_was_wrong(start: Callable[..., ServerProcess]) -> None:
    hearth = start({"models": FAKE, "log_format": "json", "log_level": "debug"})
    headers = {"x-request-id": "wrong", "x-forwarded-for": "203.0.113.7"}
    hearth.client.post(V1, json={"input": "a", "dimensions": 0}, headers=headers)

    line = json.loads(hearth.wait_for('"request_id":"wrong"'))

    assert (line["method"], line["path"], line["status"]) == ("POST", "/v1/embeddings", 400)
    assert (line["client"], line["forwarded_for"]) == ("127.0.0.1", "203.0.113.7")
    assert (line["error_code"], line["param"]) == ("invalid_value", "dimensions")
    assert line["ms"] > 0
    assert "modules.json has a Pooling module" in hearth.wait_for("demo-embedding: embedder, because")


def test_probes_say_that_it_is_ready(newcomer_server: ServerProcess) -> None:
    client = newcomer_server.client

    assert [client.get(path).status_code for path in ("/live", "/health", "/ready")] == [200, 200, 200]
    assert client.get("/ready").json() == {"status": "ready"}


def test_metrics_count_requests_by_route(plain_server: ServerProcess) -> None:
    embed(plain_server.client, FOX)

    text = plain_server.client.get("/metrics").text
    assert 'hearth_requests_total{route="/v1/embeddings",status="200"}' in text
    assert "hearth_ready 1.0" in text


def test_76_a_request_in_flight_is_answered_before_the_server_ends(start: Callable[..., ServerProcess]) -> None:
    hearth = start({"models": [{"path": demo_models()[0]}]})

    with ThreadPoolExecutor(1) as pool:
        in_flight = pool.submit(embed, hearth.client, BULK, dimensions=1)
        with httpx.Client(base_url=hearth.url, trust_env=False) as client:
            hearth.until(lambda: re.search(r"hearth_queue_tokens{[^}]*} [1-9]", client.get("/metrics").text))
            hearth.terminate()
            hearth.until(lambda: client.get("/ready").status_code == 503)
            late = embed(client, "a")
            alive = client.get("/live")
        answer = in_flight.result()

    assert answer.status_code == 200
    assert openai_error(late, 503)["code"] == "draining"
    assert int(late.headers["retry-after"]) >= 1
    assert alive.status_code == 200
    assert hearth.end() == 0


def test_76_after_sigterm_nobody_is_let_in(start: Callable[..., ServerProcess]) -> None:
    hearth = start({"models": FAKE})

    assert hearth.stop() == 0
    with pytest.raises(httpx.ConnectError):
        hearth.client.get("/live")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"models": [{"path": "/nowhere/at/all"}]}, "no such model folder: /nowhere/at/all"),
        ({"prot": 9000}, "config.yaml:1: prot: there is no such key; did you mean port?"),
        ({"limits": {"inptus": 5}}, "limits.inptus: there is no such key; did you mean inputs?"),
        ({"models": [{"path": "x", "dtpe": "float32"}]}, "models[0].dtpe: there is no such key; did you mean dtype?"),
        ({"models": FAKE + FAKE}, "two models have the name"),
        ({"models": [FAKE[0] | {"token_ids": "guess"}]}, "token_ids"),
        ({"models": [FAKE[0] | {"max_tokens": 9000}]}, "must be at most"),
        ({"auth": {"keys_file": "/nowhere/keys"}, "models": FAKE}, "auth.keys_file does not exist"),
    ],
)
def test_what_cannot_be_served_ends_the_command_with_one_clear_line(
    tmp_path: Path, config: dict[str, Any], message: str
) -> None:
    hearth = ServerProcess(tmp_path, config)

    assert hearth.end() == 2
    assert message in hearth.text()
    assert "Traceback" not in hearth.text()


def test_64_a_tokenizer_without_a_single_yes_is_not_served(tmp_path: Path) -> None:
    folder = build(tmp_path / "broken-reranker", "reranker")
    tokenizer = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    tokenizer["model"]["merges"].remove(["ye", "s"])
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), "utf-8")

    hearth = ServerProcess(tmp_path / "server", {"models": [{"path": str(folder), "backend": "fake"}]})

    assert hearth.end() == 2
    assert "no single token for 'yes'" in hearth.text()


def test_64_a_model_whose_weights_do_not_load_ends_the_command(tmp_path: Path) -> None:
    folder = build(tmp_path / "broken-embedder")
    (folder / "model.safetensors").write_bytes(b"not weights")

    hearth = ServerProcess(tmp_path / "server", {"models": [{"path": str(folder)}]})

    assert hearth.end() == 2
    assert "damaged or not a safetensors file" in hearth.text()


def test_a_taken_port_ends_the_command(start: Callable[..., ServerProcess], tmp_path: Path) -> None:
    hearth = start({"models": FAKE})

    other = ServerProcess(tmp_path / "other", {"models": FAKE}, "--port", str(hearth.address[1]))

    assert other.end() != 0
    assert "address already in use" in other.text().lower()


def test_a_flag_wins_over_the_environment_which_wins_over_the_file(start: Callable[..., ServerProcess]) -> None:
    hearth = start(
        {"models": FAKE, "port": 1, "limits": {"documents": 5, "inputs": 5}},
        environment={"HEARTH_PORT": "2", "HEARTH_LIMITS__INPUTS": "3"},
    )

    assert hearth.address[1] not in (1, 2)
    assert embed(hearth.client, ["a"] * 4).json()["message"].endswith("at most 3 items, but got 4.")
    documents = hearth.client.post("/v1/rerank", json={"query": QUERY, "documents": ["a"] * 6})
    assert documents.json()["message"].endswith("at most 5 items, but got 6.")
