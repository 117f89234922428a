"""Random windows of random basins, seeded, and resumable to the very next batch."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from pydiffgeo.data.batches import BasinTensors, Batch
from pydiffgeo.errors import DataError, SettingsError


class WindowSampler:
    """An endless iterator over batches of random windows.

    Batch number k depends on the seed and on k alone, so that a run can go on from any batch: `state_dict` is one number and
    what it was made for. The basins of a batch differ from each other as long as there are enough of them. All windows of a
    basin are equally likely, but for those without any observation after the warm-up and those that touch missing forcing,
    which are never drawn.

    Parameters
    ----------
    tensors : BasinTensors
        From `load_tensors`.
    batch_size : int
        Windows per batch.
    days : int
        Days of a window after the warm-up.
    warm_up : int
        Days before them, which no loss should count.
    start, end : str, optional
        First and last day that a loss may count; warm-ups reach before `start` where the record does. The whole record by
        default.
    seed : int
        The same seed gives the same batches.

    Attributes
    ----------
    left_out : tuple of str
        Basins without any such window; a warning names them.
    step : int
        Number of the next batch.

    Raises
    ------
    DataError
        The record does not cover the period, the windows are longer than it, or no basin has one.
    """

    def __init__(
        self,
        tensors: BasinTensors,
        batch_size: int,
        days: int,
        warm_up: int = 0,
        start: str | None = None,
        end: str | None = None,
        seed: int = 0,
    ):
        if batch_size < 1 or days < 1 or warm_up < 0:
            raise DataError(
                f"batch_size {batch_size} and days {days} must be at least 1, warm_up {warm_up} at least 0."
            )
        self.tensors, self.batch_size, self.days, self.warm_up, self.seed = (
            tensors,
            batch_size,
            days,
            warm_up,
            seed,
        )
        self.step = 0
        first, last = tensors.span(start, end)
        self._first = max(0, first - warm_up)
        self._choices = last - self._first - warm_up - days + 1
        if self._choices < 1:
            raise DataError(
                f"windows of {warm_up} + {days} days do not fit {last - self._first} days; shorten them, or lengthen the "
                "period."
            )
        valid = np.empty((len(tensors.basins), self._choices), bool)
        for row in range(len(valid)):
            valid[row] = self._valid(row)
        counts = valid.sum(1)
        self._rows = np.flatnonzero(counts)
        self.windows = int(counts.sum())
        self._bits = np.packbits(valid, axis=1)
        self.left_out = tuple(tensors.basins[i] for i in np.flatnonzero(counts == 0))
        if not len(self._rows):
            raise DataError(
                f"no basin has a window of {warm_up} + {days} days with complete forcing and an observation between "
                f"{tensors.days[first]:%Y-%m-%d} and {tensors.days[last - 1]:%Y-%m-%d}; see the report of the tensors."
            )
        if self.left_out:
            warnings.warn(
                f"{len(self.left_out)} basins have no window with complete forcing and an observation, and are not trained on: "
                f"{', '.join(self.left_out[:10])}{' ...' if len(self.left_out) > 10 else ''}",
                stacklevel=2,
            )

    def _valid(self, row: int) -> np.ndarray:
        """Return where windows of a basin may begin, [choice]."""
        complete, seen = self.tensors.seen(row)
        gaps = np.concatenate(([0], np.cumsum(~complete)))
        observed = np.concatenate(([0], np.cumsum(seen)))
        begin = self._first + np.arange(self._choices)
        scored, end = begin + self.warm_up, begin + self.warm_up + self.days
        return (gaps[end] == gaps[begin]) & (observed[end] > observed[scored])

    @property
    def steps_per_epoch(self) -> int:
        """Batches after which as many days were drawn as the basins have in the period."""
        return max(
            1,
            round(
                (self._choices + self.days - 1) * len(self._rows) / (self.batch_size * self.days)
            ),
        )

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        batch = self.batch(self.step)
        self.step += 1
        return batch

    def batch(self, step: int, part: slice = slice(None)) -> Batch:
        """Return batch number `step`, or the samples of it that `part` selects."""
        random = np.random.default_rng([self.seed, step])
        rows = random.choice(self._rows, self.batch_size, replace=self.batch_size > len(self._rows))
        choice = random.integers(self._choices, size=self.batch_size)
        for _ in range(30):
            bad = np.flatnonzero(~self._allowed(rows, choice))
            if not bad.size:
                break
            choice[bad] = random.integers(self._choices, size=bad.size)
        for i in np.flatnonzero(~self._allowed(rows, choice)):  # a basin with few windows
            choice[i] = random.choice(
                np.flatnonzero(np.unpackbits(self._bits[rows[i]], count=self._choices))
            )
        return self.tensors.windows(
            rows[part], (self._first + choice)[part], self.warm_up + self.days, self.warm_up
        )

    def _allowed(self, rows: np.ndarray, choice: np.ndarray) -> np.ndarray:
        return (self._bits[rows, choice >> 3] >> (7 - (choice & 7)) & 1).astype(bool)

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint has to keep: plain numbers and text."""
        return {"step": self.step, **self._made_for()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state: the next batch is the one that would have come next.

        Raises
        ------
        SettingsError
            The state was made with other settings or data; what differs is named.
        """
        for key, value in self._made_for().items():
            if state.get(key) != value:
                raise SettingsError(
                    f"cannot resume: {key} is {value!r}, the checkpoint has {state.get(key)!r}; restore it, or start a new run."
                )
        self.step = int(state["step"])

    def _made_for(self) -> dict[str, Any]:
        tensors = self.tensors
        names = [
            *tensors.basins,
            *tensors.forcing_names,
            *tensors.target_names,
            str(tensors.days[0]),
            str(len(tensors.days)),
        ]
        data = hashlib.sha256("\n".join(names).encode())
        data.update(self._bits.tobytes())
        return {
            "seed": self.seed,
            "batch_size": self.batch_size,
            "days": self.days,
            "warm_up": self.warm_up,
            "first day": f"{tensors.days[self._first]:%Y-%m-%d}",
            "data": data.hexdigest()[:16],
        }
