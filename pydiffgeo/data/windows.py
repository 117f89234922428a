"""Windows of records of sites.

Random ones, seeded and resumable to the very next batch, or the whole period.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Collection, Iterator, Sequence
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from pydiffgeo.data import network, satellite_cells
from pydiffgeo.data.batch import Batch
from pydiffgeo.data.drawing import sites_in_turn, valid_starts, windows_of_gauges, windows_of_sites
from pydiffgeo.data.form import (
    Day,
    observed_names,
    positions,
    series_names,
    stamp,
    step_of,
    telling_attributes,
    times_of,
)
from pydiffgeo.data.groups import Apart, groups_of
from pydiffgeo.data.lacking import longest_gap, refuse_gap, require_variance
from pydiffgeo.data.tensors import NUMPY, SiteTensors
from pydiffgeo.errors import DataError, SettingsError, listed


class Windows:
    """Batches of windows of sites, endless.

    Batch number k depends on the seed and on k alone, so that a run can go on from any batch:
    `state_dict` is one number and what it was made for. The sites of a batch differ from each other
    where there are at least as many as its rows; else they are drawn with replacement, and a site
    may come several times, each time with its own days. All windows of a site are equally likely,
    but for those without any observation after the warm-up and those that touch missing forcing,
    which are never drawn.

    Nothing is read before the first batch: `reading` first tells which series, attributes and
    observations are used.

    Parameters
    ----------
    sites : xarray.Dataset
        Site form (`pydiffgeo.data.form`); lazy records are read site by site where they do not fit
        `memory`.
    length : int, optional
        Steps of a window after the warm-up; by default the whole period.
    warm_up : int
        Steps before them, which no loss should count.
    batch : int, optional
        Windows per batch; by default one for each site. Of the whole period, each site comes once
        in an epoch.
    seed : int
        The same seed gives the same batches.
    start, end : str or date, optional
        First and last day that a loss may count; warm-ups reach before `start` where the record
        does. The whole record by default.
    forcing, observed, attributes : sequence of str, optional
        Names. By default what is observed by the table of variables or by ``attrs["role"]``, every
        other series, and every attribute of numbers that no site lacks and that is not the same
        everywhere.
    optional : sequence of str
        Forcing that may be missing: windows touch steps without it, where it is NaN.
    dtype : {torch.float32, torch.float64}
        Of all tensors.
    memory : int
        Bytes that the series may take, else as many sites are kept as fit.
    device : torch.device or str, optional
        Where windows are cut, if all is in memory.
    missing : {"skip", "error", "hold"}
        What missing forcing is: steps that no window touches, an error, or, for hybrids that
        remember nothing, steps that repeat the one before and count as not observed.
    impossible : {"error", "ignore"}
        What values outside of `variables.limits` are: an error, or taken as they are, for records
        that `usable_sites` has looked at.
    closed : {"upstream", "cell"}, optional
        "cell": the `batch` windows drawn are of cells, and the batch holds all sites of each (the
        attribute ``cell``); a cell has a window where all its sites have their forcing and one has
        an observation. "upstream", of rivers: the `batch` sites drawn are gauges, sites with an
        observation, and the batch holds them and all sites above them, each once, in one window of
        time. A gauge is drawn, then one of its windows, then other gauges that are observed in this
        window, as far as there are any. All that is observed in a batch counts, at gauges above
        those drawn, too. The rows stand in the order of the records. Of the whole period all gauges
        come in an epoch, or all sites, where nothing is observed at all.

    Attributes
    ----------
    step : int
        Number of the next batch.

    Raises
    ------
    DataError
        A name is absent, the record does not cover the period, or the windows are longer than it.
        With the first batch: a value is impossible, or no site has a window.
    """

    def __init__(
        self,
        sites: xr.Dataset,
        length: int | None = None,
        warm_up: int = 0,
        batch: int | None = None,
        seed: int = 0,
        *,
        start: Day = None,
        end: Day = None,
        forcing: Sequence[str] | None = None,
        observed: Sequence[str] | None = None,
        attributes: Sequence[str] | None = None,
        optional: Sequence[str] = (),
        dtype: torch.dtype = torch.float32,
        memory: int = 4 * 2**30,
        device: torch.device | str | None = None,
        missing: Literal["skip", "error", "hold"] = "skip",
        impossible: Literal["error", "ignore"] = "error",
        closed: Literal["upstream", "cell"] | None = None,
    ):
        if warm_up < 0 or any(number is not None and number < 1 for number in (length, batch)):
            raise DataError(
                f"length {length} and batch {batch} must be at least 1, warm_up {warm_up} at least "
                "0."
            )
        if dtype not in NUMPY:
            raise DataError(
                f"tensors of dtype {dtype} are not made; take torch.float32 or torch.float64."
            )
        for name, given, known in (
            ("missing", missing, ("skip", "error", "hold")),
            ("impossible", impossible, ("error", "ignore")),
        ):
            if given not in known:
                raise DataError(f"{name}={given!r} is none of {', '.join(map(repr, known))}.")
        self.sites, self.length, self.warm_up, self.seed = sites, length, warm_up, seed
        self.batch_size, self.dtype, self.step = batch, dtype, 0
        self._given: dict[str, Any] = {
            "length": length,
            "warm_up": warm_up,
            "batch": batch,
            "seed": seed,
            "start": start,
            "end": end,
            "dtype": dtype,
            "memory": memory,
            "device": device,
            "missing": missing,
            "impossible": impossible,
            "closed": closed,
        }
        if closed not in (None, "upstream", "cell"):
            raise DataError(f"closed={closed!r} is neither 'upstream' nor 'cell' nor None.")
        if closed == "cell":
            satellite_cells.cells(sites)  # which says that they have none
        if closed == "upstream":
            network.below(sites)  # which says what is wrong with the river
        self.closed = closed
        self.observed = tuple(observed_names(sites) if observed is None else observed)
        free = [name for name in series_names(sites) if name not in self.observed]
        self.forcing = tuple(free if forcing is None else forcing)
        if both := [name for name in self.forcing if name in self.observed]:
            raise DataError(
                f"{listed(both)} is observed, and read as a forcing, too: a stage that reads it "
                "needs one before that gives it (of a process, `only` must name it), or take it "
                "out of what is observed."
            )
        self.optional = tuple(name for name in optional if name in self.forcing)
        self._attributes = None if attributes is None else tuple(attributes)
        self.names, self.times = tuple(str(name) for name in sites.site.values), times_of(sites)
        self.interval = step_of(self.times)
        self.first_scored, self.last = positions(self.times, start, end)
        self._first = max(0, self.first_scored - warm_up)
        room = self.last - self._first - warm_up
        self._days = room if length is None else length
        self._choices = room - self._days + 1
        if self._choices < 1 or room < 1:
            raise DataError(
                f"windows of {warm_up} + {length or 'some'} steps do not fit "
                f"{self.last - self._first} steps; shorten them, or lengthen the period."
            )

    def reading(
        self,
        forcing: Sequence[str] | None = None,
        observed: Sequence[str] | None = None,
        attributes: Sequence[str] | None = None,
        optional: Sequence[str] | None = None,
        missing: Literal["skip", "error", "hold"] | None = None,
    ) -> Windows:
        """Return the same windows with the series, observations and attributes that somebody reads.

        None keeps those, and what missing forcing is.

        Raises
        ------
        DataError
            A name that the records do not have.
        """
        kept = (self.forcing, self.observed, self._attributes, self.optional)
        names = [
            had if given is None else tuple(dict.fromkeys(given))
            for had, given in zip(kept, (forcing, observed, attributes, optional), strict=True)
        ]
        options = {**self._given, "missing": missing or self._given["missing"]}
        if tuple(names) == kept and options == self._given and "tensors" in self.__dict__:
            return self
        found = Windows(
            self.sites, forcing=names[0], observed=names[1], attributes=names[2],
            optional=names[3] or (), **options,
        )  # fmt: skip
        found.step = self.step
        return found

    def only(self, names: Collection[str]) -> Windows:
        """Return the same windows of some of the sites."""
        rows = [k for k, name in enumerate(self.names) if name in names]
        return Windows(
            self.sites.isel(site=rows), forcing=self.forcing, observed=self.observed,
            attributes=self._attributes, optional=self.optional, **self._given,
        )  # fmt: skip

    @cached_property
    def attributes(self) -> tuple[str, ...]:
        """Names of the attributes, `telling_attributes` where nobody named them."""
        return telling_attributes(self.sites) if self._attributes is None else self._attributes

    @cached_property
    def tensors(self) -> SiteTensors:
        """The records as tensors; made, and looked through, at first use."""
        given = self._given
        tensors = SiteTensors(
            self.sites, self.forcing, self.observed, self.attributes, self.dtype, given["memory"],
            (self.first_scored, self.last), given["device"], given["impossible"] == "error",
            self.optional, given["missing"] == "hold",
        )  # fmt: skip
        tensors.report.require("impossible value")
        if given["missing"] == "error":
            tensors.report.require("missing time", "missing forcing")
        return tensors

    @cached_property
    def groups(self) -> Apart:
        """Which sites windows take together."""
        return groups_of(self.closed, self.tensors.below, self.tensors.cell)

    @cached_property
    def _valid(self) -> tuple[NDArray, NDArray, int]:
        """Positions of the sites with a window, where their windows may begin as bits, and how many
        there are.
        """
        steps = (self._first, self._choices, self.warm_up, self._days)
        valid = valid_starts(self.tensors, *steps, self.groups)
        counts = valid.sum(1)
        rows, left = np.flatnonzero(counts), self._without(counts)
        if not len(rows):
            more = longest_gap(self.tensors, first=self._first)
            raise DataError(
                f"no site has a window of {self.warm_up} + {self._days} steps with complete "
                f"forcing and an observation between {stamp(self.times[self.first_scored])} and "
                f"{stamp(self.times[self.last - 1])}; see `windows.report`."
                f"{more}"
            )
        if left:
            warnings.warn(
                f"left out between {stamp(self.times[self.first_scored])} and "
                f"{stamp(self.times[self.last - 1])}, for want of a window with complete forcing "
                f"and an observation: {listed(left, 10)}",
                stacklevel=5,
            )
        return rows, np.packbits(valid, axis=1), int(counts.sum())

    def _without(self, counts: NDArray) -> list[str]:
        """Return the sites without a window; of rivers only those that are observed."""
        lost = self.groups.without(counts)
        if self.closed is not None:
            span = slice(self.first_scored, self.last)
            lost = lost[[self.tensors.seen(int(row))[span].any() for row in lost]]
        return [self.names[i] for i in lost]

    @property
    def count(self) -> int:
        """Windows that may be drawn."""
        return self._valid[2]

    @property
    def size(self) -> int:
        """Windows drawn for a batch."""
        most = len(self._valid[0])
        size = self.batch_size or most
        return size if self.closed is None else min(size, most)

    def rows(self, step: int) -> int:
        """Return the windows drawn for batch number `step`, fewer in the last one of whole periods.

        They are its rows, but for the further sites of rivers.
        """
        if self.closed is not None:
            return len(self._drawn(step)[0])
        sites, turn = len(self._valid[0]), step % self.steps_per_epoch
        return min(self.size, sites - turn * self.size) if self.length is None else self.size

    @property
    def left_out(self) -> tuple[str, ...]:
        """Sites without any such window; a warning names them."""
        counts = np.zeros(len(self.names), int)
        counts[self._valid[0]] = 1
        return tuple(self._without(counts))

    @property
    def report(self) -> Any:
        """What is missing in the forcing, and how much was observed (`SiteReport`)."""
        return self.tensors.report

    @property
    def units(self) -> dict[str, str]:
        """Unit of each series and attribute that states one."""
        names = (*self.forcing, *self.observed, *self.attributes)
        found = ((name, self.sites[name].attrs.get("units")) for name in names)
        return {name: str(unit) for name, unit in found if unit is not None}

    @property
    def steps_per_epoch(self) -> int:
        """Batches after which as many steps were drawn as the sites have in the period.

        Once around for whole periods.
        """
        sites = len(self._valid[0])
        if self.length is None:
            return -(-sites // self.size)
        drawn = self.size * self._days
        return max(1, round((self._choices + self._days - 1) * sites / drawn))

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        batch = self.batch(self.step)
        self.step += 1
        return batch

    def batch(self, step: int, part: slice = slice(None)) -> Batch:
        """Return batch number `step`, or the windows of it that `part` selects.

        Of rivers: some of the gauges drawn, with all sites above them, in the order of the records.
        """
        rows, begin = (np.asarray(values)[part] for values in self._drawn(step))
        sites, begin = self.groups.members(rows, begin)
        return self.tensors.windows(sites, begin, self.warm_up + self._days, self.warm_up)

    def _drawn(self, step: int) -> tuple[NDArray, NDArray]:
        """Return the sites of a batch, and where their windows begin."""
        rows, bits, _ = self._valid
        if self.length is None:
            turn = divmod(step, self.steps_per_epoch)
            rows = sites_in_turn(rows, self.batch_size, self.seed, *turn)
            return rows, np.full(len(rows), self._first)
        return self._random(step, rows, bits)

    def _random(self, step: int, sites: NDArray, bits: NDArray) -> tuple[NDArray, NDArray]:
        random, size = np.random.default_rng([self.seed, step]), self.batch_size or len(sites)
        draw = windows_of_gauges if self.closed == "upstream" else windows_of_sites
        rows, choice = draw(random, sites, bits, size, self._choices)
        return rows, self._first + choice

    def periods(
        self,
        batch: int,
        start: Day = None,
        end: Day = None,
        warm_up: int = 0,
        missing: Literal["skip", "error"] = "error",
    ) -> Iterator[Batch]:
        """Return every site once over a whole period, `batch` sites at a time, in order.

        A batch of all sites over the whole record shares its memory with the records: it is to be
        read, not written.

        Parameters
        ----------
        batch : int
            Sites per batch; the last batch may be smaller. Of rivers a batch has whole ones, and
            more sites where one river has more.
        start, end : str or date, optional
            First and last day judged; the whole record after the warm-up by default.
        warm_up : int
            Steps before `start` that come first in each batch.
        missing : {"error", "skip"}
            What a site with missing forcing is: an error, or left out.

        Raises
        ------
        DataError
            The record does not cover the period and its warm-up, or forcing is missing in it; site
            and date are named.
        """
        a, b = positions(self.times, start, end)
        a = a + warm_up if start is None else a
        if a < warm_up or a >= b:
            raise DataError(
                f"{warm_up} steps of warm-up before "
                f"{stamp(self.times[min(a, len(self.times) - 1)])} do not fit the record, which "
                f"begins on {stamp(self.times[0])}; shorten the warm-up or judge later."
            )
        rows = self.complete_between(a - warm_up, b)
        if missing == "error" and len(rows) < len(self.names):
            refuse_gap(self.tensors, a - warm_up, b)
        return (
            self.tensors.windows(part, np.full(len(part), a - warm_up), b - a + warm_up, warm_up)
            for part in self.parts(rows, batch)
        )

    def parts(self, rows: NDArray, batch: int) -> list[NDArray]:
        """Return positions of sites in parts of `batch` sites, or of whole rivers or cells."""
        return self.groups.parts(rows, batch)

    def complete_between(self, first: int, last: int) -> NDArray:
        """Return positions of the sites with all forcing from position `first` to before `last`.

        Of rivers also all sites above have it, of cells all sites of the cell.
        """
        whole = np.asarray(self.tensors.complete()[:, first:last].all(1))
        return np.flatnonzero(self.groups.complete(whole))

    def require_variance(self) -> None:
        """Raise DataError where a site has no two different observations in the period.

        A loss such as the NSE needs them. Sites of rivers may have none at all.
        """
        require_variance(self.tensors, self.first_scored, self.last, self.closed is not None)

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
                    f"cannot resume: {key} is {value!r}, the checkpoint has {state.get(key)!r}; "
                    "restore it, or start a new run."
                )
        self.step = int(state["step"])

    def _made_for(self) -> dict[str, Any]:
        names = [*self.names, *self.forcing, *self.observed, str(self.times[0])]
        data = hashlib.sha256("\n".join([*names, str(len(self.times))]).encode())
        data.update(self._valid[1].tobytes())
        data.update(self.groups.identity())
        river = {} if self.closed is None else {"closed": self.closed}
        return {
            **river,
            "seed": self.seed,
            "batch": self.batch_size,
            "length": self.length,
            "warm_up": self.warm_up,
            "first step": stamp(self.times[self._first]),
            "data": data.hexdigest()[:16],
        }
