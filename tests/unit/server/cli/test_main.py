"""The hearth command, without starting a server."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from models import demo_models
from models.verify.limits import SCORES
from server import VERSION
from server.cli.main import app
from server.config import Config


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("argument", ["version", "--version"])
def test_version_is_printed(argument: str) -> None:
    assert CliRunner().invoke(app, [argument]).output.strip() == VERSION


@pytest.mark.parametrize("argument", ["-h", "--help"])
def test_help_shows_what_can_be_set_and_its_defaults(argument: str) -> None:
    text = " ".join(CliRunner().invoke(app, ["serve", argument], env={"COLUMNS": "200"}).output.split())

    assert "[MODEL]..." in text
    assert "[default: (models of the configuration, else all-MiniLM-L6-v2 if installed, and the demo pair)]" in text
    assert "[default: (127.0.0.1)]" in text
    assert "[default: (8000)]" in text


def test_models_are_named_as_arguments_or_by_the_option(monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[Config] = []
    monkeypatch.setattr(sys.modules["server.cli.main"], "_serve", served.append)

    result = CliRunner().invoke(app, ["serve", "a/b", "./c", "--model", "d"])

    assert result.exit_code == 0
    assert [model.path for model in served[0].models] == ["a/b", "./c", "d"]


def test_without_a_command_there_is_help() -> None:
    assert "serve" in CliRunner().invoke(app, []).output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["serve", "--config", "nowhere.yaml"], "the configuration file does not exist: 'nowhere.yaml'"),
        (["serve", "--port", "70000"], "--port: must be less than or equal to 65535; got 70000"),
    ],
)
def test_what_cannot_be_served_is_one_line_and_status_2(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(app, arguments)

    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_a_config_file_in_this_folder_is_read(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("prot: 1", "utf-8")

    assert "prot: there is no such key" in CliRunner().invoke(app, ["serve"]).stderr


def test_pull_reports_what_it_pulled_and_the_second_time_that_it_was_complete(tmp_path: Path) -> None:
    arguments = ["pull", demo_models()[0], str(tmp_path / "m")]

    first, second = CliRunner().invoke(app, arguments), CliRunner().invoke(app, arguments)

    assert (first.exit_code, second.exit_code) == (0, 0)
    assert f"{tmp_path / 'm'} is complete: 8 files, 9.7 MB, from demo-embedding" in first.stderr
    assert "was complete already, and every checksum agrees" in second.stderr


def test_pull_of_nothing_is_one_line_and_status_2(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["pull", "/nowhere", str(tmp_path / "m")])

    assert result.exit_code == 2
    assert result.stderr.strip() == "hearth: no such model folder: /nowhere"


def test_check_prints_one_json_object_and_its_status_is_the_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.verify.check.SPEED_SECONDS", 0.01)

    result = CliRunner().invoke(app, ["check", demo_models()[1], "--dtype", "float32", "--json"])

    report = json.loads(result.stdout)
    assert (result.exit_code, report["passed"]) == (0, True)
    assert report["info"]["kind"] == "reranker"
    assert report["findings"]["worst_score"]["value"] <= 1e-5
    assert report["findings"]["tokens_per_second"]["value"] > 0


def test_check_prints_a_table_for_people(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.verify.check.SPEED_SECONDS", 0.01)
    monkeypatch.setattr("models.verify.check.SCORES", replace(SCORES, limit=-1.0))

    result = CliRunner().invoke(app, ["check", demo_models()[1], "--dtype", "float32"], env={"COLUMNS": "200"})

    assert result.exit_code == 1
    assert "memory of this process" in result.stdout
    assert result.stdout.splitlines()[-1] == "DIFFERS from the reference"


# In rich's markup [x] is a style, and [/x] ends one.
@pytest.mark.parametrize("folder", ["/nowhere", "/nowhere/[x]", "/nowhere/[/x]"])
def test_check_of_nothing_is_one_line_and_status_2(folder: str) -> None:
    result = CliRunner().invoke(app, ["check", folder])

    assert (result.exit_code, result.stderr.strip()) == (2, f"hearth: no such model folder: {folder}")


def test_check_names_a_folder_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.verify.check.SPEED_SECONDS", 0.01)
    folder = tmp_path / "[" / "x]"
    folder.parent.mkdir()
    folder.symlink_to(demo_models()[1])

    result = CliRunner().invoke(app, ["check", str(folder), "--dtype", "float32"], env={"COLUMNS": "300"})

    assert str(folder) in result.stdout.splitlines()[0]


@pytest.mark.parametrize("against", [[], ["--against", "http://127.0.0.1:9/v1"]])
def test_check_takes_the_revision_that_is_asked_for(against: list[str]) -> None:
    result = CliRunner().invoke(app, ["check", demo_models()[0], "--revision", "v2", *against])

    assert result.exit_code == 2
    assert "can be given only for a hub id; got v2" in result.stderr
