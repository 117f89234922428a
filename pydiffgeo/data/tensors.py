"""Records of sites as tensors.

All in memory where they fit, else read site by site; windows are cut from them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from pydiffgeo.data import network, satellite_cells
from pydiffgeo.data.batch import Batch
from pydiffgeo.data.form import axis_of, step_of, times_of, unit_of
from pydiffgeo.data.lazy import Rows, blocks, together
from pydiffgeo.data.problems import Problem, gap_problems, impossible_problems
from pydiffgeo.data.scaling import attribute_values
from pydiffgeo.data.site_report import SiteReport
from pydiffgeo.data.variables import find_impossible, without_rounding
from pydiffgeo.errors import DataError, listed, nearest

NUMPY = {torch.float32: np.float32, torch.float64: np.float64}


class SiteTensors:
    """Forcing, observations and attributes of sites, ready to cut windows from.

    They are looked through once, when made.

    Parameters
    ----------
    sites : xarray.Dataset
        Site form; lazy records are read block by block.
    forcing, observed, attributes : sequence of str
        Names. Attributes may be coordinates.
    dtype : {torch.float32, torch.float64}
        Of all tensors.
    memory : int
        Bytes that the series may take. Records that need more stay in their file; as many sites as
        fit are kept, the last used ones.
    period : (int, int)
        Positions of the first step and of the step after the last one whose observations give the
        spread.
    device : torch.device or str, optional
        Where what is in memory lies, and windows are cut.
    ranges : bool
        Whether impossible values are looked for.
    optional : sequence of str
        Forcing that may be missing.
    hold : bool
        Whether steps without all forcing repeat the one before, unobserved, as points do.

    Attributes
    ----------
    names : tuple of str
        Identifiers of the sites.
    times : pandas.Index
        Steps.
    attributes : dict of str to Tensor, [site] or [site, depth]
        By name.
    spread : dict of str to Tensor, [site] or [site, depth]
        Standard deviation of observations in `period`; NaN where there are fewer than two.
    never_seen : dict of str to ndarray of bool, [site]
        Whether an observed series has no value at all in `period`.
    below : ndarray of int64, [site], or None
        Position of the site below, where the sites have the attribute ``downstream``.
    cell : ndarray of int64, [site], or None
        Position of the first site of the same cell, where the sites have the attribute ``cell``.
    in_memory : bool
        Whether all of it is in memory.
    report : SiteReport
        Missing forcing, impossible values and steps without observation.

    Raises
    ------
    DataError
        A variable is absent.
    """

    def __init__(
        self,
        sites: xr.Dataset,
        forcing: Sequence[str],
        observed: Sequence[str],
        attributes: Sequence[str],
        dtype: torch.dtype,
        memory: int,
        period: tuple[int, int],
        device: torch.device | str | None = None,
        ranges: bool = True,
        optional: Sequence[str] = (),
        hold: bool = False,
    ):
        self.axis, self.times = axis_of(sites), times_of(sites)
        self.hold = hold or self.axis == "point"
        self.step = step_of(self.times)
        self.names = tuple(str(name) for name in sites.site.values)
        self.forcing, self.observed = tuple(forcing), tuple(observed)
        self.needed = tuple(name for name in forcing if name not in optional)
        self.dtype, self.device, self._period = dtype, torch.device(device or "cpu"), period
        self.below = network.below(sites) if network.DOWNSTREAM in sites.variables else None
        self.cell = satellite_cells.cells(sites) if satellite_cells.has_cells(sites) else None
        names = (*forcing, *observed)
        for name in names:
            _require_series(sites, name, self.axis, name in self.forcing)
        self._series = xr.Dataset({name: sites[name].variable for name in names})
        # the row of a site is [feature, time]; an observed series with depths has a feature for
        # each
        self._at: dict[str, slice] = {}
        for name in names:
            begin = self._features
            self._at[name] = slice(begin, begin + self._depths(name))
        self.attributes = {
            name: values.to(self.device)
            for name, values in attribute_values(sites, attributes, dtype).items()
        }
        self.units = {
            name: unit
            for name in (*names, *attributes)
            if (unit := unit_of(sites[name])) is not None
        }
        deep = any("depth" in sites[name].dims for name in (*observed, *attributes))
        self.depths = torch.as_tensor(sites.depth.values * 100.0, dtype=dtype) if deep else None
        row = len(self.times) * self._features * np.dtype(NUMPY[dtype]).itemsize
        self.in_memory = row * len(self.names) <= memory
        self._most = max(1, memory // max(row, 1))
        self._kept: OrderedDict[int, Tensor] = OrderedDict()
        self._all: Tensor | None = None
        self._look_through(ranges)

    @property
    def _features(self) -> int:
        return max((at.stop for at in self._at.values()), default=0)

    def _depths(self, name: str) -> int:
        others = [n for d, n in self._series[name].sizes.items() if d not in ("site", self.axis)]
        return int(np.prod(others, dtype=int))

    def _look_through(self, ranges: bool) -> None:
        """Read all once: keep it where it fits, and keep for each step whether forcing and some
        observation is there.
        """
        shape = (len(self.names), self._features, len(self.times))
        kept = np.empty(shape, NUMPY[self.dtype]) if self.in_memory else None
        complete, seen, problems = [], [], list[Problem]()
        counts: dict[str, dict[str, int]] = {name: {} for name in self.observed}
        spread: dict[str, list[list[float]]] = {name: [] for name in self.observed}
        never: dict[str, list[bool]] = {name: [] for name in self.observed}
        width, a, b = len(self.forcing), *self._period
        needed = [k for k, name in enumerate(self.forcing) if name in self.needed]
        for rows in blocks(len(self.names), together(self._series.values())):
            block = self._read(rows)
            if kept is not None:
                kept[rows] = block
            gaps = np.isnan(block)
            complete.append(np.packbits(~gaps[:, needed].any(1), axis=1))
            some = ~gaps[:, width:].all(1) if self.observed else ~gaps[:, :width].all(1)
            seen.append(np.packbits(some, axis=1))
            for name in (*self.forcing, *self.observed) if ranges else ():
                problems += self._impossible(name, block[:, self._at[name]], rows)
            for i, site in enumerate(self.names[rows]):
                if gaps[i, needed].any():
                    values = {self.forcing[k]: block[i, k] for k in needed}
                    problems += gap_problems(values, site, self.times)
                for name in self.observed:
                    one = block[i, self._at[name]]
                    counts[name][site] = int(np.isnan(one).all(0).sum())
                    spread[name].append([_std(values[a:b]) for values in one])
                    never[name].append(bool(np.isnan(one[:, a:b]).all()))
        self._all = None if kept is None else torch.from_numpy(kept).to(self.device)
        self._complete, self._seen = np.concatenate(complete), np.concatenate(seen)
        self.never_seen = {name: np.array(known) for name, known in never.items()}
        self.report = SiteReport(self.names, len(self.times), tuple(problems), counts)
        self.spread = {
            name: torch.tensor(numbers, dtype=self.dtype, device=self.device)
            if len(self._series[name].dims) > 2
            else torch.tensor(numbers, dtype=self.dtype, device=self.device)[:, 0]
            for name, numbers in spread.items()
        }

    def _impossible(self, name: str, block: NDArray, rows: slice) -> list[Problem]:
        problems: list[Problem] = []
        unit = self.units.get(name)
        for found in np.flatnonzero(find_impossible(name, block, unit).any((1, 2))):
            values = block[found].T if block.shape[1] > 1 else block[found, 0]
            site = self.names[rows.start + int(found)]
            problems += impossible_problems(name, values, site, self.times, unit)
        return problems

    def _read(self, rows: slice | Rows) -> NDArray:
        """Return [site, feature, time] of some sites."""
        part = self._series.isel(site=rows)
        found = []
        for name in self._at:
            values = part[name].variable.transpose("site", ..., self.axis).values
            values = without_rounding(name, values.astype(NUMPY[self.dtype]))
            found.append(values.reshape(len(values), -1, len(self.times)))
        block = np.concatenate(found, 1)
        return self._held(block) if self.hold else block

    def _held(self, block: NDArray) -> NDArray:
        """Let steps without all forcing, and points that fill up sites which have fewer than
        others, repeat the last one, unobserved.
        """
        width = len(self.forcing)
        needed = [k for k, name in enumerate(self.forcing) if name in self.needed]
        absent = np.isnan(block[:, needed]).any(1)
        for i in np.flatnonzero(absent.any(1) & ~absent.all(1)):
            there = np.where(absent[i], 0, np.arange(len(self.times)))
            last = np.maximum.accumulate(there)
            last[absent[i] & (last == 0) & absent[i, 0]] = int(np.argmin(absent[i]))
            block[i, :width] = block[i, :width][:, last]
            block[i, width:, absent[i]] = np.nan
        return block

    def _rows(self, rows: Rows) -> dict[int, Tensor]:
        """Return some sites, [feature, time] each, read from the file unless they are kept."""
        wanted = np.unique(rows).tolist()
        found = {row: self._kept.pop(row) for row in wanted if row in self._kept}
        absent = np.array([row for row in wanted if row not in found], np.int64)
        if len(absent):
            # each site a tensor of its own, so that one that is dropped frees its memory
            for row, values in zip(absent.tolist(), self._read(absent), strict=True):
                found[row] = torch.tensor(values, device=self.device)
        self._kept |= found
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)
        return found

    def windows(
        self,
        site: Sequence[int] | NDArray,
        start: Sequence[int] | NDArray,
        length: int,
        warm_up: int = 0,
    ) -> Batch:
        """Return windows of `length` steps (warm-up included) that begin at positions `start` in
        the sites `site`.
        """
        rows, first = np.asarray(site, np.int64), np.asarray(start, np.int64)
        if first.size and (first.min() < 0 or first.max() + length > len(self.times)):
            raise DataError(
                f"a window of {length} steps from position {first.max()} leaves the record of "
                f"{len(self.times)} steps."
            )
        both = self._cut(rows, first, length)
        at = torch.from_numpy(rows).to(self.device)
        observed = {}
        for name in self.observed:
            deep = [n for d, n in self._series[name].sizes.items() if d not in ("site", self.axis)]
            part = both[:, self._at[name]].transpose(1, 2)
            observed[name] = part.reshape(*part.shape[:2], *deep) if deep else part[..., 0]
        below, tributaries = self._river(rows, first)
        return Batch(
            {name: both[:, self._at[name].start] for name in self.forcing},
            {name: values[at] for name, values in self.attributes.items()},
            observed,
            {name: values[at] for name, values in self.spread.items()},
            torch.from_numpy(rows),
            torch.from_numpy(first),
            warm_up,
            self.names,
            self.times,
            self.step,
            self.units,
            self.depths,
            below,
            tributaries,
            *self._cells(rows),
        )

    def _river(self, rows: NDArray, first: NDArray) -> tuple[Tensor | None, Tensor | None]:
        """Return the row of the site below in the same window, and how many flow into each site."""
        if self.below is None:
            return None, None
        known = self.below[self.below >= 0]
        into = np.bincount(known, minlength=len(self.below))[rows]
        width = len(self.times) + 1
        # a window drawn twice flows into the first of its like
        keys, where = np.unique(rows * width + first, return_index=True)
        wanted = self.below[rows] * width + first
        at = np.searchsorted(keys, wanted).clip(max=max(len(keys) - 1, 0))
        there = (self.below[rows] >= 0) & (keys[at] == wanted) if len(keys) else np.zeros(0, bool)
        return torch.from_numpy(np.where(there, where[at], -1)), torch.from_numpy(into)

    def _cells(self, rows: NDArray) -> tuple[Tensor | None, Tensor | None]:
        """Return the cell of each row, and how many sites it has."""
        if self.cell is None:
            return None, None
        count = np.bincount(self.cell, minlength=len(self.cell))
        own = self.cell[rows]
        return torch.from_numpy(own), torch.from_numpy(count[own])

    def _cut(self, rows: NDArray, first: NDArray, length: int) -> Tensor:
        """Return [batch, feature, time]."""
        if self._all is not None:
            everything = length == len(self.times) and np.array_equal(
                rows, np.arange(len(self._all))
            )
            if everything:  # a large river, which memory should not hold twice
                return self._all
            # all windows as a view, of which those wanted are copied at once
            views = self._all.unfold(2, length, 1)
            row, start = (torch.from_numpy(values).to(self.device) for values in (rows, first))
            return views[row, :, start]
        cut = torch.empty((len(rows), self._features, length), dtype=self.dtype, device=self.device)
        order = np.argsort(rows, kind="stable")
        for part in blocks(len(order), together(self._series.values())):
            series = self._rows(rows[order[part]])  # a batch may have all sites
            for i in order[part].tolist():
                cut[i] = series[int(rows[i])][:, first[i] : first[i] + length]
        return cut

    def complete(self, rows: NDArray | slice = slice(None)) -> NDArray:
        """Return where all forcing is there, bool [site, time]."""
        packed = self._complete[rows]
        return np.unpackbits(packed, axis=1, count=len(self.times)).astype(bool)

    def present(self, rows: NDArray | slice = slice(None)) -> NDArray:
        """Return where the records have all forcing, bool [site, time].

        Unlike `complete`, not where a step repeats the last one (`hold`).
        """
        found = np.ones((len(self.names), len(self.times)), bool)[rows]
        for name in self.needed:
            values = self._series[name].isel(site=rows).transpose("site", self.axis)
            found &= np.isfinite(values.values)
        return found

    def lacking(self, rows: NDArray | Sequence[int]) -> list[str]:
        """Return the forcing that some of these sites lack at a step, by name."""
        series = ((n, self._series[n].isel(site=rows).values) for n in self.needed)
        return [name for name, values in series if np.isnan(values).any()]

    def seen(self, row: int) -> NDArray:
        """Return where a site has some observation, bool [time]."""
        return np.unpackbits(self._seen[row], count=len(self.times)).astype(bool)


def _require_series(sites: xr.Dataset, name: str, axis: str, forcing: bool) -> None:
    """Raise DataError if there is no such series."""
    if name not in sites or not {"site", axis} <= set(sites[name].dims):
        known = [str(n) for n, v in sites.data_vars.items() if {"site", axis} <= set(v.dims)]
        raise DataError(
            f"no series {name!r} in the records{nearest(name, known)} They have {listed(known)}."
        )
    if forcing and len(sites[name].dims) > 2:
        raise DataError(
            f"the series {name!r} has the dimensions {', '.join(map(str, sites[name].dims))}, a "
            f"forcing has site and {axis}; select one of the others."
        )


def _std(values: NDArray) -> float:
    known = values[np.isfinite(values)].astype(float)
    return float(known.std()) if known.size > 1 else float("nan")
