"""The hearth command: serve, check, calibrate, pull and convert."""

import os
import select
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn, TextIO

import typer
from rich.console import Console
from rich.markup import escape

from models import Dtype, ModelError, model_id
from server import VERSION
from server.config import Config, ConfigError, ModelConfig, default_state_folder
from server.config_sources import forget_keys, load_config
from server.launch.openmp import set_threads, set_waiting

DEFAULT_FILE = Path("config.yaml")
READ_WITHIN_S = 1.0

app = typer.Typer(
    name="hearth",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _version_option(is_asked: bool) -> None:
    if is_asked:
        typer.echo(VERSION)
        raise typer.Exit


@app.callback()
def hearth(
    *,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version_option, is_eager=True)
    ] = False,
) -> None:
    """Serve embeddings and rerank models."""


@app.command()
def serve(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            help="Model folders, hub ids, package:NAME or built-in names. They replace `models` of the configuration.",
            metavar="MODEL",
            show_default="models of the configuration, else all-MiniLM-L6-v2 if installed, and the demo pair",
        ),
    ] = None,
    *,
    config: Annotated[
        Path | None,
        typer.Option(help="Configuration file.", show_default="config.yaml in this folder, if there is one"),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(help="The same as MODEL; repeat the option for several models.", show_default=False),
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.", show_default="127.0.0.1")] = None,
    port: Annotated[
        int | None, typer.Option(help="Port to listen on; 0 chooses a free one.", show_default="8000")
    ] = None,
    root_path: Annotated[
        str | None, typer.Option(help="Prefix under which a proxy publishes this server, such as /search.")
    ] = None,
) -> None:
    """Serve embeddings and rerank models over HTTP; by default all-MiniLM-L6-v2, if installed, and the demo pair."""
    try:
        settings = _settings(config, [*(models or ()), *(model or ())], host=host, port=port, root_path=root_path)
        _serve(settings)
    except (ConfigError, ModelError) as error:
        raise _stop(error) from None


@app.command()
def check(
    model: Annotated[str, typer.Argument(help="Model folder or hub id.")],
    other: Annotated[
        str | None,
        typer.Argument(
            help="Another model, or the X-Hearth-Space of a server: are its vectors comparable? Nothing is loaded.",
            show_default=False,
        ),
    ] = None,
    dtype: Annotated[Dtype, typer.Option(help="Data type to compute in.")] = "auto",
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit (hub ids only).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")] = False,
    against: Annotated[
        str | None,
        typer.Option(help="Compare with another server instead, for example https://host/v1.", metavar="URL"),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--model", help="Name of the model on the other server. By default the same as here.")
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(help="API key for the other server.", envvar="AGAINST_KEY", show_envvar=True, show_default=False),
    ] = None,
) -> None:
    """Load a model, run every self-check, and compare it with the reference implementation or with another server.

    Exit status: 0 if the results agree, 1 if they differ, 2 if the model does not load or the server does not answer.
    """
    if other is not None:
        _check_spaces(model, other, revision, as_json=as_json)
    # As in the engine process, so that the measured speed is that of the server.
    set_threads()
    set_waiting([Path(model)])
    if against is not None:
        _check_against(against, name, key, model, dtype, revision, as_json=as_json)
    from server.cli import check as check_command

    try:
        report = check_command.check(model, dtype, Console(stderr=True), revision)
    except ModelError as error:
        raise _stop(error) from None
    if as_json:
        typer.echo(check_command.as_json(model, report))
    else:
        check_command.show(model, report, Console())
    raise typer.Exit(0 if report.passed else 1)


@app.command()
def pull(
    model: Annotated[str, typer.Argument(help="Hub id, or a local folder to copy.")],
    folder: Annotated[Path, typer.Argument(help="Folder for this model alone.", metavar="DIR")],
    revision: Annotated[
        str | None,
        typer.Option(help="Branch, tag or commit. By default the revision that DIR has already, or the newest."),
    ] = None,
    convert: Annotated[
        bool,
        typer.Option("--convert", help="Also fetch weights that are pickles (pytorch_model.bin), and convert them."),
    ] = False,
) -> None:
    """Download a model's files into a folder, verify them, and write a manifest, for machines without network."""
    from server.cli.pull import pull as run

    try:
        run(model, folder, revision, Console(stderr=True), convert=convert)
    except ModelError as error:
        raise _stop(error) from None


@app.command()
def convert(
    folder: Annotated[Path, typer.Argument(help="Model folder whose weights are pickles (pytorch_model.bin).")],
    *,
    to: Annotated[
        Path | None,
        typer.Option(help="Folder for the converted model.", metavar="DIR", show_default="FOLDER itself"),
    ] = None,
) -> None:
    """Write weights in pytorch_model.bin as safetensors, read without running code in a process without network."""
    from server.cli.convert import convert as run

    try:
        run(folder, to, Console(stderr=True))
    except ModelError as error:
        raise _stop(error) from None


@app.command()
def calibrate(
    model: Annotated[str, typer.Argument(help="Model folder or hub id of an embedder.")],
    texts: Annotated[
        Path | None,
        typer.Option(
            help="Texts like those to be searched, one in each line; at least 20.",
            metavar="FILE",
            show_default="a small sample in ten languages",
        ),
    ] = None,
    dtype: Annotated[Dtype, typer.Option(help="Data type to compute in.")] = "auto",
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit (hub ids only).")] = None,
    state_folder: Annotated[
        Path | None,
        typer.Option(
            help="Folder to keep it in: state_folder of the server's configuration.",
            envvar="HEARTH_STATE_FOLDER",
            show_default="hearth in $XDG_STATE_HOME or ~/.local/state",
        ),
    ] = None,
) -> None:
    """Measure a model's vectors once, for int8, uint8, binary and ubinary, and show what each form loses in ranking."""
    set_waiting([Path(model)])
    from server.cli import calibrate as calibrate_command

    try:
        report = calibrate_command.calibrate(
            model, texts, state_folder or default_state_folder(), dtype, Console(stderr=True), revision
        )
    except ModelError as error:
        raise _stop(error) from None
    calibrate_command.show(model, report, Console())


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(VERSION)


def main() -> None:
    # Without this, downloads tell the hub which packages are installed here.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    # Its warnings break the progress bars, and its errors reach us as exceptions.
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    app()


def _check_spaces(model: str, other: str, revision: str | None, *, as_json: bool) -> NoReturn:
    from server.cli.spaces import check_spaces, space_of

    try:
        one, two = (space_of(source, default_state_folder(), revision) for source in (model, other))
    except ModelError as error:
        raise _stop(error) from None
    raise typer.Exit(0 if check_spaces(one, two, Console(), as_json=as_json) else 1)


def _check_against(
    url: str, name: str | None, key: str | None, model: str, dtype: Dtype, revision: str | None, *, as_json: bool
) -> NoReturn:
    from server.cli.check import compare
    from server.cli.remote_server import RemoteServer, RemoteServerError

    try:
        remote = RemoteServer(url, name or model_id(model), key)
        comparison = compare(remote, model, dtype, Console(stderr=True), revision)
    except (ModelError, RemoteServerError) as error:
        raise _stop(error) from None
    if as_json:
        typer.echo(comparison.as_json())
    else:
        comparison.show(Console())
    raise typer.Exit(0 if comparison.agrees else 1)


def _serve(settings: Config) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _exit_at_once)
    # Its processes get what they need as arguments: an engine needs no key.
    forget_keys()
    from server.launch.serve import serve as run

    run(settings)


def _exit_at_once(number: int, frame: FrameType | None) -> None:
    # Active while the server starts and after it has drained: no request is running, and `with` blocks clean up.
    sys.exit(0)


def _settings(config: Path | None, paths: list[str], **flags: str | int | None) -> Config:
    file = config or (DEFAULT_FILE if DEFAULT_FILE.is_file() else None)
    models = tuple(ModelConfig(path=path) for path in paths) or None
    return load_config(file, models=models, **flags)


def _stop(error: Exception) -> typer.Exit:
    if not _is_read(sys.stderr):
        # Whoever waits for the end of this process must not wait for the reader of its log.
        return typer.Exit(2)
    Console(stderr=True).print(f"[bold red]hearth:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
    return typer.Exit(2)


def _is_read(stream: TextIO) -> bool:
    """Whether a line can be written to a stream now or soon."""
    try:
        return bool(select.select([], [stream], [], READ_WITHIN_S)[1])
    except (OSError, ValueError):  # not a file, as in a test
        return True
