"""`hearth calibrate`, and the server that reads what it has measured."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from models import demo_models
from server.cli.main import app
from server.config import ModelConfig
from server.registry import load_registry

EMBEDDER = demo_models()[0]


def test_a_calibrated_model_is_found_again_by_the_server(tmp_path: Path) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_text("\n".join(f"text number {number}" for number in range(24)), "utf-8")
    state = tmp_path / "state"

    run = CliRunner().invoke(app, ["calibrate", EMBEDDER, "--texts", str(texts), "--state-folder", str(state)])

    assert run.exit_code == 0, run.output
    assert "ubinary" in run.output
    (before,) = load_registry([ModelConfig(path=EMBEDDER)], tmp_path / "other").models
    (after,) = load_registry([ModelConfig(path=EMBEDDER)], state).models
    assert before.calibration is None
    assert after.calibration is not None
    assert after.calibration.rows.shape == (24, after.preprocessor.info.width)
    assert f"{after.calibration.losses['binary'].ndcg_at_10:.4f}" in run.output


@pytest.mark.parametrize(("content", "message"), [(b"\xff", "is not UTF-8"), (b"a\nb", "at least 20"), (None, "read")])
def test_texts_that_cannot_be_read_are_named(tmp_path: Path, content: bytes | None, message: str) -> None:
    texts = tmp_path / "texts.txt"
    if content is not None:
        texts.write_bytes(content)

    run = CliRunner().invoke(app, ["calibrate", EMBEDDER, "--texts", str(texts), "--state-folder", str(tmp_path)])

    assert run.exit_code == 2
    assert message in run.output
