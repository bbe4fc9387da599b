"""Text -> int32 ids. User text never becomes a control token; special tokens are added after any cut."""

import json
import secrets
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from pathlib import Path

import numpy as np
import tokenizers
from tokenizers import normalizers

from models.checkpoint.files import JsonObject, read_text_file
from models.checkpoint.formats.gguf import find_gguf, read_gguf
from models.interface import Ids, ModelError, Side
from models.text.added_tokens import WordRule, is_spaces, spelling_pattern
from models.text.gguf_tokenizer import gguf_tokenizer
from models.text.long_text import TextIds, TextLimit, TokenizedSlice, first_ids, last_ids, slice_characters
from models.text.tiktoken_converter import TIKTOKEN_FILE as TIKTOKEN
from models.text.tiktoken_converter import read_tiktoken
from models.text.tokenizer_limits import why_unbounded


def without_control_tokens(document: JsonObject, is_word: WordRule = is_spaces) -> JsonObject:
    """A copy of the tokenizer.json in which no text can become a control token."""
    added = document.get("added_tokens") or []
    control = {token["content"] for token in added if not is_word(token)}
    # The switch encode_special_tokens leaves <think> and its like as control tokens (tokenizers 0.23.3).
    texts = [] if len(control) == len(added) else _hidden(added, control, document["model"])
    return document | {"added_tokens": texts, "model": _unreachable(document["model"], control)}


def _hidden(added: list[JsonObject], control: set[str], model: JsonObject) -> list[JsonObject]:
    """The added tokens, in which control tokens have spellings that nobody can guess.

    They keep their places: the library counts the ids of tokens outside the vocabulary in the order of the list.
    """
    pieces = model.get("vocab") or {}
    vocabulary = set(pieces) if isinstance(pieces, dict) else {piece for piece, _ in pieces}
    return [
        token | {"content": secrets.token_hex(16)} if token["content"] in control else token
        for token in added
        if token["content"] not in control or token["content"] not in vocabulary
    ]


def unknown_token(model: JsonObject) -> str | None:
    """The token for text that the vocabulary lacks; None if there is none."""
    if model.get("unk_id") is not None:
        return str(model["vocab"][model["unk_id"]][0])
    return model.get("unk_token")


def _unreachable(model: JsonObject, control: set[str]) -> JsonObject:
    if "unk_id" not in model:
        return model
    # A Unigram vocabulary lists </s> as a piece like any other. After Metaspace no text contains a space.
    return model | {"vocab": [[f"{piece} " if piece in control else piece, score] for piece, score in model["vocab"]]}


# A chunk of a longer id list may start inside a character: this many ids at either edge need not come back.
EDGE_IDS = 4
# Each of them may stand for a part of a character, which decodes to up to three marks of a token or more.
EDGE_IDS_AGAIN = 12
EDGE_FROM_IDS = 64
# Texts are tokenised in groups of about this size, whose memory is free again before the next group.
GROUP_CHARACTERS = 256 * 1024


class TokenizerFailed(Exception):
    """The tokenizer's library gave up on a text, for example on ten million spaces."""


class Tokenizer:
    """One tokenizer.json, loaded twice: unchanged, and without control tokens for user text. Any thread.

    A folder may have a tiktoken.model in its place.
    """

    def __init__(self, file: Path, *, lower_case: bool = False, is_word: WordRule = is_spaces) -> None:
        """Read a file.

        Args:
            file: tokenizer.json.
            lower_case: whether to convert texts to lower case first, although the file does not say so.
            is_word: which added tokens stay tokens in text that users send.
        Raises: ModelError: it cannot be read, or user text could become a control token.
        """
        text = _read(file)
        self._control = _from_json(text, file)
        document = json.loads(text)
        if reason := why_unbounded(document):
            raise ModelError(f"{file} is not supported: {reason}")
        self._plain = _from_json(json.dumps(without_control_tokens(document, is_word)), file)
        if lower_case:
            _lower_case(self._control)
            _lower_case(self._plain)
        words = {token["content"] for token in document.get("added_tokens") or () if is_word(token)}
        tokens = self._control.get_added_tokens_decoder().items()
        self.words = sorted(words)
        self.added = {token.content: index for index, token in tokens if token.content not in words}
        self._spellings = spelling_pattern(token for token in self.added if len(token) > 1)
        self._added_ids = np.array(sorted(self.added.values()), dtype=np.int32)
        self._longest = max(map(len, self._plain.get_vocab()), default=1)
        self._check_plain_text(file, unknown_token(document["model"]))
        self.before, self.after = self._special_tokens(file)

    def end_with(self, token: str) -> None:
        """Add a token after each text from now on, unless the post-processor does so.

        Raises: ModelError: the vocabulary lacks it.
        """
        number = self._control.token_to_id(token)
        if number is None:
            raise ModelError(f"the vocabulary has no token {token!r} to end a text with")
        if not len(self.after) or self.after[-1] != number:
            self.after = np.append(self.after, np.int32(number))

    @property
    def special_count(self) -> int:
        """How many tokens with_special_tokens() adds."""
        return len(self.before) + len(self.after)

    def encode(self, texts: Sequence[str]) -> list[Ids]:
        """User text as ids, without special tokens: spellings such as <|im_end|> are ordinary text."""
        return _encode(self._plain, texts)

    def encode_within(self, texts: Sequence[str], limit: TextLimit) -> TextIds:
        """User text as ids, like encode(), with work and memory in proportion to the limit.

        The ids of a text that is too long, cut to the limit, are those of the whole text cut to the limit.

        Raises: TokenizerFailed. What `limit.between` raises.
        """
        return self._within(self._plain, texts, limit)

    def count_spelt_out(self, texts: Sequence[str], limit: TextLimit) -> int:
        """How many of the texts spell out a control token, which encode() reads as ordinary text.

        Of a text that is too long, only what a whole text may have is looked at.
        """
        if self._spellings is None:
            return 0
        return sum(bool(self._spellings.search(text, 0, limit.whole_characters)) for text in texts)

    def encode_one(self, text: str, limit: TextLimit | None) -> Ids:
        """One text, as far as the limit says, if there is one."""
        return self.encode([text])[0] if limit is None else self.encode_within([text], limit).ids[0]

    def encode_control(self, text: str) -> Ids:
        """Ids of Hearth's own prompt: control tokens are parsed."""
        return _encode(self._control, [text])[0]

    def encode_control_within(self, texts: Sequence[str], limit: TextLimit) -> TextIds:
        """Ids of complete prompts from a client, like encode_within(), but control tokens are parsed."""
        return self._within(self._control, texts, limit)

    def encode_pair(self, first: str, second: str) -> tokenizers.Encoding:
        """Two texts as the post-processor joins them; control tokens are parsed, so never use it for user text."""
        return self._control.encode(first, second)

    def decode(self, ids: Ids, *, skip_special_tokens: bool = False) -> str:
        """Ids as text, with control tokens as text or left out."""
        # decode() keeps the interpreter's lock meanwhile, and so does encode().
        return str(self._control.decode_batch([ids.tolist()], skip_special_tokens=skip_special_tokens)[0])

    def decode_each(self, ids: Ids) -> list[str]:
        """Each id as text of its own."""
        return list(self._control.decode_batch([[int(token)] for token in ids], skip_special_tokens=False))

    def offsets(self, text: str) -> list[tuple[int, int, int]]:
        """User text as (id, start, stop), in characters of the text, without special tokens."""
        encoding = _guarded(lambda: self._plain.encode_batch([text], add_special_tokens=False))[0]
        return [(token, *span) for token, span in zip(encoding.ids, encoding.offsets, strict=True)]

    def with_special_tokens(self, ids: Ids) -> Ids:
        """Ids of a text between the model's own special tokens, as its post-processor would put them."""
        return np.concatenate((self.before, ids, self.after))

    def without_special_tokens(self, ids: Ids) -> Ids:
        """Ids that a client sent, less the special tokens that with_special_tokens() would double."""
        start = len(self.before) if np.array_equal(ids[: len(self.before)], self.before) else 0
        end = len(ids) - len(self.after)
        has_end = end >= start and np.array_equal(ids[end:], self.after)
        return ids[start : end if has_end else len(ids)]

    def are_native(self, lists: Sequence[Ids]) -> bool:
        """Whether id lists are what this vocabulary gives for some text (docs/http-contract.md).

        Weak on short lists: a list of another vocabulary may be canonical here by accident.
        """
        return all(self._is_native(ids) for ids in lists)

    def single(self, token: str) -> int:
        """The id of a token that must be exactly one id.

        Raises: ModelError: the vocabulary splits it.
        """
        ids = self.encode([token])[0]
        if len(ids) != 1:
            raise ModelError(f"the tokenizer has no single token for {token!r}; it gives {ids.tolist()}")
        return int(ids[0])

    def _within(self, tokenizer: tokenizers.Tokenizer, texts: Sequence[str], limit: TextLimit) -> TextIds:
        ids, partial, tokens = list[Ids](), set[int](), 0
        for group in _groups(texts, limit):
            limit.between(tokens)
            if limit.is_long(group[0]):
                rows, whole = self._long(tokenizer, group, limit, tokens)
                partial |= {len(ids) + index for index, is_whole in enumerate(whole) if not is_whole}
            else:
                rows = _encode(tokenizer, group)
            ids += rows
            tokens += sum(min(len(row), limit.max_tokens) for row in rows)
        return TextIds(ids, frozenset(partial))

    def _long(
        self, tokenizer: tokenizers.Tokenizer, texts: Sequence[str], limit: TextLimit, tokens: int
    ) -> tuple[list[Ids], list[bool]]:
        readable = [limit.readable(text, self._longest) for text in texts]
        read = first_ids if limit.side == "right" else last_ids
        # The first slices together, which the library reads in parallel.
        heads = [text[: slice_characters(limit.max_tokens)] for text in readable] if limit.side == "right" else []
        slices = dict(zip(heads, _encode_slices(tokenizer, heads), strict=True))

        def tokenize(piece: str) -> TokenizedSlice:
            return slices.get(piece) or _encode_slices(tokenizer, [piece])[0]

        rows, whole = list[Ids](), list[bool]()
        for text, part in zip(texts, readable, strict=True):
            row, is_whole = read(part, limit.max_tokens, tokenize, lambda: limit.between(tokens))
            rows.append(row)
            whole.append(is_whole and len(part) == len(text))
        return rows, whole

    def _is_native(self, ids: Ids) -> bool:
        pieces = [piece for piece in _split(ids, self._added_ids) if len(piece)]
        if len(ids) < EDGE_FROM_IDS or not pieces:
            return all(self._comes_back(piece) for piece in pieces)
        inner, edges = pieces[1:-1], ([pieces[0]] if len(pieces) == 1 else [pieces[0], pieces[-1]])
        return all(self._comes_back(piece) for piece in inner) and all(self._comes_back_inside(p) for p in edges)

    def _comes_back(self, piece: Ids) -> bool:
        return bool(np.array_equal(self.encode([self.decode(piece)])[0], piece))

    def _comes_back_inside(self, piece: Ids) -> bool:
        return agree_inside(piece, self.encode([self.decode(piece)])[0])

    def _check_plain_text(self, file: Path, unknown: str | None) -> None:
        for text, ids in zip(self.added, self.encode([f"a{text} {text}" for text in self.added]), strict=True):
            if self.added[text] in ids and text != unknown:
                raise ModelError(
                    f"{file} is not supported: user text could still be tokenised as the control token {text!r}"
                )

    def _special_tokens(self, file: Path) -> tuple[Ids, Ids]:
        bare = self._control.encode("a", add_special_tokens=False).ids
        full = self._control.encode("a", add_special_tokens=True).ids
        for start in range(len(full) - len(bare) + 1):
            if full[start : start + len(bare)] == bare:
                return _ids(full[:start]), _ids(full[start + len(bare) :])
        raise ModelError(f"{file} rewrites the text between its special tokens, which is not supported")


def agree_inside(ids: Ids, again: Ids) -> bool:
    """Whether ids came back, but for a few at either edge: a chunk of a longer list may start inside a character."""
    for start, end in product(range(EDGE_IDS + 1), repeat=2):
        inner = ids[start : len(ids) - end]
        more = len(again) - len(inner)
        places = range(max(more - EDGE_IDS_AGAIN, 0), min(more, EDGE_IDS_AGAIN) + 1)
        if any(np.array_equal(again[place : place + len(inner)], inner) for place in places):
            return True
    return False


def cut(ids: Ids, max_tokens: int, side: Side = "right") -> Ids:
    """At most `max_tokens` ids; `side` is the end that is lost."""
    if len(ids) <= max_tokens:
        return ids
    return ids[:max_tokens] if side == "right" else ids[len(ids) - max_tokens :]


def _groups(texts: Sequence[str], limit: TextLimit) -> Iterator[Sequence[str]]:
    """The texts in order; those of a group are all long, or none is."""
    whole_characters = limit.whole_characters
    lengths = list(map(len, texts))
    if sum(lengths) <= GROUP_CHARACTERS and max(lengths, default=0) <= whole_characters:
        yield from [texts] if texts else []
        return
    group, characters = list[str](), 0
    for text in texts:
        is_long = len(text) > whole_characters
        read_at_once = slice_characters(limit.max_tokens) if is_long else len(text)
        if group and (is_long != limit.is_long(group[0]) or characters + read_at_once > GROUP_CHARACTERS):
            yield group
            group, characters = [], 0
        group.append(text)
        characters += read_at_once
    if group:
        yield group


def _encode(tokenizer: tokenizers.Tokenizer, texts: Sequence[str]) -> list[Ids]:
    encodings = _guarded(lambda: tokenizer.encode_batch_fast(texts, add_special_tokens=False))
    return [_ids(encoding.ids) for encoding in encodings]


def _encode_slices(tokenizer: tokenizers.Tokenizer, texts: Sequence[str]) -> list[TokenizedSlice]:
    encodings = _guarded(lambda: tokenizer.encode_batch(texts, add_special_tokens=False)) if texts else []
    places = [np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2) for encoding in encodings]
    return [
        TokenizedSlice(_ids(encoding.ids), place[:, 0], place[:, 1])
        for encoding, place in zip(encodings, places, strict=True)
    ]


def _guarded(encode: Callable[[], list[tokenizers.Encoding]]) -> list[tokenizers.Encoding]:
    try:
        return encode()
    except BaseException as error:
        # A panic in Rust is no Exception in Python, and its class cannot be imported.
        if type(error).__name__ != "PanicException":
            raise
        raise TokenizerFailed(str(error)) from None


def _read(file: Path) -> str:
    text = read_text_file(file)
    if text is not None:
        return text
    if (file.parent / TIKTOKEN).is_file():
        return read_tiktoken(file.parent)
    if (gguf := find_gguf(file.parent)) is not None:
        return gguf_tokenizer(read_gguf(gguf))
    advice = "make it: AutoTokenizer.from_pretrained(...).save_pretrained(...)"
    raise ModelError(f"{file.parent} has no tokenizer that can be read; missing: {file.name} ({advice})")


def _from_json(text: str, file: Path) -> tokenizers.Tokenizer:
    try:
        tokenizer = tokenizers.Tokenizer.from_str(text)
    except Exception as error:  # tokenizers raises bare Exception for every fault
        raise ModelError(f"{file} is not a tokenizer that can be read: {error}") from error
    # A tokenizer.json carries its own: all-MiniLM-L6-v2's cuts at 128 and pads to 128.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _lower_case(tokenizer: tokenizers.Tokenizer) -> None:
    before = tokenizer.normalizer
    tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), *([before] if before else [])])


def _split(ids: Ids, at: Ids) -> list[Ids]:
    places = np.flatnonzero(np.isin(ids, at))
    return [part[1:] if number else part for number, part in enumerate(np.split(ids, places))]


def _ids(values: Sequence[int]) -> Ids:
    return np.array(values, dtype=np.int32)
