"""An embedder's texts end as its authors meant it, or the folder is refused with the setting that decides."""

import json
from pathlib import Path

import pytest

from models import LoadOptions, ModelError, load_preprocessor
from tests.support.checkpoints.qwen3 import build
from tests.support.checkpoints.vocabulary import write_tokenizer

ENDOFTEXT, IM_END = 260, 262


def embedder(folder: Path, *, pooling: str = "lasttoken", **tokenizer_config: object) -> Path:
    """An embedder whose tokenizer.json ends no text."""
    build(folder)
    write_tokenizer(folder, terminator=False)
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer_config), "utf-8")
    file = folder / "1_Pooling" / "config.json"
    modes = {key: False for key in json.loads(file.read_text("utf-8")) if key.startswith("pooling_mode_")}
    file.write_text(json.dumps(modes | {"word_embedding_dimension": 96, f"pooling_mode_{pooling}": True}), "utf-8")
    return folder


def ends(folder: Path, **options: str) -> list[int]:
    return load_preprocessor(folder, LoadOptions(**options)).tokenizer.after.tolist()  # type: ignore[arg-type]


def test_add_eos_token_ends_each_text(tmp_path: Path) -> None:
    assert ends(embedder(tmp_path / "m", add_eos_token=True, eos_token="<|im_end|>")) == [IM_END]


def test_add_eos_token_does_not_end_a_text_twice(tmp_path: Path) -> None:
    folder = embedder(tmp_path / "m", add_eos_token=True, eos_token="<|endoftext|>")
    write_tokenizer(folder, terminator=True)

    assert ends(folder) == [ENDOFTEXT]


@pytest.mark.parametrize(("terminator", "expected"), [("<|im_end|>", [IM_END]), ("", [])])
def test_the_configuration_decides(tmp_path: Path, terminator: str, expected: list[int]) -> None:
    assert ends(embedder(tmp_path / "m"), terminator=terminator) == expected


def test_a_configured_terminator_that_the_vocabulary_lacks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="the vocabulary has no token '</end>' to end a text with"):
        ends(embedder(tmp_path / "m"), terminator="</end>")


def test_a_last_token_without_a_terminator_names_the_setting(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r'set `terminator: <\|endoftext\|>`, or `terminator: ""`'):
        ends(embedder(tmp_path / "m"))


def test_a_mean_needs_no_terminator(tmp_path: Path) -> None:
    assert ends(embedder(tmp_path / "m", pooling="mean_tokens")) == []


def test_a_tokenizer_of_its_own_code_may_end_texts(tmp_path: Path) -> None:
    code = {"AutoTokenizer": ["tokenization_x.X", None]}
    folder = embedder(tmp_path / "m", auto_map=code, eos_token="<|im_end|>")
    file = folder / "config.json"
    config = json.loads(file.read_text("utf-8")) | {"model_type": "qwen2", "architectures": ["Qwen2Model"]}
    file.write_text(json.dumps(config), "utf-8")

    with pytest.raises(ModelError, match=r"has a tokenizer of its own code .* set `terminator: <\|im_end\|>`"):
        ends(folder)
