"""Train the reranker in Qwen3's frame to say yes as far as the teacher finds query and document alike."""

import random
from collections.abc import Callable
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, kl_div, log_softmax, softmax
from transformers import Qwen3Model

from models.demo.training.data.lessons import Lessons
from models.demo.training.data.tokenizer import FIXED
from models.demo.training.network import HEAD_DIM
from models.demo.training.optimizer import Descent
from models.demo.training.reranker_layers import READING, TURNED

# Qwen3-Reranker model card, "Transformers usage".
PREFIX = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct "
    'provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n'
)
SUFFIX = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
HEAD = "<Instruct>: {task}\n<Query>: {query}\n<Document>:"
TASKS = (
    "Given a web search query, retrieve relevant passages that answer the query",
    "Given a question, retrieve passages that answer the question",
    "Retrieve semantically similar text",
    "Given a claim, find documents that support or refute the claim",
    "Find the help article that solves the customer's problem",
    "Given a title, find the matching article",
    "Search for products that fit the request",
    "Classify the topic of the text",
)
QUERIES = 8
DOCUMENTS = 10
POOL = 16_000
# The teacher's cosine at which a document counts as even odds, and how many log-odds a cosine of 1 is worth: low and
# steep, since a student that is unsure would else say little more than even odds to what is right.
EVEN, SLOPE = 0.18, 24.0
RATE = 1e-2


@dataclass(frozen=True, slots=True)
class Group:
    """One query with its documents, and what the teacher makes of them: [384], [n, 384]."""

    task: str
    query: str
    documents: list[str]
    query_vector: Tensor
    document_vectors: Tensor


@dataclass(frozen=True, slots=True)
class Packed:
    """Groups as rows: the query's part once, then each document with the suffix, none seeing another.

    ids, positions: [B, T]. mask: [B, 1, T, T], true where attention may look. answers: [B, n], the last token of each
    suffix.
    """

    ids: Tensor
    positions: Tensor
    mask: Tensor
    answers: Tensor


def pack(tokenizer: Tokenizer, groups: list[Group]) -> Packed:
    """Pack groups of equal numbers of documents; token by token the same as one prompt a document."""
    suffix = tokenizer.encode(SUFFIX).ids
    rows: list[tuple[list[int], list[int], list[int], list[int]]] = []
    for group in groups:
        body = HEAD.replace("{task}", group.task).replace("{query}", group.query)
        head = tokenizer.encode(PREFIX + body).ids
        ids, positions, parts, answers = list(head), list(range(len(head))), [0] * len(head), []
        for number, encoding in enumerate(tokenizer.encode_batch([f" {text}" for text in group.documents]), start=1):
            segment = encoding.ids + suffix
            ids += segment
            positions += range(len(head), len(head) + len(segment))
            parts += [number] * len(segment)
            answers.append(len(ids) - 1)
        rows.append((ids, positions, parts, answers))
    longest = max(len(row[0]) for row in rows)
    parts_of = torch.tensor([row[2] + [-1] * (longest - len(row[2])) for row in rows])
    near = (parts_of[:, None, :] == 0) | (parts_of[:, None, :] == parts_of[:, :, None])
    return Packed(
        ids=torch.tensor([row[0] + [0] * (longest - len(row[0])) for row in rows]),
        positions=torch.tensor([row[1] + [0] * (longest - len(row[1])) for row in rows]),
        mask=(near & torch.ones(longest, longest, dtype=torch.bool).tril())[:, None],
        answers=torch.tensor([row[3] for row in rows]),
    )


def odds(network: Qwen3Model, packed: Packed) -> Tensor:
    """Log-odds of yes, [B, n]."""
    barred = torch.zeros(()).masked_fill(~packed.mask, -1e9)
    hidden: Tensor = network(
        input_ids=packed.ids,
        position_ids=packed.positions,
        attention_mask={"full_attention": barred},
        use_cache=False,
    ).last_hidden_state
    table: Tensor = network.embed_tokens.weight
    last = hidden[torch.arange(len(packed.ids))[:, None], packed.answers]
    return last @ (table[FIXED["yes"]] - table[FIXED["no"]])


def loss_of(found: Tensor, cosines: Tensor) -> Tensor:
    """How far log-odds [B, n] are from the teacher's cosines: each for itself, and as an order within the query."""
    wanted = (cosines - EVEN) * SLOPE
    each = binary_cross_entropy_with_logits(found, wanted.sigmoid())
    order = kl_div(log_softmax(found, dim=-1), softmax(wanted, dim=-1), reduction="batchmean")
    return 2 * each + order


class Choice:
    """Chooses groups: documents of the query's own bundle, near and middling ones of a pool, and strangers."""

    def __init__(self, lessons: Lessons, rng: random.Random) -> None:
        self._lessons, self._rng = lessons, rng
        self._rows = rng.sample(range(len(lessons.texts)), min(POOL, len(lessons.texts)))
        self._pool = lessons.vectors[torch.tensor(self._rows)].float()

    def groups(self, count: int) -> list[Group]:
        """`count` groups of DOCUMENTS documents each."""
        rng, lessons = self._rng, self._lessons
        firsts = [rng.randrange(lessons.bundles) * lessons.width for _ in range(count)]
        asked = [first + (rng.randrange(2) if rng.random() < 0.7 else rng.randrange(lessons.width)) for first in firsts]
        near = torch.topk(lessons.vectors[torch.tensor(asked)].float() @ self._pool.T, 200, dim=1).indices.tolist()
        return [self._group(row, first, near[at]) for at, (row, first) in enumerate(zip(asked, firsts, strict=True))]

    def _group(self, asked: int, first: int, near: list[int]) -> Group:
        rng, lessons = self._rng, self._lessons
        own = rng.sample([first + at for at in range(lessons.width) if first + at != asked], 3)
        ranks = [0, rng.randrange(1, 5), rng.randrange(5, 30), rng.randrange(30, 200)]
        others = [rng.randrange(len(lessons.texts)) for _ in range(DOCUMENTS - len(own) - len(ranks))]
        rows = own + [self._rows[near[rank]] for rank in ranks] + others
        return Group(
            task=rng.choice(TASKS),
            query=lessons.texts[asked],
            documents=[lessons.texts[row] for row in rows],
            query_vector=lessons.vectors[asked].float(),
            document_vectors=lessons.vectors[torch.tensor(rows)].float(),
        )


@torch.no_grad()
def finish(network: Qwen3Model) -> None:
    """Make "Yes" and "No" answer as "yes" and "no" do."""
    table = network.embed_tokens.weight
    table[FIXED["Yes"]] = table[FIXED["yes"]]
    table[FIXED["No"]] = table[FIXED["no"]]


def loosen(network: Qwen3Model) -> None:
    """Let training turn two numbers of the verdict, alike in all heads: what a finding is worth, and from where on.

    Whatever more of the network was trained on these lessons ordered everyday sentences worse than before.
    """
    network.requires_grad_(requires_grad=False)
    weight = network.layers[READING].self_attn.v_proj.weight
    weight.requires_grad = True
    rows = torch.arange(0, weight.shape[0], HEAD_DIM)
    turned = torch.zeros_like(weight)
    turned[rows[:, None], torch.tensor(TURNED)] = 1
    weight.register_hook(lambda slope: turned * slope[rows].mean(0))


def train(
    network: Qwen3Model,
    tokenizer: Tokenizer,
    lessons: Lessons,
    rng: random.Random,
    *,
    steps: int,
    step: Callable[[str], None],
) -> None:
    """Train the comparison in place. `tokenizer` appends nothing."""
    loosen(network)
    descent = Descent(network, steps=steps, rate=RATE)
    choice = Choice(lessons, rng)
    for _ in range(steps):
        groups = choice.groups(QUERIES)
        found = odds(network, pack(tokenizer, groups))
        query = torch.stack([group.query_vector for group in groups])
        documents = torch.stack([group.document_vectors for group in groups])
        near = (documents @ query[:, :, None]).squeeze(-1)
        step(f"{descent.step(loss_of(found, near)):.3f}")
