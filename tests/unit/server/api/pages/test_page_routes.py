"""The pages of a server below a proxy's prefix."""

import re

import pytest

from server.config import Auth
from server.registry import ServedModel
from tests.support.server.in_process import in_process_server


@pytest.mark.parametrize(
    ("root_path", "path"),
    [("", "/"), ("search/", "/"), ("search/", "/search"), ("search/", "/search/"), ("", "/docs"), ("", "/docs/")],
)
async def test_the_addresses_of_a_page_are_relative_and_right(embedder: ServedModel, root_path: str, path: str) -> None:
    async with in_process_server(embedder, root_path=root_path) as here:
        page = await here.client.get(path)
        addresses = [page.url.join(address) for address in re.findall(r'(?:src|href)="([^"#]+)"', page.text)]
        answers = {str(address): (await here.client.get(address)).status_code for address in addresses}

    assert len(answers) >= 3
    assert set(answers.values()) == {200}


@pytest.mark.parametrize(("root_path", "path"), [("", "/"), ("search/", "/search"), ("search/", "/search/")])
async def test_a_program_is_led_from_the_front_page_to_the_api_page(
    embedder: ServedModel, root_path: str, path: str
) -> None:
    async with in_process_server(embedder, root_path=root_path) as here:
        answer = await here.client.get(path, headers={"accept": "application/json"})
        docs = await here.client.get(answer.url.join(answer.headers["location"]))

    assert answer.status_code == 307
    assert "swagger-ui" in docs.text


@pytest.mark.parametrize(
    "path", ["/", "/page/main.js", "/docs", "/search/docs", "/openapi.json", "/search/docs/assets/swagger-ui.css"]
)
async def test_pages_are_open_with_the_root_path_and_without(embedder: ServedModel, path: str) -> None:
    async with in_process_server(embedder, root_path="/search", auth=Auth(keys=("k",))) as here:
        assert (await here.client.get(path)).status_code == 200


@pytest.mark.parametrize(("root_path", "servers"), [("", None), ("/", None), ("/search", [{"url": "/search"}])])
async def test_the_document_has_the_root_path(
    embedder: ServedModel, root_path: str, servers: list[dict[str, str]] | None
) -> None:
    async with in_process_server(embedder, root_path=root_path) as here:
        document = (await here.client.get("/openapi.json")).json()

    assert document.get("servers") == servers
