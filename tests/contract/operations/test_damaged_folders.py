"""`hearth serve` with a folder that is no model: one line, exit status 2, no traceback, no question."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.checkpoints.qwen3 import build
from tests.support.server.process import HEARTH, clean_environment
from tests.unit.models.checkpoint.test_folder_damaged import entry, holding, instead, tensors, truncated

# Found by the HTTP process, by the engine process, and by a library.
DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (instead(), "holds no model that can be served; it is empty"),
    "adapter": (instead(adapter_config={"base_model_name_or_path": "Qwen/Qwen3-0.6B"}), "merge_and_unload()"),
    "truncated": (truncated, "is damaged or not a safetensors file"),
    "tensor": (tensors(lambda held: held.pop("norm.weight")), "lacks the tensor norm.weight"),
    "remote code": (entry(model_type="odd", auto_map={"AutoModel": "code.Model"}), "needs code of its own (auto_map)"),
    "another manifest": (holding("manifest.json", '{"schema": "hearth-manifest/9"}'), "another version of Hearth"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_folder_that_is_no_model_is_one_line_and_status_2(tmp_path: Path, name: str) -> None:
    damage, message = DAMAGES[name]
    damage(folder := build(tmp_path / "m"))
    log = tmp_path / "log"

    with log.open("w") as written:
        command = [HEARTH, "serve", "--port", "0", "--model", str(folder)]
        # A pipe that nobody writes to: whoever asked a question there would wait for ever.
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=written, stderr=written, cwd=tmp_path, env=clean_environment()
        )
        try:
            status = process.wait(60)
        finally:
            process.kill()
            process.stdin.close()

    text = log.read_text("utf-8")
    assert status == 2, text
    assert text.splitlines()[-1].startswith(f"hearth: {folder}")
    assert message in text.splitlines()[-1]
    assert "Traceback" not in text
