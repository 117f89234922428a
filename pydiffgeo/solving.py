"""The one call: solve a process model for a batch of columns."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pydiffgeo.bridge.models import missing
from pydiffgeo.bridge.runtime import start, unavailable
from pydiffgeo.checking import check_declared, check_equations
from pydiffgeo.conversion import from_core, options_to_core, to_core
from pydiffgeo.engines import ENGINES, Result, julia_river, torch_river
from pydiffgeo.engines.base import by_flux
from pydiffgeo.engines.julia_engine import torch_only
from pydiffgeo.engines.whole_rivers import River
from pydiffgeo.errors import EngineUnavailable, ParameterError, lookup
from pydiffgeo.failures import reasons, refuse
from pydiffgeo.inputs import batch_size, read_forcing, read_parameters, read_state, read_times
from pydiffgeo.models.base import ProcessModel
from pydiffgeo.models.closures import check_modes
from pydiffgeo.named import by_name, without_names
from pydiffgeo.second_derivatives import refuse_transforms
from pydiffgeo.solution import Solution
from pydiffgeo.solvers import Solver
from pydiffgeo.solvers.problem import Problem
from pydiffgeo.solvers.replay import read_replay

log = logging.getLogger("pydiffgeo")
RIVERS = {"torch": torch_river.solve_river, "julia": julia_river.solve_river}


def solve(
    model: ProcessModel,
    forcing: Mapping[str, Any],
    parameters: Mapping[str, Any],
    initial_state: Any,
    times: Any,
    solver: Solver | str = "kvaerno3",
    engine: str = "auto",
    replay: Solution | None = None,
) -> Solution:
    """Solve a process model, differentiably.

    Parameters
    ----------
    model : ProcessModel
    forcing : mapping of str to float, [time] or [batch, time]
        Each name of `model.spec.forcings`, in its unit; a value holds over the interval that ends
        at its time; one of cells takes [batch, time, cell], too. Numbers, arrays, tensors, or
        arrays with names (DataArrays, series and tables of pandas), which are brought into this
        order by their dimensions and whose units, dates and columns are compared. What
        lies beyond a bound by less than 1e-12 of the range of a forcing,
        as a rain of -1e-18, is taken for the bound.
    parameters : mapping of str to float, [batch], [batch, layer] or [batch, time]
        Names of `model.spec.parameters`, in their units; those not given take the default of the
        spec. Soil parameters have one value per column or per layer (`[batch, layer]`, in time
        `[batch, time, layer]`), parameters of cells one per column or per cell.
    initial_state : float, [state] or [batch, state], or mapping of str to float, [batch]
        For each state by name what a column begins with, as `model.start(parameters)` gives it; or
        all of them in the order of the specification. A column of cells takes a number, [cell] or
        [batch, cell].
    times : [time + 1]
        The start, then the end of each forcing interval: dates (UTC where they have a time zone),
        durations such as `t - t[0]`, or numbers in `model.spec.time_unit`; see
        `pydiffgeo.times.parse_times`.
    solver : Solver or str
        Method and tolerances.
    engine : {"auto", "torch", "julia"}
        "auto" takes the environment variable PYDIFFGEO_ENGINE where it is set; else Julia where it
        can start without a download and has this model and these options; else torch. It logs once
        which, and why.
    replay : Solution, optional
        Take exactly the steps of an earlier solution instead of choosing them: for comparing
        gradients with finite differences, which the choice of steps would disturb. It must be of
        the same columns, intervals and precision.

    Returns
    -------
    Solution
        Its states, fluxes and storage carry gradients to the initial state, parameters, forcing and
        closure weights.

    Raises
    ------
    UnknownName, DataError, UnitError, ParameterError
        An input that cannot be used; raised before solving.
    ModelError
        Equations that do not fit their specification: looked at once, before the first solve of a
        model; see `check_model`.
    SolveFailed
        Columns that did not reach the end, unless `Solver(on_failure="report")`.
    EngineUnavailable
        The engine cannot run here.
    DerivativeError
        Inside torch.func or forward mode; and later, when gradients are differentiated again.
    """
    read = _read(model, forcing, parameters, initial_state, times, solver, engine)
    run, problem = lookup(ENGINES, read.engine, "engine"), read.problem
    steps = None if replay is None else read_replay(replay, problem, read.options.method)
    return _solution(model, read, run(problem, read.options, steps))


def solve_fluxes(
    names: Sequence[str],
    model: ProcessModel,
    forcing: Mapping[str, Any],
    parameters: Mapping[str, Any],
    initial_state: Any,
    times: Any,
    solver: Solver | str = "kvaerno3",
    engine: str = "auto",
) -> tuple[dict[str, Tensor], dict[int, str]]:
    """Solve a process model, differentiably, for some of its fluxes alone.

    Neither the other fluxes nor states and storage are written where that costs time: the discharge
    of HBV in Julia, with its gradient, takes a seventh less.

    Parameters
    ----------
    names : sequence of str
        Of `model.spec.fluxes`.
    model, forcing, parameters, initial_state, times, solver, engine
        As for `solve`.

    Returns
    -------
    dict of str to Tensor, [batch, time]
        Means over the intervals, as `Solution.fluxes`.
    dict of int to str
        Columns that did not reach the end, and why, as `Solution.failed`.

    Raises
    ------
    UnknownName, ParameterError
        Names that are no fluxes of the model, a string, or none; and all that `solve` raises.
    """
    wanted = some_fluxes(model, names)
    read = _read(model, forcing, parameters, initial_state, times, solver, engine)
    problem = replace(read.problem, only=wanted)
    result = lookup(ENGINES, read.engine, "engine")(problem, read.options, None)
    return _fluxes(wanted, model, read, result)


def some_fluxes(model: ProcessModel, names: Sequence[str]) -> tuple[str, ...]:
    """Return names of fluxes of a model, each once, or raise UnknownName or ParameterError."""
    wanted = () if isinstance(names, str) else tuple(dict.fromkeys(names))
    if not wanted:
        raise ParameterError(
            f"give the names of one flux of {model.spec.name} or more, such as "
            f"{list(model.spec.fluxes)[:1]}; got {names!r}."
        )
    for name in wanted:
        lookup(model.spec.fluxes, name, f"flux of {model.spec.name}")
    return wanted


def solve_river(
    model: ProcessModel,
    forcing: Mapping[str, Any],
    parameters: Mapping[str, Any],
    initial_state: Any,
    times: Any,
    solver: Solver,
    engine: str,
    river: River,
) -> Solution | None:
    """Solve all columns of a river in one call, where the engine can.

    Parameters
    ----------
    model, forcing, parameters, initial_state, times, solver, engine
        As for `solve`. The forcing that the columns above give is what flows in besides.
    river : River
        Which column flows into which, and by which flux.

    Returns
    -------
    Solution or None
        Means over the intervals of `times`. None: solve level by level; see
        `pydiffgeo.engines.julia_river` and `torch_river`.
    """
    given = (forcing, parameters, initial_state, times, solver)
    read, result = _down_river((), model, given, engine, river)
    return None if result is None else _solution(model, read, result)


def solve_river_fluxes(
    names: Sequence[str], model: ProcessModel, *given: Any, engine: str, river: River
) -> tuple[dict[str, Tensor], dict[int, str]] | None:
    """Solve all columns of a river in one call for some fluxes alone.

    `names` as for `solve_fluxes`, which tells what is returned; all else, and None, as for
    `solve_river`: `given` are forcing, parameters, initial state, times and solver.
    """
    wanted = some_fluxes(model, names)
    read, result = _down_river(wanted, model, given, engine, river)
    return None if result is None else _fluxes(wanted, model, read, result)


def _down_river(
    only: tuple[str, ...], model: ProcessModel, given: Sequence[Any], engine: str, river: River
) -> tuple[_Read, Result | None]:
    """Return what was read, and the results of a river, of some fluxes `only` where named."""
    forcing, parameters, initial_state, times, solver = given
    chosen = _choose(engine, model.core, solver, river.below.device)
    read = _read(model, forcing, parameters, initial_state, times, solver, chosen)
    problem = replace(read.problem, only=only)
    return read, lookup(RIVERS, chosen, "engine")(problem, read.options, river)


@dataclass(frozen=True)
class _Read:
    """What was given, read and checked."""

    problem: Problem  # in the units of the core, as the options
    options: Solver
    engine: str
    labels: np.ndarray
    lengths: Tensor
    state: Tensor
    inputs: dict[str, Tensor]  # the parameters


def _read(
    model: ProcessModel,
    forcing: Mapping[str, Any],
    parameters: Mapping[str, Any],
    initial_state: Any,
    times: Any,
    solver: Solver | str,
    engine: str,
) -> _Read:
    refuse_transforms("solve")
    options = solver if isinstance(solver, Solver) else Solver(solver)
    forcing, parameters = by_name(forcing, "forcing"), by_name(parameters, "parameters")
    check_declared(model)
    check_modes(model.networks())
    options.absolute(model.spec)  # refuses names of states that the model does not have
    states = initial_state.values() if isinstance(initial_state, Mapping) else [initial_state]
    tensors = [
        x for x in (*forcing.values(), *parameters.values(), *states) if isinstance(x, Tensor)
    ]
    device = tensors[0].device if tensors else torch.device("cpu")
    if any(x.device != device for x in tensors):
        raise ParameterError(
            f"inputs lie on different devices: {sorted({str(x.device) for x in tensors})}; move "
            "them to one."
        )
    chosen = _choose(engine, model.core, options, device)
    lookup(ENGINES, chosen, "engine")
    dtype = options.dtype
    lengths, labels = read_times(times, model.spec.time_unit)
    forcing, parameters, initial_state = without_names(
        model, forcing, parameters, initial_state, labels
    )
    drivers = read_forcing(model, forcing, labels, dtype, device)
    layers = model.grid.n_layers if hasattr(model, "grid") else 1
    static, varying = read_parameters(model, parameters, len(lengths), layers, dtype, device)
    state = read_state(model, initial_state, dtype, device)
    columns = batch_size({**drivers, **static, **varying, "initial_state": state})
    state = state.expand(columns, -1)
    problem = Problem(
        model, state, static, varying, drivers, lengths.to(dtype=dtype, device=device)
    )
    problem, options = to_core(problem), options_to_core(model, options)
    check_equations(problem, chosen)
    return _Read(problem, options, chosen, labels, lengths, state, {**static, **varying})


def _solution(model: ProcessModel, read: _Read, result: Result) -> Solution:
    """Return the results in the units of the model, or raise SolveFailed."""
    labels, total = read.labels, read.problem.model.total_storage(result.storage)
    result, storage, failed = _in_units(model, read, result, total)
    return Solution(
        model=model,
        start=labels[0],
        times=labels[1:].copy(),
        lengths=read.lengths,
        states=result.states,
        initial_state=read.state,
        fluxes=dict(zip(model.spec.fluxes, result.fluxes, strict=True)),
        storage=storage,
        failed=failed,
        stats=result.stats,
        engine=read.engine,
        inputs=read.inputs,
        steps=result.steps,
    )


def _fluxes(
    wanted: Sequence[str], model: ProcessModel, read: _Read, result: Result
) -> tuple[dict[str, Tensor], dict[int, str]]:
    """Return some fluxes in the units of the model, and what failed, or raise SolveFailed."""
    result, _, failed = _in_units(model, read, result, result.storage)
    found = dict(zip(model.spec.fluxes, result.fluxes, strict=True))
    return {name: found[name] for name in wanted}, failed


def _in_units(
    model: ProcessModel, read: _Read, result: Result, storage: Tensor
) -> tuple[Result, Tensor, dict[int, str]]:
    """Return results and storage in the units of the model, and what failed, or raise it."""
    failed, remedy = reasons(read.problem, result, read.labels)
    if failed and read.options.on_failure == "raise":
        refuse(model.spec.name, failed, len(read.state), remedy)
    result = replace(result, fluxes=by_flux(read.problem.model, result.fluxes))
    return *from_core(model, result, storage), failed


_said: set[str] = set()


def _choose(engine: str, model: ProcessModel, options: Solver, device: torch.device) -> str:
    if engine != "auto":
        return engine
    chosen = os.environ.get("PYDIFFGEO_ENGINE") or "auto"
    if chosen != "auto":
        _say(logging.INFO, f"solving with the {chosen} engine, as PYDIFFGEO_ENGINE says")
        return chosen
    on_gpu = "" if device.type == "cpu" else f"the tensors are on {device.type}"
    reason = on_gpu or torch_only(options) or missing(model) or unavailable()
    if reason:
        _say(logging.INFO, f"solving with the torch engine, since {reason}")
        return "torch"
    try:
        start()
    except EngineUnavailable as error:
        _say(
            logging.WARNING,
            f"solving with the torch engine, since the Julia engine did not start: {error}",
        )
        return "torch"
    _say(logging.INFO, "solving with the julia engine")
    return "julia"


def _say(level: int, message: str) -> None:
    if message not in _said:
        _said.add(message)
        log.log(level, message)
