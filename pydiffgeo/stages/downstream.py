"""A process of every site of a river network, from the headwaters down."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from pydiffgeo.data.batch import Batch
from pydiffgeo.data.network import flows_between, levels
from pydiffgeo.data.windows import Windows
from pydiffgeo.engines.whole_rivers import River, delayed
from pydiffgeo.errors import SettingsError
from pydiffgeo.networks.bounds import Bounds
from pydiffgeo.networks.reading import Facts
from pydiffgeo.solvers import Solver
from pydiffgeo.solving import solve_river, solve_river_fluxes
from pydiffgeo.stages.base import Known, Named, Range, Series, Stage, naming_sites
from pydiffgeo.stages.downstream_pools import (
    LATERAL,
    POOL,
    blocks_of,
    require_pair,
    require_river,
)
from pydiffgeo.stages.later import behind, checked, later
from pydiffgeo.stages.process import Process

log = logging.getLogger("pydiffgeo")
DELAY = "delay"  # h
MOST_PARTS = 10_000  # into which a solver may cut an interval: 9 s of a day
MOST_STEPS = 10**7  # of a solve: decades of minutes
ROUNDING = 1e-12  # of an inflow, and in its unit


class Downstream(Stage):
    """Solves a process in every site of a network of rivers, from the headwaters down.

    The discharge of a site, as means over the steps of the solve, is the `inflow` of the site
    below; of other models what they say they carry, such as the heat of `StreamTemperature`. All
    sites of a level, and all steps of a window, are one solve; a level has the sites whose sites
    above are all done. The Julia engine takes all levels in one call. With implicit Euler on these
    steps this is the implicit solution of the whole network, and what is carried is conserved to
    rounding.

    The sites have the attribute `downstream`; see `pydiffgeo.data.network`. A batch must hold all
    sites above each of its sites: `Windows(closed="upstream")`.

    Parameters
    ----------
    process : Process
        A model with the forcings inflow and lateral_inflow and the flux discharge, such as
        `MuskingumCunge`, or with others that its `carries` names. Without a solver of its own it
        takes implicit Euler with one step in each interval. A model with a parameter `step` gets
        that of implicit Euler.
    interval : str, optional
        Steps of the solve, such as "1h", which divide the step of the series: what is read is the
        same in all of them, what is given are means of fluxes over a step of the series, and states
        at its end. By default the step of the series. Waves that pass a site in less than an
        interval are spread by it.
    delay : (float, float), optional
        Bounds (h) of the learned parameter `delay` of each site, by which lateral inflow arrives
        later: the way over the hillslope, or days that begin at another hour. It begins at the
        lower bound or 0.
    pools : Process, optional
        Another process, such as of `LevelPool`, for the sites whose attribute ``pool`` is not 0.
        Where a batch has such sites and others, reaches between pools are solved together, and
        pools that follow each other.
        What only pools have, as an attribute, needs some number at the other sites, too.
    start_after : int
        Steps of a window after which the states begin, as of `Process`: a restart gives lateral
        inflow of so many steps before, which a delay or a unit hydrograph looks back to.

    Raises
    ------
    SettingsError
        A model without these forcings, an interval that is no duration, or a parameter that both
        processes learn.
    """

    whole_rivers = True

    def __init__(
        self,
        process: Process,
        interval: str | None = None,
        delay: Range | None = None,
        pools: Process | None = None,
        start_after: int = 0,
    ) -> None:
        super().__init__()
        self.start_after = checked(start_after, "Downstream")
        self.process, self.pools = process, pools
        for one in self.processes:
            require_river(one)
        self.outflow, self.inflow = process.model.carries
        self.above = process.names[self.inflow]
        if pools is not None:
            require_pair(process, pools)
        self.interval = None if interval is None else _duration(interval)
        read = dict.fromkeys(name for one in self.processes for name in one.reads)
        self.reads = tuple(name for name in read if name != self.above)
        self.gives = tuple(k for k in process.gives if all(k in p.gives for p in self.processes))
        needs = dict.fromkeys(name for one in self.processes for name in one.needs)
        self.needs = (*needs, *(() if pools is None else (POOL,)))
        for one in self.processes:
            self.learns = {**self.learns, **one.learns}
            self.begin = {**self.begin, **one.begin}
            self.places = {**self.places, **one.places}
            self.layers = {**self.layers, **one.layers}
        if delay is not None:
            self.learns[DELAY] = Bounds(*delay)
            self.begin[DELAY] = min(max(0.0, delay[0]), delay[1])
        self.fit_step = tuple(  # processes whose parameter `step` nobody gives
            one
            for one in self.processes
            if "step" in one.model.spec.parameters
            and "step" not in {*one.learns, *one.fixed, *one.from_sites}
        )

    @property
    def processes(self) -> tuple[Process, ...]:
        """The process of the sites, and that of pools."""
        return (self.process,) if self.pools is None else (self.process, self.pools)

    @property
    def takes(self) -> tuple[str, ...]:
        """Parameters that are not learned, and where they come from."""
        own = [
            text
            for one in self.processes
            for text in one.takes
            if not (one in self.fit_step and text[:5] == "step ")
        ]
        return (*own, f"interval {told(self.interval)}") if self.interval else tuple(own)

    @property
    def who(self) -> str:
        """Name of the stage in messages."""
        return f"Downstream({self.process.model.spec.name})"

    def fit(self, windows: Windows) -> Facts:
        """Return what the process keeps of the sites trained on.

        Measures that the sites have and nobody gives to the model are warned of.
        """
        unused = {
            k: p
            for one in self.processes
            for k, p in one.model.spec.parameters.items()
            if k not in {*one.learns, *one.fixed, *one.from_sites}
            and k in windows.sites.data_vars
            and k != "step"
        }
        if unused:
            log.warning(
                "%s takes %s for all sites, and the sites have their own: given={%s}", self.who,
                " and ".join(f"{k} = {p.default:g}" for k, p in unused.items()),
                ", ".join(f"{k!r}: {k!r}" for k in unused),
            )  # fmt: skip
        for one in self.processes:  # closures begin as their formulas
            one.fit(windows)
        return {}

    def build(self, facts: Facts, known: Known, dtype: torch.dtype) -> None:
        """Make what the process makes of it."""
        for one in self.processes:
            one.build(facts, known, dtype)

    def bind(self, known: Known) -> dict[str, str]:
        """Check units and steps, and return the units of what the model gives."""
        step = self.interval or known.step
        parts = known.step / step if step else 0.0
        if parts < 1 or parts != round(parts):
            raise SettingsError(
                f"{self.who}: an interval of {told(step)} does not divide the step of the series, "
                f"{told(known.step)}; take one that does, such as '1h' for days and '5min' for "
                "hours, or none for the step itself."
            )
        self.parts, self.hours = round(parts), step / pd.Timedelta("1h")
        found: dict[str, str] = {}
        for one in self.processes:
            unit = one.model.spec.forcings[self.inflow].unit
            fine = replace(known, step=step, units={**known.units, self.above: unit})
            found |= self._bind(one, fine)
        return found

    def _bind(self, process: Process, fine: Known) -> dict[str, str]:
        """Fit a process to the steps of the solve, and return the units of what it gives."""
        own = fine.length(process.model.spec.time_unit)
        if process.own_solver and (process.solver.step or own) * MOST_PARTS < own:
            raise SettingsError(
                f"{self.who}: steps of {process.solver.step:g} s cut each interval of "
                f"{told(fine.step)} into {own / float(process.solver.step or own):.0f}; models of "
                "rivers count in seconds: leave the solver out, or take longer steps."
            )
        if not process.own_solver:
            process.solver = Solver("implicit_euler", step=own)
        if process.solver.step:  # a record is followed to its end, however fine the steps
            most = max(process.solver.max_steps, MOST_STEPS)
            process.solver = replace(process.solver, max_steps=most)
        if (
            process in self.fit_step
            and process.solver.method == "implicit_euler"
            and process.solver.step
        ):
            process.fixed["step"] = torch.tensor(
                [min(process.solver.step, own)], dtype=torch.float64
            )
        return process.bind(fine)

    def forward(self, series: Series, parameters: Named, batch: Batch) -> Named:
        """Return fluxes and states of all sites.

        DataError: the sites have no network. SolveFailed: as of the process.
        """
        below = batch.require_whole_rivers(self.who)
        read = {name: series[name] for name in self.reads}
        delay = parameters[DELAY] / self.hours if DELAY in self.learns else None
        if delay is not None and delay.ndim != 1:
            raise SettingsError(
                f"{self.who}: {DELAY!r} is one number for each site; take it out of `varying`."
            )
        into = below.cpu().numpy()
        blocks = blocks_of(into, self.process, self.pools, batch)
        whole = len(blocks) == 1 and not self.start_after
        if whole:
            nothing = torch.zeros((), dtype=torch.float64, device=below.device)
            given = Series({**read, self.above: nothing})
            found = self._together(blocks[0][1], into, given, parameters, batch, self.parts, delay)
            if found is not None:
                return found
        solve = self._by_levels if whole else self._block
        found = self._in_turn(blocks, into, *self._on_steps(read, parameters, delay, batch), solve)
        coarse = Series({k: self._coarse(k, v) for k, v in found.items()}, found.failed)
        return behind(self.start_after, coarse)

    def _on_steps(
        self, read: Named, parameters: Named, delay: Tensor | None, batch: Batch
    ) -> tuple[Series, dict[str, Tensor], Batch]:
        """Return series, parameters and the batch on the steps of the solve, from the first on that
        is solved; lateral inflow is delayed.
        """
        fine = {name: x.repeat_interleave(self.parts, 1) for name, x in read.items()}
        if delay is not None:
            for lateral in {one.names[LATERAL] for one in self.processes}:
                fine[lateral] = delayed(fine[lateral], delay)
        own = {k: self._fine(v, batch.length) for k, v in parameters.items() if k in self.learns}
        warm_up = batch.warm_up * self.parts
        part = replace(batch, series=fine, warm_up=warm_up, observed={}, spread={})
        return later(self.start_after * self.parts, self.who, fine, own, self.layers, part)

    def _together(
        self, process: Process, below: NDArray, series: Series, parameters: Named, batch: Batch,
        parts: int, delay: Tensor | None = None,
    ) -> Series | None:  # fmt: skip
        """Return fluxes and states of sites from one call of the engine, if it can do that.

        A step of the series is so many `parts` of the solve; what flows in besides is among them.
        """
        forcing, own, times, start = process.given(series, parameters, batch)
        order = [torch.from_numpy(level) for level in levels(below)]
        into = torch.from_numpy(below).to(batch.site.device)
        moved = None if delay is None else LATERAL
        river = River(into, order, parts, self.outflow, self.inflow, moved, delay)
        inputs = (process.model, forcing, own, start, times * parts, process.solver)
        where: dict[str, Any] = {"engine": process.engine, "river": river}
        with naming_sites(batch):
            if process.only:
                fluxes = solve_river_fluxes(process.only, *inputs, **where)
                return None if fluxes is None else process.told(*fluxes, batch)
            solution = solve_river(*inputs, **where)
        return None if solution is None else process.named(solution, batch)

    def _block(
        self, process: Process, below: NDArray, series: Series, parameters: Named, batch: Batch
    ) -> Series:
        """Return fluxes and states of a block on the steps of the solve."""
        found = self._together(process, below, series, parameters, batch, 1)
        if found is None:
            return self._by_levels(process, below, series, parameters, batch)
        return found

    def _by_levels(
        self, process: Process, below: NDArray, series: Series, parameters: Named, batch: Batch
    ) -> Series:
        """Return the same, level after level."""

        def solve(process: Process, _: NDArray, *given: Any) -> Series:
            found: Series = process(*given)
            return found

        groups = [(rows, process) for rows in levels(below)]
        return self._in_turn(groups, below, series, parameters, batch, solve)

    def _in_turn(
        self, groups: Sequence[tuple[NDArray, Process]], below: NDArray, series: Series,
        parameters: Named, batch: Batch, solve: Callable[..., Series],
    ) -> Series:  # fmt: skip
        """Return fluxes and states of all sites, one group of rows after the other.

        What flows out of a group flows into later ones; `solve` gets the sites below within it.
        """
        group, place = np.empty(len(below), int), np.empty(len(below), int)
        for k, (rows, _) in enumerate(groups):
            group[rows], place[rows] = k, np.arange(len(rows))
        inner = (below >= 0) & (group[below] == group)
        between = flows_between([rows for rows, _ in groups], np.where(inner, -1, below).tolist())
        within = np.where(inner, place[below], -1)
        found: list[Series] = []
        failed: dict[int, str] = {}
        for (rows, process), sources in zip(groups, between, strict=True):
            index = torch.as_tensor(rows, device=batch.site.device)
            given = {name: x[index] for name, x in series.items()}
            inflow = given.get(self.above)
            if inflow is None:
                inflow = batch.site.new_zeros(len(rows), batch.length, dtype=torch.float64)
            for k, source, target in sources:
                to = torch.as_tensor(target, device=inflow.device)
                inflow = inflow.index_add(0, to, found[k][self.outflow].double()[source])
            least = process.model.spec.forcings[self.inflow].lower
            given[self.above] = inflow + _rounding(inflow.detach(), least)
            part = replace(
                batch,
                series=given,
                attributes={k: v[index] for k, v in batch.attributes.items()},
                site=batch.site[index],
                start=batch.start[index],
            )
            own = {k: v[index] for k, v in parameters.items()}
            solved = solve(process, within[rows], Series(given), own, part)
            whys: Mapping[int, str] = getattr(solved, "failed", {})
            failed |= {int(rows[row]): why for row, why in whys.items()}
            kept = Series({k: solved[k] for k in self.gives}, dict(whys))
            found.append(kept.filled(0.0, kept))
        failed = _spread(failed, below.tolist(), batch)
        order = torch.as_tensor(np.concatenate([rows for rows, _ in groups]).argsort())
        whole = {k: torch.cat([x[k] for x in found])[order] for k in self.gives}
        return Series(Series(whole, failed).filled(torch.nan, whole), failed)

    def _fine(self, values: Tensor, length: int) -> Tensor:
        """Return a parameter that varies from step to step on the steps of the solve."""
        varies = values.ndim == 2 and values.shape[1] == length and length > 1
        return values.repeat_interleave(self.parts, 1) if varies else values

    def _coarse(self, name: str, values: Tensor) -> Tensor:
        """Return a series of the solve on the steps of the data: means of fluxes, last states."""
        if self.parts == 1:
            return values
        source = self.process.outputs.get(name, name)
        steps = values.unflatten(1, (-1, self.parts))
        return steps.mean(2) if source in self.process.model.spec.fluxes else steps[:, :, -1]


def told(step: pd.Timedelta) -> str:
    """Return a length of time as one writes it: 1d, 6h, 15min."""
    for unit, name in (("d", "d"), ("h", "h"), ("min", "min")):
        count = step / pd.Timedelta(1, unit)
        if count == int(count):
            return f"{int(count)}{name}"
    return f"{step.total_seconds():g}s"


def _rounding(inflow: Tensor, least: float) -> Tensor:
    """Return what is to be added to an inflow that is below its bound by rounding, as of a bed that
    has run dry: volumes are solved to a small part of the water that passed.
    """
    under = (least - inflow).clamp_min(0.0)
    return torch.where(under <= ROUNDING * (1.0 + inflow.abs().amax(1, keepdim=True)), under, 0.0)


def _duration(text: str) -> pd.Timedelta:
    try:
        found = pd.Timedelta(text)
    except ValueError as error:
        raise SettingsError(f"interval {text!r} is no duration; write '1h' or '15min'.") from error
    if not found > pd.Timedelta(0):
        raise SettingsError(f"interval {text!r} must be longer than nothing; write '1h'.")
    return found


def _spread(failed: dict[int, str], below: list[int], batch: Batch) -> dict[int, str]:
    """Return the rows that failed and all below them, whose inflow is not known."""
    found = dict(failed)
    for row, why in failed.items():
        at = below[row]
        while at >= 0 and at not in found:
            found[at] = f"{batch.where(at)}: a site above it failed ({why})"
            at = below[at]
    return found
