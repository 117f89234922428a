"""Many steps in one Newton iteration.

The same trajectories and gradients as step by step, and what is done where it fails.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hbv_cases import F64, initial_state, random_parameters, weather
from torch import Tensor

from pydiffgeo import HBV, MODELS, ProcessModel, Solution, Solver, load_spec, solve
from pydiffgeo.engines import torch_engine
from pydiffgeo.models.base import Values
from pydiffgeo.solvers import step_windows

EXACT = {"newton_tolerance": 1e-9}  # step by step: stages as exact as those of windows


def run(
    model: ProcessModel,
    solver: Solver,
    forcing: Values,
    parameters: Values,
    state: Any = None,
    times: Any = None,
    **more: Any,
) -> Solution:
    times = range(forcing["precipitation"].shape[1] + 1) if times is None else times
    return solve(
        model,
        forcing,
        parameters,
        initial_state(model) if state is None else state,
        times,
        solver,
        "torch",
        **more,
    )


@pytest.fixture
def step_by_step(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Switch windows off and on."""
    own = torch_engine.in_windows
    return lambda off: monkeypatch.setattr(
        torch_engine, "in_windows", (lambda *_: False) if off else own
    )


@pytest.mark.parametrize("step", [1.0, 0.3])
@pytest.mark.parametrize("method", ["implicit_euler", "sdirk2"])
@pytest.mark.parametrize("name", ["hbv", "exp_hydro"])
def test_same_as_step_by_step(
    name: str, method: str, step: float, step_by_step: Callable[[bool], None]
) -> None:
    model, basins, days = MODELS[name](), 6, 90  # type: ignore[call-arg]
    solver = Solver(method, step=step, **EXACT)
    state = initial_state(model).expand(basins, -1).clone()
    inputs = {**weather(basins, days), **random_parameters(model, basins), "state": state}
    varying = next(iter(model.spec.parameters))
    inputs[varying] = inputs[varying][:, None] * torch.linspace(0.8, 1.2, days, dtype=F64)
    times = torch.arange(days + 1, dtype=F64)
    times[40:] += 0.5  # one longer interval
    found = []
    for off in (False, True):
        step_by_step(off)
        x = {k: v.clone().requires_grad_() for k, v in inputs.items()}
        forcing, parameters = (
            {k: x[k] for k in model.spec.forcings},
            {k: x[k] for k in model.spec.parameters},
        )
        s = run(model, solver, forcing, parameters, x["state"], times)
        parts = [s.states, s.storage, *s.fluxes.values()]
        loss = sum(
            (y * torch.linspace(0.5, 1.5, y.numel(), dtype=F64).view(y.shape)).mean() for y in parts
        )
        found.append((s, torch.autograd.grad(loss, list(x.values()))))  # type: ignore[arg-type]
    (ours, our_gradient), (theirs, their_gradient) = found
    same = theirs.stats["rejected"] == 0  # where Newton fails step by step, it halves the step
    assert int(same.sum()) >= basins - 1
    assert int(ours.stats["newton_iterations"][0]) < 40  # of all 90 days at once
    torch.testing.assert_close(ours.states[same], theirs.states[same], rtol=1e-9, atol=1e-8)
    for k, q in ours.fluxes.items():
        torch.testing.assert_close(q[same], theirs.fluxes[k][same], rtol=1e-8, atol=1e-8)
    for k, a, b in zip(inputs, our_gradient, their_gradient, strict=True):
        assert float((a - b)[same].norm()) <= 1e-7 * float(b[same].norm()), k
    assert float(ours.balance_error().max()) < 1e-12
    # the steps that were taken can be taken again, step by step
    again = run(
        model,
        solver,
        {k: inputs[k] for k in model.spec.forcings},
        {k: inputs[k] for k in model.spec.parameters},
        inputs["state"],
        times,
        replay=ours,
    )
    torch.testing.assert_close(again.states[same], ours.states[same].detach(), rtol=1e-9, atol=1e-8)


def against_differences(
    model: ProcessModel, solver: Solver, forcing: dict[str, Tensor], observed: Tensor
) -> dict[str, float]:
    """Relative errors of derivatives along random directions of the inputs, after a warm-up of half
    the time.
    """
    basins, days = observed.shape
    parameters = random_parameters(model, basins)
    varying = next(iter(parameters))
    parameters[varying] = parameters[varying][:, None].expand(-1, days).clone()
    inputs = {**parameters, **forcing, "state": initial_state(model).expand(basins, -1).clone()}

    def loss(x: dict[str, Tensor]) -> Tensor:
        s = run(
            model, solver, {k: x[k] for k in forcing}, {k: x[k] for k in parameters}, x["state"]
        )
        late = slice(days // 2, None)
        return (s.fluxes["discharge"][:, late] - observed[:, late]).square().mean() + s.states[
            :, late
        ].square().mean() * 1e-4

    x = {k: v.clone().requires_grad_() for k, v in inputs.items()}
    grads = dict(zip(x, torch.autograd.grad(loss(x), list(x.values())), strict=True))
    static = [k for k in parameters if k != varying]
    errors = {}
    for names in (static, [varying], list(forcing), ["state"]):
        # what is zero stays so
        directions = {k: torch.randn_like(inputs[k]) * inputs[k].abs() for k in names}
        exact = float(sum((grads[k] * d).sum() for k, d in directions.items()))

        def along(t: float, directions: dict[str, Tensor] = directions) -> float:
            return float(loss({**inputs, **{k: inputs[k] + t * d for k, d in directions.items()}}))

        h = 3e-5
        difference = (8 * (along(h) - along(-h)) - (along(2 * h) - along(-2 * h))) / (
            12 * h
        )  # of fourth order
        errors[names[0]] = abs(difference - exact) / abs(exact)
    return errors


@pytest.mark.parametrize("method", ["implicit_euler", "sdirk2"])
def test_gradient_against_differences(method: str) -> None:
    forcing = weather(64, 730)
    observed = torch.rand(64, 730, dtype=F64) * 5
    errors = against_differences(HBV(), Solver(method, step=1.0), forcing, observed)
    assert max(errors.values()) < 1e-6, errors


def test_gradient_on_real_basins(shared_data: Callable[[str], Path]) -> None:
    xarray = pytest.importorskip("xarray")
    with xarray.open_dataset(shared_data("camels_us_daymet_500.nc")) as data:
        part = (
            data[["prcp", "tmin", "tmax", "qobs"]]
            .isel(basin=slice(0, 500, 8), time=slice(0, 730))
            .load()
        )
    low, high = (torch.from_numpy(part[k].values) for k in ("tmin", "tmax"))
    temperature = (low + high) / 2
    forcing = {
        "precipitation": torch.from_numpy(part["prcp"].values),
        "temperature": temperature,
        "potential_evapotranspiration": 0.17 * (temperature + 5).clamp_min(0.2),
    }
    observed = torch.from_numpy(part["qobs"].values).to(F64).nan_to_num(1.0)
    errors = against_differences(HBV(), Solver("implicit_euler", step=1.0), forcing, observed)
    assert max(errors.values()) < 1e-6, errors


def test_columns_do_not_depend_on_chunks_or_neighbours() -> None:
    model, basins, days = HBV(), 7, 60
    forcing, parameters = weather(basins, days), random_parameters(model, basins)
    whole = run(model, Solver("sdirk2", step=1.0), forcing, parameters).states
    parts = run(model, Solver("sdirk2", step=1.0, chunk=3), forcing, parameters).states
    alone = run(
        model,
        Solver("sdirk2", step=1.0),
        *({k: v[4:5] for k, v in x.items()} for x in (forcing, parameters)),
    ).states
    torch.testing.assert_close(parts, whole, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(alone[0], whole[4], rtol=1e-9, atol=1e-9)


def test_single_precision() -> None:
    model, basins, days = HBV(), 16, 200
    forcing, parameters = weather(basins, days), random_parameters(model, basins)
    exact = run(model, Solver("implicit_euler", step=1.0), forcing, parameters).fluxes["discharge"]
    single = {k: v.float().requires_grad_() for k, v in parameters.items()}
    q = run(model, Solver("implicit_euler", step=1.0, dtype=torch.float32), forcing, single).fluxes[
        "discharge"
    ]
    assert q.dtype == torch.float32
    assert float((q - exact).abs().max()) < 1e-3 * float(exact.max())
    q.mean().backward()
    assert all(bool(v.grad.isfinite().all()) for v in single.values() if v.grad is not None)


def test_stuck_columns_are_solved_step_by_step(step_by_step: Callable[[bool], None]) -> None:
    """With little patience windows give up some basins.

    These have the steps, results and gradients of step by step.
    """
    model, basins, days = HBV(), 12, 60
    model.ahead = None  # days that begin near their ends need no patience
    forcing, parameters = weather(basins, days), random_parameters(model, basins)
    results = []
    for off, more in ((False, {}), (False, {"max_newton": 4}), (True, {"max_newton": 4})):
        step_by_step(off)
        x = {k: v.clone().requires_grad_() for k, v in parameters.items()}
        s = run(model, Solver("implicit_euler", step=1.0, **EXACT, **more), forcing, x)
        grads = torch.autograd.grad(s.fluxes["discharge"].square().mean(), list(x.values()))
        results.append(
            (
                s.stats["rejected"],
                torch.cat([s.states.detach().flatten(1), torch.stack(grads, 1)], 1),
            )
        )
    (_, patient), (rejected, mixed), (_, by_steps) = results
    stuck = rejected > 0
    assert 0 < int(stuck.sum()) < basins
    torch.testing.assert_close(mixed[stuck], by_steps[stuck], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(mixed[~stuck], patient[~stuck], rtol=1e-8, atol=1e-8)


class Reservoir(ProcessModel):
    """d water / dt = rain - k(water) water with a network k: rates only, as a user writes them."""

    size = 1

    def __init__(self, spec: Any) -> None:
        self.spec = spec
        self.net = torch.nn.Linear(1, 1, dtype=F64)
        torch.nn.init.constant_(self.net.weight, 0.01)
        torch.nn.init.constant_(self.net.bias, 0.3)

    def rates(self, state: Tensor, forcing: Values, parameters: Values) -> Tensor:
        out = torch.where(
            state > 1e6, torch.nan, parameters["k"] * self.net(state) * state
        )  # a store that cannot be
        return forcing["precipitation"] - out

    def fluxes(self, state: Tensor, forcing: Values, parameters: Values) -> Tensor:
        rain = forcing["precipitation"].expand_as(state)
        return torch.cat([rain, rain - self.rates(state, forcing, parameters)], -1)


@pytest.fixture
def reservoir(tmp_path: Path) -> Reservoir:
    file = tmp_path / "reservoir.toml"
    file.write_text(
        'name = "reservoir"\ntime_unit = "d"\n[states.water]\nunit = "mm"\nscale = 10.0\nstorage '
        '= "water"\nstorage_unit = "mm"\nstorage_scale = 10.0\n[parameters.k]\nunit = "1"\nlower '
        '= 0.1\nupper = 2.0\ndefault = 1.0\n[forcings.precipitation]\nunit = "mm '
        'd-1"\n[fluxes.rain_in]\nunit = "mm d-1"\nbalance = 1\n[fluxes.runoff]\nunit = "mm '
        'd-1"\nbalance = -1\n'
    )
    return Reservoir(load_spec(file))


def test_model_without_slopes(reservoir: Reservoir, step_by_step: Callable[[bool], None]) -> None:
    """Rates alone are enough.

    Gradients reach the weights of a network; each step is the root of its quadratic.
    """
    rain = torch.rand(3, 20, dtype=F64) * 10
    k = torch.tensor([0.5, 1.0, 1.5], dtype=F64)
    grads = []
    for off in (False, True):
        step_by_step(off)
        s = run(
            reservoir,
            Solver("implicit_euler", step=1.0, **EXACT),
            {"precipitation": rain},
            {"k": k},
            [5.0],
        )
        grads.append(
            torch.autograd.grad(
                s.fluxes["runoff"].square().mean(), list(reservoir.net.parameters())
            )
        )
        before = torch.cat([torch.full((3, 1), 5.0, dtype=F64), s.states[:, :-1, 0].detach()], 1)
        a, b, c = 0.01 * k[:, None], 1 + 0.3 * k[:, None], before + rain
        root = (-b + (b * b + 4 * a * c).sqrt()) / (2 * a)
        torch.testing.assert_close(s.states[..., 0].detach(), root, rtol=1e-10, atol=1e-10)
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-12)


class Leaking(Reservoir):
    """d water / dt = rain - k: rates that know no state, one for all columns."""

    def rates(self, state: Tensor, forcing: Values, parameters: Values) -> Tensor:
        return forcing["precipitation"] - parameters["k"]

    def fluxes(self, state: Tensor, forcing: Values, parameters: Values) -> Tensor:
        rain = forcing["precipitation"].expand_as(state)
        return torch.cat([rain, parameters["k"].expand_as(state)], -1)


@pytest.mark.parametrize("step", [1.0, 0.5])
def test_rates_that_are_the_same_in_all_columns(reservoir: Reservoir, step: float) -> None:
    rain = torch.tensor([[4.0, 5.0, 6.0]], dtype=F64)
    k = torch.tensor(0.5, dtype=F64, requires_grad=True)
    begins = torch.tensor([[10.0], [20.0], [30.0]], dtype=F64)
    solver = Solver("implicit_euler", step=step)
    s = run(Leaking(reservoir.spec), solver, {"precipitation": rain}, {"k": k}, begins)
    expected = begins + (rain - 0.5).cumsum(1)
    torch.testing.assert_close(s.states[..., 0].detach(), expected)
    torch.testing.assert_close(s.storage[:, 1:].detach(), expected)
    (slope,) = torch.autograd.grad(s.storage.sum(), k)
    assert float(slope) == pytest.approx(-3 * (1 + 2 + 3))


def test_column_that_cannot_be_solved_leaves_the_others(reservoir: Reservoir) -> None:
    rain = torch.rand(3, 20, dtype=F64) * 10
    rain[1, 12] = 1e13
    k = torch.ones(3, dtype=F64, requires_grad=True)
    solver = Solver("implicit_euler", step=1.0, on_failure="report", max_steps=200)
    s = run(reservoir, solver, {"precipitation": rain}, {"k": k}, [5.0])
    assert list(s.failed) == [1] and "in the interval that ends at 13" in s.failed[1]
    assert bool(s.states[[0, 2]].isfinite().all()) and bool(s.states[1, 12:].isnan().all())
    s.states[[0, 2]].sum().backward()
    assert k.grad is not None and bool(k.grad[[0, 2]].isfinite().all())


def test_sdirk2_can_overdraw_a_store() -> None:
    """A thin snow cover that melts at once: the second stage starts from less than nothing.

    Implicit Euler never does that.
    """
    model, days = HBV(), 6
    forcing = {
        "precipitation": torch.zeros(1, days, dtype=F64),
        "temperature": torch.full((1, days), 20.0, dtype=F64),
        "potential_evapotranspiration": torch.zeros(1, days, dtype=F64),
    }
    state = torch.tensor([30.0, 0.0, 100.0, 10.0, 10.0], dtype=F64)

    def lowest(method: str, step: float) -> float:
        s = run(model, Solver(method, step=step), forcing, {"CFMAX": torch.tensor([10.0])}, state)
        assert float(s.balance_error().max()) < 1e-12  # whatever the sign
        return float(s.states.min())

    assert lowest("implicit_euler", 1.0) >= 0
    assert -3 < lowest("sdirk2", 1.0) < -0.1
    assert lowest("sdirk2", 0.02) > -1e-3  # steps that resolve the melting


def test_a_basin_across_a_threshold_does_not_slow_its_batch(
    step_by_step: Callable[[bool], None],
) -> None:
    """A thin soil whose evapotranspiration falls with the fifth power of its water.

    Newton finished a day per iteration.
    """
    days = 120
    forcing = {
        "precipitation": 5 * torch.rand(1, days, dtype=F64),
        "temperature": torch.full((1, days), 5.0, dtype=F64),
        "potential_evapotranspiration": torch.full((1, days), 8.0, dtype=F64),
    }
    easy = {"FC": torch.full((4,), 250.0), "LP": torch.full((4,), 0.7), "BETAET": torch.ones(4)}
    mixed = {
        k: torch.cat([v[:3], torch.tensor([x])])
        for (k, v), x in zip(easy.items(), (50.0, 0.2, 5.0), strict=True)
    }
    solver = Solver("implicit_euler", step=1.0, **EXACT)
    alone, both = (run(HBV(), solver, forcing, p, [0.0] * 5) for p in (easy, mixed))
    assert (
        int(both.stats["newton_iterations"].max())
        < 3 * int(alone.stats["newton_iterations"].max())
        < 60
    )
    torch.testing.assert_close(both.states[:3], alone.states[:3], rtol=1e-12, atol=1e-12)
    step_by_step(True)
    one_by_one = run(HBV(), solver, forcing, mixed, [0.0] * 5)
    torch.testing.assert_close(both.states, one_by_one.states, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("method", ["implicit_euler", "sdirk2"])
def test_where_a_model_begins_changes_no_result(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`ahead` saves iterations."""
    model, basins, days = HBV(), 9, 200
    forcing, parameters = weather(basins, days), random_parameters(model, basins)
    solver = Solver(method, step=0.5)
    monkeypatch.setattr(step_windows, "MARCHING", 1)
    guided = run(model, solver, forcing, parameters)
    monkeypatch.setattr(model, "ahead", None)
    plain = run(model, solver, forcing, parameters)
    torch.testing.assert_close(guided.states, plain.states, rtol=1e-11, atol=1e-11)
    counts = [int(x.stats["newton_iterations"].sum()) for x in (guided, plain)]
    assert counts[0] < 0.7 * counts[1]


def test_a_dry_basin_at_the_corner_of_its_bounds_is_solved_as_fast_as_others() -> None:
    """Soil of 50 mm that dries at once in the fifth power."""
    days = 365
    rain = 5 * torch.rand(days, generator=torch.Generator().manual_seed(0), dtype=F64)
    forcing = {"precipitation": rain, "temperature": 5.0, "potential_evapotranspiration": 8.0}
    usual = {"FC": 250.0, "LP": 0.7, "BETAET": 1.0}
    corner = {"FC": 50.0, "LP": 0.2, "BETAET": 5.0}
    both = {k: torch.tensor([usual[k], corner[k]], dtype=F64) for k in usual}
    solver = Solver("implicit_euler", step=1.0)
    easy, hard = (
        solve(HBV(), forcing, p, [0.0] * 5, range(days + 1), solver, "torch").stats
        for p in (usual, both)
    )
    assert int(hard["newton_iterations"].max()) <= 2 * int(easy["newton_iterations"].max()) <= 30


def test_compiled_operations_give_the_same_solution_and_gradient(compiled: set[str]) -> None:
    """All work on the model goes through what the compiler gave, whose graphs serve only once."""
    random = torch.Generator().manual_seed(3)
    days = {
        "precipitation": 20 * torch.rand(3, 12, generator=random, dtype=F64).square(),
        "temperature": 8 * torch.randn(3, 12, generator=random, dtype=F64),
        "potential_evapotranspiration": 2.0,
    }
    found = []
    for compile in (False, True):
        capacity = torch.tensor([100.0, 200.0, 400.0], dtype=F64, requires_grad=True)
        solver = Solver("implicit_euler", step=0.5, compile=compile)
        solution = solve(HBV(), days, {"FC": capacity}, 30.0, range(13), solver, engine="torch")
        total = solution.fluxes["discharge"].square().sum() + solution.states[:, 5].sum()
        total.backward()
        found.append((solution.states.detach(), capacity.grad))
    assert compiled >= {"evaluate", "slopes", "inverse"}
    torch.testing.assert_close(found[1], found[0], rtol=0, atol=0)
