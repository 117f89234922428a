"""From the units of a user into those in which a model is computed, and back; with gradients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from pydiffgeo.engines.base import Result
from pydiffgeo.models.base import ProcessModel
from pydiffgeo.solvers.options import Solver
from pydiffgeo.solvers.problem import Problem


def to_core(problem: Problem) -> Problem:
    """A problem in the units in which its model is computed: of `model.core`."""
    model = problem.model
    if model.core is model:
        return problem
    return Problem(
        model.core,
        problem.initial * _state_factor(model),
        _scaled(model, "parameters", problem.static),
        _scaled(model, "parameters", problem.varying),
        _scaled(model, "forcings", problem.forcing),
        problem.lengths * model.units.factor("h"),
    )


def options_to_core(model: ProcessModel, options: Solver) -> Solver:
    """Steps and absolute tolerances in the units in which a model is computed."""
    if model.core is model:
        return options
    state, hour, atol = _state_factor(model), model.units.factor("h"), options.atol
    return replace(
        options,
        atol={k: v * state for k, v in atol.items()}
        if isinstance(atol, Mapping)
        else atol and atol * state,
        step=options.step and options.step * hour,
        initial_step=options.initial_step and options.initial_step * hour,
    )


def from_core(model: ProcessModel, result: Result, storage: Tensor) -> tuple[Result, Tensor]:
    """States, fluxes and storage of the columns in the units of `model`.

    The steps stay as they are, so that they can be replayed.
    """
    if model.core is model:
        return result, storage
    units = [spec.unit for spec in model.core.spec.fluxes.values()]
    fluxes = [x / model.units.factor(unit) for x, unit in zip(result.fluxes, units, strict=True)]
    amount = model.units.factor(
        f"{units[0]} h"
    )  # the storage is in the unit of the fluxes times time
    return replace(
        result, states=result.states / _state_factor(model), fluxes=fluxes
    ), storage / amount


def _scaled(model: ProcessModel, kind: str, values: Mapping[str, Any]) -> dict[str, Any]:
    given, computed = getattr(model.spec, kind), getattr(model.core.spec, kind)
    factor = {
        k: model.units.factor(computed[k].unit) for k in values if given[k].unit != computed[k].unit
    }
    return {k: v * factor[k] if k in factor else v for k, v in values.items()}


def _state_factor(model: ProcessModel) -> float:
    (factor,) = {model.units.factor(s.unit) for s in model.core.spec.states.values()}
    return factor
