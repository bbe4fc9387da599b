"""The hearth command."""

import os
import signal
import sys
import tempfile
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

from models import Dtype, ModelError, model_id
from server import VERSION
from server.config import Config, ConfigError, ModelConfig
from server.config_sources import load_config
from server.launch.openmp import set_waiting

DEFAULT_FILE = Path("config.yaml")

app = typer.Typer(
    name="hearth",
    help="Self-hosted embeddings and rerank server.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command()
def serve(
    config: Annotated[
        Path | None, typer.Option(help="Configuration file; by default config.yaml, if there is one.")
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="A model folder or hub id; repeat for several. Replaces the file's models.")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one.")] = None,
) -> None:
    """Serve embeddings and rerank; with nothing given, the built-in demo pair."""
    try:
        settings = _settings(config, model, host, port)
        _serve(settings)
    except (ConfigError, ModelError) as error:
        raise _stop(error) from None


@app.command()
def check(
    model: Annotated[str, typer.Argument(help="A model folder or a hub id.")],
    dtype: Annotated[Dtype, typer.Option(help="As what its weights are computed.")] = "auto",
    revision: Annotated[str | None, typer.Option(help="Of a hub id: a branch, tag or commit.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")] = False,
    against: Annotated[
        str | None, typer.Option(help="Compare with this server instead, such as https://host/v1.", metavar="URL")
    ] = None,
    name: Annotated[
        str | None, typer.Option("--model", help="What that server calls the model; by default as here.")
    ] = None,
    key: Annotated[
        str | None, typer.Option(help="Its API key.", envvar="AGAINST_KEY", show_envvar=True, show_default=False)
    ] = None,
) -> None:
    """Load a model, run every self-check and compare it with the reference implementation, or with another server.

    Exit status: 0 it agrees, 1 it differs, 2 it cannot be loaded or the server cannot be asked.
    """
    # As in the engine process, so that the speed is the server's.
    set_waiting([Path(model)])
    if against is not None:
        _check_against(against, name, key, model, dtype, revision, as_json=as_json)
    from server.cli import check as checking

    try:
        report = checking.check(model, dtype, Console(stderr=True), revision)
    except ModelError as error:
        raise _stop(error) from None
    if as_json:
        typer.echo(checking.as_json(model, report))
    else:
        checking.show(model, report, Console())
    raise typer.Exit(0 if report.passed else 1)


@app.command()
def pull(
    model: Annotated[str, typer.Argument(help="A hub id, or a local folder to copy.")],
    folder: Annotated[Path, typer.Argument(help="Where to: a folder of the model's own.", metavar="DIR")],
    revision: Annotated[
        str | None, typer.Option(help="A branch, tag or commit; by default the newest, or what DIR holds already.")
    ] = None,
) -> None:
    """Bring a model into a folder to be copied behind an air gap: its files, checked, and a manifest of them."""
    from server.cli.pull import pull as run

    try:
        run(model, folder, revision, Console(stderr=True))
    except ModelError as error:
        raise _stop(error) from None


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(VERSION)


def main() -> None:
    """The entry point of the command."""
    # Downloads tell the hub which packages are installed here, if nobody asks them not to.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    app()


def _check_against(
    url: str, name: str | None, key: str | None, model: str, dtype: Dtype, revision: str | None, *, as_json: bool
) -> NoReturn:
    from server.cli.check import compare
    from server.cli.remote_server import RemoteServer, RemoteServerError

    try:
        other = RemoteServer(url, name or model_id(model), key)
        comparison = compare(other, model, dtype, Console(stderr=True), revision)
    except (ModelError, RemoteServerError) as error:
        raise _stop(error) from None
    if as_json:
        typer.echo(comparison.as_json())
    else:
        comparison.show(Console())
    raise typer.Exit(0 if comparison.agrees else 1)


def _serve(settings: Config) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end_at_once)
    with tempfile.TemporaryDirectory(prefix="hearth-") as folder:
        # Read by prometheus_client when it is imported, here and in every process that is started from here.
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        from server.launch.serve import serve as run
        from server.observability.logs import set_up_logging

        set_up_logging(settings.log_format)
        run(settings, Path(folder))


def _end_at_once(number: int, frame: FrameType | None) -> None:
    # While it starts, and after it has drained: nothing is in flight, and what was begun is cleaned up.
    sys.exit(0)


def _settings(config: Path | None, model: list[str] | None, host: str | None, port: int | None) -> Config:
    file = config or (DEFAULT_FILE if DEFAULT_FILE.is_file() else None)
    models = tuple(ModelConfig(path=path) for path in model) if model else None
    return load_config(file, models=models, host=host, port=port)


def _stop(error: Exception) -> typer.Exit:
    Console(stderr=True).print(f"[bold red]hearth:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
    return typer.Exit(2)
