"""Web pages of other sites, before a server without keys that only its own machine reaches."""

import pytest
from starlette.datastructures import Headers

from server.api.auth import Sites, own_sites
from server.config import Auth, Config
from server.errors import HostNotAllowed, OriginNotAllowed
from server.registry import ServedModel
from tests.support.http.requests import V1, openai_error
from tests.support.server.in_process import in_process_server

SITES = Sites(["127.0.0.1", "hearth.example.com"], ["https://app.example.com"])


@pytest.mark.parametrize(
    "host",
    [
        *(
            "localhost",
            "LOCALHOST:8000",
            "localhost.",
            "app.localhost:8000",
            "127.0.0.1:8000",
            "[::1]:8000",
            "10.0.0.7",
        ),
        *("hearth", "hearth:8000", "Hearth.Example.com:443", ""),
    ],
)
def test_addresses_names_without_a_dot_and_known_names_are_answered(host: str) -> None:
    SITES.check(Headers({"host": host}))


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example", "evil.example."),
        *("hearth.example.com.evil.example", "[::1", "localhost@evil.example"),
    ],
)
def test_a_name_that_another_site_can_give_to_this_machine_is_refused(host: str) -> None:
    with pytest.raises((HostNotAllowed, OriginNotAllowed)):
        SITES.check(Headers({"host": host, "origin": f"http://{host}"}))


@pytest.mark.parametrize(
    "origin",
    [
        *("http://localhost:3000", "http://127.0.0.1:8000", "http://[::1]:8000", "https://hearth.example.com"),
        *("https://app.example.com", "http://10.0.0.7"),
    ],
)
def test_pages_of_this_machine_and_of_known_sites_may_call(origin: str) -> None:
    SITES.check(Headers({"host": "10.0.0.7:8000", "origin": origin}))


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "http://evil", "null", "http://10.0.0.8", "https://app.example.com:8443", "["]
)
def test_pages_of_other_sites_may_not_call(origin: str) -> None:
    with pytest.raises(OriginNotAllowed):
        SITES.check(Headers({"host": "127.0.0.1:8000", "origin": origin}))


@pytest.mark.parametrize(("names", "origins"), [(["*"], []), ([], ["*"])])
def test_a_star_is_any(names: list[str], origins: list[str]) -> None:
    host = "evil.example" if names else "localhost"

    Sites(names, origins).check(Headers({"host": host, "origin": "https://other.example"}))


@pytest.mark.parametrize(
    ("host", "is_local"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False)],
)
def test_only_a_server_that_its_own_machine_reaches_looks_at_names(host: str, is_local: bool) -> None:
    assert (own_sites(Config(host=host)) is not None) == is_local


async def test_a_request_of_a_foreign_page_costs_no_work(embedder: ServedModel) -> None:
    # Without preflight: what any page may send.
    headers = {"content-type": "text/plain", "origin": "https://evil.example"}
    async with in_process_server(embedder) as here:
        foreign = await here.client.post(V1, content='{"input": "a"}', headers=headers)
        rebound = await here.client.get("/v1/models", headers={"host": "evil.example"})
        own = await here.client.post(V1, content='{"input": "a"}', headers={"content-type": "text/plain"})

    assert (foreign.status_code, rebound.status_code, own.status_code) == (403, 403, 200)
    assert openai_error(foreign, 403)["code"] == "origin_not_allowed"
    assert openai_error(rebound, 403)["code"] == "host_not_allowed"


@pytest.mark.parametrize("path", ["/", "/docs", "/openapi.json", "/health", "/ready"])
async def test_what_is_the_same_for_everyone_may_have_any_name(embedder: ServedModel, path: str) -> None:
    async with in_process_server(embedder) as here:
        answer = await here.client.get(path, headers={"host": "hearth.example.com"})
        metrics = await here.client.get("/metrics", headers={"host": "hearth.example.com"})

    assert (answer.status_code, metrics.status_code) == (200, 403)


async def test_with_keys_a_proxy_may_use_any_name(embedder: ServedModel) -> None:
    headers = {"host": "hearth.example.com", "origin": "https://app.example.com", "authorization": "Bearer k"}
    async with in_process_server(embedder, auth=Auth(keys=("k",))) as here:
        answer = await here.client.post(V1, json={"input": "a"}, headers=headers)

    assert answer.status_code == 200
