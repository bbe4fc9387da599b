"""docs/bring-your-own.md: its commands run, and its table quotes the refusals that models give."""

import re
from pathlib import Path

import pytest

from models import ModelError
from tests.support.checkpoints.qwen3 import build
from tests.support.docs import DOCS, run_shell, sections
from tests.support.server.process import ServerProcess
from tests.unit.models.checkpoint.test_folder_damaged import DAMAGES, load

PAGE = (DOCS / "bring-your-own.md").read_text("utf-8")
REFUSALS = [row.split(" | ")[0].removeprefix("| ") for row in PAGE.split("|---|---|---|\n")[-1].strip().splitlines()]
# Which damage gives which refusal.
DAMAGE_OF = {
    "a PEFT adapter without the model that it adapts": "adapter",
    "its weights are pickles, which can run code": "pickles",
    "holds the weights of Dense as a pickle": "pickled part",
    "is not a regular file": "pipe",
    "holds several GGUF files": "ggufs",
    "a Git LFS pointer, not the file itself": "pointer",
    "is damaged or not a safetensors file": "truncated",
    "lacks weight files: ...": "shard",
    "a link to a file that is not there": "link",
    "needs code of its own (auto_map)": "remote code",
    "does not have the model_type ...": "unknown network",
    "holds tensors that ... does not have by config.json": "tensor more",
    "holds a weight that is not a floating-point number": "whole numbers",
    "has entries that are unknown to ...": "unknown entry",
}


def test_every_refusal_of_the_page_is_tried() -> None:
    assert set(REFUSALS) == {*DAMAGE_OF, "models may be in: ..."}


@pytest.mark.parametrize("refusal", DAMAGE_OF)
def test_a_refusal_is_in_the_words_of_the_page(tmp_path: Path, refusal: str) -> None:
    damage, _ = DAMAGES[DAMAGE_OF[refusal]]
    damage(build(tmp_path / "m"))

    with pytest.raises(ModelError, match=re.escape(refusal.removesuffix("...")).replace(r"\.\.\.", ".*")):
        load(tmp_path / "m")


def test_a_folder_of_models_is_refused_in_the_words_of_the_page(tmp_path: Path) -> None:
    build(tmp_path / "below")

    with pytest.raises(ModelError, match="models may be in: "):
        load(tmp_path)


def test_its_commands_check_and_serve(tmp_path: Path) -> None:
    build(tmp_path / "my-model")
    check, serve = re.findall(r"^hearth .*$", PAGE, re.MULTILINE)[:2]

    assert "agrees with the reference" in run_shell(f"cd {tmp_path}\n{check}", "")
    with ServerProcess(tmp_path, None, *serve.split()[2:]) as hearth:
        assert hearth.client.post("/v1/embeddings", json={"model": "my-model", "input": "a"}).status_code == 200


def test_its_program_is_python() -> None:
    (program,) = next(section for section in sections("bring-your-own.md") if "LoRA" in section.title).code("python")

    assert compile(program, "page", "exec")
