"""deploy/: docs/operating.md shows its files as they are, and the tools that read them accept them."""

import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from server.launch.engine_process import CANNOT_LOAD
from tests.support.docs import DOCS, sections

DEPLOY = DOCS.parent / "deploy"
SHOWN = {
    "hearth.service": ("systemd", "ini"),
    "nginx.conf": ("Behind a proxy", "nginx"),
    "prometheus.yml": ("Metrics", "yaml"),
    "alerts.yml": ("Metrics", "yaml"),
}
UNIT = (DEPLOY / "hearth.service").read_text("utf-8")


@pytest.mark.parametrize("name", SHOWN)
def test_the_page_shows_the_file_as_it_is(name: str) -> None:
    title, language = SHOWN[name]
    (section,) = [section for section in sections("operating.md") if section.title == title]

    assert (DEPLOY / name).read_text("utf-8") in section.code(language)


def test_the_unit_is_not_started_again_when_the_configuration_is_wrong() -> None:
    assert f"\nRestartPreventExitStatus={CANNOT_LOAD}\n" in UNIT


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
def test_the_unit_has_few_rights() -> None:
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(DEPLOY / "hearth.service")]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout

    level = re.search(r"Overall exposure level for hearth\.service: ([\d.]+)", text)

    assert level
    assert float(level[1]) < 3


@pytest.mark.skipif(not (shutil.which("nginx") and shutil.which("openssl")), reason="needs nginx and openssl")
def test_nginx_accepts_its_file(tmp_path: Path) -> None:
    key, certificate = tmp_path / "privkey.pem", tmp_path / "fullchain.pem"
    subject = ["-subj", "/CN=hearth.example.com", "-days", "1"]
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*make, *subject], capture_output=True, check=True)
    site = (DEPLOY / "nginx.conf").read_text("utf-8").replace("/etc/ssl/hearth", str(tmp_path))
    site = re.sub(r"listen (\[::\]:)?(443|80)\b", r"listen \g<1>1\g<2>4", site)  # ports that need no rights
    logs = f"pid {tmp_path}/pid; error_log {tmp_path}/error;"
    (tmp_path / "nginx.conf").write_text(f"{logs} events {{}} http {{ access_log off; {site} }}", "utf-8")

    check = subprocess.run(["nginx", "-t", "-c", tmp_path / "nginx.conf"], capture_output=True, text=True, check=False)

    assert "test is successful" in check.stderr, check.stderr


def test_prometheus_reads_the_alerts_and_sends_a_key() -> None:
    prometheus = yaml.safe_load((DEPLOY / "prometheus.yml").read_text("utf-8"))

    assert prometheus["scrape_configs"][0]["authorization"]["credentials_file"]
    assert "# deploy/alerts.yml" in (DEPLOY / "prometheus.yml").read_text("utf-8")


INSTALLED_FROM = ("Dockerfile", "docs/airgap.md", "docs/operating.md", "README.md", "deploy/install.py")


@pytest.mark.parametrize("file", INSTALLED_FROM)
def test_every_way_to_install_brings_the_default_embedder(file: str) -> None:
    text = (DEPLOY.parent / file).read_text("utf-8")
    # The lines that install Hearth itself: torch and then more.
    lines = re.findall(r"""^.*(?:constraints\.txt|--find-links).*\btorch"?,? +\S.*$""", text, re.MULTILINE)

    assert lines
    assert [line for line in lines if "[minilm]" not in line] == []


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The functions of deploy/install.py, on a Linux machine whose pip is not configured."""
    for name in [name for name in os.environ if name.startswith("PIP_") or name in {"CI", "DEVICE"}]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setattr(sys, "platform", "linux")
    functions = runpy.run_path(str(DEPLOY / "install.py"))
    functions["index_options"].__globals__["is_reachable"] = lambda index: True
    return functions


def test_torchs_cpu_build_comes_from_its_own_index(install: dict[str, Any]) -> None:
    assert install["index_options"]("cpu") == ["--extra-index-url", install["CPU_INDEX"]]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CI", "true"),
        ("PIP_INDEX_URL", "https://mirror.example.com"),
        ("PIP_FIND_LINKS", "/wheels"),
        ("PIP_NO_INDEX", "1"),
    ],
)
def test_whoever_configured_the_indexes_decides(
    install: dict[str, Any], monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)

    assert install["index_options"]("cpu") == []


def test_with_cuda_or_on_another_system_pips_index_is_enough(
    install: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with_cuda = install["index_options"]("cuda")
    monkeypatch.setattr(sys, "platform", "darwin")

    assert (with_cuda, install["index_options"]("cpu")) == ([], [])


def test_an_index_that_cannot_be_reached_is_left_out(
    install: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    install["index_options"].__globals__["is_reachable"] = lambda index: False

    assert install["index_options"]("cpu") == []
    assert "cannot be reached" in capsys.readouterr().out


def test_the_sizes_are_said_before_anything_is_downloaded(
    install: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    install["announce"](Path(".venv"), "cuda", [])

    assert "2.92 GB" in capsys.readouterr().out


def test_a_disk_that_is_too_small_is_refused(install: dict[str, Any], tmp_path: Path) -> None:
    install["check_disk"].__globals__["DISK_GB"] = {"cpu": 10**9}

    with pytest.raises(SystemExit, match="GB are free"):
        install["check_disk"](tmp_path / "venv", "cpu")


def test_make_serve_reads_the_local_file_if_there_is_one(tmp_path: Path) -> None:
    shutil.copy(DOCS.parent / "Makefile", tmp_path)
    for file in ("config.yaml", "pyproject.toml", "constraints.txt", ".venv/.runtime"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).touch()

    def command() -> str:
        run = subprocess.run(
            ["make", "-n", "--no-print-directory", "serve"], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        return run.stdout.strip()

    without = command()
    (tmp_path / "config.local.yaml").touch()

    assert without == ".venv/bin/hearth serve --config config.yaml"
    assert command() == ".venv/bin/hearth serve --config config.local.yaml"
