"""`hearth check A B` for spaces."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from models import demo_models
from server.cli.main import app

EMBEDDER, RERANKER = demo_models()


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def test_a_copy_is_the_same_space_and_changed_weights_are_another(tmp_path: Path) -> None:
    copy, changed = tmp_path / "copy", tmp_path / "changed"
    for folder in (copy, changed):
        shutil.copytree(EMBEDDER, folder)
    weights = bytearray((changed / "model.safetensors").read_bytes())
    weights[-3] ^= 1
    (changed / "model.safetensors").write_bytes(weights)

    same = CliRunner().invoke(app, ["check", EMBEDDER, str(copy), "--json"])
    other = CliRunner().invoke(app, ["check", EMBEDDER, str(changed)])

    found = json.loads(same.output)
    assert (same.exit_code, found["verdict"], found["different"]) == (0, "same", {})
    assert other.exit_code == 1
    assert "another space" in other.output

    name = found["spaces"][0].replace(".unknown.", ".bfloat16.").replace(".float32.", ".float16.")
    compatible = CliRunner().invoke(app, ["check", EMBEDDER, name])
    assert (compatible.exit_code, "compatible" in compatible.output) == (0, True)


def test_a_reranker_has_no_space() -> None:
    run = CliRunner().invoke(app, ["check", RERANKER, EMBEDDER])

    assert run.exit_code == 2
    assert "is a reranker" in run.output
