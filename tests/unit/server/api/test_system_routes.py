"""The pages of a server below a proxy's prefix."""

import pytest

from server.config import Auth
from server.registry import ServedModel
from tests.support.server.in_process import in_process_server


async def test_the_root_leads_to_the_page_below_the_address_it_was_asked_at(embedder: ServedModel) -> None:
    async with in_process_server(embedder) as here:
        assert (await here.client.get("/")).headers["location"] == "docs"


@pytest.mark.parametrize("path", ["/", "/search", "/search/"])
async def test_the_root_leads_to_the_page_below_the_root_path(embedder: ServedModel, path: str) -> None:
    async with in_process_server(embedder, root_path="search/") as here:
        assert (await here.client.get(path)).headers["location"] == "/search/docs"


@pytest.mark.parametrize("path", ["/docs", "/search/docs", "/openapi.json", "/search/docs/assets/swagger-ui.css"])
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
