"""API keys: where they come from, and which requests need one."""

from pathlib import Path

import pytest

from server.api.auth import Keys, caller_of, open_paths, read_keys
from server.config import Auth, ConfigError
from server.registry import ServedModel
from tests.support.server.in_process import in_process_server


def test_a_known_key_is_accepted() -> None:
    keys = Keys(["first", "second"])

    assert keys.accept(["second"])
    assert keys.accept(["wrong", "first"])


@pytest.mark.parametrize("sent", [[], ["wrong"], ["firs"], ["first "], [""]])
def test_an_unknown_key_is_not_accepted(sent: list[str]) -> None:
    assert not Keys(["first"]).accept(sent)


def test_keys_are_not_kept_as_text() -> None:
    assert "secret" not in str(vars(Keys(["secret"])))


def test_keys_of_the_file_are_added_to_those_of_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("# a comment\n\n  from-file  \n", "utf-8")

    keys = Keys(read_keys(Auth(keys=("from-config",), keys_file=tmp_path / "keys")))

    assert len(keys) == 2
    assert keys.accept(["from-file"])
    assert keys.accept(["from-config"])
    assert not keys.accept(["# a comment"])


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    (tmp_path / "keys").write_bytes(b"\xef\xbb\xbfkey\n")

    assert read_keys(Auth(keys_file=tmp_path / "keys")) == ["key"]


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing but a comment\n"])
def test_a_file_without_keys_does_not_open_the_server(tmp_path: Path, text: str) -> None:
    (tmp_path / "keys").write_text(text, "utf-8")

    with pytest.raises(ConfigError, match="contains no keys"):
        read_keys(Auth(keys_file=tmp_path / "keys"))


def test_a_file_that_is_missing_does_not_either(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"auth\.keys_file does not exist"):
        read_keys(Auth(keys_file=tmp_path / "keys"))


@pytest.mark.parametrize(
    ("settings", "path", "is_open"),
    [
        ({}, "/health", True),
        ({}, "/metrics", False),
        ({"metrics_open": True}, "/metrics", True),
        ({}, "/openapi.json", True),
        ({"pages_open": False}, "/openapi.json", False),
        ({"pages_open": False}, "/ready", True),
        ({}, "/v1/models", False),
    ],
)
def test_81_few_paths_are_open(settings: dict[str, bool], path: str, is_open: bool) -> None:
    assert (path in open_paths(Auth(**settings))) is is_open


@pytest.mark.parametrize(("metrics_open", "status"), [(False, 401), (True, 200)])
async def test_81_metrics_are_open_only_when_said(embedder: ServedModel, metrics_open: bool, status: int) -> None:
    async with in_process_server(embedder, auth=Auth(keys=("k",), metrics_open=metrics_open)) as here:
        assert (await here.client.get("/metrics")).status_code == status


@pytest.mark.parametrize("path", ["/health/../v1/models", "/health/x", "/HEALTH", "/live%2f..%2fmetrics"])
async def test_81_no_spelling_of_an_open_path_opens_another(embedder: ServedModel, path: str) -> None:
    async with in_process_server(embedder, auth=Auth(keys=("k",))) as here:
        assert (await here.client.get(path)).status_code == 401


def _caller(keys: Keys, address: str = "10.0.0.1", **headers: str) -> str:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return caller_of({"type": "http", "headers": raw, "client": (address, 50000)}, keys)


def test_a_caller_is_its_key_wherever_it_calls_from() -> None:
    keys = Keys(["first", "second"])

    here, there = (_caller(keys, address, x_api_key="first") for address in ("10.0.0.1", "10.0.0.2"))
    bearer = _caller(keys, authorization="Bearer first")
    second = _caller(keys, x_api_key="second")

    assert here == there == bearer != second
    assert "first" not in here


def test_a_caller_with_an_unknown_key_is_its_address() -> None:
    assert _caller(Keys(["first"]), x_api_key="made up") == _caller(Keys(["first"])) == "10.0.0.1"


def test_without_keys_callers_of_one_address_are_told_apart_by_what_they_send() -> None:
    keys = Keys([])

    callers = {_caller(keys), _caller(keys, x_api_key="a"), _caller(keys, x_api_key="b"), _caller(keys, "10.0.0.2")}

    assert len(callers) == 4
    assert caller_of({"type": "http", "headers": [], "client": None}, keys) == ""
