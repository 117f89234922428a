"""A process model as a stage: series and parameters in, its fluxes and states out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from pydiffgeo.data.batch import Batch
from pydiffgeo.errors import ParameterError, SettingsError, SolveFailed, lookup, nearest
from pydiffgeo.models import ProcessModel, Richards
from pydiffgeo.models.closures import NeuralClosure
from pydiffgeo.models.find import find_model
from pydiffgeo.models.fitting import fit_slots
from pydiffgeo.models.richards.grid import Grid
from pydiffgeo.models.richards.hydraulics.usda import usda_soil
from pydiffgeo.models.spec import ModelSpec
from pydiffgeo.networks.bounds import Bounds
from pydiffgeo.networks.reading import Facts, Training, at_depths, taken
from pydiffgeo.solvers import Solver
from pydiffgeo.solving import solve
from pydiffgeo.stages.base import Known, Named, Series, Stage, converted, factor_between
from pydiffgeo.units import LENGTHS

SERIES = {"temperature": "tair_mean", "rain": "precipitation"}
"""Series that a model's forcing takes where it has another name."""
COLUMN: dict[str, tuple[float, float]] = {
    "theta_r": (0.005, 0.25),
    "theta_s": (0.26, 0.65),
    "alpha": (1e-3, 0.3),
    "n": (1.1, 4.0),
    "K_s": (1e-2, 1e2),
    "root_depth": (10.0, 200.0),
}
"""What a soil column learns, and its bounds in cm and hours: wide enough for the 12 USDA classes and gravel, narrower than what
the model allows; 95 % of the roots lie above 20 to 200 cm in most biomes (Jackson et al. 1996, doi:10.1007/BF00333714)."""
LOGARITHMIC = ("root_depth",)
ROOT_DEPTH = 60.0  # cm, at the beginning
INITIAL_RANGE = (-15000.0, -5.0)  # cm: a probe outside of the retention curve begins at an end


class Process(Stage):
    """A process model, solved. Gives its fluxes, states and, of soil columns, water content by name.

    States are those at the end of each step, fluxes means over it. Of what follows from the states of a soil column, such as
    "water_content", also the mean over the step is given, as "mean_water_content".

    Parameters
    ----------
    model : ProcessModel or str
        A model, a name of `MODELS`, "my_package.my_module:MyModel", or "my_model.jl"; see `pydiffgeo.models.find`.
    solver : Solver, optional
        Implicit Euler with steps of one unit of the model's time by default.
    engine : {"auto", "torch", "julia"}
        See `solve`.
    learn : sequence of str, optional
        Parameters that a network gives; the others keep their defaults. By default all; of soil columns those of `COLUMN`.
    bounds : mapping of str to (float, float), optional
        Bounds that replace those of the specification.
    begin : mapping of str to float or [attribute, factor, offset], optional
        Where parameters begin before training, in place of their defaults; from an attribute for each site its own:
        {"theta_r": ["soil_moisture_q05", 0.5, 0.0]}.
    soil : str, optional
        USDA class at which the soil parameters of a column begin, such as "loam".
    forcing : mapping of str to str, optional
        Series that a forcing of the model takes where the names differ.
    start : str, float or mapping of str to float, optional
        Where states begin: an attribute [site, depth] of water contents, such as "soil_moisture_first", or numbers. By default
        `model.start(parameters)`: give windows a warm-up.
    outputs : mapping of str to str, optional
        Names under which fluxes or states are given besides their own, such as {"discharge": "runoff"}.
    closures : mapping of str to mapping, optional
        Options of a `NeuralClosure` for slots of a model that is given by name. They begin as the formulas whose places they
        take, with default parameters, unless "initial" is "random".

    Raises
    ------
    UnknownName
        No such model, slot or parameter.
    ParameterError, SettingsError
        Bounds that are none, or of a parameter that the model does not have or a closure replaces.
    """

    def __init__(
        self,
        model: ProcessModel | str,
        solver: Solver | None = None,
        engine: str = "auto",
        learn: Sequence[str] | None = None,
        bounds: Mapping[str, tuple[float, float]] | None = None,
        begin: Mapping[str, float | Sequence[Any]] | None = None,
        soil: str | None = None,
        forcing: Mapping[str, str] | None = None,
        start: str | float | Mapping[str, float] | None = None,
        outputs: Mapping[str, str] | None = None,
        closures: Mapping[str, Mapping[str, Any]] | None = None,
    ):
        super().__init__()
        self.begun = [
            name
            for name, given in (closures or {}).items()
            if given.get("initial", "formula") == "formula" and not given.get("residual")
        ]
        made = {"closures": make_closures(find_model(model).spec, closures)} if closures else {}
        self.model = find_model(model, **made)
        self.solver = solver or Solver("implicit_euler", step=1.0)
        self.engine, self.start_from, self.outputs = engine, start, dict(outputs or {})
        spec = self.model.spec
        self.who = f"Process({spec.name})"
        # the very modules of the model, so that their weights are trained and saved with the others
        self.closures = nn.ModuleDict(dict(self.model.closures))
        column = self._column(soil)
        names = column if learn is None and column else spec.parameters if learn is None else learn
        known = {n: Bounds.of(p) for n, p in spec.parameters.items() if n in set(names)}
        for name in (*names, *(bounds or {}), *(begin or {})):
            if name not in known:
                self._unknown(name, known)
        own = {name: (b.lower, b.upper) for name, b in known.items()}
        self.learns = {}
        for name, (low, high) in {**own, **_picked(column, own), **(bounds or {})}.items():
            scale = "log" if name in LOGARITHMIC and column else known[name].transform
            try:
                self.learns[name] = Bounds(low, high, scale)
            except ParameterError as error:
                raise ParameterError(f"bounds of {name!r}: {error}") from error
        given = dict(begin or {})
        self.places = {
            k: (str(v[0]), float(v[1]), float(v[2]) if len(v) > 2 else 0.0)
            for k, v in given.items()
            if isinstance(v, Sequence)
        }
        numbers = self._defaults(soil) | {k: v for k, v in given.items() if k not in self.places}
        self.begin = {
            k: min(max(float(numbers[k]), b.lower), b.upper)  # type: ignore[arg-type]
            for k, b in self.learns.items()
        }
        begun = {spec.parameters[k].group for k in self.learns} - {""}
        self.fixed = {  # parameters of a group are given all or none
            k: torch.tensor([numbers[k]], dtype=torch.float64)
            for k, p in spec.parameters.items()
            if k not in self.learns
            and (p.group in begun or (soil is not None and k in usda_soil(soil)))
        }
        self.layers = {k: self.middles for k in self.learns if spec.parameters[k].per == "layer"}
        self.names = {k: (forcing or {}).get(k, SERIES.get(k, k)) for k in spec.forcings}
        for name in forcing or {}:
            lookup(spec.forcings, name, f"forcing of {spec.name}")
        self.reads = tuple(dict.fromkeys(self.names.values()))
        self.derived = ("water_content",) if isinstance(self.model, Richards) else ()
        more = (*self.derived, *(f"mean_{name}" for name in self.derived))
        every = (*spec.fluxes, *spec.states, *more)
        for name, source in self.outputs.items():
            if source not in every:
                raise SettingsError(
                    f"outputs: {name!r} should be {source!r}, which {spec.name} does not give{nearest(source, every)} "
                    f"Known: {', '.join(every)}."
                )
        self.gives = (*every, *self.outputs)
        profile = (start,) if isinstance(start, str) else ()
        self.needs = tuple(dict.fromkeys((*profile, *(v[0] for v in self.places.values()))))
        self.factors = {k: (1.0, 0.0) for k in self.names}
        self.interval: int | float = 1

    @property
    def grid(self) -> Grid | None:
        """The grid of a soil column, in cm."""
        grid = getattr(self.model.core, "grid", None)
        return grid if isinstance(grid, Grid) else None

    @property
    def units(self) -> tuple[str, str]:
        """Units of length and time of a soil column."""
        return self.model.units.length, self.model.units.time

    @property
    def middles(self) -> tuple[float, ...]:
        """Depth of the middle of each soil layer, cm."""
        grid = self.grid
        if grid is None:
            return ()
        first = [int((grid.layer == k).nonzero()[0]) for k in range(grid.n_layers)]
        edges = [float(grid.faces[i]) for i in (*first, grid.cells)]
        return tuple(0.5 * (a + b) for a, b in zip(edges[:-1], edges[1:], strict=True))

    def _column(self, soil: str | None) -> dict[str, tuple[float, float]]:
        """Return what a soil column learns, in the units of its grid."""
        if not isinstance(self.model, Richards):
            if soil is not None:
                raise SettingsError(f"soil={soil!r} is for soil columns, not for {self.who}.")
            return {}
        core, units = self.model.core.spec.parameters, self.model.units
        factors = {k: units.factor(core[k].unit) for k in COLUMN if k in self.model.spec.parameters}
        return {k: (COLUMN[k][0] / f, COLUMN[k][1] / f) for k, f in factors.items()}

    def _defaults(self, soil: str | None) -> dict[str, float]:
        found = {k: p.default for k, p in self.model.spec.parameters.items()}
        if isinstance(self.model, Richards):
            units = self.model.units
            found["root_depth"] = ROOT_DEPTH / units.factor("cm")
            if soil is not None:
                found |= usda_soil(soil, units.length, units.time)
        return found

    def _unknown(self, name: str, known: Mapping[str, Bounds]) -> None:
        if (slot := self.model.replaced.get(name)) is not None:
            raise SettingsError(
                f"{name!r} belongs to the formula that the closure {slot!r} replaces; take it out, or let the network stand "
                "beside the formula (residual: true)."
            )
        what = "learned parameter" if name in self.model.spec.parameters else "parameter"
        raise ParameterError(
            f"{self.who} has no {what} {name!r}{nearest(name, known)} Known: {', '.join(known)}."
        )

    def fit(self, training: Training) -> Facts:
        """Let closures begin as their formulas."""
        if self.begun:
            fit_slots(self.model, self.begun)  # type: ignore[arg-type]
        return {}

    def bind(self, known: Known) -> dict[str, str]:
        """Check the units of the forcing, and return those of what the model gives."""
        spec = self.model.spec
        for own, name in self.names.items():
            unit = spec.forcings[own].unit
            self.factors[own] = factor_between(name, known.units.get(name), unit, self.who)
        # points without dates are one interval each
        step = known.step / pd.Timedelta(1, spec.time_unit) or 1
        self.interval = int(step) if step == int(step) else step
        units = {k: q.unit for k, q in spec.fluxes.items()} | {
            k: s.unit for k, s in spec.states.items()
        }
        for name in self.derived:
            units |= {name: "1", f"mean_{name}": "1"}
        if self.grid is not None:
            cells = (*(k for k, s in spec.states.items() if s.per == "cell"), *self.derived)
            known.grids |= {k: self.grid for k in (*cells, *(f"mean_{k}" for k in self.derived))}
        return units | {name: units[source] for name, source in self.outputs.items()}

    def forward(self, series: Series, parameters: Named, batch: Batch) -> Named:
        """Solve, and return fluxes and states.

        Raises
        ------
        SolveFailed
            With site and dates of each failure, unless the solver says on_failure="report".
        """
        own = {name: parameters[name] for name in self.learns}
        own |= {name: value.to(batch.site.device) for name, value in self.fixed.items()}
        forcing = {k: converted(series[name], self.factors[k]) for k, name in self.names.items()}
        times = torch.arange(batch.length + 1) * self.interval
        start = self._start(own, batch)
        try:
            solution = solve(self.model, forcing, own, start, times, self.solver, self.engine)
        except SolveFailed as error:
            failed = {row: f"{batch.where(row)}: {why}" for row, why in error.failed.items()}
            raise SolveFailed(
                f"{self.who} failed for {len(failed)} of {len(batch.site)} rows of a batch: "
                f"{'; '.join(list(failed.values())[:3])}. Take shorter steps (solver), another method, or narrower bounds.",
                failed,
            ) from error
        failed = {row: f"{batch.where(row)}: {why}" for row, why in solution.failed.items()}
        states, initial = solution.states, solution.initial_state
        bad = torch.zeros(len(states), dtype=torch.bool, device=states.device)
        bad[list(failed)] = True
        if failed:  # NaN times the zero cotangent of an excluded row would still be NaN
            states = torch.where(torch.isnan(states), initial.detach()[:, None], states)
        found = dict(solution.fluxes)
        places = self.model.spec.places(self.model.size)
        for name, place in places.items():
            part = states[..., place]
            single = self.model.spec.states[name].per != "cell"
            found[name] = part[..., 0] if single else part
        if self.derived:
            whole = torch.cat([initial[:, None].expand(len(states), -1, -1), states], 1)
            for name, (values, _, _) in self.model.derived(whole, solution.parameters).items():
                found[name] = values[:, 1:]
                found[f"mean_{name}"] = 0.5 * (values[:, 1:] + values[:, :-1])
        if failed:
            found = {k: _without(v, bad) for k, v in found.items()}
        return Series(found | {k: found[v] for k, v in self.outputs.items()}, failed)

    def _start(self, parameters: Mapping[str, Tensor], batch: Batch) -> Any:
        first = {
            k: v[..., 0] if v.ndim == 2 and k not in self.layers else v
            for k, v in parameters.items()
        }
        if self.start_from is None:
            return self.model.start(first)
        if isinstance(self.start_from, str):
            return self._profile(self.start_from, first, batch)
        if isinstance(self.start_from, Mapping):
            return self.model.start(first) | {
                k: torch.tensor(float(v), dtype=torch.float64) for k, v in self.start_from.items()
            }
        shape, where = (len(batch.site), self.model.size), batch.site.device
        return torch.full(shape, self.start_from, dtype=torch.float64, device=where)

    def _profile(self, name: str, parameters: Mapping[str, Tensor], batch: Batch) -> Tensor:
        """Return the heads [batch, cell] of observed water contents, moved onto the retention curve."""
        model = self.model
        if not isinstance(model, Richards) or batch.depths is None:
            raise ParameterError(
                f"{self.who} cannot begin at the profile {name!r}: give start=None."
            )
        grid, spec = model.core.grid, model.spec.parameters
        theta = taken(batch.attributes, name, "attribute")
        theta = at_depths(theta, batch.depths.tolist(), grid.depth.tolist())
        soil = dict(parameters)
        low, high = (
            (soil[k][..., grid.layer] if k in self.layers else soil[k][:, None]).double()
            if k in soil
            else torch.tensor(spec[k].default, dtype=torch.float64)
            for k in ("theta_r", "theta_s")
        )
        saturation = ((theta - low) / (high - low)).clamp(0.01, 0.995)
        length = float(LENGTHS[model.units.length])
        head = model.head(low + saturation * (high - low), soil)
        return head.clamp(*(bound / length for bound in INITIAL_RANGE))


def make_closures(
    spec: ModelSpec, options: Mapping[str, Mapping[str, Any]]
) -> dict[str, NeuralClosure]:
    """Return a closure with random weights for each slot.

    Parameters
    ----------
    spec : ModelSpec
    options : mapping of str to mapping
        Arguments of `NeuralClosure` but `inputs`, by slot.

    Raises
    ------
    UnknownName
        The model has no such slot.
    SettingsError
        Options that contradict each other, or a range beyond that of the slot.
    """
    closures = {}
    for name, given in options.items():
        slot = lookup(spec.slots, name, f"slot of {spec.name}")
        low, high = slot.range
        chosen = {"output_range": slot.range} | {k: v for k, v in given.items() if k != "initial"}
        if chosen["output_range"][0] < low or chosen["output_range"][1] > high:
            raise SettingsError(
                f"closures.{name}.output_range {chosen['output_range']}: the slot gives the {slot.output}, from {low:g} to "
                f"{high:g}; stay within that."
            )
        try:
            closures[name] = NeuralClosure(len(slot.inputs), **chosen)
        except (ParameterError, TypeError) as error:
            raise SettingsError(f"closures.{name}: {error}") from error
    return closures


def _picked(
    column: Mapping[str, tuple[float, float]], known: Mapping[str, Any]
) -> dict[str, tuple[float, float]]:
    return {name: bounds for name, bounds in column.items() if name in known}


def _without(values: Tensor, bad: Tensor) -> Tensor:
    """Return series with NaN in the rows that failed, through which no gradient flows."""
    rows = bad.reshape(-1, *(1,) * (values.ndim - 1))
    return torch.where(rows, torch.nan, values)
