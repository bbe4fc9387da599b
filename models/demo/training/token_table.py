"""The token table, trained as a plain mean over the text: most of what a small embedder knows, in a minute."""

import random
from collections.abc import Callable, Sequence

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, embedding_bag, normalize

from models.demo.training.data.words import Word
from models.demo.training.wiring import DEVIATION, SILENT

TEXTS = 1024
RATE = 3e-3


def first(
    tokenizer: Tokenizer, words: Sequence[Word], encode: Callable[[Sequence[str]], Tensor], axes: Tensor
) -> Tensor:
    """The teacher's vector of each entry alone, rotated, and shorter for frequent words, [V, H]."""
    count = tokenizer.get_vocab_size()
    entries = [tokenizer.decode([index], skip_special_tokens=False).strip() or "." for index in range(count)]
    frequency = {word.text: word.frequency for word in words}
    known = torch.tensor([frequency.get(entry.lower(), 1e-3 if len(entry) < 3 else 1e-4) for entry in entries])
    # Arora et al. 2017, "A Simple but Tough-to-Beat Baseline for Sentence Embeddings": a / (a + frequency).
    return encode(entries) @ axes * (1e-3 / (1e-3 + known))[:, None]


def train(
    table: Tensor,
    ids: Sequence[Sequence[int]],
    targets: Tensor,
    rng: random.Random,
    *,
    passes: int,
    step: Callable[[str], None],
) -> Tensor:
    """A table whose mean over `ids` of each text is nearest to `targets`, [texts, H]; [V, H]."""
    rows = nn.Parameter(table.clone())
    optimizer = torch.optim.Adam([rows], lr=RATE, fused=True)
    order = [row for _ in range(passes) for row in rng.sample(range(len(ids)), len(ids))]
    for start in range(0, len(order), TEXTS):
        optimizer.param_groups[0]["lr"] = RATE * (1 - start / len(order))
        picked = order[start : start + TEXTS]
        flat = torch.tensor([token for row in picked for token in ids[row]])
        lengths = torch.tensor([0, *(len(ids[row]) for row in picked)])
        made = embedding_bag(flat, rows, lengths.cumsum(0)[:-1], mode="mean")
        loss = 1 - cosine_similarity(made, targets[torch.tensor(picked)].float(), dim=-1).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        step(f"{loss.item():.3f}")
    return rows.detach()


def tell_bytes_apart(table: Tensor, weights: Tensor, tokenizer: Tokenizer) -> tuple[Tensor, Tensor]:
    """Give each byte outside of ASCII a direction of its own, and let the first byte of a character hardly count.

    The teacher knows none of them, so that all had one row, and all texts of other scripts one vector. Now texts are
    alike as far as they share bytes, which says nothing about their meaning.

    Args:
        table: unit rows, [V, H].
        weights: in wiring's deviations from the mean, [V].
        tokenizer: whose tokens they are.
    """
    ids = torch.tensor([tokenizer.token_to_id(character) for character in _characters()[128:]])
    directions = torch.randn(len(ids), table.shape[1], generator=torch.Generator().manual_seed(0))
    table, weights = table.clone(), weights.clone()
    table[ids] = normalize(directions, dim=-1)
    # UTF-8: a character's first byte is 0xC2 or more; it tells little more than the script.
    weights[ids[0xC2 - 128 :]] = SILENT
    return table, weights


def _characters() -> list[str]:
    """How byte-level BPE writes each byte (GPT-2's bytes_to_unicode)."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = (byte for byte in range(256) if byte not in shown)
    written = {byte: byte for byte in shown} | {byte: 256 + at for at, byte in enumerate(hidden)}
    return [chr(written[byte]) for byte in range(256)]


def split(table: Tensor, tokenizer: Tokenizer) -> tuple[Tensor, Tensor]:
    """Unit rows [V, H], and the logarithm of each row's length, in wiring's deviations from the mean [V]."""
    lengths = table.norm(dim=-1).clamp(min=1e-4).log()
    return tell_bytes_apart(normalize(table, dim=-1), (lengths - lengths.mean()) / DEVIATION, tokenizer)
