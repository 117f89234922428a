"""Printing of commands: text is never markup, and a closed pipe or terminal ends no work."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import suppress
from typing import Any, TextIO

from rich.console import Console
from tqdm import tqdm

log = logging.getLogger("pydiffgeo")


class Steady:
    """A stream whose end ends nothing.

    After a closed pipe, a closed terminal or a full disk what is written is dropped.

    Parameters
    ----------
    stream : TextIO
        Standard output or standard error.
    """

    def __init__(self, stream: TextIO):
        self.stream = stream

    def write(self, text: str) -> int:
        """Write text, or drop it."""
        try:
            return self.stream.write(text)
        except OSError as error:
            self._give_up(error)
            return len(text)

    def flush(self) -> None:
        """Flush, or drop what was kept."""
        try:
            self.stream.flush()
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        with suppress(OSError), open(os.devnull, "w") as nowhere:
            os.dup2(
                nowhere.fileno(), self.stream.fileno()
            )  # else Python complains again when it ends
        log.warning(
            "the output can no longer be written (%s); the work goes on without it.", error.strerror
        )

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def console(quiet: bool = False, errors: bool = False) -> Console:
    """Return where to print: brackets stay brackets, long lines are left to the terminal.

    Parameters
    ----------
    quiet : bool
        Print nothing.
    errors : bool
        On standard error instead of standard output.
    """
    stream: Any = Steady(sys.stderr if errors else sys.stdout)
    return Console(
        file=stream, markup=False, highlight=False, soft_wrap=True, quiet=quiet, emoji=False
    )


def progress_bar(show: bool, **options: Any) -> tqdm:
    """Return tqdm's bar on standard error, or one that shows nothing; options are tqdm's."""
    return tqdm(disable=not show, file=Steady(sys.stderr), **options)
