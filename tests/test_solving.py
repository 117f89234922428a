"""What a solve keeps to when it is differentiated.

Inputs as they were, columns that failed, fluxes that are given, replays.
"""

from __future__ import annotations

import gc
import pickle
import weakref
from copy import copy, deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from richards_cases import F64
from torch import Tensor

from pydiffgeo import (
    HBV,
    Grid,
    NeuralClosure,
    ProcessModel,
    Richards,
    Roots,
    Solution,
    Solver,
    load_spec,
    solve,
    solve_fluxes,
    usda_soil,
)
from pydiffgeo.errors import ParameterError, SolveFailed, UnknownName
from pydiffgeo.models.base import Values
from pydiffgeo.solvers.kernels import KEPT

pytestmark = pytest.mark.usefixtures("engine")

LOAM = {"theta_r": 0.078, "theta_s": 0.43, "alpha": 0.036, "n": 1.56, "K_s": 1.04}


@pytest.mark.parametrize("changed", ["rain", "K_s", "initial_state", "times"])
def test_an_array_that_changes_after_the_solve_changes_nothing(changed: str) -> None:
    def gradient(change: bool) -> tuple[Tensor, Tensor]:
        given = {
            "rain": np.array([[0.5, 0.0, 0.2], [0.0, 1.0, 0.1]]),
            "K_s": np.array([1.0, 2.0]),
            "initial_state": np.full(10, -300.0),
            "times": np.arange(4.0),
        }
        alpha = torch.tensor(0.036, dtype=F64, requires_grad=True)
        s = solve(
            Richards(Grid.uniform(100.0, 10)),
            {"rain": given["rain"], "potential_evaporation": 0.01},
            {**LOAM, "K_s": given["K_s"], "alpha": alpha},
            given["initial_state"],
            given["times"],
        )
        if change:
            given[changed] *= 5.0
        s.states.square().sum().backward()
        assert s.times.tolist() == [1.0, 2.0, 3.0] and bool((s.initial_state == -300).all())
        return s.states.detach(), alpha.grad

    for a, b in zip(gradient(False), gradient(True), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("loss", ["first column", "mean of what is there"])
@pytest.mark.parametrize(("dtype", "head", "n"), [(F64, -1e300, 1.56), (torch.float32, -1e5, 10.0)])
def test_a_failed_column_leaves_no_trace_in_gradients(
    dtype: torch.dtype, head: float, n: float, loss: str
) -> None:
    # its curves overflow: zero times their slopes is NaN; and masks leave NaN as the cotangent of
    # NaN
    model, grads = Richards(Grid.uniform(100.0, 10)), []
    heads, ns = (
        torch.tensor([[-300.0], [head]], dtype=F64).expand(-1, 10),
        torch.tensor([1.56, n], dtype=F64),
    )
    for columns in (2, 1):
        alpha, rain = (
            torch.tensor(0.5, dtype=F64, requires_grad=True),
            torch.tensor([0.5, 0.0], dtype=F64, requires_grad=True),
        )
        s = solve(
            model,
            {"rain": rain, "potential_evaporation": 0.01},
            {**LOAM, "alpha": alpha, "n": ns[:columns]},
            heads[:columns],
            np.arange(3.0),
            Solver(on_failure="report", dtype=dtype, max_steps=500),
        )
        assert list(s.failed) == [1][: columns - 1]
        if loss == "first column":
            value = s.states[0].sum() + s.storage[0].sum() + s.fluxes["infiltration"][0].sum()
        else:
            value = (s.states - 1.0).square().nanmean() + (
                s.storage[:, 1:] + s.fluxes["infiltration"]
            ).nanmean()
        value.backward()
        grads.append((alpha.grad, rain.grad))
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4 if dtype == torch.float32 else 1e-9, atol=0)


@pytest.mark.parametrize(
    "solver", [Solver(), Solver("implicit_euler", step=1.0), Solver("sdirk2", step=0.5)]
)
@pytest.mark.parametrize("bad", ["not a number", "overflow"])
def test_columns_that_fail_in_their_first_step_are_reported(
    bad: str, solver: Solver, engine: str
) -> None:
    if engine == "julia" and solver.step is None:
        pytest.skip(
            "Julia would compile another method; with fixed steps it meets the same first step"
        )
    days = {
        "precipitation": [5.0, 0.0, 3.0],
        "temperature": 10.0,
        "potential_evapotranspiration": 1.0,
    }
    closure = NeuralClosure(
        1, hidden=(8,), output_range=(0.0, 1.0)
    )  # Julia compiles a model for each: that of other tests
    if bad == "not a number":
        torch.nn.init.constant_(closure.weights, float("nan"))
    model = HBV(closures={"recharge": closure}) if bad == "not a number" else HBV()
    field = torch.full((2,), 200.0, dtype=F64, requires_grad=True)
    state = torch.tensor([[1e300 if bad == "overflow" else 10.0], [10.0]], dtype=F64).expand(-1, 5)
    words = "column 0 in the interval that ends at 1: the rate of .* is not finite where .*No tol"
    with pytest.raises(SolveFailed, match=words) as error:
        solve(model, days, {"FC": field}, state, np.arange(4), solver)
    assert "rtol" not in str(error.value)
    s = solve(model, days, {"FC": field}, state, np.arange(4), replace(solver, on_failure="report"))
    assert set(s.failed) == ({0, 1} if bad == "not a number" else {0})
    s.states[1].nansum().backward()
    assert field.grad[0] == 0 and (field.grad[1] == 0) == (bad == "not a number")


TANK = """
name = "tank"
title = "Tank under the rain"
time_unit = "d"
[states.water]
unit = "mm"
scale = 10.0
storage = "water"
storage_unit = "mm"
storage_scale = 10.0
[forcings.rain]
unit = "mm d-1"
lower = 0.0
[fluxes.rain_in]
unit = "mm d-1"
balance = 1
"""


class Tank(ProcessModel):
    """A store filled by rain alone: neither rates nor fluxes depend on the state."""

    def __init__(self, folder: Path):
        (folder / "tank.toml").write_text(TANK)
        self.spec, self.size = load_spec(folder / "tank.toml"), 1

    def rates(self, state: Tensor, forcing: Values, parameters: Values) -> Tensor:
        return forcing["rain"].expand_as(state)

    fluxes = rates


@pytest.mark.parametrize(
    "solver", [Solver("implicit_euler", step=1.0), Solver("kvaerno3", rtol=1e-2)]
)
def test_fluxes_that_depend_on_no_state(torch_only: None, solver: Solver, tmp_path: Path) -> None:
    rain = torch.tensor([[1.0, 2.0, 3.0]], dtype=F64, requires_grad=True)
    s = solve(Tank(tmp_path), {"rain": rain}, {}, 10.0, np.arange(4), solver)
    assert s.states.flatten().tolist() == pytest.approx([11.0, 13.0, 16.0], rel=1e-12)
    (g,) = torch.autograd.grad(s.states.sum() + 2 * s.fluxes["rain_in"].sum(), rain)
    torch.testing.assert_close(g, torch.tensor([[5.0, 4.0, 3.0]], dtype=F64), rtol=1e-12, atol=0)


@pytest.mark.parametrize("method", ["implicit_euler", "kvaerno3"])
def test_fluxes_given_at_both_ends_are_the_forcing(method: str) -> None:
    top = torch.tensor([[0.01, 0.0, 0.03, 0.02]], dtype=F64, requires_grad=True)
    model = Richards(Grid.uniform(100.0, 10), top="flux", bottom="flux")
    s = solve(
        model,
        {"top_flux": top, "bottom_flux": 0.005},
        LOAM,
        -100.0,
        np.arange(5.0),
        Solver(method, rtol=1e-2),
    )
    (g,) = torch.autograd.grad(s.fluxes["infiltration"].sum(), top, retain_graph=True)
    torch.testing.assert_close(g, torch.ones_like(g), rtol=1e-12, atol=0)
    (g,) = torch.autograd.grad(s.storage[:, -1].sum(), top)
    torch.testing.assert_close(g, torch.ones_like(g), rtol=1e-9, atol=0)


def test_a_replay_of_another_problem_is_refused() -> None:
    model = Richards(Grid.uniform(100.0, 10), top="flux", bottom="flux")

    def run(columns: int = 2, times: Any = (0.0, 1.0, 3.0), **more: Any) -> Solution:
        top = torch.full((columns, len(times) - 1), 0.01, dtype=F64)
        return solve(model, {"top_flux": top, "bottom_flux": 0.0}, LOAM, -100.0, times, **more)

    s = run()
    assert torch.equal(run(replay=s).states, s.states)
    shorter = torch.tensor([[1.0], [0.9]], dtype=F64)
    refused: list[tuple[str, Solution, dict[str, Any]]] = [
        ("of 2 columns, this solve has 3", s, {"columns": 3}),
        ("of 2 intervals, this solve has 3", s, {"times": (0.0, 1.0, 2.0, 3.0)}),
        ("number 1 is 2 long there and 2.5 here", s, {"times": (0.0, 1.0, 3.5)}),
        (
            "in torch.float64, this solve is in torch.float32",
            s,
            {"solver": Solver(dtype=torch.float32)},
        ),
        (
            "the steps of column 1 do not fill interval 0",
            replace(s, steps=[t * shorter for t in s.steps]),
            {},
        ),
        (
            "the steps of column 0 do not fill interval",
            replace(s, steps=[t[:, :-3] for t in s.steps]),
            {},
        ),
        ("FBDF chooses its steps", s, {"solver": Solver("FBDF", sensitivity="GaussAdjoint")}),
    ]
    for words, other, given in refused:
        with pytest.raises(ParameterError, match=words):
            run(**given, replay=other)


def test_a_replay_guesses_as_the_solution_did_and_ends(torch_only: None) -> None:
    # a pond fills and drains: many steps of an hour fail before a shorter one, without a trend
    model = Richards(Grid.graded(60.0, 8, 2.0), top="surface_layer", roots=Roots())
    forcing = {"rain": [2.0, 0.0, 0.1], "potential_evaporation": [0.0, 0.03, 0.0]}
    forcing["potential_transpiration"] = [0.0, 0.05, 0.0]
    state, times = torch.tensor([[0.5, *[-200.0] * 8]], dtype=torch.float64), [0.0, 6.0, 30.0, 36.0]
    given = (model, forcing, usda_soil("sandy loam"), state, times)
    solver = Solver("implicit_euler", step=1.0, on_failure="report")
    first = solve(*given, solver)
    assert int(first.stats["rejected"]) > 10
    again = solve(*given, solver, replay=first)
    assert int(again.stats["rejected"]) == 0
    torch.testing.assert_close(again.states, first.states, rtol=0, atol=0)


def test_a_step_that_cannot_be_taken_ends_a_replay() -> None:
    """The soil cannot give so much water: the step is tried with the trend of those before it and
    without, and no third time."""
    times = [0.0, 6.0, 30.0, 36.0]
    drying = Richards(Grid.graded(60.0, 8, 2.0), top="flux")
    for solver in (
        Solver("implicit_euler", step=1.0, on_failure="report"),
        Solver(on_failure="report"),
    ):
        given = (usda_soil("sandy loam"), -200.0, times, solver)
        mild = solve(drying, {"top_flux": [0.0, 0.0, 0.0]}, *given)
        failed = solve(drying, {"top_flux": [0.0, -5.0, 0.0]}, *given, replay=mild)
        assert "a step of the replayed solution fails here" in failed.failed[0]
        assert int(failed.stats["rejected"]) <= 2


def test_steps_taken_in_other_chunks_can_be_replayed(torch_only: None) -> None:
    model = Richards(Grid.uniform(100.0, 10), top="flux", bottom="flux")
    given = {"top_flux": torch.tensor([[0.01], [0.02], [0.05]], dtype=F64), "bottom_flux": 0.0}
    s = solve(model, given, LOAM, -100.0, [0.0, 1.0], Solver(rtol=1e-2, chunk=1))
    again = solve(model, given, LOAM, -100.0, [0.0, 1.0], Solver(rtol=1e-2, chunk=2), replay=s)
    torch.testing.assert_close(again.states, s.states, rtol=1e-10, atol=1e-10)


def test_compiled_kernels_live_as_long_as_their_model(
    torch_only: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # in place of torch's compiler, which takes a minute, something that holds the function as it
    # does
    monkeypatch.setattr(
        torch, "compile", lambda f, dynamic: lambda *given, **named: f(*given, **named)
    )
    days = {"precipitation": [5.0, 0.0], "temperature": 10.0, "potential_evapotranspiration": 1.0}
    made = []

    def run(model: HBV) -> Tensor:
        return solve(
            model,
            days,
            {},
            10.0,
            [0, 1, 2],
            Solver("implicit_euler", step=1.0, compile=True),
            engine="torch",
        ).states

    model = HBV()
    states = run(model)
    kept = vars(model)[KEPT]
    run(model)
    assert vars(model)[KEPT] is kept
    for twin in (deepcopy(model), copy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(run(twin), states) and vars(twin)[KEPT].model is twin
        made.append(weakref.ref(twin))
    made.append(weakref.ref(model))
    del model, twin, kept
    gc.collect()
    assert [r() for r in made] == [None] * 4


@pytest.mark.parametrize("method", ["implicit_euler", "kvaerno3"])
@pytest.mark.parametrize("kind", ["hbv", "soil"])
def test_fluxes_alone_are_those_of_a_whole_solve_as_are_their_gradients(
    method: str, kind: str
) -> None:
    """Nineteen columns: groups that are solved side by side, and a rest."""
    random = torch.Generator().manual_seed(0)
    rain = 20 * torch.rand(19, 30, generator=random, dtype=F64).pow(3)
    if kind == "hbv":
        model, start, names = HBV(), 30.0, ("discharge", "evapotranspiration")
        forcing = {"temperature": 4.0, "potential_evapotranspiration": 2.0, "precipitation": rain}
        parameter, value = "FC", 100 + 300 * torch.rand(19, generator=random, dtype=F64)
        fixed: dict[str, Any] = {}
    else:
        model, start, names = Richards(Grid.uniform(60.0, 6)), -200.0, ("drainage",)
        forcing = {"rain": rain / 20, "potential_evaporation": 0.01}  # cm h-1
        parameter, value = "K_s", 1 + 3 * torch.rand(19, generator=random, dtype=F64)
        fixed = {k: v for k, v in LOAM.items() if k != "K_s"}
    solver = Solver(method, step=1.0) if method == "implicit_euler" and kind == "hbv" else method
    found = []
    for alone in (False, True):
        x = value.clone().requires_grad_()
        inputs = model, forcing, {**fixed, parameter: x}, start, range(31), solver
        fluxes = solve_fluxes(names, *inputs)[0] if alone else solve(*inputs).fluxes
        assert not alone or tuple(fluxes) == names
        sum(fluxes[name].square().sum() for name in names).backward()
        found.append((*(fluxes[name].detach() for name in names), x.grad))
    for whole, some in zip(*found, strict=True):
        assert torch.equal(whole, some)


def test_fluxes_alone_tell_what_failed() -> None:
    arguments = HBV(), {
        "precipitation": torch.full((3, 40), 5.0, dtype=F64),
        "temperature": 4.0,
        "potential_evapotranspiration": 2.0,
    }, {"FC": torch.tensor([100.0, 200.0, 300.0])}, 30.0, range(41)  # fmt: skip
    few = Solver("kvaerno3", rtol=1e-8, max_steps=50, on_failure="report")
    names = ["discharge", "evapotranspiration"]
    fluxes, failed = solve_fluxes(names, *arguments, few)
    whole = solve(*arguments, few)
    assert failed == whole.failed and len(failed) == 3
    assert bool(fluxes["discharge"][:, -1].isnan().all())
    for name in names:
        np.testing.assert_array_equal(fluxes[name], whole.fluxes[name])
    with pytest.raises(SolveFailed, match="3 of 3 columns of the hbv model failed"):
        solve_fluxes(["discharge"], *arguments, replace(few, on_failure="raise"))
    with pytest.raises(UnknownName, match="discharge"):
        solve_fluxes(["runoff"], *arguments)
    with pytest.raises(ParameterError, match="got 'discharge'"):
        solve_fluxes("discharge", *arguments)


def test_a_flux_may_be_named_twice() -> None:
    random = torch.Generator().manual_seed(0)
    rain = 20 * torch.rand(16, 10, generator=random, dtype=F64)
    forcing = {"temperature": 4.0, "potential_evapotranspiration": 2.0, "precipitation": rain}
    arguments = HBV(), forcing, {}, 30.0, range(11), Solver("implicit_euler", step=1.0)
    fluxes, _ = solve_fluxes(["discharge", "discharge"], *arguments)
    assert torch.equal(fluxes["discharge"], solve(*arguments).fluxes["discharge"])
