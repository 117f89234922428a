"""Process models of basins as training sees them: parameters and weather in, daily series out (`simulate`)."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import signature
from typing import Protocol

import torch
from torch import Tensor

from pydiffgeo.errors import ParameterError, SettingsError, SolveFailed, lookup, nearest
from pydiffgeo.models import MODELS, ProcessModel
from pydiffgeo.parameters import Bounds
from pydiffgeo.routing import SCALE_BOUNDS, SHAPE_BOUNDS, Components, route
from pydiffgeo.solvers import Solver
from pydiffgeo.solving import solve
from pydiffgeo.training.basins.closures import check_replaced, make_closures
from pydiffgeo.training.basins.explicit_hbv import ExplicitHBV
from pydiffgeo.training.basins.settings import ModelSettings, ProcessSettings

# series of the basin form that a model's forcing takes, where it has another name
SERIES = {"temperature": "tair_mean", "rain": "precipitation"}
# shape and scale of the unit hydrograph, Feng et al. (2022), doi:10.1029/2022WR032404
ROUTING = {"route_a": Bounds(*SHAPE_BOUNDS), "route_b": Bounds(*SCALE_BOUNDS)}
# of measured precipitation, whose gauges catch too little snow and stand too low in mountains
CORRECTION = {"precipitation_factor": Bounds(0.5, 2.0, "log")}
UNCORRECTED = {"precipitation_factor": 1.0}  # where it starts, whatever its bounds


class Process(Protocol):
    """What a hybrid model needs of a process model.

    Attributes
    ----------
    bounds : dict of str to Bounds
        Range of each parameter that is learned.
    default : dict of str to float
        Where they start.
    forcing : dict of str to str
        Series of the basin form by name of the model's forcing.
    """

    bounds: dict[str, Bounds]
    default: dict[str, float]
    forcing: dict[str, str]

    def simulate(
        self, forcing: Mapping[str, Tensor], parameters: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return fluxes and states by name, [column, time], for forcing [column, time] and parameters [column (, time)].

        Raises
        ------
        SolveFailed
            With the columns that failed, and why.
        """
        ...


class SolvedProcess:
    """A `ProcessModel` solved by an engine.

    Parameters
    ----------
    model : ProcessModel
        Stores start where its `start` says: give the run a warm-up all the same.
    settings : ProcessSettings
        Solver, engine, bounds.

    Raises
    ------
    SettingsError
        Bounds of a parameter that the model does not have, or outputs that it does not give.
    """

    def __init__(self, model: ProcessModel, settings: ProcessSettings):
        self.model, self.engine = model, settings.engine
        dtype = torch.float64 if settings.dtype == "float64" else torch.float32
        self.solver = Solver(settings.solver, step=settings.step, dtype=dtype)
        spec = model.spec
        self.bounds = narrowed(
            {name: Bounds.of(p) for name, p in spec.parameters.items()}, settings
        )
        self.default = _started(
            {name: p.default for name, p in spec.parameters.items()}, self.bounds
        )
        self.forcing = {name: SERIES.get(name, name) for name in spec.forcings}

    def simulate(
        self, forcing: Mapping[str, Tensor], parameters: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return fluxes and states [column, time]; see `Process.simulate`."""
        days = next(iter(forcing.values())).shape[1]
        first = {
            name: value[..., 0] if value.ndim == 2 else value for name, value in parameters.items()
        }
        start = self.model.start(first)
        solution = solve(
            self.model, forcing, parameters, start, torch.arange(days + 1), self.solver, self.engine
        )
        return solution.fluxes | dict(
            zip(self.model.spec.states, solution.states.unbind(-1), strict=False)
        )


def build_process(settings: ModelSettings) -> Process:
    """Return the process model that the settings name.

    Raises
    ------
    UnknownName
        No such model, method or slot.
    SettingsError
        A setting that the model does not have, or a closure that does not fit.
    """
    given = settings.process
    if given.solver == "explicit_loop":
        if settings.name != "hbv":
            raise SettingsError(
                f"model.process.solver: explicit_loop is there for hbv only, not for {settings.name!r}."
            )
        explicit = ExplicitHBV()
        explicit.bounds = narrowed(explicit.bounds, given)
        explicit.default = _started(explicit.default, explicit.bounds)
        return explicit
    kind = lookup(MODELS, settings.name, "model (besides lstm)")
    columns = any(
        p.default is p.empty for p in signature(kind).parameters.values()
    )  # such as Richards, which needs a grid
    if columns or "discharge" not in (model := kind()).spec.fluxes:
        raise SettingsError(
            f"model.name: {settings.name!r} gives no discharge; it is no model of basins."
        )
    if given.closures:
        model = kind(closures=make_closures(model.spec, given.closures))  # type: ignore[call-arg]
        check_replaced(model, settings)
    return SolvedProcess(model, given)


def simulate(
    process: Process,
    forcing: Mapping[str, Tensor],
    parameters: Mapping[str, Tensor],
    outputs: Mapping[str, str],
    also: Mapping[str, str] | None = None,
) -> dict[str, Tensor]:
    """Return the series of basins: the mean of their components, and discharge routed by a unit hydrograph.

    Parameters
    ----------
    process : Process
    forcing : mapping of str to Tensor, [batch, time]
        By the model's names; mm d-1 and degC.
    parameters : mapping of str to Tensor, [batch, component] or [batch, component, time]
        With ``route_a`` and ``route_b``, whose mean over the components counts, discharge is routed; with
        ``precipitation_factor`` precipitation is multiplied.
    outputs : mapping of str to str
        Flux or state by name of the wanted series.
    also : mapping of str to str, optional
        The same for series, under other names, that are left out where the process does not give them; they are never routed.

    Returns
    -------
    dict of str to Tensor, [batch, time]
        In the unit of the model's specification.

    Raises
    ------
    SolveFailed
        `failed` has the basins of the batch by position.
    SettingsError
        The model has no such output.
    """
    parts, weather, values = columns(process, forcing, parameters)
    try:
        series = process.simulate(weather, values)
    except SolveFailed as error:
        raise SolveFailed(
            str(error), {column // parts.count: why for column, why in error.failed.items()}
        ) from error
    found = {}
    for target, name in outputs.items():
        if name not in series:
            raise SettingsError(
                f"model.process.outputs: {target!r} should be {name!r}, which the model does not give{nearest(name, series)} "
                f"Known: {', '.join(series)}."
            )
        found[target] = parts.mean(series[name])
    if "route_a" in parameters and "discharge" in found:
        a, b = (parameters[name].mean(1).to(found["discharge"].dtype) for name in ROUTING)
        found["discharge"] = route(found["discharge"], a, b)
    return found | {
        name: parts.mean(series[flux]) for name, flux in (also or {}).items() if flux in series
    }


def columns(
    process: Process, forcing: Mapping[str, Tensor], parameters: Mapping[str, Tensor]
) -> tuple[Components, dict[str, Tensor], dict[str, Tensor]]:
    """Return the components, and forcing and parameters of the columns that a process simulates; arguments as `simulate`."""
    own = {name: value for name, value in parameters.items() if name not in ROUTING}
    parts = Components(next(iter(own.values())).shape[1])
    weather, values = parts.weather(forcing), parts.parameters(own)
    if (factor := values.pop("precipitation_factor", None)) is not None:
        factor = factor if factor.ndim == 2 else factor[:, None]
        weather |= {
            name: weather[name] * factor
            for name, source in process.forcing.items()
            if source == "precipitation"
        }
    return parts, weather, values


def narrowed(bounds: dict[str, Bounds], settings: ProcessSettings) -> dict[str, Bounds]:
    """Return bounds with those that the settings replace, and with those of routing and correction where they are on."""
    known = (
        bounds
        | (ROUTING if settings.routing else {})
        | (CORRECTION if settings.correct_precipitation else {})
    )
    for name in settings.bounds:
        if name not in known:
            raise SettingsError(
                f"model.process.bounds: no parameter {name!r}{nearest(name, known)} Known: {', '.join(known)}."
            )
    try:
        return {
            n: Bounds(*settings.bounds.get(n, (b.lower, b.upper)), b.transform)
            for n, b in known.items()
        }
    except ParameterError as error:
        raise SettingsError(f"model.process.bounds: {error}") from error


def _started(known: Mapping[str, float], bounds: Mapping[str, Bounds]) -> dict[str, float]:
    """Return where learned parameters start, moved into their bounds; those without a default start in the middle."""
    start = {**known, **UNCORRECTED}
    return {
        name: min(max(start[name], b.lower), b.upper) for name, b in bounds.items() if name in start
    }
