"""A process model as a stage: series and parameters in, its fluxes and states out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from pydiffgeo.data.batch import Batch
from pydiffgeo.data.windows import Windows
from pydiffgeo.errors import ParameterError, SettingsError, SolveFailed, lookup, nearest
from pydiffgeo.models import ProcessModel, Richards
from pydiffgeo.models.find import find_model
from pydiffgeo.models.fitting import begun_slots, fit_slots, make_closures
from pydiffgeo.models.richards.grid import Grid
from pydiffgeo.models.richards.hydraulics.usda import usda_soil
from pydiffgeo.networks.bounds import Bounds
from pydiffgeo.networks.reading import Facts, at_depths, taken
from pydiffgeo.solution import Solution
from pydiffgeo.solvers import Solver
from pydiffgeo.solving import solve, solve_fluxes, some_fluxes
from pydiffgeo.stages.base import (
    Known,
    Named,
    Range,
    Series,
    Stage,
    converted,
    naming_sites,
    nearest_inside,
    with_bounds,
)
from pydiffgeo.stages.later import behind, checked, later
from pydiffgeo.units import LENGTHS

SERIES = {"temperature": "tair_mean", "rain": "precipitation"}
"""Series that a model's forcing takes where it has another name."""
COLUMN: dict[str, Range] = {
    "theta_r": (0.005, 0.25),
    "theta_s": (0.26, 0.65),
    "alpha": (1e-3, 0.3),
    "n": (1.1, 4.0),
    "K_s": (1e-2, 1e2),
    "root_depth": (10.0, 200.0),
}
"""What a soil column learns, and its bounds in cm and hours: wide enough for the 12 USDA classes
and gravel, narrower than what the model allows; 95 % of the roots lie above 20 to 200 cm in most
biomes (Jackson et al. 1996, doi:10.1007/BF00333714)."""
ROOT_DEPTH = 60.0  # cm, at the beginning
INITIAL_RANGE = (-15000.0, -5.0)  # cm: a probe outside of the retention curve begins at an end


class Process(Stage):
    """A process model, solved.

    Gives its fluxes, states and, of soil columns, water content by name.

    States are those at the end of each step, fluxes means over it. Of what follows from the states
    of a soil column, such as "water_content", also the mean over the step is given, as
    "mean_water_content".

    Parameters
    ----------
    model : ProcessModel or str
        A model, a name of `MODELS`, "my_package.my_module:MyModel", or "my_model.jl"; see
        `pydiffgeo.models.find`.
    solver : Solver, optional
        Implicit Euler with steps of one unit of the model's time by default; in `Downstream` with
        its interval.
    engine : {"auto", "torch", "julia"}
        See `solve`.
    learn : sequence of str, optional
        Parameters that a network gives; the others keep their defaults. By default all that the
        specification lets it learn and that are not given; of soil columns those of `COLUMN`.
    given : mapping of str to str or float, optional
        Parameters that are attributes of the sites, by their name, in a unit that converts, or
        numbers: {"length": "length", "slope": 0.001}.
    bounds : mapping of str to (float, float), optional
        Bounds that replace those of the specification.
    begin : mapping of str to float or [attribute, factor, offset], optional
        Where parameters begin before training, in place of their defaults; from an attribute for
        each site its own: {"theta_r": ["soil_moisture_q05", 0.5, 0.0]}.
    soil : str, optional
        USDA class at which the soil parameters of a column begin, such as "loam".
    forcing : mapping of str to str or float, optional
        Series that a forcing of the model takes where the names differ, or a number that it always
        is, in its unit.
    start : str, float or mapping of str to (float or str), optional
        Where states begin: an attribute [site, depth] of water contents, such as
        "soil_moisture_first"; a number; or for each state by name a number or an attribute [site],
        such as what an earlier simulation ended with. By default `model.start(parameters)`: give
        windows a warm-up.
    outputs : mapping of str to str, optional
        Names under which fluxes or states are given besides their own, such as {"discharge":
        "runoff"}.
    only : sequence of str, optional
        Fluxes that are given, and nothing else of the model's: less is written, and averaged where
        copies stand side by side. What `outputs` renames must be among them.
    start_after : int
        Steps of a window after which the states begin; nothing is given before (NaN). A restart
        gives so many steps before the first that is wanted, if stages before this one look back:
        see docs/rivers.md.
    closures : mapping of str to mapping, optional
        Options of a `NeuralClosure` for slots of a model that is given by name. They begin as the
        formulas whose places they take, with default parameters, unless "initial" is "random".

    Raises
    ------
    UnknownName, ParameterError, SettingsError
        Names that the model does not have, a parameter that a closure replaces, or bounds that are
        none.
    """

    @property
    def remembers(self) -> bool:  # type: ignore[override]
        """Whether the model stores something."""
        return not self.model.spec.stationary

    def __init__(
        self,
        model: ProcessModel | str,
        solver: Solver | None = None,
        engine: str = "auto",
        learn: Sequence[str] | None = None,
        given: Mapping[str, str | float] | None = None,
        bounds: Mapping[str, Range] | None = None,
        begin: Mapping[str, float | Sequence[Any]] | None = None,
        soil: str | None = None,
        forcing: Mapping[str, str | float] | None = None,
        start: str | float | Mapping[str, float | str] | None = None,
        outputs: Mapping[str, str] | None = None,
        only: Sequence[str] | None = None,
        start_after: int = 0,
        closures: Mapping[str, Mapping[str, Any]] | None = None,
    ):
        super().__init__()
        self.options = dict(closures or {})  # of closures that are made here
        made = {"closures": make_closures(find_model(model).spec, closures)} if closures else {}
        self.model = find_model(model, **made)
        # the very modules of the model, so that their weights are trained and saved with the others
        self.closures = nn.ModuleDict(dict(self.model.closures))
        self.solver, self.own_solver = solver or Solver("implicit_euler", step=1.0), bool(solver)
        self.engine, self.start_from, self.outputs = engine, start, dict(outputs or {})
        self.start_after = checked(start_after, self.who)
        spec, begin, given = self.model.spec, dict(begin or {}), dict(given or {})
        column = self._column(soil)
        free = [k for k, p in spec.parameters.items() if p.learn and k not in given]
        names = learn if learn is not None else list(column) or free
        for name in given:
            if name not in spec.parameters:
                self.refuse(name, {})
            if name in names:
                raise SettingsError(f"{name!r} is both given and learned; take one of them.")
        self.from_sites = {k: v for k, v in given.items() if isinstance(v, str)}
        known = {k: column.get(k) or Bounds.of(p) for k, p in spec.parameters.items() if k in names}
        for name in (*names, *(bounds or {}), *begin):
            if name not in known:
                self.refuse(name, known)
        self.learns = with_bounds(known, bounds)
        self.places = {
            k: (str(v[0]), float(v[1]), float(v[2]) if len(v) > 2 else 0.0)
            for k, v in begin.items()
            if isinstance(v, Sequence)
        }
        numbers = self._defaults(soil)
        numbers |= {k: float(v) for k, v in begin.items() if not isinstance(v, Sequence)}
        self.begin = nearest_inside(numbers, self.learns)
        begun = {spec.parameters[k].group for k in self.learns} - {""}
        self.fixed = {  # parameters of a group are given all or none
            k: torch.tensor([numbers[k]], dtype=torch.float64)
            for k, p in spec.parameters.items()
            if k not in self.learns and (p.group in begun or (soil and k in usda_soil(soil)))
        }
        self.fixed |= {
            k: torch.tensor([float(v)], dtype=torch.float64)
            for k, v in given.items()
            if not isinstance(v, str)
        }
        self.layers = {k: self.middles for k in self.learns if spec.parameters[k].per == "layer"}
        for name in forcing or {}:
            lookup(spec.forcings, name, f"forcing of {spec.name}")
        taken_from = {k: (forcing or {}).get(k, SERIES.get(k, k)) for k in spec.forcings}
        self.names = {k: v for k, v in taken_from.items() if isinstance(v, str)}
        self.constant = {k: float(v) for k, v in taken_from.items() if not isinstance(v, str)}
        states = dict(start) if isinstance(start, Mapping) else {}
        for name in states:
            lookup(spec.states, name, f"state of {spec.name}")
        self.start_sites = {k: v for k, v in states.items() if isinstance(v, str)}
        self.reads = tuple(dict.fromkeys(self.names.values()))
        self.derived = ("water_content",) if isinstance(self.model, Richards) else ()
        self.means = tuple(f"mean_{name}" for name in self.derived)
        self.only = () if only is None else some_fluxes(self.model, only)
        every = self.only or (*spec.fluxes, *spec.states, *self.derived, *self.means)
        rest = f" beside only={list(self.only)}" if self.only else ""
        for name, source in self.outputs.items():
            if source not in every:
                turned = f" The new name comes first: {{{source!r}: {name!r}}}?"
                raise SettingsError(
                    f"outputs: {name!r} should be {source!r}, which {spec.name} does not "
                    f"give{rest}{nearest(source, every)} Known: {', '.join(every)}."
                    f"{turned if name in every else ''}"
                )
        self.gives = (*every, *self.outputs)
        profile = (start,) if isinstance(start, str) else ()
        places = (v[0] for v in self.places.values())
        of_sites = (*self.from_sites.values(), *self.start_sites.values())
        self.needs = tuple(dict.fromkeys((*profile, *places, *of_sites)))

    @property
    def who(self) -> str:
        """Name of the stage in messages."""
        return f"Process({self.model.spec.name})"

    @property
    def takes(self) -> tuple[str, ...]:
        """Parameters that are not learned, and where they come from."""
        found = [k if k == v else f"{k} from {v}" for k, v in self.from_sites.items()]
        for k, p in self.model.spec.parameters.items():
            if k in self.fixed:
                found.append(f"{k} = {float(self.fixed[k]):g}")
            elif k not in self.learns and k not in self.from_sites:
                found.append(f"{k} = {p.default:g} by default")
        return tuple(found)

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
        cells = [(grid.layer == k).nonzero().flatten() for k in range(grid.n_layers)]
        return tuple(0.5 * float(grid.faces[c[0]] + grid.faces[c[-1] + 1]) for c in cells)

    def _column(self, soil: str | None) -> dict[str, Bounds]:
        """Return what a soil column learns, in the units of its grid; nothing for other models."""
        if not isinstance(self.model, Richards):
            if soil is not None:
                raise SettingsError(f"soil={soil!r} is for soil columns; leave it out.")
            return {}
        spec, core, found = self.model.spec.parameters, self.model.core.spec.parameters, {}
        for name, (low, high) in COLUMN.items():
            if name in spec:
                size = self.model.units.factor(core[name].unit)
                scale = "log" if name == "root_depth" else Bounds.of(spec[name]).transform
                found[name] = Bounds(low / size, high / size, scale)
        return found

    def _defaults(self, soil: str | None) -> dict[str, float]:
        """Return where parameters begin, of a column with those of the class of its soil."""
        found = {k: p.default for k, p in self.model.spec.parameters.items()}
        if isinstance(self.model, Richards):
            found["root_depth"] = ROOT_DEPTH / self.model.units.factor("cm")
            found |= usda_soil(soil, *self.units) if soil else {}
        return found

    def refuse(self, name: str, known: Mapping[str, Bounds]) -> NoReturn:
        """Raise for a parameter that is not learned.

        A closure replaces it, or there is none of this name.
        """
        if (slot := self.model.replaced.get(name)) is not None:
            raise SettingsError(
                f"{name!r} belongs to the formula that the closure {slot!r} replaces; take it out, "
                "or let the network stand beside the formula (residual: true)."
            )
        of_model = self.model.spec.parameters
        what, names = ("learned parameter", list(known))
        if name not in of_model:
            what, names = "parameter", list(of_model)
        raise ParameterError(
            f"{self.who} has no {what} {name!r}{nearest(name, names)} Known: {', '.join(names)}."
        )

    def fit(self, windows: Windows) -> Facts:
        """Let closures that were made here begin as their formulas."""
        fit_slots(self.model, begun_slots(self.options))  # type: ignore[arg-type]
        return {}

    def bind(self, known: Known) -> dict[str, str]:
        """Check the units of the forcing, and return those of what the model gives."""
        spec = self.model.spec
        self.factors = {
            k: known.factor(name, spec.forcings[k].unit, self.who) for k, name in self.names.items()
        }
        self.site_factors = {
            k: known.factor(name, spec.parameters[k].unit, self.who)
            for k, name in self.from_sites.items()
        }
        self.start_factors = {
            k: known.factor(name, spec.states[k].unit, self.who)
            for k, name in self.start_sites.items()
        }
        step = known.length(spec.time_unit)
        self.interval = int(step) if step == int(step) else step
        if self.grid is not None:
            cells = (k for k, state in spec.states.items() if state.per == "cell")
            known.grids |= dict.fromkeys((*cells, *self.derived, *self.means), self.grid)
        units = {k: q.unit for k, q in (spec.fluxes | spec.states).items()}
        units |= dict.fromkeys((*self.derived, *self.means), "1")
        units |= {name: units[source] for name, source in self.outputs.items()}
        return {name: units[name] for name in self.gives}

    def forward(self, series: Series, parameters: Named, batch: Batch) -> Named:
        """Solve, and return fluxes and states.

        SolveFailed: with site and dates of each failure, unless the solver says
        on_failure="report".
        """
        if self.start_after:
            read = {name: series[name] for name in self.reads}
            series, parameters, batch = later(
                self.start_after, self.who, read, parameters, self.layers, batch
            )
        forcing, own, times, start = self.given(series, parameters, batch)
        try:
            with naming_sites(batch):
                inputs = (self.model, forcing, own, start, times, self.solver, self.engine)
                if self.only:
                    found = self.told(*solve_fluxes(self.only, *inputs), batch)
                else:
                    found = self.named(solve(*inputs), batch)
        except SolveFailed as error:
            failed = {row: f"{batch.where(row)}: {why}" for row, why in error.failed.items()}
            raise SolveFailed(
                f"{self.who} failed for {len(failed)} of {len(batch.site)} rows of a batch: "
                f"{'; '.join(list(failed.values())[:3])}. Take shorter steps (solver), another "
                "method, or narrower bounds.",
                failed,
            ) from error
        return behind(self.start_after, found)

    def given(
        self, series: Series, parameters: Named, batch: Batch
    ) -> tuple[dict[str, Any], Named, Tensor, Any]:
        """Return forcing, parameters, times and initial state, as `solve` takes them."""
        own = {name: parameters[name] for name in self.learns}
        own |= {name: value.to(batch.site.device) for name, value in self.fixed.items()}
        own |= {
            k: converted(taken(batch.attributes, name, "attribute"), self.site_factors[k])
            for k, name in self.from_sites.items()
        }
        forcing: dict[str, Any] = {
            k: converted(series[name], self.factors[k]) for k, name in self.names.items()
        }
        forcing |= self.constant
        times = torch.arange(batch.length + 1) * self.interval
        start = self._start(own, batch)
        return forcing, own, times, start

    def named(self, solution: Solution, batch: Batch) -> Series:
        """Return fluxes, states and what follows from these by name; NaN in rows that failed."""
        states, initial = solution.states, solution.initial_state
        if solution.failed:  # NaN times the zero cotangent of an excluded row would still be NaN
            states = torch.where(torch.isnan(states), initial.detach()[:, None], states)
        found = dict(solution.fluxes)
        for name, place in self.model.spec.places(self.model.size).items():
            part = states[..., place]
            found[name] = part if self.model.spec.states[name].per == "cell" else part[..., 0]
        if self.derived:
            whole = torch.cat([initial[:, None].expand(len(states), -1, -1), states], 1)
            for name, (values, _, _) in self.model.derived(whole, solution.parameters).items():
                found[name] = values[:, 1:]
                found[f"mean_{name}"] = 0.5 * (values[:, 1:] + values[:, :-1])
        return self.told(found, solution.failed, batch)

    def told(self, found: dict[str, Tensor], failed: Mapping[int, str], batch: Batch) -> Series:
        """Return series with the names of `outputs`, and failures with their sites; NaN there."""
        if failed:
            bad = torch.zeros(len(batch.site), dtype=torch.bool, device=batch.site.device)
            bad[list(failed)] = True
            for name, x in found.items():
                found[name] = torch.where(bad.view(-1, *(1,) * (x.ndim - 1)), torch.nan, x)
        told = {row: f"{batch.where(row)}: {why}" for row, why in failed.items()}
        return Series(found | {k: found[v] for k, v in self.outputs.items()}, told)

    def _start(self, parameters: Mapping[str, Tensor], batch: Batch) -> Any:
        """Return the initial state, from the parameters of the first step where these vary."""
        first = {
            k: v[..., 0] if v.ndim == 2 and k not in self.layers else v
            for k, v in parameters.items()
        }
        if isinstance(self.start_from, str):
            return self._profile(self.start_from, first, batch)
        if isinstance(self.start_from, int | float):
            shape, where = (len(batch.site), self.model.size), batch.site.device
            return torch.full(shape, self.start_from, dtype=torch.float64, device=where)
        begin = dict(self.model.start(first))
        for k, v in (self.start_from or {}).items():
            if k in self.start_sites:
                known = taken(batch.attributes, str(v), "attribute").double()
                begin[k] = converted(known, self.start_factors[k])
            else:
                begin[k] = torch.tensor(float(v), dtype=torch.float64)
        return begin

    def _profile(self, name: str, parameters: Mapping[str, Tensor], batch: Batch) -> Tensor:
        """Return the heads [batch, cell] of observed water contents, moved onto the retention
        curve.
        """
        model = self.model
        if not isinstance(model, Richards) or batch.depths is None:
            raise ParameterError(f"{self.who} cannot begin at {name!r}: give start=None.")
        grid = model.core.grid
        theta = taken(batch.attributes, name, "attribute")
        theta = at_depths(theta, batch.depths.tolist(), grid.depth.tolist())

        def cells(k: str) -> Tensor:
            if k not in parameters:
                return torch.tensor(model.spec.parameters[k].default, dtype=torch.float64)
            own = parameters[k].double()
            return own[..., grid.layer] if k in self.layers else own[:, None]

        low, high = cells("theta_r"), cells("theta_s")
        saturation = ((theta - low) / (high - low)).clamp(0.01, 0.995)
        head = model.head(low + saturation * (high - low), dict(parameters))
        length = float(LENGTHS[model.units.length])
        return head.clamp(*(bound / length for bound in INITIAL_RANGE))
