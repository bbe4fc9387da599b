"""What each form of vectors loses in ranking: nDCG@10 and recall@100 on a collection in BEIR's layout.

    python -m benchmarks.output_dtypes FOLDER MODEL [MODEL ...] --out benchmarks/results/output-dtypes.md

FOLDER holds corpus.jsonl, queries.jsonl and qrels.tsv. A MODEL is a folder or a hub id, or an .npz file with vectors of
another program as `documents` and `queries`; of a folder, `--keep` writes such a file. The statistics are those of the
first 100 documents and of as many queries. Rescoring compares the 100 best in float32.
"""

import argparse
import csv
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sentence_transformers.util.quantization import quantize_embeddings

from benchmarks.support.report import markdown
from models import LoadOptions, Matrix, OfflineModel, find_checkpoint, finish_vectors, fitting, model_id
from models.outputs.output_dtype import OutputDtype, bytes_of, dequantize, quantize, statistics_of, unit_statistics

SAMPLE = 100
BEST, CANDIDATES = 10, 100
HEADER = ["form", "calibrated", "bytes", "nDCG@10", "change", "recall@100", "nDCG@10, rescored", "change"]
FORMS: tuple[tuple[OutputDtype, bool], ...] = (
    ("float16", False),
    ("int8", False),
    ("int8", True),
    ("ubinary", False),
    ("ubinary", True),
)


@dataclass(frozen=True, slots=True)
class Collection:
    """Documents, queries, and which of the documents are relevant to each query: indexes."""

    documents: list[str]
    queries: list[str]
    relevant: list[set[int]]


@dataclass(frozen=True, slots=True)
class Quality:
    """Averages over the queries that have relevant documents."""

    ndcg: float
    recall: float


def read_collection(folder: Path) -> Collection:
    """A collection in BEIR's layout; a document is its title and its text."""
    documents, queries = (_lines(folder / name) for name in ("corpus.jsonl", "queries.jsonl"))
    index = {document["_id"]: number for number, document in enumerate(documents)}
    relevant: defaultdict[str, set[int]] = defaultdict(set)
    with (folder / "qrels.tsv").open(encoding="utf-8") as stream:
        for row in csv.DictReader(stream, delimiter="\t"):
            if int(row["score"]) > 0:
                relevant[row["query-id"]].add(index[row["corpus-id"]])
    texts = [f"{document.get('title', '')} {document['text']}".strip() for document in documents]
    return Collection(texts, [query["text"] for query in queries], [relevant[query["_id"]] for query in queries])


def quality(similarities: Matrix, relevant: Sequence[set[int]]) -> Quality:
    """nDCG@10 and recall@100 of a ranking by similarities [queries, documents]."""
    ndcg, recall = [], []
    discounts = 1 / np.log2(np.arange(2, BEST + 2))
    for row, right in zip(similarities, relevant, strict=True):
        if not right:
            continue
        order = np.argsort(-row, kind="stable")[:CANDIDATES]
        hits = np.array([document in right for document in order], dtype=np.float64)
        ndcg.append(hits[:BEST] @ discounts[: len(hits)] / discounts[: len(right)].sum())
        recall.append(hits.sum() / len(right))
    return Quality(float(np.mean(ndcg)), float(np.mean(recall)))


def rescored(similarities: Matrix, exact: Matrix) -> Matrix:
    """The exact similarities of the best documents of each row, and nothing of the others."""
    best = np.argsort(-similarities, axis=1, kind="stable")[:, :CANDIDATES]
    kept = np.full_like(exact, -np.inf)
    np.put_along_axis(kept, best, np.take_along_axis(exact, best, axis=1), axis=1)
    return kept


def rows_of(documents: Matrix, queries: Matrix, relevant: Sequence[set[int]]) -> Iterator[list[str]]:
    """One row for each form, as HEADER says."""
    documents, queries = finish_vectors(documents, normalize=True), finish_vectors(queries, normalize=True)
    width = documents.shape[1]
    exact = queries @ documents.T
    best = quality(exact, relevant)
    yield _row("float32", "", 4 * width, best, best, best)
    sample = np.concatenate([documents[:SAMPLE], queries[:SAMPLE]])
    for dtype, is_calibrated in FORMS:
        statistics = statistics_of(sample) if is_calibrated else unit_statistics(width)
        q, d = (dequantize(quantize(part, dtype, statistics), dtype, width) for part in (queries, documents))
        yield _form(
            dtype, "yes" if is_calibrated else "no", bytes_of(width, dtype), _similarities(q, d), exact, relevant
        )
    ranges = np.stack([sample.min(axis=0), sample.max(axis=0)])
    q, d = (quantize_embeddings(part, "int8", ranges=ranges).astype(np.float32) for part in (queries, documents))
    yield _form("int8, a range for each dimension", "yes", width, _similarities(q, d), exact, relevant)


def _form(
    name: str, calibrated: str, size: int, found: Matrix, exact: Matrix, relevant: Sequence[set[int]]
) -> list[str]:
    again = quality(rescored(found, exact), relevant)
    return _row(name, calibrated, size, quality(found, relevant), again, quality(exact, relevant))


def _similarities(queries: Matrix, documents: Matrix) -> Matrix:
    units = [finish_vectors(part, normalize=True) for part in (queries, documents)]
    return units[0] @ units[1].T


def _row(name: str, calibrated: str, size: int, found: Quality, again: Quality, best: Quality) -> list[str]:
    changes = (f"{value / best.ndcg - 1:+.1%}" for value in (found.ndcg, again.ndcg))
    ndcg, rescored_ndcg = f"{found.ndcg:.4f}", f"{again.ndcg:.4f}"
    return [name, calibrated, f"{size:,}", ndcg, next(changes), f"{found.recall:.4f}", rescored_ndcg, next(changes)]


def _vectors(source: str, collection: Collection, keep: Path | None) -> tuple[Matrix, Matrix]:
    if source.endswith(".npz"):
        with np.load(source) as content:
            return content["documents"], content["queries"]
    model = OfflineModel.load(find_checkpoint(source), LoadOptions(id=model_id(source), dtype="float32"))
    prompts = model.preprocessor.prompts
    parts = {
        name: np.asarray(model.vectors(fitting(model.preprocessor, [prompt + text for text in texts])))
        for name, texts, prompt in (
            ("documents", collection.documents, prompts.find("document") or ""),
            ("queries", collection.queries, prompts.find("query") or ""),
        )
    }
    if keep is not None:
        np.savez(keep, allow_pickle=False, **parts)
    return parts["documents"], parts["queries"]


def _lines(file: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("models", nargs="+", metavar="MODEL")
    parser.add_argument("--keep", type=Path, help="write the vectors of the last MODEL to this .npz file")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    collection = read_collection(options.folder)
    parts = [f"# What each form of vectors loses\n\n`python -m benchmarks.output_dtypes`, on {options.folder.name}.\n"]
    for source in options.models:
        documents, queries = _vectors(source, collection, options.keep)
        name = Path(source).stem if source.endswith(".npz") else model_id(source)
        parts.append(markdown(name, [HEADER, *rows_of(documents, queries, collection.relevant)]))
    text = "\n".join(parts)
    print(text)
    if options.out:
        options.out.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
