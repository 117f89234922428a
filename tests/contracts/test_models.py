"""What every model promises.

A whole specification, water that is conserved, right derivatives, engines that agree.

A new model in MODELS is found and tried here; tests of its own hold only its physics.
"""

from __future__ import annotations

import inspect
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from contracts.drawn import CASES, SWITCHES, at_states, forcing, parameters, states
from torch import Tensor

import pydiffgeo
from pydiffgeo import MODELS, ProcessModel, Solution, Solver, check_model, solve
from pydiffgeo.bridge.models import evaluate
from pydiffgeo.models.find import find_model
from pydiffgeo.models.spec_files import shipped_specs
from pydiffgeo.recorded import describe
from pydiffgeo.solvers.jacobian import coloured
from pydiffgeo.solvers.linear import structure

ROOT = Path(__file__).parents[2]
EXACT = {"newton_tolerance": 1e-10, "max_newton": 40}


@pytest.fixture(params=CASES)
def model(request: pytest.FixtureRequest) -> ProcessModel:
    return CASES[request.param]()  # type: ignore[operator]


def run(model: ProcessModel, solver: Solver, engine: str, columns: int, steps: int) -> Solution:
    given = parameters(model, columns)
    begin = states(model, given, columns)
    return solve(
        model, forcing(model, columns, steps), given, begin, range(steps + 1), solver, engine
    )


@pytest.mark.parametrize("name", MODELS)
def test_specification_is_complete(name: str) -> None:
    kind, file = MODELS[name], shipped_specs()[name]
    spec = pydiffgeo.load_spec(name)
    assert spec.name == name and spec.title and "10." in spec.source, (
        "a title and a source with DOI"
    )
    assert file.with_suffix(".py") == Path(inspect.getfile(kind))
    in_julia = (ROOT / "julia_src" / "src" / "models").rglob("*.jl")
    assert any(f.stem == name or f"\nfunction {name}(" in f.read_text() for f in in_julia)
    assert "doi:10." in (kind.__doc__ or ""), "the source of the equations"
    assert kind.__name__ in pydiffgeo.__all__
    conserved = any(q.balance for q in spec.fluxes.values())
    assert conserved or spec.stationary, "what is conserved"
    for entry in (
        *spec.states.values(),
        *spec.parameters.values(),
        *spec.forcings.values(),
        *spec.fluxes.values(),
    ):
        assert entry.unit and entry.description, entry.name
    for p in spec.parameters.values():
        assert math.isfinite(p.default) and p.minimum <= p.lower, p.name


def test_check_finds_nothing(model: ProcessModel) -> None:
    """Shapes, precision, columns that do not depend on each other, the balance, derivatives at the
    start.
    """
    found = check_model(model)
    assert "balance: closes" in found or model.spec.stationary


def test_described_and_made_again(model: ProcessModel) -> None:
    """What settings say of a model makes the same model."""
    if model.closures or hasattr(model, "grid"):
        pytest.skip("made from objects, which settings make in sections of their own")
    told = dict(describe(model))
    again = find_model(told.pop("kind"), **told)
    assert type(again) is type(model) and again.spec == model.spec


def test_start_is_finite(model: ProcessModel) -> None:
    columns = 6
    given = parameters(model, columns)
    begin = model.start(given)
    assert set(begin) == set(model.spec.states)
    for name, x in begin.items():
        assert bool((torch.isfinite(x) & (x >= model.spec.states[name].least)).all()), name
    weather = forcing(model, columns, 3)
    assert not solve(model, weather, given, begin, range(4)).failed


def test_jacobian_against_automatic_differentiation(model: ProcessModel) -> None:
    columns = 20
    state, weather, given = at_states(model, columns)
    p = model.prepare(given)
    true = coloured(model, state, weather, p)
    if model.linearise is not None:
        own = model.linearise(state, weather, p)
        for a, b in zip(own[:3], true[:3], strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)
        kind = structure(model.structure, model.bandwidth)
        unit = torch.eye(model.size, dtype=state.dtype)
        for i in range(model.size):
            e = unit[i].expand(columns, -1)
            a, b = (kind.transpose_apply(x.jacobian, e) for x in (own, true))
            torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-11)
    if model.slopes is not None:
        rates, entries = model.slopes(state, weather, p)
        dense = torch.zeros(columns, model.size, model.size, dtype=state.dtype)
        for (row, column), value in entries.items():
            dense[:, row, column] = value
        torch.testing.assert_close(dense, true.jacobian[0], rtol=1e-8, atol=1e-11)
        torch.testing.assert_close(torch.stack([*rates], -1), true.rates, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "solver",
    [Solver("implicit_euler", step=1.0), Solver("sdirk2", step=0.3), Solver("kvaerno3", rtol=1e-3)],
    ids=["implicit_euler", "sdirk2", "kvaerno3"],
)
def test_balance(model: ProcessModel, engine: str, solver: Solver) -> None:
    """What enters and leaves in each interval is what the storage changes by."""
    solution = run(model, solver, engine, columns=4, steps=12)
    if model.spec.stationary:
        pytest.skip("nothing is stored")
    assert not solution.failed and float(solution.balance_error().max()) < 1e-9
    net: Any = sum(q.balance * solution.fluxes[k] for k, q in model.spec.fluxes.items())
    size = float(solution.storage.detach().abs().max())
    torch.testing.assert_close(net, solution.storage.diff(), rtol=0, atol=1e-9 * size)


@pytest.mark.parametrize("varying", [False, True], ids=["static", "varying"])
def test_gradcheck_of_every_input(model: ProcessModel, engine: str, varying: bool) -> None:
    """Initial state, forcing, and parameters that are static or vary in time."""
    columns, steps = 2, 3
    given, weather = parameters(model, columns, seed=3), forcing(model, columns, steps, seed=4)
    if varying:
        change = torch.linspace(0.95, 1.05, steps, dtype=torch.float64)
        given = {
            k: v if k in SWITCHES else v[:, None] * (change[:, None] if v.ndim == 2 else change)
            for k, v in given.items()
        }
    begin = states(model, parameters(model, columns, seed=3), columns)
    solver = Solver("implicit_euler", step=1.0, **EXACT)
    fixed = {k: given.pop(k) for k in SWITCHES if k in given}
    inputs = {"state": begin, **weather, **given}
    sizes = {k: v.abs().clamp_min(1e-2) for k, v in inputs.items()}  # relative steps
    level = float(begin.abs().mean())

    frozen = solve(model, weather, given | fixed, begin, range(steps + 1), solver, engine)

    def outputs(*values: Tensor) -> Tensor:
        x = {k: v * sizes[k] for k, v in zip(inputs, values, strict=True)}
        f, p = {k: x[k] for k in weather}, {k: x[k] for k in given} | fixed
        s = solve(model, f, p, x["state"], range(steps + 1), solver, engine, replay=frozen)
        parts = (s.states / level, s.storage, *s.fluxes.values())
        return torch.cat([part.flatten() for part in parts])

    leaves = [(v / sizes[k]).requires_grad_() for k, v in inputs.items()]
    assert torch.autograd.gradcheck(outputs, leaves, eps=1e-6, atol=1e-5, rtol=1e-4, fast_mode=True)


def test_engines_at_random_states(julia: Any, model: ProcessModel) -> None:
    state, weather, given = at_states(model, 1000)
    ours = model.evaluate(state, weather, model.prepare(given), fluxes=True)
    theirs = evaluate(julia, model, state, weather, given)
    for name, a, b in zip(("storage", "rates", "fluxes"), ours, theirs, strict=True):
        size = a.abs().amax(-1, keepdim=True).clamp_min(1.0)
        assert float(((a - b).abs() / size).max()) < 1e-10, name


def test_solution_as_xarray(model: ProcessModel) -> None:
    solution = run(model, Solver("implicit_euler", step=1.0), "torch", columns=2, steps=3)
    data = solution.to_xarray()
    for name, entry in {**model.spec.states, **model.spec.fluxes}.items():
        assert data[name].attrs["units"] == entry.unit and data[name].attrs["long_name"], name
    assert data.attrs["Conventions"].startswith("CF") and data["time"].attrs["bounds"]
