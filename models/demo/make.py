"""Make the demo pair again from scratch: python -m models.demo.make [FOLDER]. Everything is seeded."""

import random
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from tokenizers import Tokenizer
from torch import Tensor

from models.demo import bag, embedder, files, gather, judge, lessons, natural, network, reranker, tokens, words
from models.demo.card import cards
from models.demo.grammar import Grammar
from models.demo.lessons import Lessons
from models.demo.teacher import Teacher

HERE = Path(__file__).parent
NAMES = ("demo-embedding", "demo-reranker")


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of everything; the defaults are about what the shipped pair took, which was made in stages."""

    seed: int = 7
    pieces: int = 1600
    entries: int = 16_000
    bundles: int = 30_000
    bag_passes: int = 4
    reranker_steps: int = 1600


@contextmanager
def bar(progress: Progress, title: str, total: float) -> Iterator[Callable[[str], None]]:
    """A progress bar; call it with a note, once for each of `total` steps."""
    task = progress.add_task(title, total=total, note="")

    def advance(note: str) -> None:
        progress.update(task, advance=1, note=note)

    yield advance
    progress.update(task, completed=total)


def _seeded(plan: Plan) -> random.Random:
    return random.Random(plan.seed)  # noqa: S311, nothing here is secret


def teach(plan: Plan, folders: tuple[Path, Path], progress: Progress) -> tuple[Lessons, Tensor, Tensor]:
    """Write the tokenizers, and give the lessons, the axes and the token table."""
    rng = _seeded(plan)
    teacher = Teacher()
    known, sentences = words.learn(teacher), natural.sentences()
    tokenizer = tokens.train(known, rng.sample(sentences, 20_000), pieces=plan.pieces, entries=plan.entries)
    tokens.save(tokenizer, folders[0], terminator=True)
    tokens.save(tokenizer, folders[1], terminator=False)
    grammar = Grammar(known, teacher.encode([word.text for word in known]), sentences, rng)
    with bar(progress, "Lessons", -(-plan.bundles // lessons.CHUNK)) as advance:
        learned = lessons.make(grammar, teacher, plan.bundles, rng, advance)
    axes = embedder.rotation(learned.vectors[:200_000], network.HIDDEN)
    table = bag.first(tokenizer, known, teacher.encode, axes)
    ids = [encoding.ids for encoding in tokenizer.encode_batch(learned.texts)]
    with bar(progress, "Token table", -(-plan.bag_passes * len(ids) // bag.TEXTS)) as advance:
        table = bag.train(table, ids, learned, axes, _seeded(plan), passes=plan.bag_passes, step=advance)
    return learned, axes, table


def make(plan: Plan, folder: Path, progress: Progress) -> None:
    """Write both models into `folder`, each in one step when it is ready."""
    work = folder / ".making"
    shutil.rmtree(work, ignore_errors=True)
    ours = (work / NAMES[0], work / NAMES[1])
    for place in ours:
        place.mkdir(parents=True)
    learned, axes, table = teach(plan, ours, progress)
    plain = Tokenizer.from_file(str(ours[1] / "tokenizer.json"))
    unit, weights = bag.split(table)
    torch.manual_seed(plan.seed)
    student = gather.start(network.config(plain), unit, weights, plain)
    network.save(student, ours[0], name=f"hearth/{NAMES[0]}")
    files.write_modules(ours[0], width=network.HIDDEN)
    torch.manual_seed(plan.seed)
    student = judge.start(network.config(plain), unit, weights, plain)
    with bar(progress, "Reranker", plan.reranker_steps) as advance:
        reranker.train(student, plain, learned, axes, _seeded(plan), steps=plan.reranker_steps, step=advance)
    reranker.finish(student)
    network.save(student, ours[1], name=f"hearth/{NAMES[1]}")
    for place, name, text in zip(ours, NAMES, cards(), strict=True):
        (place / "README.md").write_text(text, encoding="utf-8")
        files.exchange(place, folder / name)
    shutil.rmtree(work)


def main() -> None:
    """Make the pair in the folder named, by default where the shipped one lies."""
    columns = (TextColumn("{task.description:12}"), BarColumn(), MofNCompleteColumn())
    times = (TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.fields[note]}"))
    with Progress(*columns, *times) as progress:
        make(Plan(), Path(sys.argv[1]) if len(sys.argv) > 1 else HERE, progress)


if __name__ == "__main__":
    main()
