"""Turns inputs into token ids that fit the model, or raises the error that names the input."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from models import Ids, Qwen3RerankPrompt, cut, is_complete_prompt
from server.errors import SEND_TEXT, ApiError, EmptyArray, ForeignTokenIds, InputTooLong, InvalidValue
from server.processing.cl100k import CL100K_IDS, decode_cl100k
from server.processing.requests import Label, Texts, TokenIds, Truncation, label_of
from server.registry import ServedModel

_NO_IDS: Ids = np.array([], dtype=np.int32)


@dataclass(frozen=True, slots=True)
class TokenizedInputs:
    """The ids of each input, in input order, and what the response's headers report about them."""

    ids: list[Ids]
    # The tokens that each input which was cut had before, by its index.
    tokens_before_cut: Mapping[int, int] = field(default_factory=dict)
    framed: int | None = None
    token_ids: str | None = None

    @property
    def truncated(self) -> int:
        """How many inputs were cut."""
        return len(self.tokens_before_cut)


@dataclass(frozen=True, slots=True)
class PromptParts:
    """The ids of one input. Only `body` is ever cut, and only where the rest is still a meaningful prompt."""

    before: Ids
    body: Ids
    after: Ids
    may_be_cut: bool = True


def prepare_texts(texts: Texts, truncation: Truncation, model: ServedModel) -> TokenizedInputs:
    """Tokenize texts for a vector, between the model's own special tokens.

    Raises: ApiError.
    """
    parts = _text_parts(dict(enumerate(texts.values)), model)
    return _fit(list(parts.values()), truncation, model, texts)


def prepare_prompts(texts: Texts, truncation: Truncation, model: ServedModel) -> TokenizedInputs:
    """Tokenize texts for logits.

    A complete prompt stays as it is, a bare rerank body gets the official frame, other text is tokenized like for a
    vector.

    Raises: ApiError.
    """
    framed = _framed_parts(texts, model)
    parts = framed | _complete_parts(texts, model)
    parts |= _text_parts({index: text for index, text in enumerate(texts.values) if index not in parts}, model)
    fitted = _fit([parts[index] for index in range(len(texts.values))], truncation, model, texts)
    return replace(fitted, framed=len(framed) if model.kind == "reranker" else None)


def prepare_ids(inputs: TokenIds, truncation: Truncation, model: ServedModel, *, for_logits: bool) -> TokenizedInputs:
    """Check token ids against the model's vocabulary, then put them between its special tokens like a text.

    For logits they must be a complete prompt already.

    Raises: ApiError.
    """
    rule = model.config.token_ids
    if rule == "reject":
        raise InvalidValue(inputs.field, "this model does not accept token ids. Send text.")
    label = label_of(inputs)
    for index, ids in enumerate(inputs.values):
        if not len(ids):
            raise EmptyArray(label(index))
    if rule == "cl100k_base":
        return _decoded(inputs, truncation, model, for_logits=for_logits)
    out_of_range = _out_of_range(inputs, model)
    values: list[Ids] = [ids.astype(np.int32) for ids in inputs.values]
    if rule == "auto" and (out_of_range or not _are_native(values, model)):
        return _decoded(inputs, truncation, model, for_logits=for_logits, error=out_of_range)
    if out_of_range:
        raise out_of_range
    fitted = _fit(_id_parts(values, model, for_logits=for_logits), truncation, model, inputs)
    framed = 0 if for_logits and model.kind == "reranker" else None
    return replace(fitted, framed=framed, token_ids="native")


def _framed_parts(texts: Texts, model: ServedModel) -> dict[int, PromptParts]:
    prompt = model.preprocessor.rerank
    if not isinstance(prompt, Qwen3RerankPrompt) or not model.config.frame_rerank_prompts:
        return {}
    places = [index for index, text in enumerate(texts.values) if prompt.needs_frame(text)]
    bodies = prompt.split_bodies([texts.values[index] for index in places])
    return {index: PromptParts(head, body, prompt.suffix) for index, (head, body) in zip(places, bodies, strict=True)}


def _complete_parts(texts: Texts, model: ServedModel) -> dict[int, PromptParts]:
    # Cutting a complete prompt removes its suffix, and so its score: too long is an error even with `truncate`.
    encode = model.preprocessor.tokenizer.encode_control
    return {
        index: PromptParts(_NO_IDS, encode(text), _NO_IDS, may_be_cut=False)
        for index, text in enumerate(texts.values)
        if is_complete_prompt(text)
    }


def _text_parts(texts: dict[int, str], model: ServedModel) -> dict[int, PromptParts]:
    tokenizer = model.preprocessor.tokenizer
    bodies = tokenizer.encode(list(texts.values()))
    return {
        index: PromptParts(tokenizer.before, body, tokenizer.after) for index, body in zip(texts, bodies, strict=True)
    }


def _id_parts(values: Sequence[Ids], model: ServedModel, *, for_logits: bool) -> list[PromptParts]:
    if for_logits:
        return [PromptParts(_NO_IDS, ids, _NO_IDS, may_be_cut=False) for ids in values]
    tokenizer = model.preprocessor.tokenizer
    return [PromptParts(tokenizer.before, tokenizer.without_special_tokens(ids), tokenizer.after) for ids in values]


def _fit(
    parts: Sequence[PromptParts], truncation: Truncation, model: ServedModel, inputs: Texts | TokenIds
) -> TokenizedInputs:
    maximum = model.preprocessor.info.max_tokens
    limit = min(truncation.max_tokens or maximum, maximum)
    label = label_of(inputs)
    fitted = [_fit_input(part, limit, truncation, label, index) for index, part in enumerate(parts)]
    tokens_before = [len(part.before) + len(part.body) + len(part.after) for part in parts]
    cut_from = {
        index: tokens
        for index, (ids, tokens) in enumerate(zip(fitted, tokens_before, strict=True))
        if len(ids) < tokens
    }
    return TokenizedInputs(fitted, cut_from)


def _fit_input(part: PromptParts, limit: int, truncation: Truncation, label: Label, index: int) -> Ids:
    room = limit - len(part.before) - len(part.after)
    too_long = len(part.body) > room
    if too_long and (not truncation.allowed or not part.may_be_cut or room < 0):
        tokens = len(part.before) + len(part.body) + len(part.after)
        raise InputTooLong(label(index), limit, tokens, may_be_cut=part.may_be_cut and room >= 0)
    ids = np.concatenate((part.before, cut(part.body, room, truncation.side), part.after))
    if not len(ids):
        raise InvalidValue(label(index), "this model adds no special tokens, so an input needs at least one token.")
    return ids


def _out_of_range(inputs: TokenIds, model: ServedModel) -> InvalidValue | None:
    """The error for the first id that the model's embedding table has no row for."""
    rows = model.preprocessor.info.table_rows
    for index, ids in enumerate(inputs.values):
        places = np.flatnonzero((ids < 0) | (ids >= rows))
        if len(places):
            where, token_id = f"{label_of(inputs)(index)}[{places[0]}]", int(ids[places[0]])
            # A small vocabulary lacks most of OpenAI's ids: their senders must learn how to send text.
            hint = f" {SEND_TEXT}" if model.config.token_ids == "auto" and 0 <= token_id < CL100K_IDS else ""
            return InvalidValue(where, f"token id {token_id} is outside the model's vocabulary (0..{rows - 1}).{hint}")
    return None


def _are_native(values: Sequence[Ids], model: ServedModel) -> bool:
    # The beginning is enough evidence, and what is longer than the model's maximum is cut or refused anyway.
    heads = [ids[: model.preprocessor.info.max_tokens] for ids in values]
    return model.preprocessor.tokenizer.are_native(heads)


def _decoded(
    inputs: TokenIds, truncation: Truncation, model: ServedModel, *, for_logits: bool, error: ApiError | None = None
) -> TokenizedInputs:
    """Read ids as cl100k_base. All lists of a request are judged together: one client has one vocabulary."""
    values = decode_cl100k(inputs.values)
    if values is None:
        raise error or ForeignTokenIds(model.id, inputs.field)
    prepare = prepare_prompts if for_logits else prepare_texts
    texts = Texts(values, inputs.is_list, inputs.field)
    return replace(prepare(texts, truncation, model), token_ids="cl100k_base")
