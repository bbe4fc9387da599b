"""The document of the API and its page."""

import json
import re
import shutil
import subprocess
from base64 import b64encode
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import httpx
import pytest

from models import demo_models
from server.api.openapi import GROUPS
from tests.support.http.openapi_schema import DOCUMENT_FILE
from tests.support.http.requests import embed
from tests.support.server.process import ServerProcess

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ASSET = re.compile(r"""(?:src|href)=["']([^"']+)["']""")


def test_83_the_document_equals_its_committed_copy(plain: httpx.Client) -> None:
    served, committed = plain.get("/openapi.json").json(), json.loads(DOCUMENT_FILE.read_text("utf-8"))
    # That one changes with every release.
    served["info"].pop("version"), committed["info"].pop("version")

    assert served == committed, "to take the change over: python -m tests.contract.write_openapi"


def test_83_every_operation_belongs_to_a_group_and_documents_its_errors(plain: httpx.Client) -> None:
    paths = plain.get("/openapi.json").json()["paths"]
    operations = [operation for path in paths.values() for operation in path.values()]

    assert {group for operation in operations for group in operation["tags"]} == set(GROUPS)
    assert all({"200", "405"} <= set(operation["responses"]) for operation in operations)
    assert not [operation for operation in operations if "422" in operation["responses"]]


OPERATIONS = [
    (path, method, operation)
    for path, methods in json.loads(DOCUMENT_FILE.read_text("utf-8"))["paths"].items()
    for method, operation in methods.items()
]
EXAMPLES = [
    (path, media["examples"])
    for path, method, operation in OPERATIONS
    if method == "post"
    for media in operation["requestBody"]["content"].values()
]


@pytest.mark.parametrize(("path", "examples"), EXAMPLES, ids=[path for path, _ in EXAMPLES])
def test_83_every_body_has_examples_that_are_answered(
    plain: httpx.Client, path: str, examples: dict[str, dict[str, object]]
) -> None:
    answers = [plain.post(path, json=example["value"]) for example in examples.values()]

    assert answers
    assert [(answer.status_code, answer.text[:300]) for answer in answers if answer.status_code != 200] == []
    assert not [answer.headers for answer in answers if "x-hearth-ignored-fields" in answer.headers]


def test_83_every_operation_without_a_body_is_answered(plain: httpx.Client) -> None:
    paths = [path.format(model="demo-embedding") for path, method, _ in OPERATIONS if method == "get"]

    assert len(paths) > 8
    assert {path: plain.get(path).status_code for path in paths} == dict.fromkeys(paths, 200)


def test_83_every_parameter_of_a_path_has_an_example() -> None:
    parameters = [parameter for _, _, operation in OPERATIONS for parameter in operation.get("parameters", ())]

    assert {parameter["example"] for parameter in parameters if parameter["in"] == "path"} == {"demo-embedding"}


def test_83_the_page_and_what_it_loads_refer_to_no_other_host(plain: httpx.Client) -> None:
    page = plain.get("/docs")

    assets = ASSET.findall(page.text)
    assert len(assets) >= 3
    assert all(asset.startswith("docs/assets/") for asset in assets)
    assert [plain.get(f"/{asset}").status_code for asset in assets] == [200] * len(assets)
    assert not re.findall(r"url\(\s*[\"']?(?:https?:)?//", plain.get("/docs/assets/swagger-ui.css").text)


@pytest.mark.parametrize("path", ["/docs", "/docs/"])
def test_83_the_page_has_relative_addresses(plain: httpx.Client, path: str) -> None:
    page = plain.get(path)

    addresses = [*ASSET.findall(page.text), *re.findall(r'url = "([^"]+)"', page.text)]
    assert len(addresses) == 4
    assert all(plain.get(str(page.url.join(address))).status_code == 200 for address in addresses)
    assert not [address for address in addresses if address.startswith("/")]


def test_83_the_page_runs_no_other_script_and_in_no_frame(plain: httpx.Client) -> None:
    page, style = plain.get("/docs"), plain.get("/docs/assets/swagger-ui.css")

    script = re.findall(r"<script>(.*?)</script>", page.text, re.DOTALL)[0]
    digest = b64encode(sha256(script.encode()).digest()).decode()
    assert f"script-src 'self' 'sha256-{digest}';" in page.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    assert page.headers["x-content-type-options"] == style.headers["x-content-type-options"] == "nosniff"


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_83_the_page_renders_in_a_browser_that_reaches_no_other_host(
    plain_server: ServerProcess, tmp_path: Path
) -> None:
    rules = "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
    command = [
        *(str(CHROMIUM), "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"),
        *("--disable-background-networking", "--disable-component-update", f"--host-resolver-rules={rules}"),
        *("--no-first-run", "--virtual-time-budget=20000", "--dump-dom"),
        f"{plain_server.url}/docs",
    ]

    page = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True).stdout

    assert all(f'data-tag="{group}"' in page for group in GROUPS)
    assert 'data-path="/v1/embeddings"' in page


def test_83_health_answers_at_once_while_a_long_batch_runs(start: Callable[..., ServerProcess]) -> None:
    hearth = start({"models": [{"path": demo_models()[0]}]})
    texts = [f"{number} one two three four " * 16 for number in range(250)]

    with ThreadPoolExecutor(1) as pool, httpx.Client(base_url=hearth.url, trust_env=False) as client:
        in_flight = pool.submit(embed, hearth.client, texts, dimensions=1)
        hearth.until(lambda: re.search(r"hearth_queue_tokens{[^}]*} [1-9]", client.get("/metrics").text))
        answers = [client.get("/health") for _ in range(5)]
        was_running = not in_flight.done()
        answer = in_flight.result()

    assert was_running
    assert answer.status_code == 200
    # The machine of the tests may be busy with others: one slow answer is its own.
    assert sorted(each.elapsed.total_seconds() for each in answers)[2] < 0.1
