"""The explicit loop: its own balance, and the same model as the smooth one."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from hbv_cases import F64, initial_state, random_parameters, weather
from hybrid_cases import basins

import pydiffgeo as pdg
from pydiffgeo import HBV, Solver, solve
from pydiffgeo.stages.explicit_hbv import ExplicitHBV, explicit_hbv

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))


def test_balance_and_positive_stores() -> None:
    model = HBV()
    forcing, parameters = weather(20, 300), random_parameters(model, 20)
    states, fluxes = explicit_hbv(forcing, parameters, initial_state(model))
    assert float(states.min()) >= 0
    before = torch.cat([initial_state(model).expand(20, 1, 5), states[:, :-1]], 1)
    net = forcing["precipitation"] - fluxes["evapotranspiration"] - fluxes["discharge"]
    torch.testing.assert_close((states - before).sum(-1), net, rtol=0.0, atol=1e-9)
    torch.testing.assert_close(
        fluxes["discharge"], fluxes["quick_flow"] + fluxes["interflow"] + fluxes["base_flow"]
    )


def test_same_model_as_the_smooth_one() -> None:
    """Over years both discharge alike.

    What differs is thresholds and the order of processes within a day.
    """
    model = HBV()
    forcing, parameters = weather(30, 1095), random_parameters(model, 30)
    _, fluxes = explicit_hbv(forcing, parameters, initial_state(model))
    solver = Solver("implicit_euler", step=1.0)
    s = solve(model, forcing, parameters, initial_state(model), range(1096), solver, "torch")
    a, b = fluxes["discharge"][:, 365:], s.fluxes["discharge"][:, 365:]
    assert float(((a.mean(1) - b.mean(1)).abs() / b.mean(1)).median()) < 0.1
    correlation = torch.stack(
        [torch.corrcoef(torch.stack(x))[0, 1] for x in zip(a, b, strict=True)]
    )
    assert float(correlation.median()) > 0.9


def test_daily_parameters_and_gradient() -> None:
    forcing, parameters = weather(3, 30), random_parameters(HBV(), 3)
    parameters["BETA"] = parameters["BETA"][:, None].expand(-1, 30).clone()
    x = {k: v.requires_grad_() for k, v in parameters.items()}
    _, fluxes = explicit_hbv(forcing, x, initial_state(HBV()))
    grads = torch.autograd.grad(fluxes["discharge"].square().mean(), list(x.values()))
    assert all(bool(g.isfinite().all()) for g in grads) and grads[0].shape == (3, 30)


def test_benchmark_integrates_the_same_rates() -> None:
    import hbv_rates

    model = HBV()
    assert {k: (s.lower, s.upper) for k, s in model.spec.parameters.items()} == hbv_rates.BOUNDS
    p = {k: torch.from_numpy(v) for k, v in hbv_rates.parameters(200).items()}
    f = {k: torch.from_numpy(v) for k, v in hbv_rates.weather(1, 200).items()}
    state = torch.rand(200, 5, dtype=F64) * 4 * initial_state(model)
    changes, discharge = hbv_rates.rates(state.unbind(-1), [v[0] for v in f.values()], p, torch)
    e = model.evaluate(
        state, {k: v.T for k, v in f.items()}, {k: v[:, None] for k, v in p.items()}, fluxes=True
    )
    torch.testing.assert_close(torch.stack(changes, -1), e.rates, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(discharge, e.fluxes[:, 2], rtol=1e-9, atol=1e-9)


def test_the_stage_is_the_loop_from_empty_stores() -> None:
    stage = ExplicitHBV(bounds={"K2": (0.01, 0.2)})
    hybrid = pdg.Hybrid(pdg.MLP(hidden=(4,)), stage, dtype=F64)
    windows = pdg.Windows(basins(3, 20), dtype=F64)
    hybrid.prepare(windows)
    batch = windows.reading(hybrid.reads, ["discharge"], hybrid.needs).batch(0)
    series = hybrid(batch)
    p = {k: v[:, 0] for k, v in hybrid.parameters_of(batch).items()}
    forcing = dict(batch.series)
    forcing["temperature"] = forcing.pop("tair_mean")
    states, fluxes = explicit_hbv(forcing, p, torch.zeros(5, dtype=F64))
    assert torch.equal(series["discharge"], fluxes["discharge"])
    assert torch.equal(series["soil"], states[..., 2])
    assert bool(((p["K2"] > 0.01) & (p["K2"] < 0.2)).all())
