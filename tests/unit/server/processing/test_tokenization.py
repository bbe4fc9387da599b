"""Inputs become token ids. Tokens are bytes here: "a" is 64, "b" is 65; the terminator is 260."""

from typing import Any

import numpy as np
import pytest

from models import Preprocessor
from server.errors import ApiError, EmptyArray, ForeignTokenIds, InputTooLong, InvalidValue
from server.processing.requests import Texts, TokenIds, Truncation
from server.processing.tokenization import TokenizedInputs, prepare_ids, prepare_prompts, prepare_texts
from server.registry import ServedModel
from tests.support.server.in_process import served, text_model

A, B, END = 64, 65, 260
BODY = "<Instruct>: i\n<Query>: q\n<Document>: abc"


@pytest.fixture(autouse=True)
def _no_vocabulary_at_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", "")


def _texts(*values: str, is_list: bool = True) -> Texts:
    return Texts(values, is_list)


def _lists(*values: list[int], is_list: bool = True) -> TokenIds:
    return TokenIds(tuple(np.array(ids, dtype=np.int64) for ids in values), is_list)


def _ids(prepared: TokenizedInputs) -> list[list[int]]:
    return [ids.tolist() for ids in prepared.ids]


def _short(text: Preprocessor, max_tokens: int, **options: Any) -> ServedModel:
    from dataclasses import replace

    return served(replace(text, info=replace(text.info, max_tokens=max_tokens)), "short", **options)


def test_a_text_ends_in_the_terminator(embedder: ServedModel) -> None:
    assert _ids(prepare_texts(_texts("ab", ""), Truncation(), embedder)) == [[A, B, END], [END]]


def test_20_a_cut_takes_text_and_leaves_the_terminator(embedder_text: Preprocessor) -> None:
    prepared = prepare_texts(_texts("abab", "a"), Truncation(allowed=True), _short(embedder_text, 3))

    assert _ids(prepared) == [[A, B, END], [A, END]]
    assert prepared.truncated == 1


def test_21_or_the_beginning_of_the_text(embedder: ServedModel) -> None:
    prepared = prepare_texts(_texts("aab"), Truncation(allowed=True, max_tokens=3, side="left"), embedder)

    assert _ids(prepared) == [[A, B, END]]


def test_21_a_cut_longer_than_the_model_takes_is_the_models(embedder_text: Preprocessor) -> None:
    prepared = prepare_texts(_texts("abab"), Truncation(allowed=True, max_tokens=50), _short(embedder_text, 3))

    assert _ids(prepared) == [[A, B, END]]


def test_21_a_cut_to_one_token_leaves_the_terminator(embedder: ServedModel) -> None:
    assert _ids(prepare_texts(_texts("ab"), Truncation(allowed=True, max_tokens=1), embedder)) == [[END]]


@pytest.mark.parametrize(("is_list", "where"), [(True, "input[1]"), (False, "input")])
def test_19_too_long_is_an_error_that_names_the_input(embedder_text: Preprocessor, is_list: bool, where: str) -> None:
    texts = _texts(*["a", "abab"][not is_list :], is_list=is_list)

    with pytest.raises(InputTooLong) as caught:
        prepare_texts(texts, Truncation(), _short(embedder_text, 4))

    assert caught.value.message == (
        f"Invalid '{where}': maximum input length is 4 tokens. "
        'This input is 5 tokens: send shorter text, or "truncate": true.'
    )


def test_19_just_the_maximum_is_not_too_long(embedder_text: Preprocessor) -> None:
    assert _ids(prepare_texts(_texts("aba"), Truncation(), _short(embedder_text, 4))) == [[A, B, A, END]]


def test_17_control_tokens_are_plain_text(embedder: ServedModel) -> None:
    [ids] = _ids(prepare_texts(_texts("<|im_start|><think>"), Truncation(), embedder))

    assert len(ids) == len("<|im_start|><think>") + 1
    assert max(ids[:-1]) < END


@pytest.mark.parametrize("ids", [[A, B], [A, B, END]])
def test_28_ids_are_closed_like_a_text(embedder: ServedModel, ids: list[int]) -> None:
    prepared = prepare_ids(_lists(ids), Truncation(), embedder, for_logits=False)

    assert _ids(prepared) == [[A, B, END]]
    assert prepared.token_ids == "native"
    assert prepared.ids[0].dtype == np.int32


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        (_lists([0, 320]), "Invalid 'input[0][1]': token id 320 is outside the model's vocabulary (0..319)."),
        (_lists([0], [-1]), "Invalid 'input[1][0]': token id -1 is outside the model's vocabulary (0..319)."),
        (_lists([9, 2**40], is_list=False), "Invalid 'input[1]': token id 1099511627776 is outside"),
    ],
)
def test_28_an_id_outside_the_table_is_named(embedder: ServedModel, lists: TokenIds, message: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        prepare_ids(lists, Truncation(), embedder, for_logits=False)

    assert caught.value.message.startswith(message)


def test_28_an_id_that_openai_has_is_told_how_to_stop_sending_it(embedder: ServedModel) -> None:
    with pytest.raises(InvalidValue, match=r"vocabulary \(0..319\). If you use .* check_embedding_ctx_length=False"):
        prepare_ids(_lists([0, 100276]), Truncation(), embedder, for_logits=False)


@pytest.mark.parametrize("token", [-1, 100277])
def test_28_an_id_that_nobody_has_is_not(embedder: ServedModel, token: int) -> None:
    with pytest.raises(InvalidValue, match=r"vocabulary \(0..319\).$"):
        prepare_ids(_lists([0, token]), Truncation(), embedder, for_logits=False)


def test_30_ids_outside_the_table_are_read_as_openais_where_its_vocabulary_is_at_hand(
    embedder: ServedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.processing.tokenization.decode_cl100k", lambda lists: ("ab",))

    prepared = prepare_ids(_lists([0, 100276]), Truncation(), embedder, for_logits=False)

    assert _ids(prepared) == [[A, B, END]]
    assert prepared.token_ids == "cl100k_base"


def test_33_and_never_by_a_model_that_was_told_not_to(embedder_text: Preprocessor) -> None:
    native = served(embedder_text, "native", token_ids="native")

    with pytest.raises(InvalidValue, match=r"vocabulary \(0..319\).$"):
        prepare_ids(_lists([0, 320]), Truncation(), native, for_logits=False)


def test_06_an_empty_id_list_is_an_error(embedder: ServedModel) -> None:
    with pytest.raises(EmptyArray):
        prepare_ids(_lists([A], []), Truncation(), embedder, for_logits=False)


# "n" and "o" are one token when a text has them side by side.
FOREIGN = [77, 78]


def test_29_ids_that_no_text_gives_are_foreign(embedder: ServedModel) -> None:
    with pytest.raises(ForeignTokenIds, match="check_embedding_ctx_length=False"):
        prepare_ids(_lists([A], FOREIGN), Truncation(), embedder, for_logits=False)


def test_33_a_model_may_take_them(embedder_text: Preprocessor) -> None:
    native = served(embedder_text, "native", token_ids="native")

    assert _ids(prepare_ids(_lists(FOREIGN), Truncation(), native, for_logits=False)) == [[*FOREIGN, END]]


def test_33_or_take_none(embedder_text: Preprocessor) -> None:
    with pytest.raises(InvalidValue, match="does not accept token ids"):
        prepare_ids(_lists([A]), Truncation(), served(embedder_text, "no", token_ids="reject"), for_logits=False)


def test_a_bare_body_is_framed(reranker: ServedModel) -> None:
    prompt = reranker.preprocessor.rerank
    assert prompt

    prepared = prepare_prompts(_texts(BODY), Truncation(), reranker)

    body = reranker.preprocessor.tokenizer.encode([BODY])[0].tolist()
    assert _ids(prepared) == [prompt.prefix.tolist() + body + prompt.suffix.tolist()]
    assert prepared.framed == 1


def test_39_the_framed_body_is_the_prompt_of_the_rerank_route(reranker: ServedModel) -> None:
    prompt = reranker.preprocessor.rerank
    assert prompt

    [ids] = _ids(prepare_prompts(_texts(BODY), Truncation(), reranker))

    assert ids == prompt.join(prompt.head("i", "q"), prompt.documents(["abc"])[0]).tolist()


def test_40_a_complete_prompt_is_parsed_and_left_alone(reranker: ServedModel) -> None:
    text = "<|im_start|>user\na<|im_end|>"

    prepared = prepare_prompts(_texts(text), Truncation(), reranker)

    assert _ids(prepared) == [reranker.preprocessor.tokenizer.encode_control(text).tolist()]
    assert _ids(prepared)[0][0] == 261
    assert prepared.framed == 0


def test_43_other_texts_are_plain(reranker: ServedModel) -> None:
    assert _ids(prepare_prompts(_texts("ab"), Truncation(), reranker)) == [[A, B]]


def test_42_control_tokens_of_a_document_are_plain_text(reranker: ServedModel) -> None:
    prompt = reranker.preprocessor.rerank
    assert prompt

    [ids] = _ids(prepare_prompts(_texts(BODY + "<|im_end|>\n<|im_start|>"), Truncation(), reranker))

    body = ids[len(prompt.prefix) : -len(prompt.suffix)]
    assert max(body) < END


def test_46_a_cut_takes_the_document_and_leaves_head_and_suffix(reranker_text: Preprocessor) -> None:
    prompt = reranker_text.rerank
    assert prompt
    head = prompt.head("i", "q")
    model = _short(reranker_text, len(head) + 2 + len(prompt.suffix))

    prepared = prepare_prompts(_texts(BODY), Truncation(allowed=True), model)

    document = prompt.documents(["abc"])[0]
    assert _ids(prepared) == [prompt.join(head, document[:2]).tolist()]
    assert prepared.truncated == 1


@pytest.mark.parametrize(
    "text", ["<|im_start|>" + "a" * 200, "<Instruct>: " + "i" * 200 + "\n<Query>: q\n<Document>: a"]
)
def test_46_what_cannot_be_cut_without_harm_is_an_error(reranker_text: Preprocessor, text: str) -> None:
    with pytest.raises(InputTooLong):
        prepare_prompts(_texts(text), Truncation(allowed=True), _short(reranker_text, 150))


def test_41_the_frame_may_be_switched_off(reranker_text: Preprocessor) -> None:
    model = served(reranker_text, "bare", frame_rerank_prompts=False)

    prepared = prepare_prompts(_texts(BODY), Truncation(), model)

    assert _ids(prepared) == [reranker_text.tokenizer.encode([BODY])[0].tolist()]
    assert prepared.framed == 0


def test_ids_for_logits_get_nothing_added(reranker: ServedModel) -> None:
    prepared = prepare_ids(_lists([A, B]), Truncation(), reranker, for_logits=True)

    assert _ids(prepared) == [[A, B]]
    assert prepared.framed == 0


def test_a_model_without_terminator_needs_a_token(tmp_path: Any) -> None:
    with pytest.raises(ApiError, match="needs at least one token"):
        prepare_texts(_texts(""), Truncation(), served(text_model(tmp_path, "llm"), "language"))


def test_19_a_text_that_was_not_tokenised_to_its_end_is_longer_than_the_limit(embedder_text: Preprocessor) -> None:
    with pytest.raises(InputTooLong) as caught:
        prepare_texts(_texts("a" * 5000), Truncation(), _short(embedder_text, 4))

    assert "This input is more than 4 tokens: send" in caught.value.message


@pytest.mark.parametrize(("side", "ids"), [("right", [A, A, END]), ("left", [B, B, END])])
def test_20_a_cut_of_a_long_text_is_that_of_the_whole(embedder_text: Preprocessor, side: Any, ids: list[int]) -> None:
    cut = Truncation(allowed=True, side=side)
    prepared = prepare_texts(_texts("a" * 5000 + "b" * 5000), cut, _short(embedder_text, 3))

    assert _ids(prepared) == [ids]
    assert prepared.truncated == 1


@pytest.mark.parametrize(("side", "document"), [("right", "abc"), ("left", "xyz")])
def test_a_long_rerank_body_is_cut_in_its_document(reranker_text: Preprocessor, side: Any, document: str) -> None:
    model, frame = _short(reranker_text, 300), reranker_text.rerank
    cut = Truncation(allowed=True, side=side)
    short, long = (prepare_prompts(_texts(BODY + more), cut, model) for more in ("", "d" * 5000 + "xyz"))

    assert (short.truncated, long.truncated) == (0, 1)
    assert len(long.ids[0]) == 300
    assert frame is not None
    assert _ids(long)[0][-len(frame.suffix) :] == frame.suffix.tolist()
    kept = reranker_text.tokenizer.decode(long.ids[0][: -len(frame.suffix)])
    assert kept.startswith(reranker_text.tokenizer.decode(frame.head("i", "q")))
    assert document in kept


def test_a_complete_prompt_that_is_too_long_is_refused_without_a_cut(reranker_text: Preprocessor) -> None:
    with pytest.raises(InputTooLong, match="more than 100 tokens: send shorter text"):
        prepare_prompts(_texts("<|im_start|>" + "a" * 5000), Truncation(allowed=True), _short(reranker_text, 100))
