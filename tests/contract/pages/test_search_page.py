"""The page at /: in a browser as its users see it, and over HTTP as a browser receives it."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest

from models import demo_models
from tests.support.server.process import ServerProcess

if TYPE_CHECKING:
    from playwright.sync_api import Page

ADDRESS = re.compile(r"""(?:src|href)=["']([^"']+)["']""")
IMPORT = re.compile(r'from "\./([^"]+)"')
RANKINGS = ("embedding-ranking", "rerank-ranking")
VIEWS = ("search", "map", "code", "server")
# What the page and everything it loads may weigh.
PAGE_BYTES = 150_000
KEY = "key-of-the-page"


def _files(client: httpx.Client, base: str = "/") -> dict[str, httpx.Response]:
    page = client.get(base)
    files = {str(page.url.join(address)): client.get(page.url.join(address)) for address in ADDRESS.findall(page.text)}
    names = {name for file in files.values() for name in IMPORT.findall(file.text)}
    while names:
        modules = {name: client.get(f"/page/{name}") for name in names}
        files |= modules
        names = {name for file in modules.values() for name in IMPORT.findall(file.text)} - files.keys()
    return files | {base: page}


def test_the_page_is_small_and_each_file_it_loads_is_there(plain: httpx.Client) -> None:
    files = _files(plain)

    assert len(files) > 12
    assert {name: file.status_code for name, file in files.items()} == dict.fromkeys(files, 200)
    assert sum(len(file.content) for name, file in files.items() if "docs" not in name) < PAGE_BYTES


def test_no_file_of_the_page_names_another_host(plain: httpx.Client) -> None:
    files = {name: file.text for name, file in _files(plain).items() if "docs" not in name}

    hosts = {host for text in files.values() for host in re.findall(r"https?://[\w.]+", text)}
    assert hosts == {"http://www.w3.org"}, "a namespace of SVG, and no address"


def test_the_page_runs_no_script_but_its_own_and_in_no_frame(plain: httpx.Client) -> None:
    page, script = plain.get("/"), plain.get("/page/main.js")
    policy = page.headers["content-security-policy"]

    assert "script-src 'self';" in policy
    assert "style-src 'self';" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert page.headers["x-content-type-options"] == script.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("base", ["/behind/proxy/", "/behind/proxy"])
def test_the_page_works_below_a_prefix_that_the_server_knows(start: Callable[..., ServerProcess], base: str) -> None:
    models = [{"path": path, "backend": "fake"} for path in demo_models()]
    url = start({"root_path": "/behind/proxy", "models": models}).url

    page = httpx.get(f"{url}{base}")

    addresses = [str(page.url.join(address)) for address in ADDRESS.findall(page.text)]
    assert addresses
    assert all(address.startswith(f"{url}/behind/proxy") for address in addresses)
    assert {address: httpx.get(address).status_code for address in addresses} == dict.fromkeys(addresses, 200)


def _ranking(page: "Page", name: str) -> list[str]:
    page.wait_for_selector(f"#{name} .bar", state="attached")
    return page.locator(f"#{name} .text").all_text_contents()


def _documents(page: "Page") -> list[str]:
    return page.input_value("#documents").split("\n")


def _best(demo: httpx.Client, query: str, documents: list[str], dimensions: int = 256) -> list[str]:
    body = {"model": "demo-embedding", "input": documents, "dimensions": dimensions}
    vectors = np.array([row["embedding"] for row in demo.post("/v1/embeddings", json=body).json()["data"]])
    body |= {"input": query, "prompt_name": "query"}
    scores = vectors @ demo.post("/v1/embeddings", json=body).json()["data"][0]["embedding"]
    return [documents[index] for index in np.argsort(-scores, kind="stable")]


def test_the_examples_are_ranked_as_the_api_ranks_them(
    open_page: Callable[..., "Page"], demo_server: ServerProcess, demo: httpx.Client
) -> None:
    page = open_page(demo_server.url)

    by_embedding, by_rerank = (_ranking(page, name) for name in RANKINGS)

    query, documents = page.input_value("#query"), _documents(page)
    answer = demo.post("/v1/rerank", json={"query": query, "documents": documents, "return_documents": False})
    assert by_embedding == _best(demo, query, documents)
    assert by_rerank == [documents[result["index"]] for result in answer.json()["results"]]
    assert page.inner_text("#status") == "ready"


def test_fewer_dimensions_rank_as_the_api_ranks_with_them(
    open_page: Callable[..., "Page"], demo_server: ServerProcess, demo: httpx.Client
) -> None:
    page = open_page(demo_server.url)
    _ranking(page, "embedding-ranking")

    page.click("#options summary")
    page.locator("#dimensions").fill("8")

    assert page.inner_text("#dimensions-value") == "8"
    assert _ranking(page, "embedding-ranking") == _best(demo, page.input_value("#query"), _documents(page), 8)
    page.click("#tab-code")
    assert '"dimensions": 8' in page.inner_text("#code")


def test_another_query_and_another_instruction_change_the_ranking_at_once(
    open_page: Callable[..., "Page"], demo_server: ServerProcess
) -> None:
    page = open_page(demo_server.url)
    first = _ranking(page, "rerank-ranking")

    with page.expect_response("**/v1/rerank"):
        page.fill("#query", "rooms to live in")
    # Until the answer is there, the ranking is the word "ranking…".
    page.wait_for_function(
        "text => ![undefined, text].includes(document.querySelector('#rerank-ranking .text')?.textContent)",
        arg=first[0],
    )
    page.click("#options summary")
    with page.expect_request("**/v1/rerank") as request:
        page.fill("#instruction", "Find a home")

    assert json.loads(request.value.post_data)["instruction"] == "Find a home"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("lines.txt", "red apples\n\ngreen pears\n"),
        ("rows.jsonl", '{"id": 1, "text": "red apples"}\n"green pears"\n'),
        ("table.csv", 'id,text\n1,"red ""apples"""\n2,green pears\n'),
        ("noheader.csv", "1;red apples\n2;green pears\n"),
        ("excel.csv", 'sep=;\r\ntext;size\r\nred apples;1,5" wide\r\ngreen pears;2\r\n'),
        ("tabs.tsv", "id\ttext\n1\tred apples\n2\tgreen pears\n"),
        ("list.json", '["red apples", {"text": "green pears"}]'),
        ("windows.txt", "red apples\r\ngreen pears\r\n".encode("utf-16")),
    ],
)
def test_a_file_of_documents_is_read(
    open_page: Callable[..., "Page"], plain_server: ServerProcess, tmp_path: Path, name: str, content: str | bytes
) -> None:
    (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    page = open_page(plain_server.url)

    page.set_input_files("#file", tmp_path / name)
    page.wait_for_function("() => document.getElementById('document-count').textContent.startsWith('2 ')")

    assert [text.replace('"', "") for text in _documents(page)] == ["red apples", "green pears"]


def test_an_old_spreadsheet_keeps_its_letters(
    open_page: Callable[..., "Page"], plain_server: ServerProcess, tmp_path: Path
) -> None:
    (tmp_path / "old.csv").write_bytes("text\nGröße der Räume\n".encode("cp1252"))
    page = open_page(plain_server.url)

    page.set_input_files("#file", tmp_path / "old.csv")
    page.wait_for_function("() => document.getElementById('document-count').textContent.startsWith('1 ')")

    assert _documents(page) == ["Größe der Räume"]


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("broken.jsonl", b'{"text": "a"}\n\n{nonsense\n', "Line 3 is not JSON."),
        ("page.pdf", b"%PDF\0\0", "It is not a text file."),
        ("empty.csv", b"", "It holds no text."),
    ],
)
def test_a_file_that_cannot_be_read_is_said(
    open_page: Callable[..., "Page"], plain_server: ServerProcess, tmp_path: Path, name: str, content: bytes, error: str
) -> None:
    (tmp_path / name).write_bytes(content)
    page = open_page(plain_server.url)

    page.set_input_files("#file", tmp_path / name)

    page.wait_for_selector(f"#failure >> text={name}: {error}")


def test_after_a_failure_no_score_stands_beside_another_document(
    open_page: Callable[..., "Page"], demo_server: ServerProcess
) -> None:
    page = open_page(demo_server.url)
    _ranking(page, "embedding-ranking")
    page.route("**/v1/embeddings", lambda route: route.fulfill(status=429, json={"error": {"message": "Busy."}}))

    page.fill("#documents", "zebra\nyak")
    page.wait_for_selector("#failure >> text=Busy.")
    page.click("#options summary")
    page.locator("#dimensions").fill("8")

    assert page.locator("#embedding-ranking .bar").count() == 0
    assert page.inner_text("#failure") == "Busy."
    page.click("#tab-map")
    assert page.locator("#map circle").count() == 0


def test_texts_that_are_cut_are_counted(open_page: Callable[..., "Page"], demo_server: ServerProcess) -> None:
    page = open_page(demo_server.url)

    page.fill("#documents", "short\n" + "word " * 9000)

    page.wait_for_selector("#cut-hint >> text=1 text is longer than the model reads, and was cut.")
    assert len(_ranking(page, "embedding-ranking")) == 2


def test_without_a_reranker_the_code_is_of_what_is_served(
    open_page: Callable[..., "Page"], start: Callable[..., ServerProcess]
) -> None:
    sizes = {"path": demo_models()[0], "backend": "fake", "matryoshka": [64, 128]}
    page = open_page(start({"models": [sizes]}).url)
    _ranking(page, "embedding-ranking")

    assert page.inner_text("#rerank-ranking") == "No reranker is served."
    page.click("#tab-code")
    assert page.is_disabled("input[value='Rerank']")
    for language in ("Python (openai)", "Python (requests)", "Java"):
        page.check(f"input[value='{language}']")
        assert "demo-embedding" in page.inner_text("#code")


def test_two_texts_have_a_cosine(open_page: Callable[..., "Page"], demo_server: ServerProcess) -> None:
    page = open_page(demo_server.url)

    page.fill("#text-a", "the same words")
    page.fill("#text-b", "the same words")

    page.wait_for_function("() => document.getElementById('cosine').textContent === 'cosine 1.000'")


def test_the_map_shows_a_point_for_each_document_and_says_what_it_is(
    open_page: Callable[..., "Page"], demo_server: ServerProcess
) -> None:
    page = open_page(demo_server.url)
    documents = _ranking(page, "embedding-ranking")

    page.click("#tab-map")
    page.focus("#map circle >> nth=0")
    page.keyboard.press("ArrowRight")

    assert page.locator("#map circle").count() == len(documents)
    assert page.locator("#map path").count() == 1
    assert page.inner_text("#map-text") == _documents(page)[1]


def test_the_server_view_shows_the_models_the_load_and_the_errors(
    open_page: Callable[..., "Page"], plain_server: ServerProcess, plain: httpx.Client
) -> None:
    plain.post("/v1/embeddings", json={"input": 5})
    page = open_page(f"{plain_server.url}/#server")

    page.wait_for_selector("#tiles .tile")
    page.wait_for_selector("#errors li >> text=400: a field or a value is wrong (/v1/embeddings)")

    assert "demo-reranker" in page.inner_text("#models")
    assert page.locator("#tiles small").all_inner_texts()[:2] == ["requests/s", "tokens/s"]


@pytest.fixture
def codes(open_page: Callable[..., "Page"], demo_server: ServerProcess) -> Callable[[str, str], str]:
    """Copies the code of an operation in a language, as a user does."""
    page = open_page(demo_server.url)
    _ranking(page, "rerank-ranking")
    page.click("#tab-code")

    def copied(operation: str, language: str) -> str:
        page.check(f"input[value='{operation}']")
        page.check(f"input[value='{language}']")
        page.click("#copy")
        page.wait_for_selector("#copied >> text=Copied.")
        text: str = page.evaluate("navigator.clipboard.readText()")
        return text

    return copied


def _run(*command: str, cwd: Path | None = None) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, cwd=cwd).stdout


@pytest.mark.parametrize("operation", ["Embed the query", "Embed the documents", "Rerank"])
def test_the_code_that_the_page_shows_runs(codes: Callable[[str, str], str], tmp_path: Path, operation: str) -> None:
    programs: dict[str, tuple[str, list[str]]] = {
        "curl": ("ask.sh", ["bash"]),
        "Python (openai)": ("ask_openai.py", [sys.executable]),
        "Python (requests)": ("ask_requests.py", [sys.executable]),
        "JavaScript": ("ask.mjs", ["node"]),
        "Java": ("Ask.java", ["java"]),
    }
    outputs = {}
    for language, (name, command) in programs.items():
        (tmp_path / name).write_text(codes(operation, language), "utf-8")
        # A Java machine takes seconds to start: once is enough.
        if shutil.which(command[0]) and (language != "Java" or operation == "Rerank"):
            outputs[language] = _run(*command, name, cwd=tmp_path)

    assert {"curl", "Python (openai)", "Python (requests)"} <= outputs.keys()
    printed = re.compile("relevance_score" if operation == "Rerank" else r"embedding|-?0\.\d+")
    assert {language: output for language, output in outputs.items() if not printed.search(output)} == {}


@pytest.fixture(scope="module")
def keyed_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    models = [{"path": path, "backend": "fake"} for path in demo_models()]
    with ServerProcess(tmp_path_factory.mktemp("keyed"), {"models": models, "auth": {"keys": [KEY]}}) as hearth:
        yield hearth


def test_the_page_asks_for_a_key_and_keeps_it_in_the_tab(
    open_page: Callable[..., "Page"], keyed_server: ServerProcess
) -> None:
    page = open_page(keyed_server.url)
    page.wait_for_selector("#failure >> text=Missing API key.")

    page.fill("#key", KEY)
    page.press("#key", "Enter")

    assert _ranking(page, "rerank-ranking")
    assert not page.is_visible("#failure")
    page.click("#tab-code")
    assert KEY not in page.content()
    assert "$HEARTH_API_KEY" in page.inner_text("#code")
    page.reload()
    assert _ranking(page, "rerank-ranking")
    assert page.evaluate("localStorage.length") == 0


def test_an_error_of_the_api_is_shown_in_its_words(
    open_page: Callable[..., "Page"], demo_server: ServerProcess
) -> None:
    page = open_page(demo_server.url)
    _ranking(page, "rerank-ranking")

    page.fill("#query", "word " * 9000)

    page.wait_for_selector("#failure:not([hidden])")
    assert "tokens" in page.inner_text("#failure")
    page.fill("#query", "short again")
    page.wait_for_selector("#failure", state="hidden")


def test_the_page_says_when_the_server_has_gone(
    open_page: Callable[..., "Page"], start: Callable[..., ServerProcess]
) -> None:
    hearth = start({"models": [{"path": path, "backend": "fake"} for path in demo_models()]})
    page = open_page(hearth.url)
    _ranking(page, "rerank-ranking")

    hearth.stop()
    page.wait_for_selector("#status[data-phase=away]")
    page.fill("#query", "anybody?")

    page.wait_for_selector("#failure >> text=The server cannot be reached.")


@pytest.mark.parametrize("view", VIEWS)
def test_a_phone_shows_every_view_without_scrolling_sideways(
    open_page: Callable[..., "Page"], plain_server: ServerProcess, view: str
) -> None:
    # The longest path that the list of errors may have to show.
    httpx.post(f"{plain_server.url}/openai/deployments/a/embeddings", json={"input": 5})
    page = open_page(plain_server.url, viewport={"width": 360, "height": 740}, has_touch=True)
    _ranking(page, "rerank-ranking")

    page.click(f"#tab-{view}")
    if view == "server":
        page.wait_for_selector("#errors li >> text=deployments")

    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_the_tabs_are_moved_through_with_the_arrow_keys(
    open_page: Callable[..., "Page"], plain_server: ServerProcess
) -> None:
    page = open_page(plain_server.url)
    seen = []

    page.focus("#tab-search")
    for _ in VIEWS:
        page.keyboard.press("ArrowRight")
        seen.append(page.evaluate("document.activeElement.id"))

    assert seen == ["tab-map", "tab-code", "tab-server", "tab-search"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_barrier_in_any_view(
    open_page: Callable[..., "Page"], plain_server: ServerProcess, scheme: str
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    page = open_page(plain_server.url, color_scheme=scheme, bypass_csp=True)
    _ranking(page, "rerank-ranking")
    page.click("#options summary")

    barriers: dict[str, Any] = {}
    for view in VIEWS:
        page.click(f"#tab-{view}")
        found = Axe().run(page).response["violations"]
        barriers |= {view: [(rule["id"], rule["nodes"][0]["html"]) for rule in found]} if found else {}

    assert barriers == {}
