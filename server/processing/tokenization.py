"""Inputs -> token ids that fit the model, or the error that names the input. Runs in a thread, never on the loop."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from models import Ids, Qwen3RerankPrompt, cut, is_complete_prompt
from server.errors import SEND_TEXT, ApiError, EmptyArray, ForeignTokenIds, InputTooLong, InvalidValue
from server.processing.cl100k import CL100K_IDS, decode_cl100k
from server.processing.requests import Label, Texts, TokenIds, Truncation, label_of
from server.registry import ServedModel

_NO_IDS: Ids = np.array([], dtype=np.int32)


@dataclass(frozen=True, slots=True)
class TokenizedInputs:
    """Items' ids in input order, and what the answer's headers say of them."""

    ids: list[Ids]
    truncated: int = 0
    framed: int | None = None
    token_ids: str | None = None


@dataclass(frozen=True, slots=True)
class PromptParts:
    """One input's ids: only the body may lose an end, and only where that leaves a prompt that means something."""

    before: Ids
    body: Ids
    after: Ids
    may_be_cut: bool = True


def prepare_texts(texts: Texts, how: Truncation, model: ServedModel) -> TokenizedInputs:
    """Texts for a vector: closed with the model's own special tokens."""
    tokenizer = model.preprocessor.tokenizer
    parts = [PromptParts(tokenizer.before, body, tokenizer.after) for body in tokenizer.encode(texts.values)]
    ids, truncated = _fit(parts, how, model, label_of(texts))
    return TokenizedInputs(ids, truncated)


def prepare_prompts(texts: Texts, how: Truncation, model: ServedModel) -> TokenizedInputs:
    """Texts for logits: a complete prompt as it is, a bare rerank body in its frame, anything else as plain text."""
    parts: dict[int, PromptParts] = {}
    framed = _framed_parts(texts, model)
    parts.update(framed)
    parts.update(_complete_parts(texts, model))
    parts.update(_plain_parts({i: text for i, text in enumerate(texts.values) if i not in parts}, model))
    ids, truncated = _fit([parts[index] for index in range(len(texts.values))], how, model, label_of(texts))
    return TokenizedInputs(ids, truncated, framed=len(framed) if model.kind == "reranker" else None)


def prepare_ids(lists: TokenIds, how: Truncation, model: ServedModel, *, for_logits: bool) -> TokenizedInputs:
    """Token ids: checked, then closed like a text; for logits they are a complete prompt already."""
    label = label_of(lists)
    rule = model.config.token_ids
    if rule == "reject":
        raise InvalidValue(lists.field, "this model takes no token ids. Send text.")
    for index, ids in enumerate(lists.values):
        if not len(ids):
            raise EmptyArray(label(index))
    if rule == "cl100k_base":
        return _foreign(lists, how, model, for_logits=for_logits)
    outside = _outside(lists, model)
    values: list[Ids] = [ids.astype(np.int32) for ids in lists.values]
    # Of a list that is longer than the model takes, the beginning tells as much, and the rest is cut or refused.
    heads = [ids[: model.preprocessor.info.max_tokens] for ids in values]
    if rule == "auto" and (outside or not model.preprocessor.tokenizer.are_native(heads)):
        return _foreign(lists, how, model, for_logits=for_logits, refusal=outside)
    if outside:
        raise outside
    if for_logits:
        parts = [PromptParts(_NO_IDS, ids, _NO_IDS, may_be_cut=False) for ids in values]
    else:
        tokenizer = model.preprocessor.tokenizer
        parts = [
            PromptParts(tokenizer.before, tokenizer.without_special_tokens(ids), tokenizer.after) for ids in values
        ]
    fitted, truncated = _fit(parts, how, model, label)
    framed = 0 if for_logits and model.kind == "reranker" else None
    return TokenizedInputs(fitted, truncated, framed, token_ids="native")


def _framed_parts(texts: Texts, model: ServedModel) -> dict[int, PromptParts]:
    prompt = model.preprocessor.rerank
    if not isinstance(prompt, Qwen3RerankPrompt) or not model.config.frame_rerank_prompts:
        return {}
    places = [index for index, text in enumerate(texts.values) if prompt.needs_frame(text)]
    bodies = prompt.split_bodies([texts.values[index] for index in places])
    return {index: PromptParts(head, body, prompt.suffix) for index, (head, body) in zip(places, bodies, strict=True)}


def _complete_parts(texts: Texts, model: ServedModel) -> dict[int, PromptParts]:
    # Cutting a complete prompt takes its suffix, and the score with it: too long is an error even with `truncate`.
    encode = model.preprocessor.tokenizer.encode_control
    return {
        index: PromptParts(_NO_IDS, encode(text), _NO_IDS, may_be_cut=False)
        for index, text in enumerate(texts.values)
        if is_complete_prompt(text)
    }


def _plain_parts(texts: dict[int, str], model: ServedModel) -> dict[int, PromptParts]:
    tokenizer = model.preprocessor.tokenizer
    bodies = tokenizer.encode(list(texts.values()))
    return {
        index: PromptParts(tokenizer.before, body, tokenizer.after) for index, body in zip(texts, bodies, strict=True)
    }


def _fit(parts: Sequence[PromptParts], how: Truncation, model: ServedModel, label: Label) -> tuple[list[Ids], int]:
    limit = min(how.max_tokens or model.preprocessor.info.max_tokens, model.preprocessor.info.max_tokens)
    fitted = [_fit_one(part, limit, how, label(index)) for index, part in enumerate(parts)]
    return [ids for ids, _ in fitted], sum(was_cut for _, was_cut in fitted)


def _fit_one(part: PromptParts, limit: int, how: Truncation, where: str) -> tuple[Ids, bool]:
    room = limit - len(part.before) - len(part.after)
    too_long = len(part.body) > room
    if too_long and (not how.allowed or not part.may_be_cut or room < 0):
        raise InputTooLong(where, limit)
    ids = np.concatenate((part.before, cut(part.body, room, how.side), part.after))
    if not len(ids):
        raise InvalidValue(where, "this model adds no token of its own, so an input needs at least one token.")
    return ids, too_long


def _outside(lists: TokenIds, model: ServedModel) -> InvalidValue | None:
    """What is wrong with the first id that the model has no row for."""
    rows = model.preprocessor.info.table_rows
    for index, ids in enumerate(lists.values):
        places = np.flatnonzero((ids < 0) | (ids >= rows))
        if len(places):
            where, found = f"{label_of(lists)(index)}[{places[0]}]", int(ids[places[0]])
            # Most of OpenAI's ids are outside a small vocabulary, and whoever sends them must hear how to stop that.
            hint = f" {SEND_TEXT}" if model.config.token_ids == "auto" and 0 <= found < CL100K_IDS else ""
            return InvalidValue(where, f"token id {found} is outside the model's vocabulary (0..{rows - 1}).{hint}")
    return None


def _foreign(
    lists: TokenIds, how: Truncation, model: ServedModel, *, for_logits: bool, refusal: ApiError | None = None
) -> TokenizedInputs:
    # All lists of a request are judged together: one client has one vocabulary.
    texts = decode_cl100k(lists.values)
    if texts is None:
        raise refusal or ForeignTokenIds(model.id, lists.field)
    prepare = prepare_prompts if for_logits else prepare_texts
    return replace(prepare(Texts(texts, lists.is_list, lists.field), how, model), token_ids="cl100k_base")
