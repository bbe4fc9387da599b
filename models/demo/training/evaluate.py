"""Evaluate the demo pair on held-out questions and print a table: python -m models.demo.training.evaluate --help."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn.functional import normalize
from transformers import Qwen3Config, Qwen3ForCausalLM

from models.demo.training.data.questions import HELD_OUT, Question, bm25, lengthen, mark, read
from models.demo.training.data.tokenizer import FIXED
from models.demo.training.embedder import embed
from models.demo.training.folder_files import QUERY_PROMPT
from models.demo.training.reranker import PREFIX, SUFFIX

DEMO_FOLDER = Path(__file__).parents[1]
TASK = "Given a web search query, retrieve relevant passages that answer the query"
Scorer = Callable[[Question], Sequence[float]]


def load(folder: Path, dtype: torch.dtype, *, fresh: bool = False) -> tuple[Qwen3ForCausalLM, Tokenizer]:
    """A network and its tokenizer; `fresh` gives the same shape with untrained weights."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    if not fresh:
        return Qwen3ForCausalLM.from_pretrained(str(folder), dtype=dtype).eval(), tokenizer
    torch.manual_seed(0)
    return Qwen3ForCausalLM(Qwen3Config.from_pretrained(str(folder))).to(dtype).eval(), tokenizer


def embedder(network: Qwen3ForCausalLM, tokenizer: Tokenizer, *, share: int = 1, prompt: str = QUERY_PROMPT) -> Scorer:
    """Cosines of last-token vectors, cut to the first 1 / `share` of their numbers."""

    @torch.inference_mode()
    def score(question: Question) -> Sequence[float]:
        texts = [prompt + question.query, *question.documents]
        vectors = embed(network.model, [encoding.ids for encoding in tokenizer.encode_batch(texts)]).float()
        unit = normalize(vectors[:, : vectors.shape[1] // share], dim=-1)
        return list((unit[1:] @ unit[0]).tolist())

    return score


def prompt_of(question: Question, document: str, task: str = TASK) -> str:
    """The whole prompt of one pair."""
    return f"{PREFIX}<Instruct>: {task}\n<Query>: {question.query}\n<Document>: {document}{SUFFIX}"


def reranker(network: Qwen3ForCausalLM, tokenizer: Tokenizer, *, task: str = TASK) -> Scorer:
    """Probabilities of yes against no, with Qwen3-Reranker's prompt."""

    @torch.inference_mode()
    def score(question: Question) -> Sequence[float]:
        prompts = [prompt_of(question, document, task) for document in question.documents]
        last = embed(network.model, [encoding.ids for encoding in tokenizer.encode_batch(prompts)])
        rows = network.lm_head.weight[torch.tensor([FIXED["yes"], FIXED["no"]])].float()
        return list((last.float() @ (rows[0] - rows[1])).sigmoid().tolist())

    return score


def teacher() -> Scorer | None:
    """The teacher's cosines; None if the teacher is not installed."""
    from models.demo.training.data.teacher import Teacher

    try:
        model = Teacher(dtype=torch.float32)
    except SystemExit:
        return None

    def score(question: Question) -> Sequence[float]:
        vectors: Tensor = model.encode([question.query, *question.documents])
        return list((vectors[1:] @ vectors[0]).tolist())

    return score


def scorers(folder: Path) -> dict[str, Scorer]:
    """The models that are compared, by their names in the table."""
    embedding, rerank = folder / "demo-embedding", folder / "demo-reranker"
    full, half = load(embedding, torch.float32), load(embedding, torch.bfloat16)
    by_name: dict[str, Scorer] = {
        "embedder, float32": embedder(*full),
        "embedder, bfloat16": embedder(*half),
        "embedder, bare query": embedder(*full, prompt=""),
        "embedder, half the numbers": embedder(*full, share=2),
        "embedder, a quarter": embedder(*full, share=4),
        "reranker, float32": reranker(*load(rerank, torch.float32)),
        "reranker, bfloat16": reranker(*load(rerank, torch.bfloat16)),
        "reranker, another task": reranker(*load(rerank, torch.float32), task="Find the note that helps the reader"),
        "embedder without training": embedder(*load(embedding, torch.float32, fresh=True)),
        "reranker without training": reranker(*load(rerank, torch.float32, fresh=True)),
        "BM25": bm25,
    }
    if teacher_scorer := teacher():
        by_name["teacher"] = teacher_scorer
    return by_name


def main() -> None:
    parser = argparse.ArgumentParser(description="Evaluate a demo pair on questions with one right document each.")
    parser.add_argument(
        "folder", nargs="?", type=Path, default=DEMO_FOLDER, help="folder of the pair; default: the shipped pair"
    )
    parser.add_argument("--questions", type=Path, default=HELD_OUT, help="JSON lines of subject, query and document")
    parser.add_argument(
        "--words", type=int, default=0, help="lengthen each document with unrelated ones to this many words"
    )
    options = parser.parse_args()
    questions = lengthen(read(options.questions), options.words)
    apart = [at for at, question in enumerate(questions) if not question.shares_words]
    title = f"{len(questions)} questions, ten documents each; {len(apart)} share no content word with the right one"
    table = Table("", "top-1", "MRR", "nDCG@10", "top-1, no shared word", "right, median", "wrong, median", title=title)
    for name, score in scorers(options.folder).items():
        scores = [score(question) for question in questions]
        marks, hard = mark(scores), mark([scores[at] for at in apart])
        right = torch.tensor([row[0] for row in scores]).median()
        wrong = torch.tensor([value for row in scores for value in row[1:]]).median()
        cells = (f"{marks.top_1:.1%}", f"{marks.mrr:.3f}", f"{marks.ndcg:.3f}", f"{hard.top_1:.1%}")
        table.add_row(name, *cells, f"{right:.2f}", f"{wrong:.2f}")
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
