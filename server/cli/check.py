"""`hearth check`: compares a model with its reference implementation, or with --against, with another server."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from models import (
    SAMPLE_DOCUMENTS,
    SAMPLE_QUERIES,
    SAMPLE_TEXTS,
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
    model_id,
)
from server import VERSION
from server.cli.remote_server import RemoteServer, RemoteServerError
from server.serialization import dump


def check(source: str, dtype: Dtype, console: Console, revision: str | None = None) -> CheckReport:
    """Check one model, with its progress on `console`.

    Raises: ModelError.
    """
    with console.status("checking") as status:
        return check_model(
            find_checkpoint(source, revision), LoadOptions(id=model_id(source), dtype=dtype), status.update
        )


def show(source: str, report: CheckReport, console: Console) -> None:
    """Print a report as a table with a verdict below."""
    console.print(_table(source, report))
    console.print("[green]agrees with the reference[/]" if report.passed else "[bold red]DIFFERS from the reference[/]")


def as_json(source: str, report: CheckReport) -> str:
    """A report as one JSON object: the verdict, the model, how it runs, and each finding with its number."""
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
    table = Table("what", "measured", "required", title=escape(source), title_justify="left")
    info, backend = report.info, report.backend
    table.add_row("kind", escape(f"{info.kind}: {info.kind_reason}"))
    table.add_row("architecture", escape(f"{info.architecture}, {info.width} wide, {backend.parameters:,} parameters"))
    table.add_row("longest input", f"{info.max_tokens:,} tokens")
    table.add_row("backend", escape(f"{backend.backend} ({backend.reason})"))
    table.add_row("device", f"{backend.device}, {backend.dtype}", end_section=True)
    for finding in report.findings:
        row = map(escape, (finding.what, finding.found, finding.wanted))
        table.add_row(*row, style=None if finding.passed else "bold red")
    return table


@dataclass(frozen=True, slots=True)
class Comparison:
    """Another server's vectors or scores compared with those of a model here."""

    source: str
    url: str
    model: str
    dialect: str
    result: Vectors | Scores
    rejected: tuple[str, ...]

    @property
    def agrees(self) -> bool:
        """Whether clients can change servers and keep their index, or the order of their results."""
        return not self.result.must_reindex if isinstance(self.result, Vectors) else self.result.order != "other"

    def as_json(self) -> str:
        """The comparison as one JSON object."""
        document = {
            "model": self.source,
            "hearth": VERSION,
            "against": {"url": self.url, "model": self.model, "dialect": self.dialect},
            "passed": self.agrees,
            "verdict": self.result.verdict,
            "refused": self.rejected,
            "found": asdict(self.result),
        }
        return dump(document).decode()

    def show(self, console: Console) -> None:
        """Print the comparison as a table with a verdict below."""
        table = Table("what", "measured", title=escape(f"{self.source} against {self.url}"), title_justify="left")
        table.add_row("API and model", escape(f"{self.dialect}, model {self.model}"))
        rows = _vector_rows(self.result) if isinstance(self.result, Vectors) else _score_rows(self.result)
        for what, value in rows:
            table.add_row(what, escape(value))
        if self.rejected:
            table.add_row("texts it rejected", escape(", ".join(repr(text[:20]) for text in self.rejected)))
        console.print(table)
        colour = "green" if self.agrees else "bold red"
        console.print(f"[{colour}]{escape(self.result.verdict)}[/]", highlight=False, soft_wrap=True)


def compare(
    remote: RemoteServer, source: str, dtype: Dtype, console: Console, revision: str | None = None
) -> Comparison:
    """Compare the remote server's results with those of a model that is loaded here.

    Raises: ModelError, RemoteServerError.
    """
    path, options = find_checkpoint(source, revision), LoadOptions(dtype=dtype)
    preprocessor = load_preprocessor(path, options)
    is_reranker = preprocessor.info.kind == "reranker"
    with console.status(f"asking {remote.url}") as status:
        # The remote server first: it may not answer, and loading may take minutes.
        remote_rows = (
            _remote_scores(remote, preprocessor) if is_reranker else remote.vectors(fitting(preprocessor, SAMPLE_TEXTS))
        )
        status.update("loading")
        model = OfflineModel(preprocessor, load_backend(path, preprocessor.info, options))
        status.update("comparing")
        result = _compare_scores(model, remote_rows) if is_reranker else _compare_vectors(model, remote_rows)
    return Comparison(source, remote.url, remote.model, remote.dialect, result, tuple(remote.rejected))


def _remote_scores(remote: RemoteServer, preprocessor: Preprocessor) -> list[Row | None]:
    documents = fitting_documents(preprocessor, SAMPLE_QUERIES, SAMPLE_DOCUMENTS)
    return [remote.scores(query, documents) for query in SAMPLE_QUERIES]


def _compare_vectors(model: OfflineModel, remote_rows: Sequence[Row | None]) -> Vectors:
    pairs = zip(fitting(model.preprocessor, SAMPLE_TEXTS), remote_rows, strict=True)
    answered = [(text, row) for text, row in pairs if row is not None]
    if not answered:
        raise RemoteServerError("the other server rejected every text")
    texts, rows = [text for text, _ in answered], [row for _, row in answered]
    dimensions = min(len(rows[0]), model.preprocessor.info.width)
    layer_norm = model.preprocessor.info.layer_norm_before_dimensions
    ours = finish_vectors(model.vectors(texts), dimensions=dimensions, layer_norm=layer_norm)
    return compare_vectors(list(ours), rows, texts)


def _compare_scores(model: OfflineModel, remote_rows: Sequence[Row | None]) -> Scores:
    documents = fitting_documents(model.preprocessor, SAMPLE_QUERIES, SAMPLE_DOCUMENTS)
    ours = [model.scores(query, documents) for query in SAMPLE_QUERIES]
    return compare_scores(ours, [row for row in remote_rows if row is not None])


def _vector_rows(result: Vectors) -> list[tuple[str, str]]:
    length = "length 1" if result.are_unit else f"raw, {result.norm_ratio:.4g} times as long as ours"
    width = f", ours {result.width}" if result.width != result.dimensions else ""
    return [
        (f"worst cosine, {result.texts} texts", f"{result.worst_cosine:.6f} ({result.worst_text[:30]!r})"),
        ("median cosine", f"{result.median_cosine:.6f}"),
        ("dimensions", f"{result.dimensions}{width}"),
        ("their vectors", length),
    ]


def _score_rows(result: Scores) -> list[tuple[str, str]]:
    return [
        (f"worst score difference, {result.pairs} pairs", f"{result.worst_difference:.5f}"),
        ("pairs in the same order", f"{result.order_agreement:.1%}"),
        ("their scores", "log-odds" if result.are_raw else "between 0 and 1"),
    ]
