"""Records of basins as tensors: all in memory where they fit, else read basin by basin; and the batches cut from them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from pydiffgeo.data.layouts.text import parse_day
from pydiffgeo.data.lazy import blocks
from pydiffgeo.data.problems import Problem, gap_problems, impossible_problems
from pydiffgeo.data.report import BasinReport
from pydiffgeo.data.scaling import attribute_matrix
from pydiffgeo.data.variables import find_impossible, without_rounding
from pydiffgeo.errors import DataError

MISSING = ("missing day", "missing forcing")
NUMPY = {torch.float32: np.float32, torch.float64: np.float64}


@dataclass(frozen=True)
class Batch:
    """Windows of some basins.

    Attributes
    ----------
    forcing : Tensor, [batch, time, forcing]
        In the units of the basin form.
    observed : Tensor, [batch, time, target]
        NaN where nothing was observed.
    attributes : Tensor, [batch, attribute]
        As in the data set.
    basin : Tensor of int64, [batch]
        Positions in `basins`.
    start : Tensor of int64, [batch]
        Positions of the first day in `days`.
    warm_up : int
        First days of the window that no loss should count.
    basins : tuple of str
        Identifiers of all basins of the tensors.
    days : pandas.DatetimeIndex
        Days of the whole record.
    """

    forcing: Tensor
    observed: Tensor
    attributes: Tensor
    basin: Tensor
    start: Tensor
    warm_up: int
    basins: tuple[str, ...]
    days: pd.DatetimeIndex

    @property
    def scored(self) -> Tensor:
        """Days that a loss may count, those after the warm-up: bool, [time]."""
        return torch.arange(self.forcing.shape[1], device=self.forcing.device) >= self.warm_up

    def where(self, sample: int) -> str:
        """Return basin and days of a sample in words, for messages such as that on a loss that is not a number."""
        first = int(self.start[sample])
        last = first + self.forcing.shape[1] - 1
        return (
            f"basin {self.basins[int(self.basin[sample])]}, {self.days[first]:%Y-%m-%d} to {self.days[last]:%Y-%m-%d} "
            f"(warm-up {self.warm_up} days)"
        )

    def not_finite(self, simulated: Tensor) -> list[str]:
        """Return, for each sample whose simulation [batch, time, ...] is not finite after the warm-up, where that begins."""
        bad = ~torch.isfinite(simulated[:, self.warm_up :]).reshape(
            simulated.shape[0], -1, simulated[0, 0].numel()
        ).all(2)
        found = []
        for sample in bad.any(1).nonzero().flatten().tolist():
            day = self.times(sample)[self.warm_up + int(bad[sample].nonzero()[0])]
            found.append(f"{self.where(sample)}: not finite from {day:%Y-%m-%d}")
        return found

    def times(self, sample: int) -> pd.DatetimeIndex:
        """Return the days of a sample."""
        first = int(self.start[sample])
        return self.days[first : first + self.forcing.shape[1]]

    def to(self, device: torch.device | str) -> Batch:
        """Return the batch with its tensors on a device."""
        values = ((f.name, getattr(self, f.name)) for f in fields(self))
        moved: dict[str, Any] = {
            name: value.to(device) for name, value in values if isinstance(value, Tensor)
        }
        return replace(self, **moved)


class BasinTensors:
    """Forcing, observations and attributes of basins, ready to cut windows from. Made by `load_tensors`.

    Attributes
    ----------
    basins : tuple of str
        Identifiers.
    days : pandas.DatetimeIndex
        Days.
    forcing_names, target_names, attribute_names : tuple of str
        Names of the last dimension of the tensors.
    attributes : Tensor, [basin, attribute]
        As in the data set.
    in_memory : bool
        Whether all of it is in memory.
    report : BasinReport
        Missing forcing (where it is allowed) and days without observation.
    """

    def __init__(
        self,
        records: xr.Dataset,
        forcing: Sequence[str],
        targets: Sequence[str],
        attributes: Sequence[str],
        dtype: torch.dtype,
        memory: int,
        ranges: bool = True,
    ):
        self.basins = tuple(str(basin) for basin in records.basin.values)
        self.days = pd.DatetimeIndex(records.time.values)
        self.forcing_names, self.target_names, self.attribute_names = (
            tuple(forcing),
            tuple(targets),
            tuple(attributes),
        )
        self.dtype = dtype
        for name in (*forcing, *targets):
            if name not in records or set(records[name].dims) != {"basin", "time"}:
                raise DataError(
                    f"no variable {name!r} in time in the records; `open_basins` and `add_pet` make them."
                )
        self._series = xr.Dataset({name: records[name].variable for name in (*forcing, *targets)})
        self.attributes = attribute_matrix(records, attributes, dtype)
        self._width = len(forcing)
        features = self._width + len(targets)
        row = len(self.days) * features * np.dtype(NUMPY[dtype]).itemsize
        self.in_memory = row * len(self.basins) <= memory
        self._most = max(1, memory // max(row, 1))
        self._kept: OrderedDict[int, Tensor] = OrderedDict()
        self._all: Tensor | None = None
        # one bit per day: forcing is there; one bit per day: some target was observed
        self._complete, self._seen, self.report = self._look_through(features, ranges)

    def _look_through(self, features: int, ranges: bool) -> tuple[NDArray, NDArray, BasinReport]:
        kept = (
            np.empty((len(self.basins), len(self.days), features), NUMPY[self.dtype])
            if self.in_memory
            else None
        )
        complete, seen, problems = [], [], list[Problem]()
        counts: dict[str, dict[str, int]] = {name: {} for name in self.target_names}
        for rows in blocks(len(self.basins)):
            block = self._read(rows)
            if kept is not None:
                kept[rows] = block
            for k, name in enumerate((*self.forcing_names, *self.target_names) if ranges else ()):
                for found in np.flatnonzero(find_impossible(name, block[:, :, k]).any(1)):
                    problems += impossible_problems(
                        name, block[found, :, k], self.basins[rows.start + int(found)], self.days
                    )
            gaps = np.isnan(block)
            complete.append(np.packbits(~gaps[:, :, : self._width].any(-1), axis=1))
            seen.append(np.packbits(~gaps[:, :, self._width :].all(-1), axis=1))
            for i, basin in enumerate(self.basins[rows]):
                if gaps[i, :, : self._width].any():
                    values = {name: block[i, :, k] for k, name in enumerate(self.forcing_names)}
                    problems += gap_problems(values, basin, self.days)
                for k, name in enumerate(self.target_names):
                    counts[name][basin] = int(gaps[i, :, self._width + k].sum())
        self._all = None if kept is None else torch.from_numpy(kept)
        report = BasinReport(self.basins, len(self.days), tuple(problems), counts)
        return np.concatenate(complete), np.concatenate(seen), report

    def _read(self, rows: slice) -> NDArray:
        names = (*self.forcing_names, *self.target_names)
        part = self._series.isel(basin=rows)
        read = {
            name: part[name].variable.transpose("basin", "time").values.astype(NUMPY[self.dtype])
            for name in names
        }
        return np.stack([without_rounding(name, values) for name, values in read.items()], -1)

    def _basin(self, row: int) -> Tensor:
        """Return one basin, [time, feature], from memory or from its file."""
        if self._all is not None:
            return self._all[row]
        if row in self._kept:
            self._kept.move_to_end(row)
        else:
            self._kept[row] = torch.from_numpy(self._read(slice(row, row + 1))[0])
            if len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return self._kept[row]

    def to(self, device: torch.device | str) -> BasinTensors:
        """Move what is in memory to a device, where windows are then cut."""
        self._all = None if self._all is None else self._all.to(device)
        self.attributes = self.attributes.to(device)
        return self

    def windows(
        self,
        basin: Sequence[int] | NDArray,
        start: Sequence[int] | NDArray,
        length: int,
        warm_up: int = 0,
    ) -> Batch:
        """Return windows of `length` days (warm-up included) that begin at day positions `start` in basins `basin`."""
        rows, first = np.asarray(basin, np.int64), np.asarray(start, np.int64)
        if first.size and (first.min() < 0 or first.max() + length > len(self.days)):
            raise DataError(
                f"a window of {length} days from position {first.max()} leaves the record of {len(self.days)} days."
            )
        both = torch.stack(
            [
                self._basin(int(i))[int(a) : int(a) + length]
                for i, a in zip(rows, first, strict=True)
            ]
        )
        return Batch(
            both[..., : self._width],
            both[..., self._width :],
            self.attributes[torch.from_numpy(rows).to(self.attributes.device)],
            torch.from_numpy(rows),
            torch.from_numpy(first),
            warm_up,
            self.basins,
            self.days,
        )

    def complete(self) -> NDArray:
        """Return where all forcing is there, bool [basin, time]."""
        return np.unpackbits(self._complete, axis=1, count=len(self.days)).astype(bool)

    def seen(self, basin: int) -> tuple[NDArray, NDArray]:
        """Return for one basin where all forcing is there and where some target was observed, bool [time]."""
        bits = (
            np.unpackbits(packed[basin], count=len(self.days))
            for packed in (self._complete, self._seen)
        )
        complete, seen = (b.astype(bool) for b in bits)
        return complete, seen

    def span(self, start: str | None, end: str | None) -> tuple[int, int]:
        """Return the positions of the first day and of the day after the last of a period.

        Raises
        ------
        DataError
            The record does not cover it.
        """
        first = parse_day(start, "start") if start else self.days[0]
        last = parse_day(end, "end") if end else self.days[-1]
        if first < self.days[0] or last > self.days[-1] or last < first:
            raise DataError(
                f"the period {first:%Y-%m-%d} to {last:%Y-%m-%d} is not in the record, {self.days[0]:%Y-%m-%d} to "
                f"{self.days[-1]:%Y-%m-%d}; change the period or the data."
            )
        return int((first - self.days[0]).days), int((last - self.days[0]).days) + 1

    def observed_std(self, start: str | None = None, end: str | None = None) -> Tensor:
        """Return the standard deviation of observations over a period, [basin, target], as the NSE loss needs it.

        Raises
        ------
        DataError
            A basin has fewer than two different observations in the period; all such basins are named.
        """
        a, b = self.span(start, end)
        found = np.full((len(self.basins), len(self.target_names)), np.nan)
        for row in range(len(self.basins)):
            values = self._basin(row)[a:b, self._width :].double().cpu().numpy()
            for k in range(values.shape[1]):
                known = values[np.isfinite(values[:, k]), k]
                found[row, k] = known.std() if known.size > 1 else np.nan
        flat = ~(found > 0)
        if flat.any():
            named = [f"{self.basins[i]} ({self.target_names[k]})" for i, k in np.argwhere(flat)]
            raise DataError(
                f"{len(named)} basins have fewer than two different observations from {self.days[a]:%Y-%m-%d} to "
                f"{self.days[b - 1]:%Y-%m-%d}: {', '.join(named[:10])}; leave them out, or choose another period or loss."
            )
        return torch.as_tensor(found, dtype=self.dtype, device=self.attributes.device)

    def periods(
        self, batch_size: int, start: str | None = None, end: str | None = None, warm_up: int = 0
    ) -> Iterator[Batch]:
        """Return every basin once over a whole period, `batch_size` basins at a time, in order.

        Parameters
        ----------
        batch_size : int
            Basins per batch; the last batch may be smaller.
        start, end : str, optional
            First and last day judged; the whole record after the warm-up by default.
        warm_up : int
            Days before `start` that come first in each batch.

        Raises
        ------
        DataError
            The record does not cover the period and its warm-up, or forcing is missing in it; basin and date are named.
        """
        a, b = self.span(start, end)
        a = a + warm_up if start is None else a
        if a < warm_up or a >= b:
            raise DataError(
                f"{warm_up} days of warm-up before {self.days[min(a, len(self.days) - 1)]:%Y-%m-%d} do not fit the record, "
                f"which begins on {self.days[0]:%Y-%m-%d}; shorten the warm-up or judge later."
            )
        self.require_forcing(a - warm_up, b)
        return self._periods(batch_size, a - warm_up, b, warm_up)

    def complete_between(self, first: int, last: int) -> NDArray:
        """Return positions of the basins with all forcing from day position `first` to before `last`."""
        return np.flatnonzero(self.complete()[:, first:last].all(1))

    def require_forcing(self, first: int, last: int, rows: NDArray | None = None) -> None:
        """Raise DataError, with basin and date, where forcing is missing from day position `first` to before `last`.

        `rows` are positions of the basins that are looked at, all by default.
        """
        rows = np.arange(len(self.basins)) if rows is None else rows
        absent = ~self.complete()[rows, first:last]
        if absent.any():
            row, day = np.argwhere(absent)[0]
            raise DataError(
                f"forcing is missing in basin {self.basins[rows[row]]} on {self.days[first + int(day)]:%Y-%m-%d}, and in "
                f"{int(absent.any(1).sum())} basins of the period in all; fill it, or leave these basins out."
            )

    def _periods(self, batch_size: int, first: int, last: int, warm_up: int) -> Iterator[Batch]:
        for rows in blocks(len(self.basins), batch_size):
            chosen = np.arange(rows.start, rows.stop)
            yield self.windows(chosen, np.full(len(chosen), first), last - first, warm_up)


def load_tensors(
    records: xr.Dataset,
    forcing: Sequence[str],
    targets: Sequence[str] = ("discharge",),
    attributes: Sequence[str] = (),
    dtype: torch.dtype = torch.float32,
    memory: int = 4 * 2**30,
    missing: Literal["error", "skip"] = "error",
    impossible: Literal["error", "ignore"] = "error",
) -> BasinTensors:
    """Turn records of basins into tensors.

    Parameters
    ----------
    records : xarray.Dataset
        Basin form; lazy records are read block by block.
    forcing, targets, attributes : sequence of str
        Names of the features, in this order.
    dtype : {torch.float32, torch.float64}
        Of all tensors.
    memory : int
        Bytes that the series may take. Records that need more stay in their file; as many basins as fit are kept, the last
        used ones.
    missing : {"error", "skip"}
        What missing forcing is: an error, or days that no window may touch (listed in `BasinTensors.report`).
    impossible : {"error", "ignore"}
        What values outside of `variables.limits` are: an error, or taken as they are, for records that `select_sites` has
        looked at. `without_impossible` turns them into missing ones.

    Raises
    ------
    DataError
        A variable or attribute is absent, an attribute is missing for a basin, or forcing is missing or a value impossible: by
        basin and date.
    """
    if dtype not in NUMPY:
        raise DataError(
            f"tensors of dtype {dtype} are not made; take torch.float32 or torch.float64."
        )
    for name, given, known in (
        ("missing", missing, ("error", "skip")),
        ("impossible", impossible, ("error", "ignore")),
    ):
        if given not in known:
            raise DataError(f"{name}={given!r} is neither {known[0]!r} nor {known[1]!r}.")
    tensors = BasinTensors(
        records, forcing, targets, attributes, dtype, memory, impossible == "error"
    )
    tensors.report.require("impossible value")
    if missing == "error":
        tensors.report.require(*MISSING)
    return tensors
