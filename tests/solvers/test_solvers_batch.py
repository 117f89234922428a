"""Columns of a batch: independent of each other, in chunks, compiled, in memory."""

import gc

import numpy as np
import pytest
import torch

from pydiffgeo import Grid, Richards, Roots, Solver, solve, usda_soil
from pydiffgeo.errors import SolveFailed
from pydiffgeo.solvers.record import Entry

pytestmark = pytest.mark.usefixtures("engine")

DAYS = 6


def storms(columns: int) -> dict[str, torch.Tensor]:
    r = np.random.default_rng(5)
    rain = np.where(r.random((columns, DAYS)) < 0.5, r.gamma(0.8, 2.0, (columns, DAYS)), 0) / 24
    return {
        "rain": torch.tensor(rain),
        "potential_evaporation": torch.tensor(0.1 / 24),
        "potential_transpiration": torch.tensor(0.2 / 24),
    }


def mixed_soils(columns: int) -> dict[str, torch.Tensor]:
    names = ["sand", "loam", "silt_loam", "sandy_clay_loam"]
    soils = [usda_soil(names[i % len(names)]) for i in range(columns)]
    return {k: torch.tensor([s[k] for s in soils], dtype=torch.float64) for k in soils[0]}


@pytest.mark.parametrize("method", ["sdirk2", "kvaerno3"])
def test_a_column_is_the_same_alone_and_in_a_batch(method: str) -> None:
    model = Richards(Grid.graded(100, 16, top=2.0), roots=Roots())
    forcing, soils = storms(5), mixed_soils(5)
    times = 24.0 * np.arange(DAYS + 1)
    together = solve(model, forcing, soils, -200.0, times, Solver(method, rtol=1e-2))
    chunked = solve(model, forcing, soils, -200.0, times, Solver(method, rtol=1e-2, chunk=2))
    torch.testing.assert_close(chunked.states, together.states, rtol=1e-9, atol=1e-9)
    for i in range(5):
        one = solve(
            model,
            forcing | {"rain": forcing["rain"][i : i + 1]},
            {k: v[i : i + 1] for k, v in soils.items()},
            -200.0,
            times,
            Solver(method, rtol=1e-2),
        )
        # the chained LAPACK solve rounds differently from a single one, and nothing else may differ
        torch.testing.assert_close(one.states[0], together.states[i], rtol=1e-6, atol=1e-6)
        assert int(one.stats["accepted"][0]) == int(together.stats["accepted"][i])


def test_gradients_of_chunks_add_up() -> None:
    model = Richards(Grid.graded(100, 16, top=2.0), roots=Roots())
    times = 24.0 * np.arange(DAYS + 1)
    grads = []
    for chunk in (256, 2):
        n = torch.tensor(1.4, dtype=torch.float64, requires_grad=True)
        s = solve(
            model,
            storms(5),
            {**usda_soil("loam"), "n": n},
            -200.0,
            times,
            Solver("sdirk2", rtol=1e-2, chunk=chunk),
        )
        (s.states[:, -1] / 100).square().sum().backward()
        grads.append(n.grad)
    torch.testing.assert_close(grads[0], grads[1], rtol=1e-8, atol=0)


def test_one_shared_step_costs_more_and_agrees(torch_only: None) -> None:
    model = Richards(Grid.uniform(100, 40), top="head", bottom="head")
    K_s = 0.00922 * torch.logspace(-1, 1, 8, dtype=torch.float64)
    case = (
        {"top_head": -75.0, "bottom_head": -1000.0},
        {"theta_r": 0.102, "theta_s": 0.368, "alpha": 0.0335, "n": 2.0, "K_s": K_s},
    )
    own = solve(model, *case, -1000.0, [0.0, 20000.0], Solver(rtol=1e-3))
    shared = solve(model, *case, -1000.0, [0.0, 20000.0], Solver(rtol=1e-3, shared_step=True))
    torch.testing.assert_close(
        model.water_content(own.states, case[1]),
        model.water_content(shared.states, case[1]),
        atol=2e-3,
        rtol=0,
    )
    assert int(shared.stats["newton_iterations"].sum()) > 1.2 * int(
        own.stats["newton_iterations"].sum()
    )
    assert len(set(shared.stats["accepted"].tolist())) == 1


def test_memory_does_not_grow_with_calls(torch_only: None) -> None:
    model = Richards(Grid.uniform(100, 20), top="head", bottom="head")

    def call(i: int) -> None:
        alpha = torch.tensor([0.03, 0.04], dtype=torch.float64, requires_grad=True)
        soil = {**usda_soil("loam"), "alpha": alpha}
        s = solve(
            model,
            {"top_head": -75.0, "bottom_head": -1000.0},
            soil,
            -1000.0,
            [0.0, 0.1],
            Solver(rtol=1e-2),
        )
        if i % 2:
            s.states.sum().backward()

    def entries() -> int:
        gc.collect()
        return sum(isinstance(o, Entry) for o in gc.get_objects())

    call(0)
    before = entries()
    for i in range(12):
        call(i)
    assert entries() == before == 0


def test_failed_columns_are_named_and_others_kept() -> None:
    model = Richards(Grid.uniform(100, 20), top="head", bottom="head")
    soils = {**usda_soil("loam"), "K_s": torch.tensor([1e-3, 10.0], dtype=torch.float64)}
    forcing = {"top_head": -10.0, "bottom_head": -1000.0}
    options = {"method": "kvaerno3", "rtol": 1e-3, "max_steps": 60}
    with pytest.raises(
        SolveFailed, match="column 1 in the interval that ends at 50.*max_steps"
    ) as caught:
        solve(model, forcing, soils, -1000.0, [0.0, 50.0], Solver(**options))
    assert set(caught.value.failed) == {1}
    s = solve(model, forcing, soils, -1000.0, [0.0, 50.0], Solver(**options, on_failure="report"))
    assert (
        set(s.failed) == {1}
        and bool(torch.isnan(s.states[1]).all())
        and bool(torch.isfinite(s.states[0]).all())
    )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("dtype,size", [(torch.float64, 1e-6), (torch.float32, 2e-2)])
def test_cuda_agrees_with_cpu(torch_only: None, dtype: torch.dtype, size: float) -> None:
    model = Richards(Grid.graded(100, 16, top=2.0), roots=Roots())
    times = 24.0 * np.arange(DAYS + 1)
    out = []
    for device in ("cpu", "cuda"):
        soils = {k: v.to(device).requires_grad_() for k, v in mixed_soils(5).items()}
        forcing = {k: v.to(device) for k, v in storms(5).items()}
        s = solve(
            model,
            forcing,
            soils,
            torch.full((5, 16), -200.0, device=device),
            times,
            Solver("sdirk2", rtol=1e-3, dtype=dtype),
        )
        (g,) = torch.autograd.grad((s.states[:, -1] / 100).square().sum(), soils["n"])
        out.append((s.states.cpu().double(), g.cpu().double()))
    torch.testing.assert_close(out[1][0], out[0][0], rtol=size, atol=size)
    torch.testing.assert_close(out[1][1], out[0][1], rtol=10 * size, atol=10 * size)
