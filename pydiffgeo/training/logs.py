"""Logs of a training: a table of its epochs, and files of TensorBoard."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd

from pydiffgeo.files import write_file

log = logging.getLogger("pydiffgeo")


def write_history(folder: Path, history: Sequence[Mapping[str, float]]) -> None:
    """Write ``history.csv``, the table of all epochs."""
    if history:
        table = pd.DataFrame(list(history)).to_csv(index=False, float_format="%.9g")
        write_file(folder / "history.csv", table)


class TrainingLog:
    """Writes ``tensorboard/`` where tensorboard is installed; a training goes on without it.

    What TensorBoard has from later steps than those taken until now is dropped.
    """

    def __init__(self, folder: Path | None, step: int = 0):
        self.writer: Any = None
        if folder is not None:
            self.writer = self._surviving(lambda: _writer(folder / "tensorboard", step))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Give TensorBoard numbers by name at a step."""
        for name, value in values.items():
            self._tell("add_scalar", name, value, step)

    def flush(self) -> None:
        """Bring to the disk what TensorBoard was given, as the steps of a checkpoint before it."""
        self._tell("flush")

    def close(self) -> None:
        """Write out what is not yet on the disk."""
        self._tell("close")

    def _tell(self, what: str, *given: Any) -> None:
        if self.writer is not None:
            self._surviving(lambda: getattr(self.writer, what)(*given))

    def _surviving(self, write: Callable[[], Any]) -> Any:
        try:
            return write()
        except OSError as error:
            log.warning(
                "no more TensorBoard files (%s): the training goes on without them.",
                error.strerror or error,
            )
            writer, self.writer = self.writer, None
            with suppress(Exception):
                writer.close()


def _writer(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        log.warning(
            "no TensorBoard files: tensorboard is not installed; pip install 'pydiffgeo[train]' "
            "brings it."
        )
        return None
    threading.excepthook = _hook
    return SummaryWriter(str(folder), purge_step=step + 1)


def _hook(details: Any, before: Any = threading.excepthook) -> None:
    """Say nothing of TensorBoard's writing thread: its errors are raised again at the next call."""
    own = type(details.thread).__module__.startswith("tensorboard.")
    if not (own and isinstance(details.exc_value, OSError)):
        before(details)
