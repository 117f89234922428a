"""`check_model`: all that can be checked of a model before it is solved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pydiffgeo.bridge import models as julia_models
from pydiffgeo.bridge.runtime import start
from pydiffgeo.checking import (
    check_at,
    check_declared,
    check_shapes,
    drawn,
    first_interval,
    prepared,
)
from pydiffgeo.conversion import to_core
from pydiffgeo.engines.julia_engine import solve_julia
from pydiffgeo.errors import EngineUnavailable, ModelError
from pydiffgeo.inputs import read_forcing, read_parameters, read_state
from pydiffgeo.models.base import Evaluation, ProcessModel, Values
from pydiffgeo.models.closures import output_of
from pydiffgeo.models.julia_model import JuliaModel
from pydiffgeo.solvers import Solver
from pydiffgeo.solvers.jacobian import coloured
from pydiffgeo.solvers.linear import structure
from pydiffgeo.solvers.problem import Problem

AGREEMENT = 1e-10  # of the equations in Python and in Julia, relative to the largest of a column


def check_model(
    model: ProcessModel,
    forcing: Mapping[str, Any] | None = None,
    parameters: Mapping[str, Any] | None = None,
    initial_state: Any = None,
) -> str:
    """Check that a model keeps what its specification promises, before it is solved or trained.

    Parameters
    ----------
    model : ProcessModel
    forcing, parameters : mapping of str to float, optional
        Values at which the equations are looked at, in the units of the specification; default: the
        parameters' defaults, and forcing within its bounds.
    initial_state : float, [state], or mapping of str to float, optional
        Default: what `model.start` gives. States around it are looked at too.

    Returns
    -------
    str
        What was checked, a line each: specification; shapes and precision for any number of leading
        dimensions; finite rates; columns that do not depend on each other; balance; storage,
        Jacobian, `linearise` and `slopes` against automatic differentiation; networks in slots; the
        equations of its `julia_file` against those in Python. Of a model in Julia: shapes, finite
        rates, balance, and gradients against differences.

    Raises
    ------
    ModelError, SpecError, UnknownName
        The first thing that is wrong, and how to mend it.
    EngineUnavailable
        A model in Julia, where there is none.
    """
    check_declared(model)
    spec, name = model.spec, type(model).__name__
    counts = (
        (spec.states, "states"),
        (spec.parameters, "parameters"),
        (spec.forcings, "forcings"),
        (spec.fluxes, "fluxes"),
    )
    lines = [
        f"specification {spec.name}: "
        + ", ".join(f"{len(entries)} {what}" for entries, what in counts)
    ]
    problem = to_core(_problem(model, forcing or {}, parameters or {}, initial_state))
    model = problem.model
    _, state, weather, p = first_interval(problem)
    error = check_at(problem)
    lines.append(f"shapes and precision: as declared, for {model.size} values per column")
    if isinstance(model, JuliaModel):
        _finite(name, julia_models.evaluate(start(), model, state, weather, p))
        gradient = _gradient_error(problem)
        derivatives = f"gradients: within {gradient:.0e} of central differences"
    else:
        inputs = prepared(model, state, weather, p)
        with torch.no_grad():
            _finite(name, model.evaluate(*inputs, fluxes=True))
            _independent(model, *inputs)
            lines.append(f"float32: {_single(model, state, weather, p)}")
        derivatives = _derivatives(model, *inputs)
        lines.append(_gradients(model, state, weather, p))
        if model.closures:
            lines.append(_networks(model))
        if model.julia_file:
            lines.append(_in_julia(model, state, weather, p))
    lines.append(
        "balance: "
        + ("no flux has a balance, nothing to check" if error is None else f"closes to {error:.0e}")
    )
    return "\n".join([*lines, derivatives])


def _problem(
    model: ProcessModel, forcing: Mapping[str, Any], parameters: Mapping[str, Any], initial: Any
) -> Problem:
    """One interval of three columns, at given values or at defaults."""
    spec, cpu, columns = model.spec, torch.device("cpu"), 3
    middle = {name: f.typical for name, f in spec.forcings.items()}
    drivers = read_forcing(model, middle | dict(forcing), np.array([0.0, 1.0]), torch.float64, cpu)
    layers = model.grid.n_layers if hasattr(model, "grid") else 1
    static, varying = read_parameters(model, parameters, 1, layers, torch.float64, cpu)
    if initial is None:
        initial = model.start({k: v[..., 0] for k, v in static.items()})
    around = drawn(model, read_state(model, initial, torch.float64, cpu)[:1].expand(columns, -1))
    return Problem(model, around, static, varying, drivers, torch.ones(1, dtype=torch.float64))


def _finite(name: str, e: Evaluation) -> None:
    for what, x in (("storage", e.storage), ("rates", e.rates), ("fluxes", e.fluxes)):
        if not bool(torch.isfinite(x).all()):
            place = (~torch.isfinite(x)).nonzero()[0, -1].item()
            raise ModelError(
                f"{name}.{what}: value {place} is not finite at the start; mend the equations, or "
                "give check_model a start at which it is."
            )


@torch.no_grad()
def _in_julia(model: ProcessModel, state: Tensor, forcing: Values, parameters: Values) -> str:
    """Compare storage, rates and fluxes with those of the Julia file of the model."""
    try:
        theirs = julia_models.evaluate(start(), model, state, forcing, parameters)
    except EngineUnavailable as error:
        return f"Julia: {model.julia_file} was not compared, since {error}"
    ours = model.evaluate(*prepared(model, state, forcing, parameters), fluxes=True)
    worst = 0.0
    for what, one, other in zip(Evaluation._fields, ours, theirs, strict=True):
        off = (one - other).abs() / (one.abs().amax(-1, keepdim=True) + 1e-300)
        row, place = divmod(int(off.argmax()), off.shape[-1])
        if float(off.max()) > AGREEMENT:
            raise ModelError(
                f"{what} {place} of {type(model).__name__} is {float(one[row, place]):g} in Python "
                f"and {float(other[row, place]):g} in {model.julia_file}: mend one of them."
            )
        worst = max(worst, float(off.max()))
    return f"Julia: the equations of {model.julia_file} agree within {worst:.0e}"


def _independent(model: ProcessModel, state: Tensor, forcing: Values, parameters: Values) -> None:
    together = model.evaluate(state, forcing, parameters, fluxes=True)
    f, p = ({k: v[:1] for k, v in values.items()} for values in (forcing, parameters))
    for what, alone, batch in zip(
        Evaluation._fields, model.evaluate(state[:1], f, p, fluxes=True), together, strict=True
    ):
        if not torch.allclose(alone, batch[:1], rtol=1e-9, atol=1e-12):
            raise ModelError(
                f"{type(model).__name__}.{what} of a column depends on the other columns of its "
                "batch: work on the last dimension only."
            )


def _single(model: ProcessModel, state: Tensor, forcing: Values, parameters: Values) -> str:
    f, p = ({k: v.float() for k, v in values.items()} for values in (forcing, parameters))
    try:
        check_shapes(model, *prepared(model, state.float(), f, p))
    except (RuntimeError, ModelError) as error:
        return (
            f"cannot be used, Solver(dtype=torch.float32) will fail ({str(error).splitlines()[0]})"
        )
    return "can be used"


def _derivatives(model: ProcessModel, state: Tensor, forcing: Values, parameters: Values) -> str:
    """Compare derivatives that a model has of its own, and what its structure leaves out, with
    automatic differentiation.
    """
    name, n, u = type(model).__name__, model.size, state[:1].detach()
    f, p = ({k: v[:1].detach() for k, v in values.items()} for values in (forcing, parameters))

    def compare(what: str, found: Tensor, true: Tensor) -> None:
        off = (found - true).abs()
        at = divmod(int(off.argmax()), off.shape[-1])
        if float(off.max()) > 1e-6 * float(true.abs().max()) + 1e-12:
            raise ModelError(
                f"{name}.{what}: entry {at} is {float(found[at]):g}, but {float(true[at]):g} by "
                "automatic differentiation."
            )

    true = torch.autograd.functional.jacobian(
        lambda x: model.evaluate(x, f, p).rates.expand(1, n)[0], u
    )[:, 0]
    stored = torch.autograd.functional.jacobian(lambda x: model.storage(x, p).expand(1, n)[0], u)[
        :, 0
    ]
    if bool((stored - stored.diagonal().diag()).any()):
        raise ModelError(
            f"{name}.storage: the storage of a state depends on other states; it must be "
            "elementwise."
        )
    with torch.no_grad():
        lin = (model.linearise or partial(coloured, model))(u, f, p)
        # the rows of a matrix are the columns of its transpose
        full = structure(model.structure, model.bandwidth).transpose_apply(
            lin.jacobian, torch.eye(n).to(u)
        )
        own = "linearise" if model.linearise is not None else f"structure = {model.structure!r}"
        compare(f"{own}, Jacobian of the rates", full, true)
        compare(f"{own}, capacity", lin.capacity[0].diag(), stored)
        if model.slopes is not None:
            rates, entries = model.slopes(u, f, p)
            slopes = torch.zeros_like(true)
            for (row, column), entry in entries.items():
                slopes[row, column] = entry
            compare("slopes", slopes, true)
            compare("slopes, rates", torch.stack([r.expand(1) for r in rates], -1), lin.rates)
    written = [k for k in ("linearise", "slopes") if getattr(model, k) is not None]
    return (
        f"derivatives: {' and '.join(written) or 'structure of the Jacobian'} as by automatic "
        "differentiation"
    )


def _gradients(model: ProcessModel, state: Tensor, forcing: Values, parameters: Values) -> str:
    """Compare gradients of the functions with central differences.

    What a function takes out of autograd, by `.item()`, `.detach()` or NumPy, has none.
    """
    generator = torch.Generator().manual_seed(0)
    given = {("state", ""): state, **{("forcing", k): v for k, v in forcing.items()},
             **{("parameter", k): v for k, v in parameters.items()}}  # fmt: skip

    def values(x: Mapping[tuple[str, str], Tensor]) -> list[Tensor]:
        f, p = ({k: x["forcing", k] for k in forcing}, {k: x["parameter", k] for k in parameters})
        return list(model.evaluate(*prepared(model, x["state", ""], f, p), fluxes=True))

    with torch.no_grad():
        at = values(given)
        weights = [
            torch.rand(y.shape, generator=generator, dtype=y.dtype) / (y.abs().max() + 1e-300)
            if y.numel()
            else y
            for y in at
        ]

    def outcome(x: Mapping[tuple[str, str], Tensor]) -> Tensor:
        return torch.stack([(y * w).sum() for y, w in zip(values(x), weights, strict=True)]).sum()

    leaves = {k: v.detach().clone().requires_grad_() for k, v in given.items()}
    total = outcome(leaves)
    if not total.requires_grad:
        total = total + 0.0 * leaves["state", ""].sum()
    slopes = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
    worst = 0.0
    for (kind, name), slope in zip(leaves, slopes, strict=True):
        x = given[kind, name]
        d = 1e-6 * torch.rand(x.shape, generator=generator, dtype=x.dtype) * (x.abs() + 1e-3)
        with torch.no_grad():
            ends = [float(outcome({**given, (kind, name): x + step})) for step in (d, -d)]
        difference = (ends[0] - ends[1]) / 2
        found = 0.0 if slope is None else float((slope * d).sum())
        error = abs(found - difference) / (abs(found) + abs(difference) + 1e-9)
        if error > 1e-4:
            shown = "the state" if kind == "state" else f"the {kind} {name!r}"
            raise ModelError(
                f"the gradient of {type(model).__name__} in {shown} is "
                f"{found / 1e-6:.6g}, but {difference / 1e-6:.6g} by differences: compute with "
                "tensors throughout, without .item(), .detach() or NumPy."
            )
        worst = max(worst, error)
    return f"gradients: within {worst:.0e} of central differences"


@torch.no_grad()
def _networks(model: ProcessModel) -> str:
    """Range of the networks in slots, over the domain of the slot."""
    for name, closure in model.closures.items():
        slot = model.spec.slots.get(name)
        if slot is None:
            continue
        low, high = slot.domain
        x = torch.linspace(low, high, 50, dtype=torch.float64)[:, None].expand(-1, len(slot.inputs))
        if getattr(closure, "residual", False):
            continue  # its output is that of the formula, changed
        y = output_of(closure, x)
        least, most = float(y.min()), float(y.max())
        if not slot.range[0] <= least <= most <= slot.range[1]:
            raise ModelError(
                f"the network in the slot {name!r} gives {least:g} to {most:g}, beyond its range "
                f"{slot.range}."
            )
        if slot.must_rise and bool((y.diff() < 0).any()):
            raise ModelError(f"the network in the slot {name!r} falls where it must rise.")
    return "networks: " + ", ".join(model.closures)


def _gradient_error(problem: Problem) -> float:
    """Largest error of the gradient of a step by the engine, in any group of inputs, against
    central differences.
    """
    given = {
        "initial": problem.initial,
        **problem.static,
        **{k: v[..., 0] for k, v in problem.forcing.items()},
    }
    options = Solver("implicit_euler", step=0.01, newton_tolerance=1e-12, max_newton=40)
    generator = torch.Generator().manual_seed(0)

    def outputs(x: Mapping[str, Tensor]) -> Tensor:
        static, forcing = (
            {k: x[k] for k in problem.static},
            {k: x[k][..., None] for k in problem.forcing},
        )
        whole = replace(
            problem,
            initial=x["initial"],
            static=static,
            forcing=forcing,
            lengths=problem.lengths * 0.01,
        )
        result = solve_julia(whole, options)
        flat = torch.cat([result.states.flatten(), *[q.flatten() for q in result.fluxes]])
        return flat @ torch.rand(
            flat.shape, generator=torch.Generator().manual_seed(1), dtype=flat.dtype
        )

    leaves = {k: v.detach().clone().requires_grad_() for k, v in given.items()}
    grads = dict(
        zip(leaves, torch.autograd.grad(outputs(leaves), list(leaves.values())), strict=True)
    )
    worst = 0.0
    for name, x in given.items():
        d = 1e-4 * torch.rand(x.shape, generator=generator, dtype=x.dtype) * (x.abs() + 1e-6)
        difference = float(outputs({**given, name: x + d}) - outputs({**given, name: x - d})) / 2
        found = float((grads[name] * d).sum())
        error = abs(found - difference) / (abs(found) + abs(difference) + 1e-9)
        if error > 1e-4:
            raise ModelError(
                f"the derivative along {name!r} is {found / 1e-4:.6g}, but {difference / 1e-4:.6g} "
                "by differences: mend `jacobian` or `linearise` of the Julia file."
            )
        worst = max(worst, error)
    return worst
