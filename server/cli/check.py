"""`hearth check --against URL`: another server's answers held against those of a model here."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from models import (
    DOCUMENTS,
    QUERIES,
    TEXTS,
    CheckReport,
    Dtype,
    LoadOptions,
    OfflineModel,
    Preprocessor,
    Row,
    Scores,
    Vectors,
    check_model,
    compare_scores,
    compare_vectors,
    find_checkpoint,
    finish_vectors,
    fitting,
    fitting_documents,
    load_backend,
    load_preprocessor,
)
from server import VERSION
from server.cli.remote_server import RemoteServer, RemoteServerError
from server.serialization import dump


@dataclass(frozen=True, slots=True)
class Comparison:
    """What came of it."""

    source: str
    url: str
    model: str
    dialect: str
    found: Vectors | Scores
    refused: tuple[str, ...]

    @property
    def agrees(self) -> bool:
        """Whether one may change servers and keep the index, or the order of results."""
        return not self.found.must_reindex if isinstance(self.found, Vectors) else self.found.order != "other"

    def as_json(self) -> str:
        """For programs."""
        document = {
            "model": self.source,
            "hearth": VERSION,
            "against": {"url": self.url, "model": self.model, "dialect": self.dialect},
            "passed": self.agrees,
            "verdict": self.found.verdict,
            "refused": self.refused,
            "found": asdict(self.found),
        }
        return dump(document).decode()

    def show(self, console: Console) -> None:
        """For people."""
        table = Table("what", "found", title=escape(f"{self.source} against {self.url}"), title_justify="left")
        table.add_row("asked as", escape(f"{self.dialect}, model {self.model}"))
        for what, found in _vector_rows(self.found) if isinstance(self.found, Vectors) else _score_rows(self.found):
            table.add_row(what, escape(found))
        if self.refused:
            table.add_row("texts that it refused", escape(", ".join(repr(text[:20]) for text in self.refused)))
        console.print(table)
        colour = "green" if self.agrees else "bold red"
        console.print(f"[{colour}]{escape(self.found.verdict)}[/]", highlight=False, soft_wrap=True)


def compare(
    other: RemoteServer, source: str, dtype: Dtype, console: Console, revision: str | None = None
) -> Comparison:
    """Ask the other server, load the model here, and hold the answers side by side.

    Raises: ModelError, RemoteServerError.
    """
    path, options = find_checkpoint(source, revision), LoadOptions(dtype=dtype)
    text = load_preprocessor(path, options)
    with console.status(f"asking {other.url}") as status:
        # The other first: it may not answer, and loading may take minutes.
        theirs = _their_scores(other, text) if text.info.kind == "reranker" else other.vectors(fitting(text, TEXTS))
        status.update("loading")
        trial = OfflineModel(text, load_backend(path, text.info, options))
        status.update("comparing")
        found = _scores(trial, theirs) if text.info.kind == "reranker" else _vectors(trial, theirs)
    return Comparison(source, other.url, other.model, other.dialect, found, tuple(other.refused))


def _their_scores(other: RemoteServer, text: Preprocessor) -> list[Row | None]:
    documents = fitting_documents(text, QUERIES, DOCUMENTS)
    return [other.scores(query, documents) for query in QUERIES]


def _vectors(trial: OfflineModel, theirs: Sequence[Row | None]) -> Vectors:
    answered = [
        (text, row) for text, row in zip(fitting(trial.preprocessor, TEXTS), theirs, strict=True) if row is not None
    ]
    if not answered:
        raise RemoteServerError("the other server refused every text")
    texts, rows = [text for text, _ in answered], [row for _, row in answered]
    cut = min(len(rows[0]), trial.preprocessor.info.width)
    layer_norm = trial.preprocessor.info.layer_norm_before_dimensions
    ours = finish_vectors(trial.vectors(texts), dimensions=cut, layer_norm=layer_norm)
    return compare_vectors(list(ours), rows, texts)


def _scores(trial: OfflineModel, theirs: Sequence[Row | None]) -> Scores:
    documents = fitting_documents(trial.preprocessor, QUERIES, DOCUMENTS)
    return compare_scores(
        [trial.scores(query, documents) for query in QUERIES], [row for row in theirs if row is not None]
    )


def _vector_rows(found: Vectors) -> list[tuple[str, str]]:
    lengths = "of length 1" if found.are_unit else f"raw, {found.norm_ratio:.4g} times as long as ours"
    return [
        (f"worst cosine, {found.texts} texts", f"{found.worst_cosine:.6f} ({found.worst_text[:30]!r})"),
        ("median cosine", f"{found.median_cosine:.6f}"),
        ("dimensions", f"{found.dimensions}" + (f", ours {found.width}" if found.width != found.dimensions else "")),
        ("their vectors", lengths),
    ]


def _score_rows(found: Scores) -> list[tuple[str, str]]:
    return [
        (f"worst score difference, {found.pairs} pairs", f"{found.worst_difference:.5f}"),
        ("pairs in the same order", f"{found.order_agreement:.1%}"),
        ("their scores", "log-odds" if found.are_raw else "as they are"),
    ]


def check(source: str, dtype: Dtype, console: Console, revision: str | None = None) -> CheckReport:
    """Check one model; what is being done is shown on `console`.

    Raises: ModelError.
    """
    with console.status("checking") as status:
        return check_model(find_checkpoint(source, revision), LoadOptions(dtype=dtype), status.update)


def show(source: str, report: CheckReport, console: Console) -> None:
    """Print a report for people."""
    console.print(_table(source, report))
    console.print("[green]agrees with the reference[/]" if report.passed else "[bold red]DIFFERS from the reference[/]")


def as_json(source: str, report: CheckReport) -> str:
    """A report for programs: the verdict, what the model is, how it is run, and each finding with its number."""
    document = {
        "model": source,
        "hearth": VERSION,
        "passed": report.passed,
        "info": asdict(report.info),
        "backend": asdict(report.backend),
        "findings": {finding.name: asdict(finding) for finding in report.findings},
    }
    return dump(document).decode()


def _table(source: str, report: CheckReport) -> Table:
    table = Table("what", "found", "wanted", title=escape(source), title_justify="left")
    info, how = report.info, report.backend
    table.add_row("kind", escape(f"{info.kind}: {info.kind_reason}"))
    table.add_row("architecture", escape(f"{info.architecture}, {info.width} wide, {how.parameters:,} parameters"))
    table.add_row("longest input", f"{info.max_tokens:,} tokens")
    table.add_row("runs by", escape(f"{how.backend} ({how.reason})"))
    table.add_row("on", f"{how.device}, {how.dtype}", end_section=True)
    for finding in report.findings:
        row = map(escape, (finding.what, finding.found, finding.wanted))
        table.add_row(*row, style=None if finding.passed else "bold red")
    return table
