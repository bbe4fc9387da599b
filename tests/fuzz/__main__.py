"""Generated requests against our own OpenAPI document: every check of schemathesis, over a real socket.

Run by `make fuzz`: `python -m tests.fuzz .venv-fuzz/bin/st`. Fails on a status that is not documented, a body or header
that does not fit its schema, a 500, or fewer requests than promised.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import httpx

from models import demo_models
from tests.support.server.process import ServerProcess

KEY = "key-of-the-fuzzer"
LEAST_REQUESTS = 2000
CONFIG = {
    "models": [{"path": path, "backend": "fake"} for path in demo_models()],
    "auth": {"keys": [KEY]},
}


def main(schemathesis: str, *options: str) -> int:
    """Start a server, fuzz it and say how many requests it answered; 0 when all went well."""
    with tempfile.TemporaryDirectory() as folder, ServerProcess(Path(folder), CONFIG) as hearth:
        command = [
            *(str(Path(schemathesis).absolute()), "--config-file", str(Path(__file__).with_name("schemathesis.toml"))),
            *("run", f"{hearth.url}/openapi.json", "--checks", "all", "--no-color"),
            *("--header", f"Authorization: Bearer {KEY}", "--max-examples", "60", "--continue-on-failure"),
            *options,
        ]
        status = subprocess.run(command, cwd=folder, env=_offline(), check=False).returncode
        answered = _answered(hearth)
    statuses = ", ".join(f"{count} x {code}" for code, count in answered.items())
    sys.stdout.write(f"{sum(answered.values())} requests: {statuses}\n")
    return status or int(sum(answered.values()) < LEAST_REQUESTS or bool(set(answered) & {"422", "500", "503", "504"}))


def _offline() -> dict[str, str]:
    # A proxy would come between it and the server.
    return {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}


def _answered(hearth: ServerProcess) -> dict[str, int]:
    headers = {"authorization": f"Bearer {KEY}"}
    text = httpx.get(f"{hearth.url}/metrics", headers=headers, trust_env=False).text
    found: dict[str, int] = {}
    pattern = r'^hearth_requests_total\{route="([^"]*)",status="(\d+)"\} (\S+)$'
    for route, status, count in re.findall(pattern, text, re.MULTILINE):
        # That one was asked until the server was ready.
        if route != "/ready":
            found[status] = found.get(status, 0) + int(float(count))
    return dict(sorted(found.items()))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
