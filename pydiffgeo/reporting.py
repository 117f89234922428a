"""Common parts of commands: options, errors in one line, interrupts, hints of the next command."""

from __future__ import annotations

import errno
import logging
import os
import shlex
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from .console import console
from .errors import PyDiffGeoError
from .interrupt import signals_as_interrupts

if TYPE_CHECKING:
    from rich.console import Console

Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Quiet = Annotated[
    bool,
    typer.Option("--quiet", help="Less output, no progress bar; warnings are shown all the same."),
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the checkpoints in the folder.")]
Overwrite = Annotated[
    bool,
    typer.Option("--overwrite", help="Remove the run that the folder holds, with its evaluations."),
]


@contextmanager
def reporting(
    debug: bool,
    output: Path | None = None,
    again: list[str] | None = None,
    config: Path | None = None,
) -> Iterator[None]:
    """Show errors, interrupts and warnings as one line each, with their exit code.

    1 for an error; 130 for an interrupt, SIGTERM or SIGHUP.

    Parameters
    ----------
    debug : bool
        Raise errors, with their traceback.
    output : Path, optional
        Folder that holds what was written until an interrupt.
    again : list of str, optional
        Command that goes on from there.
    config : Path, optional
        Settings file, whose line is shown where a setting does not fit the data.
    """
    errors = console(errors=True)
    try:
        with signals_as_interrupts(), _warnings_shown(errors):
            yield
    except PyDiffGeoError as error:
        if debug:
            raise
        errors.print(Text(f"error: {_place(error, config)}{error}", "red"))
        raise typer.Exit(1) from None
    except OSError as error:
        if debug or error.errno == errno.EPIPE:
            raise
        what = (
            f"{error.filename}: {error.strerror}"
            if error.filename
            else error.strerror or str(error)
        )
        errors.print(
            Text(
                f"error: {what}. See that the file is there and the disk has room; --debug shows "
                "where.",
                "red",
            )
        )
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        kept = f"; what was written until then is in {output}" if output and output.exists() else ""
        if kept and again:
            kept += f". Go on with: {_command(again)}"
        if first_process():
            errors.print(Text(f"interrupted{kept}", "yellow"))
        raise typer.Exit(130) from None


def _place(error: PyDiffGeoError, config: Path | None) -> str:
    """Return file and line of the setting that is wrong; "" for an error that names none."""
    if not error.setting or config is None:
        return ""
    from .settings import line_of

    return f"{config}, line {line_of(config, error.setting)}: "


@contextmanager
def _warnings_shown(errors: Console) -> Iterator[None]:
    """Print each warning, of the package and of Python, as one line."""

    class Shown(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            errors.print(Text(f"warning: {record.getMessage()}", "yellow"))

    def show(message: Warning | str, *_: object, **__: object) -> None:
        errors.print(Text(f"warning: {' '.join(str(message).split())}", "yellow"))

    log, handler, before = (
        logging.getLogger("pydiffgeo"),
        Shown(logging.WARNING),
        warnings.showwarning,
    )
    log.addHandler(handler)
    warnings.showwarning = show  # type: ignore[assignment]
    try:
        yield
    finally:
        warnings.showwarning = before
        log.removeHandler(handler)


def first_process() -> bool:
    """Return whether this is the only process, or the first of those that torchrun started."""
    return os.environ.get("RANK", "0") == "0"


def _command(words: list[str]) -> str:
    """Return a command of this program as one types it."""
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    program = (
        ["torchrun", "--nproc-per-node", str(processes), "-m", "pydiffgeo.cli"]
        if processes > 1
        else ["pydiffgeo"]
    )
    return shlex.join([*program, *words])


def next_command(quiet: bool, words: list[str]) -> None:
    console(quiet or not first_process()).print(f"Next: {shlex.join(['pydiffgeo', *words])}")
