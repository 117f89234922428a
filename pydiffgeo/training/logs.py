"""What a training tells while it runs: a table of its epochs, and TensorBoard's files."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

log = logging.getLogger("pydiffgeo")


class TrainingLog:
    """Writes ``history.csv`` and, where tensorboard is installed, ``tensorboard/``.

    Parameters
    ----------
    folder : Path or None
        Of the run; None writes nothing.
    step : int
        Step at which the training goes on: what TensorBoard has from later steps is dropped.
    """

    def __init__(self, folder: Path | None, step: int = 0):
        self.folder, self.writer = folder, None if folder is None else _writer(folder / "tensorboard", step)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Write numbers by name at a step."""
        if self.writer is not None:
            for name, value in values.items():
                self.writer.add_scalar(name, value, step)

    def epochs(self, history: Sequence[Mapping[str, float]]) -> None:
        """Write the table of all epochs, and the last of them to TensorBoard."""
        if self.folder is not None:
            pd.DataFrame(list(history)).to_csv(self.folder / "history.csv", index=False, float_format="%.9g")
            last = history[-1]
            self.scalars(int(last["step"]), {f"epoch/{k}": v for k, v in last.items() if k not in ("epoch", "step")})

    def close(self) -> None:
        """Write out what is not yet on the disk."""
        if self.writer is not None:
            self.writer.close()


def _writer(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        log.info("no TensorBoard files: tensorboard is not installed; pip install 'pydiffgeo[train]'")
        return None
    return SummaryWriter(str(folder), purge_step=step)
