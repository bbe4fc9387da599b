"""The pages, what they load, and their paths."""

from fastapi import FastAPI

from server.api.pages.docs_page import DOCS_FILES, DOCS_FILES_PATH, docs_route
from server.api.pages.search_page import PAGE_FILES, PAGE_FILES_PATH, search_route
from server.api.pages.static_files import PageFiles
from server.api.route_table import Route

PAGES = ("/", "/docs", "/openapi.json")
# Every path below one of these is a file.
FILE_PATHS = (DOCS_FILES_PATH, PAGE_FILES_PATH)


def page_routes(title: str, root_path: str) -> list[Route]:
    """The search page at / and the API page at /docs."""
    return [docs_route(title, root_path), search_route(title, root_path)]


def add_page_files(app: FastAPI) -> None:
    """Add the files that the pages load."""
    app.mount(DOCS_FILES_PATH, PageFiles(directory=DOCS_FILES))
    app.mount(PAGE_FILES_PATH, PageFiles(directory=PAGE_FILES))
