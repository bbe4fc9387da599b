"""A whole day of a server behind an air gap: run by test_airtight in a network namespace that has loopback alone.

Serves the folders given, asks each of them over loopback, runs `hearth check` on them, and prints what came, as JSON.
"""

import fcntl
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
from pathlib import Path

from models import demo_models
from tests.support.http.requests import embed, rerank
from tests.support.server.process import HEARTH, ServerProcess, clean_environment

# Names every look-up and every connection that Python code of the server tries, on standard error.
WATCH = """
import socket, sys

def watch(event, arguments):
    if event in ("socket.getaddrinfo", "socket.gethostbyname"):
        print("watched look-up:", arguments[0], file=sys.stderr, flush=True)
    elif event in ("socket.connect", "socket.sendto") and arguments[0].family != socket.AF_UNIX:
        print("watched connection:", arguments[1], file=sys.stderr, flush=True)

sys.addaudithook(watch)
"""
REVISION = "a" * 40
LIBRARY = "sentence_transformers"
UP = 0x1
SIOCSIFFLAGS = 0x8914


def main(workspace: Path, *folders: str) -> None:
    """Do all of it."""
    _raise_loopback()
    (workspace / "sitecustomize.py").write_text(WATCH, "utf-8")
    environment = {
        # Not set: what is local must be served without look-ups for those too who never heard of it.
        "HF_HUB_OFFLINE": "",
        "HF_HOME": str(workspace / "home"),
        "PYTHONPATH": os.pathsep.join(filter(None, (str(workspace), os.environ.get("PYTHONPATH")))),
    }
    in_cache = [_into_cache(workspace / "home", Path(folder)) for folder in folders]
    library = [{"path": path, "backend": LIBRARY, "id": f"{Path(path).name}-by-the-library"} for path in folders]
    models = [*({"path": path} for path in (*demo_models(), *folders, *in_cache)), *library]
    with ServerProcess(workspace / "server", {"models": models}, environment=environment) as hearth:
        listed = hearth.client.get("/v1/models").json()["data"]
        statuses = {
            model["id"]: (
                rerank(hearth.client, model=model["id"])
                if model["hearth"]["kind"] == "reranker"
                else embed(hearth.client, "a", model=model["id"])
            ).status_code
            for model in listed
        }
        how = {model["id"]: model["hearth"]["backend"] for model in listed}
    log, checks = hearth.text(), []
    # The first shows that the watch is awake.
    asked = [sys.executable, "-c", "import socket; socket.getaddrinfo('localhost', 80)"]
    for command in (asked, *([HEARTH, "check", folder] for folder in folders)):
        done = subprocess.run(
            command, env=clean_environment() | environment, capture_output=True, text=True, check=False
        )
        checks.append(done.returncode)
        log += done.stdout + done.stderr
    watched = [line for line in log.splitlines() if line.startswith("watched")]
    json.dump({"statuses": statuses, "how": how, "checks": checks, "watched": watched, "log": log}, sys.stdout)


def _into_cache(home: Path, folder: Path) -> str:
    """Put a model into the hub's local cache, as huggingface_hub lays it out, and return its id there."""
    repository = home / "hub" / f"models--cached--{folder.name}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(REVISION, "utf-8")
    shutil.copytree(folder, repository / "snapshots" / REVISION)
    return f"cached/{folder.name}"


def _raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh", b"lo", UP))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
