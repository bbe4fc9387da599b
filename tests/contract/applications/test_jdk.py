"""Java's HttpClient, which Spring AI, LangChain4j and Ktor use, with its default settings."""

import json
import shutil
import subprocess
from pathlib import Path

import httpx
import pytest

PROGRAM = Path(__file__).parent / "programs" / "Ask.java"


@pytest.mark.skipif(shutil.which("java") is None, reason="java is not installed")
def test_the_jdk_client_embeds_and_reranks_on_fresh_and_reused_connections(plain: httpx.Client) -> None:
    done = subprocess.run(
        ["java", str(PROGRAM), str(plain.base_url).rstrip("/")], capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == 0, done.stderr
    answers = [line.split(" ", 1) for line in done.stdout.splitlines()]
    assert [status for status, _ in answers] == ["200"] * 4
    assert [len(json.loads(body)["data"]) for _, body in answers] == [2] * 4
