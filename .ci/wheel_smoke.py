"""Smoke test of a built wheel: look inside it, install it into a fresh environment, and serve the demo pair from there.

    python .ci/wheel_smoke.py dist/hearth-0.1.0-py3-none-any.whl

The dependencies are those of the interpreter that runs this, so that the test takes seconds and needs no package index.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.error
import urllib.request
import venv
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

START_TIMEOUT_S = 120
STOP_TIMEOUT_S = 30
REQUIRED = (
    "server/py.typed",
    "models/py.typed",
    "models/demo/demo-embedding/model.safetensors",
    "models/demo/demo-reranker/model.safetensors",
)
PACKAGES = ("server", "models")
# Scripts and corpora that train the demo pair.
EXCLUDED = "models/demo/training/"


def check_contents(wheel: Path) -> None:
    """Raise SystemExit unless the wheel has the two packages, the demo pair and nothing else."""
    names = zipfile.ZipFile(wheel).namelist()
    missing = [name for name in REQUIRED if name not in names]
    surplus = [
        name
        for name in names
        if name.startswith(EXCLUDED)
        or (name.split("/")[0] not in PACKAGES and not name.split("/")[0].endswith(".dist-info"))
    ]
    if missing or surplus:
        raise SystemExit(f"wrong contents of {wheel.name}: missing {missing}, surplus {surplus}")


def install(wheel: Path, folder: Path) -> Path:
    """Install the wheel alone into a new environment, and return the environment's folder of programs."""
    venv.create(folder, with_pip=False)
    site = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder), "platbase": str(folder)}))
    # The paths of a .pth file come after the environment's own, and their .pth files are not read: no editable install.
    (site / "dependencies.pth").write_text("\n".join(path for path in sys.path if path.endswith("-packages")), "utf-8")
    programs = folder / "bin"
    pip = [sys.executable, "-m", "pip", "--python", str(programs / "python")]
    flags = ["--quiet", "--disable-pip-version-check", "--no-deps", "--ignore-installed"]
    subprocess.run([*pip, "install", *flags, str(wheel)], check=True)
    for package in PACKAGES:
        code = f"import {package}; print({package}.__file__)"
        done = subprocess.run([programs / "python", "-c", code], cwd=folder, capture_output=True, text=True, check=True)
        if not done.stdout.startswith(str(site)):
            raise SystemExit(f"{package} was imported from {done.stdout.strip()}; expected a file below {site}")
    return programs


@contextmanager
def serving(programs: Path, folder: Path) -> Iterator[str]:
    """Run `hearth serve` in an empty folder; it must start, answer, and end with status 0 on SIGTERM."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HEARTH_")}
    command = [programs / "hearth", "serve", "--port", str(port)]
    process = subprocess.Popen(command, cwd=folder, env=environment | {"HF_HUB_OFFLINE": "1"})
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_ready(process, url)
        yield url
        process.send_signal(signal.SIGTERM)
        if status := process.wait(STOP_TIMEOUT_S):
            raise SystemExit(f"hearth serve ended with status {status} after SIGTERM; expected 0")
    finally:
        process.kill()


def wait_until_ready(process: subprocess.Popen[bytes], url: str) -> None:
    end = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            urllib.request.urlopen(f"{url}/ready", timeout=5).close()
        except (urllib.error.URLError, OSError):
            if process.poll() is not None or time.monotonic() > end:
                raise SystemExit("hearth serve did not become ready; its log is above") from None
            time.sleep(0.1)
        else:
            return


def post(url: str, **body: object) -> dict[str, list[dict[str, object]]]:
    headers = {"content-type": "application/json"}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=60) as response:
        answer: dict[str, list[dict[str, object]]] = json.load(response)
    return answer


def ask(url: str) -> None:
    """One embedding and one ranking; raise SystemExit if an answer is wrong."""
    embedding = post(f"{url}/v1/embeddings", model="demo-embedding", input="a text", dimensions=4)["data"][0][
        "embedding"
    ]
    documents = ["The weather in Europe varies.", "Paris is the capital of France."]
    best = post(f"{url}/v1/rerank", query="What is the capital of France?", documents=documents, top_n=1)
    if not isinstance(embedding, list) or len(embedding) != 4:
        raise SystemExit(f"expected an embedding of 4 numbers; got {embedding}")
    ranking = next(iter(rows for rows in best.values() if isinstance(rows, list)))
    if ranking[0]["index"] != 1:
        raise SystemExit(f"expected document 1 first; got {ranking}")


def main() -> None:
    wheel = Path(sys.argv[1]).resolve()
    check_contents(wheel)
    with TemporaryDirectory() as parent:
        folder = Path(parent, "empty")
        folder.mkdir()
        with serving(install(wheel, Path(parent, "environment")), folder) as url:
            ask(url)
    print(f"{wheel.name} installs, serves /v1/embeddings and /v1/rerank, and stops")


if __name__ == "__main__":
    main()
