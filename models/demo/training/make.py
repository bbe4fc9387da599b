"""Make the demo pair again from scratch: python -m models.demo.training.make [FOLDER]. Everything is seeded."""

import hashlib
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

from models.demo.training import (
    embedder,
    embedder_layers,
    folder_files,
    network,
    reranker,
    reranker_layers,
    token_table,
)
from models.demo.training.data import lessons, package_docs, wordnet, words
from models.demo.training.data import tokenizer as bpe
from models.demo.training.data.grammar import Grammar
from models.demo.training.data.lessons import Lessons
from models.demo.training.data.teacher import Teacher
from models.demo.training.data.words import Word
from models.demo.training.model_cards import cards

DEMO_FOLDER = Path(__file__).parents[1]
NAMES = ("demo-embedding", "demo-reranker")


@dataclass(frozen=True, slots=True)
class Plan:
    """Sizes of the training; the defaults are those of the shipped pair."""

    seed: int = 7
    words: int = 30_000
    pieces: int = 1600
    entries: int = 16_000
    bundles: int = 40_000
    definitions: int = 200_000
    bag_passes: int = 4


@contextmanager
def bar(progress: Progress, title: str, total: float) -> Iterator[Callable[[str], None]]:
    """A progress bar; call it with a note, once for each of `total` steps."""
    task = progress.add_task(title, total=total, note="")

    def advance(note: str) -> None:
        progress.update(task, advance=1, note=note)

    yield advance
    progress.update(task, completed=total)


def _seeded(plan: Plan) -> random.Random:
    torch.manual_seed(plan.seed)
    return random.Random(plan.seed)  # noqa: S311, nothing here is secret


@dataclass(frozen=True, slots=True)
class TrainingData:
    """What both models are trained on: the embedder's tokenizer without terminator, lessons, labelled texts."""

    tokenizer: Tokenizer
    lessons: Lessons
    texts: list[str]
    vectors: Tensor
    axes: Tensor
    words: list[Word]
    teacher: Teacher


def make_data(plan: Plan, progress: Progress) -> TrainingData:
    """Write the texts and let the teacher label them."""
    rng = _seeded(plan)
    teacher = Teacher()
    vocabulary, sentences = words.learn(teacher)[: plan.words], package_docs.sentences()
    tokenizer = bpe.train(vocabulary, rng.sample(sentences, 20_000), pieces=plan.pieces, entries=plan.entries)
    grammar = Grammar(vocabulary, teacher.encode([word.text for word in vocabulary]), sentences, rng)
    with bar(progress, "Lessons", -(-plan.bundles * grammar.width // lessons.CHUNK)) as advance:
        learned = lessons.make(grammar, teacher, plan.bundles, rng, advance)
    definitions = wordnet.texts()[: plan.definitions]
    with bar(progress, "Dictionary", -(-len(definitions) // lessons.CHUNK)) as advance:
        vectors = torch.cat([learned.vectors, lessons.label(teacher, definitions, advance)])
    axes = embedder.rotation(learned.vectors[:200_000], network.HIDDEN)
    return TrainingData(tokenizer, learned, learned.texts + definitions, vectors, axes, vocabulary, teacher)


def train_table(data: TrainingData, tokenizer: Tokenizer, before: str, plan: Plan, progress: Progress) -> Tensor:
    """A token table [V, H] for texts that follow `before`."""
    targets = (data.vectors.float() @ data.axes).to(torch.bfloat16)
    ids = [encoding.ids for encoding in tokenizer.encode_batch([before + text for text in data.texts])]
    table = token_table.first(tokenizer, data.words, data.teacher.encode, data.axes)
    with bar(progress, "Token table", -(-plan.bag_passes * len(ids) // token_table.TEXTS)) as advance:
        return token_table.train(table, ids, targets, _seeded(plan), passes=plan.bag_passes, step=advance)


def make_embedder(place: Path, data: TrainingData, plan: Plan, progress: Progress) -> None:
    """Write the embedder; its layers are set by hand and its token table is trained."""
    tokenizer = data.tokenizer
    table = train_table(data, tokenizer, "", plan, progress)
    bpe.save(tokenizer, place, terminator=True)
    model = embedder_layers.start(
        network.config(tokenizer, network.EMBEDDER_LAYERS), *token_table.split(table, tokenizer), tokenizer
    )
    network.save(model, place, name=f"hearth/{NAMES[0]}")
    folder_files.write_modules(place, width=network.HIDDEN)


def make_reranker(place: Path, data: TrainingData, plan: Plan, progress: Progress) -> None:
    """Write the reranker; its layers are set by hand, its token table is trained."""
    # In the prompt a space precedes every text.
    tokenizer = bpe.following(data.tokenizer)
    table = train_table(data, tokenizer, " ", plan, progress)
    bpe.save(tokenizer, place, terminator=False)
    model = reranker_layers.start(
        network.config(tokenizer, network.RERANKER_LAYERS), *token_table.split(table, tokenizer), tokenizer
    )
    reranker.finish(model)
    network.save(model, place, name=f"hearth/{NAMES[1]}")


def make(plan: Plan, folder: Path, progress: Progress) -> None:
    """Write both models into `folder`; each replaces its older version in one step, when both are finished."""
    work = folder / ".making"
    shutil.rmtree(work, ignore_errors=True)
    places = [work / name for name in NAMES]
    for place in places:
        place.mkdir(parents=True)
    data = make_data(plan, progress)
    make_embedder(places[0], data, plan, progress)
    make_reranker(places[1], data, plan, progress)
    for place, text in zip(places, cards(), strict=True):
        (place / "README.md").write_text(text, encoding="utf-8")
        folder_files.replace_folder(place, folder / place.name)
    shutil.rmtree(work)


def checksums(folder: Path) -> dict[str, str]:
    """SHA-256 of each model's weights and tokenizer, by path within the folder."""
    paths = [Path(name, file) for name in NAMES for file in ("model.safetensors", "tokenizer.json")]
    return {str(path): hashlib.sha256((folder / path).read_bytes()).hexdigest() for path in paths}


def main() -> None:
    """Make the pair in the given folder, by default in place of the shipped pair, and print its checksums."""
    # One thread: sums have one order, and a busy core does not hold up the other.
    torch.set_num_threads(1)
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else DEMO_FOLDER
    columns = (TextColumn("{task.description:12}"), BarColumn(), MofNCompleteColumn())
    times = (TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.fields[note]}"))
    with Progress(*columns, *times) as progress:
        make(Plan(), folder, progress)
    for path, digest in checksums(folder).items():
        print(f"{digest}  {path}")  # noqa: T201, the output of the command


if __name__ == "__main__":
    main()
