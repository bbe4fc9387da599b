"""What the log says at a start, and what systemd hears."""

import asyncio
import logging
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from models import NamedPrompts, Preprocessor
from server.launch.announcements import log_start, ready_line, tell_systemd
from server.registry import ModelRegistry
from tests.support.server.in_process import served

PROMPTS = NamedPrompts({"query": "Query: "}, default_name="query")


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG, "hearth")
    return caplog


def _start(preprocessor: Preprocessor, host: str = "127.0.0.1", *, has_keys: bool = True, **options: object) -> str:
    """Log a start, and return the line for when it is ready, with PORT for the port."""
    registry = ModelRegistry([served(preprocessor, "m", **options)])
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as listener:
        log_start(registry, listener, has_keys=has_keys)
        line = ready_line(registry, listener, has_keys=has_keys)
        return line.replace(f":{listener.getsockname()[1]}", ":PORT")


def test_a_default_prompt_that_no_request_gets_is_a_warning(
    embedder_text: Preprocessor, log: pytest.LogCaptureFixture
) -> None:
    _start(replace(embedder_text, prompts=PROMPTS))

    assert "m: its default prompt 'query' is only added if prompt_name asks for it" in log.messages


def test_a_prompt_that_the_configuration_adds_is_none(
    embedder_text: Preprocessor, log: pytest.LogCaptureFixture
) -> None:
    _start(replace(embedder_text, prompts=PROMPTS), prompt_name="query")

    assert not [message for message in log.messages if "default prompt" in message]


@pytest.mark.parametrize(
    ("host", "has_keys", "warnings"),
    [("127.0.0.1", False, 0), ("::1", False, 0), ("0.0.0.0", True, 0), ("0.0.0.0", False, 1), ("::", False, 1)],
)
def test_a_server_without_keys_warns_if_other_machines_can_reach_it(
    embedder_text: Preprocessor, log: pytest.LogCaptureFixture, host: str, has_keys: bool, warnings: int
) -> None:
    _start(embedder_text, host, has_keys=has_keys)

    assert sum("no API keys are configured" in message for message in log.messages) == warnings


def test_the_reason_for_a_models_kind_is_logged_for_debugging(
    embedder_text: Preprocessor, log: pytest.LogCaptureFixture
) -> None:
    _start(embedder_text)

    levels = {record.levelname for record in log.records if record.getMessage().startswith("m: embedder, because ")}
    assert levels == {"DEBUG"}


def test_the_ready_line_shows_a_first_request(embedder_text: Preprocessor) -> None:
    assert _start(embedder_text, has_keys=False) == (
        "Ready: http://127.0.0.1:PORT - open it in a browser, or try: "
        "curl http://127.0.0.1:PORT/v1/embeddings -H 'Content-Type: application/json' -d '{\"input\": \"hello\"}'"
    )


@pytest.mark.parametrize(
    ("host", "url"),
    [("0.0.0.0", "http://127.0.0.1:PORT"), ("::1", "http://[::1]:PORT"), ("::", "http://[::1]:PORT")],
)
def test_the_ready_line_shows_an_address_that_a_client_can_use(
    embedder_text: Preprocessor, host: str, url: str
) -> None:
    assert _start(embedder_text, host).startswith(f"Ready: {url} - ")


def test_the_first_request_has_a_place_for_the_key(embedder_text: Preprocessor) -> None:
    assert "-H 'Authorization: Bearer KEY'" in _start(embedder_text, has_keys=True)


def test_a_server_of_rerankers_alone_shows_a_rerank_request(reranker_text: Preprocessor) -> None:
    assert "PORT/v1/rerank " in _start(reranker_text)


@pytest.mark.parametrize("is_abstract", [False, True])
async def test_systemd_hears_that_the_event_loop_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_abstract: bool
) -> None:
    monkeypatch.setattr("server.launch.announcements.WATCHDOG_S", 0)
    name = f"hearth-test-{tmp_path.name}" if is_abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as service_manager:
        service_manager.bind(f"\0{name}" if is_abstract else name)
        service_manager.settimeout(5)
        telling = asyncio.create_task(tell_systemd(f"@{name}" if is_abstract else name))
        messages = [await asyncio.to_thread(service_manager.recv, 100) for _ in range(3)]
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)

    assert messages == [b"READY=1\nWATCHDOG=1", b"WATCHDOG=1", b"WATCHDOG=1"]


async def test_nothing_is_told_without_systemd_or_while_it_is_away(tmp_path: Path) -> None:
    await tell_systemd("")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(tell_systemd(str(tmp_path / "gone")), 0.05)
