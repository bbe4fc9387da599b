"""Turns inputs into token ids that fit the model, or raises the error that names the input."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from models import Ids, Qwen3RerankPrompt, TextLimit, cut, is_complete_prompt
from server.errors import (
    SEND_TEXT,
    ApiError,
    EmptyArray,
    ForeignTokenIds,
    InputTooLong,
    InvalidValue,
    TooManyTokens,
)
from server.processing.cl100k import CL100K_IDS, decode_cl100k
from server.processing.requests import Inputs, Label, Texts, TokenIds, Truncation, label_of
from server.registry import ServedModel

# This many ids of a list tell whether they are of the model's vocabulary.
EVIDENCE_TOKENS = 8192
# Called between parts of the work with the tokens so far; what it raises ends the work.
Between = Callable[[int], object]
NO_IDS: Ids = np.array([], dtype=np.int32)


def go_on(_: int) -> None:
    """For callers whose work is short."""


@dataclass(frozen=True, slots=True)
class TokenizedInputs:
    """The ids of each input, in input order, and what the response's headers report about them."""

    ids: list[Ids]
    # The tokens that each input which was cut had before, by its index; None if they were not counted.
    tokens_before_cut: Mapping[int, int | None] = field(default_factory=dict)
    framed: int | None = None
    token_ids: str | None = None
    # Texts that spell out a control token.
    spelt_out: int = 0

    @property
    def truncated(self) -> int:
        """How many inputs were cut."""
        return len(self.tokens_before_cut)


@dataclass(frozen=True, slots=True)
class PromptParts:
    """The ids of one input. Only `body` is ever cut, and only where the rest is still a meaningful prompt.

    A body that is not whole is too long, and was not tokenised further than needed.
    """

    before: Ids
    body: Ids
    after: Ids
    may_be_cut: bool = True
    is_whole: bool = True

    @property
    def tokens(self) -> int | None:
        """The tokens of the whole input; None if they were not counted."""
        return len(self.before) + len(self.body) + len(self.after) if self.is_whole else None


def counted(between: Between, max_tokens: int, field: str) -> Between:
    """`between`, which also ends work that has too many tokens; what is left is not tokenised."""

    def check(tokens: int) -> None:
        between(tokens)
        if tokens > max_tokens:
            raise TooManyTokens(tokens, max_tokens, field)

    return check


def text_limit(truncation: Truncation, model: ServedModel, between: Between = go_on) -> TextLimit:
    """How many tokens of each text matter."""
    return TextLimit(_max_tokens(truncation, model), truncation.side, between)


def readable_characters(texts: Sequence[str], limit: TextLimit) -> int:
    """About how many characters of the texts will be read."""
    return sum(min(len(text), limit.whole_characters) for text in texts)


def prepare_texts(
    texts: Texts, truncation: Truncation, model: ServedModel, between: Between = go_on
) -> TokenizedInputs:
    """Tokenize texts for a vector, between the model's own special tokens.

    `between` is called between parts of the work with the tokens so far, and may end it by raising.

    Raises: ApiError.
    """
    limit = text_limit(truncation, model, between)
    fitted = fit(_text_parts(texts.values, model, limit), truncation, model, texts)
    return replace(fitted, spelt_out=model.preprocessor.tokenizer.count_spelt_out(texts.values, limit))


def prepare_prompts(
    texts: Texts, truncation: Truncation, model: ServedModel, between: Between = go_on
) -> TokenizedInputs:
    """Tokenize texts for logits.

    A complete prompt stays as it is, a bare rerank body gets the official frame, other text is tokenized like for a
    vector.

    Raises: ApiError.
    """
    limit = text_limit(truncation, model, between)
    framed = _framed_parts(texts, model, limit)
    parts = framed | _complete_parts(texts, model, replace(limit, side="right"))
    plain = [index for index in range(len(texts.values)) if index not in parts]
    plain_parts = _text_parts([texts.values[index] for index in plain], model, limit)
    parts |= dict(zip(plain, plain_parts, strict=True))
    fitted = fit([parts[index] for index in range(len(texts.values))], truncation, model, texts)
    # The control tokens of a complete prompt are meant.
    own = [text for text in texts.values if not is_complete_prompt(text)]
    return replace(
        fitted,
        framed=len(framed) if model.kind == "reranker" else None,
        spelt_out=model.preprocessor.tokenizer.count_spelt_out(own, limit),
    )


def prepare_ids(
    inputs: TokenIds, truncation: Truncation, model: ServedModel, *, for_logits: bool, between: Between = go_on
) -> TokenizedInputs:
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
    if not truncation.allowed:
        between(sum(map(len, inputs.values)))
    if rule == "cl100k_base":
        return _decoded(inputs, truncation, model, between, for_logits=for_logits)
    out_of_range = _out_of_range(inputs, model)
    values: list[Ids] = [ids.astype(np.int32) for ids in inputs.values]
    if rule == "auto" and (out_of_range or not _are_native(values, model)):
        return _decoded(inputs, truncation, model, between, for_logits=for_logits, error=out_of_range)
    if out_of_range:
        raise out_of_range
    fitted = fit(_id_parts(values, model, for_logits=for_logits), truncation, model, inputs)
    framed = 0 if for_logits and model.kind == "reranker" else None
    return replace(fitted, framed=framed, token_ids="native")


def _framed_parts(texts: Texts, model: ServedModel, limit: TextLimit) -> dict[int, PromptParts]:
    prompt = model.preprocessor.rerank
    if not isinstance(prompt, Qwen3RerankPrompt) or not model.config.frame_rerank_prompts:
        return {}
    places = [index for index, text in enumerate(texts.values) if prompt.needs_frame(text)]
    bodies = prompt.split_bodies([texts.values[index] for index in places], limit)
    return {
        index: PromptParts(body.head, body.document, prompt.suffix, is_whole=body.is_whole)
        for index, body in zip(places, bodies, strict=True)
    }


def _complete_parts(texts: Texts, model: ServedModel, limit: TextLimit) -> dict[int, PromptParts]:
    # Cutting a complete prompt removes its suffix, and so its score: too long is an error even with `truncate`.
    complete = {index: text for index, text in enumerate(texts.values) if is_complete_prompt(text)}
    read = model.preprocessor.tokenizer.encode_control_within(list(complete.values()), limit)
    return {
        index: PromptParts(NO_IDS, ids, NO_IDS, may_be_cut=False, is_whole=place not in read.partial)
        for place, (index, ids) in enumerate(zip(complete, read.ids, strict=True))
    }


def _text_parts(texts: Sequence[str], model: ServedModel, limit: TextLimit) -> list[PromptParts]:
    tokenizer = model.preprocessor.tokenizer
    read = tokenizer.encode_within(texts, limit)
    return [
        PromptParts(tokenizer.before, body, tokenizer.after, is_whole=index not in read.partial)
        for index, body in enumerate(read.ids)
    ]


def _id_parts(values: Sequence[Ids], model: ServedModel, *, for_logits: bool) -> list[PromptParts]:
    if for_logits:
        return [PromptParts(NO_IDS, ids, NO_IDS, may_be_cut=False) for ids in values]
    tokenizer = model.preprocessor.tokenizer
    return [PromptParts(tokenizer.before, tokenizer.without_special_tokens(ids), tokenizer.after) for ids in values]


def fit(parts: Sequence[PromptParts], truncation: Truncation, model: ServedModel, inputs: Inputs) -> TokenizedInputs:
    """Cut what is too long and may be cut.

    Raises: ApiError: an input is too long, or has no tokens.
    """
    limit = _max_tokens(truncation, model)
    label = label_of(inputs)
    fitted = [_fit_input(part, limit, truncation, label, index) for index, part in enumerate(parts)]
    tokens_before_cut = {
        index: part.tokens
        for index, (ids, part) in enumerate(zip(fitted, parts, strict=True))
        if part.tokens is None or len(ids) < part.tokens
    }
    return TokenizedInputs(fitted, tokens_before_cut)


def _fit_input(part: PromptParts, limit: int, truncation: Truncation, label: Label, index: int) -> Ids:
    room = limit - len(part.before) - len(part.after)
    too_long = len(part.body) > room or not part.is_whole
    if too_long and (not truncation.allowed or not part.may_be_cut or room < 0):
        raise InputTooLong(label(index), limit, part.tokens, may_be_cut=part.may_be_cut and room >= 0)
    ids = np.concatenate((part.before, cut(part.body, room, truncation.side), part.after))
    if not len(ids):
        raise InvalidValue(label(index), "this model adds no special tokens, so an input needs at least one token.")
    return ids


def _max_tokens(truncation: Truncation, model: ServedModel) -> int:
    maximum = model.preprocessor.info.max_tokens
    return min(truncation.max_tokens or maximum, maximum)


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
    heads = [ids[: min(model.preprocessor.info.max_tokens, EVIDENCE_TOKENS)] for ids in values]
    return model.preprocessor.tokenizer.are_native(heads)


def _decoded(
    inputs: TokenIds,
    truncation: Truncation,
    model: ServedModel,
    between: Between,
    *,
    for_logits: bool,
    error: ApiError | None = None,
) -> TokenizedInputs:
    """Read ids as cl100k_base. All lists of a request are judged together: one client has one vocabulary."""
    values = decode_cl100k(inputs.values)
    if values is None:
        raise error or ForeignTokenIds(model.id, inputs.field)
    prepare = prepare_prompts if for_logits else prepare_texts
    texts = Texts(values, inputs.is_list, inputs.field)
    return replace(prepare(texts, truncation, model, between), token_ids="cl100k_base")
