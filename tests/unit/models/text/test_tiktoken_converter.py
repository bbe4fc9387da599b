"""A tiktoken.model gives tiktoken's own ids, and a folder that is not Kimi's is refused in one sentence."""

import base64
import json
from pathlib import Path

import pytest
import tiktoken
from hypothesis import given
from hypothesis import strategies as st

from models import ModelError
from models.text.tiktoken_converter import SPLIT
from models.text.tokenizer import Tokenizer

WORDS = (
    "the",
    " the",
    "th",
    " t",
    " th",
    "he",
    "in",
    "ing",
    "中文",
    "你",
    "你好",
    "english",
    "English",
    "100",
    "10",
    "'s",
)
TEXTS = ("the thing's in the English中文 mix", "你好世界 100 1000", "  \n\n tab\tand  spaces ", "naïve café 🙂", "")


def ranks() -> dict[bytes, int]:
    # "中文" is a token that no two known parts make, as in vocabularies that were joined from several.
    tokens = [bytes([byte]) for byte in range(256)] + sorted({word.encode() for word in WORDS}, key=len)
    return {token: rank for rank, token in enumerate(tokens)}


def write(folder: Path, **config: object) -> Path:
    lines = [f"{base64.b64encode(token).decode()} {rank}" for token, rank in ranks().items()]
    (folder / "tiktoken.model").write_text("\n".join(lines), "ascii")
    first = len(ranks())
    named = {str(first): {"content": "[BOS]"}, str(first + 2): {"content": "<|im_end|>"}}
    entries = {"tokenizer_class": "TikTokenTokenizer", "added_tokens_decoder": named} | config
    (folder / "tokenizer_config.json").write_text(json.dumps(entries), "utf-8")
    return folder / "tokenizer.json"


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return Tokenizer(write(tmp_path_factory.mktemp("kimi")))


@pytest.fixture(scope="module")
def theirs() -> tiktoken.Encoding:
    return tiktoken.Encoding("kimi", pat_str=SPLIT, mergeable_ranks=ranks(), special_tokens={})


@pytest.mark.parametrize("text", TEXTS)
def test_ids_are_those_of_tiktoken(text: str, ours: Tokenizer, theirs: tiktoken.Encoding) -> None:
    assert ours.encode([text])[0].tolist() == theirs.encode(text, disallowed_special=())


@given(text=st.text(alphabet=st.sampled_from("thein gEls'10 \n\t中文你好é🙂A.")))
def test_ids_of_any_text_are_those_of_tiktoken(text: str, ours: Tokenizer, theirs: tiktoken.Encoding) -> None:
    ids = ours.encode([text])[0]

    assert ids.tolist() == theirs.encode(text, disallowed_special=())
    assert ours.decode(ids) == text


def test_control_tokens_have_their_ids_and_no_text_makes_one(ours: Tokenizer) -> None:
    first = len(ranks())

    assert (ours.added["[BOS]"], ours.added["<|im_end|>"]) == (first, first + 2)
    assert ours.added[f"<|reserved_token_{first + 1}|>"] == first + 1
    assert len(ours.added) == 256
    assert ours.encode_control("<|im_end|>").tolist() == [first + 2]
    assert first + 2 not in ours.encode(["<|im_end|>"])[0]
    assert ours.special_count == 0


def test_another_models_vocabulary_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="its tokenizer class is not supported: QWenTokenizer"):
        Tokenizer(write(tmp_path, tokenizer_class="QWenTokenizer"))


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path)
    (tmp_path / "tiktoken.model").write_text("IQ== 0\nIg== 2\n", "ascii")

    with pytest.raises(ModelError, match=r"tiktoken\.model is damaged: its ranks are not the numbers from 0 to 1"):
        Tokenizer(file)


def test_a_token_that_would_take_hours_to_halve_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path)
    with (tmp_path / "tiktoken.model").open("a", encoding="ascii") as stream:
        stream.write(f"\n{base64.b64encode(b'a' * 10**5).decode()} {len(ranks())}\n")

    with pytest.raises(ModelError, match="is damaged: a token has 100000 bytes, more than 1024"):
        Tokenizer(file)


def test_the_file_needs_its_configuration_beside_it(tmp_path: Path) -> None:
    file = write(tmp_path)
    (tmp_path / "tokenizer_config.json").unlink()

    with pytest.raises(ModelError, match=r"needs tokenizer_config\.json beside it"):
        Tokenizer(file)
