"""The four forms of `input`."""

from typing import Any

import pytest

from server.api.dialects.embeddings import parse_embeddings
from server.errors import ApiError, EmptyArray
from server.processing.requests import Texts, TokenIds


def read_input(sent: Any) -> Any:
    """`input` as the parsed request has it."""
    return parse_embeddings({"input": sent}, normalize=True).request.input


@pytest.mark.parametrize(
    ("sent", "values", "is_list"), [("a", ("a",), False), (["a"], ("a",), True), (["a", ""], ("a", ""), True)]
)
def test_text_is_one_input_or_several(sent: Any, values: tuple[str, ...], is_list: bool) -> None:
    assert read_input(sent) == Texts(values, is_list)


@pytest.mark.parametrize(
    ("sent", "texts"),
    [
        ({"text": "a"}, Texts(("a",), is_list=False)),
        ([{"text": "a"}], Texts(("a",), is_list=True)),
        ([{"type": "text", "text": "a"}, {"text": ""}], Texts(("a", ""), is_list=True)),
    ],
)
def test_objects_of_one_text_are_that_text(sent: Any, texts: Texts) -> None:
    assert read_input(sent) == texts


@pytest.mark.parametrize(
    ("sent", "values", "is_list"),
    [
        ([1, 2], [[1, 2]], False),
        ([[1, 2], [3]], [[1, 2], [3]], True),
        ([1.0, 2], [[1, 2]], False),
        ([-1], [[-1]], False),
    ],
)
def test_ids_are_one_input_or_several(sent: Any, values: list[list[int]], is_list: bool) -> None:
    inputs = read_input(sent)

    assert isinstance(inputs, TokenIds)
    assert [ids.tolist() for ids in inputs.values] == values
    assert inputs.is_list is is_list


@pytest.mark.parametrize("sent", [[]])
def test_nothing_is_an_empty_array(sent: Any) -> None:
    with pytest.raises(EmptyArray):
        read_input(sent)


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        (7, "Invalid 'input': expected a string"),
        (True, "Invalid 'input': expected a string"),
        ([None], "Invalid 'input[0]': expected a string"),
        ([True], "Invalid 'input[0]': expected a string"),
        (["a", 1], "Invalid 'input[1]': expected a string, like input[0]."),
        (["a", ["b"]], "Invalid 'input[1]': expected a string, like input[0]."),
        ([[1], 1], "Invalid 'input[1]': expected a list of token ids, like input[0]."),
        ([1, True], "Invalid 'input[1]': expected a token id, which is an integer."),
        ([1, 2.5], "Invalid 'input[1]': expected a token id, which is an integer."),
        ([1, "a"], "Invalid 'input[1]': expected a token id, which is an integer."),
        ([[1, 2], [3, "a"]], "Invalid 'input[1][1]': expected a token id, which is an integer."),
        ([[[1]]], "Invalid 'input[0][0]': expected a token id, which is an integer."),
        ([2**63], "Invalid 'input': a token id does not fit in 64 bits."),
        ({"a": 1}, "Invalid 'input': objects require 'prompt_template'."),
        ([{"a": 1}], "Invalid 'input': objects require 'prompt_template'."),
        ([{"text": "a", "title": "b"}], "Invalid 'input': objects require 'prompt_template'."),
        ({"text": 1}, "Invalid 'input': objects require 'prompt_template'."),
        ([{"text": "a"}, "b"], "Invalid 'input[1]': expected an object, like input[0]."),
        ({"image": "x"}, "Invalid 'input': 'image' is not supported: inputs are texts"),
        ([{"text": "a"}, {"image": "x"}], "Invalid 'input[1]': 'image' is not supported: inputs are texts"),
        ([{"text": "a", "image_url": "x"}], "Invalid 'input[0]': 'image_url' is not supported: inputs are texts"),
    ],
)
def test_anything_else_gets_one_message_that_names_its_place(sent: Any, message: str) -> None:
    with pytest.raises(ApiError) as caught:
        read_input(sent)

    assert caught.value.message.startswith(message)
    assert caught.value.param == "input"
