"""Logs of a training: a table of its epochs, and files of TensorBoard."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pandas as pd

from pydiffgeo.files import write_file

log = logging.getLogger("pydiffgeo")


def write_history(folder: Path, history: Sequence[Mapping[str, float]]) -> None:
    """Write ``history.csv``, the table of all epochs.

    Raises
    ------
    OutputError
        It cannot be written.
    """
    if history:
        write_file(
            folder / "history.csv",
            pd.DataFrame(list(history)).to_csv(index=False, float_format="%.9g"),
        )


class TrainingLog:
    """Writes ``tensorboard/`` where tensorboard is installed; a training goes on without it.

    Parameters
    ----------
    folder : Path or None
        Of the run; None writes nothing.
    step : int
        Steps taken until now: what TensorBoard has from later ones is dropped.
    """

    def __init__(self, folder: Path | None, step: int = 0):
        self.writer: Any = None
        if folder is not None:
            with self._surviving():
                self.writer = _writer(folder / "tensorboard", step)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Give TensorBoard numbers by name at a step."""
        if self.writer is not None:
            with self._surviving():
                for name, value in values.items():
                    self.writer.add_scalar(name, value, step)

    def epoch(self, row: Mapping[str, float]) -> None:
        """Give TensorBoard the numbers of an epoch."""
        self.scalars(
            int(row["step"]),
            {f"epoch/{k}": v for k, v in row.items() if k not in ("epoch", "step")},
        )

    def flush(self) -> None:
        """Bring to the disk what TensorBoard was given: the steps of a checkpoint have to be there before it is."""
        if self.writer is not None:
            with self._surviving():
                self.writer.flush()

    def close(self) -> None:
        """Write out what is not yet on the disk."""
        if self.writer is not None:
            with self._surviving():
                self.writer.close()

    @contextmanager
    def _surviving(self) -> Iterator[None]:
        try:
            yield
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
            "no TensorBoard files: tensorboard is not installed; pip install 'pydiffgeo[train]' brings it."
        )
        return None
    if threading.excepthook is not _hook:
        threading.excepthook = _hook
    return SummaryWriter(str(folder), purge_step=step + 1)


def _hook(details: Any, before: Any = threading.excepthook) -> None:
    """Say nothing of an error in TensorBoard's thread that writes: it is raised again at the next call, and told there."""
    if not (
        isinstance(details.exc_value, OSError)
        and type(details.thread).__module__.startswith("tensorboard.")
    ):
        before(details)
