"""Bucket models on both engines: rates, discharge and gradients agree."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hbv_cases import F64, initial_state, random_parameters, weather
from torch import Tensor

from pydiffgeo import HBV, MODELS, ExpHydro, ProcessModel, Solver, solve

EXACT = {"newton_tolerance": 1e-9}  # stages of the Julia engine are as exact as those of windows


@pytest.fixture(
    params=[HBV, ExpHydro, lambda: HBV(melt_threshold=True)],
    ids=["hbv", "exp_hydro", "melt_threshold"],
)
def model(request: pytest.FixtureRequest) -> ProcessModel:
    built: ProcessModel = request.param()
    return built


def differences(
    model: ProcessModel, solver: Solver, forcing: dict[str, Tensor], daily: bool = False
) -> tuple[float, float]:
    """Between the engines: the largest of discharge on any day, relative.

    And of the gradient in any input, by its norm.
    """
    basins, days = forcing["precipitation"].shape
    parameters = random_parameters(model, basins)
    if daily:
        for k in list(parameters)[:3]:
            parameters[k] = parameters[k][:, None] * torch.linspace(0.8, 1.2, days, dtype=F64)
    inputs = {**forcing, **parameters, "state": initial_state(model).expand(basins, -1).clone()}
    found = []
    for engine in ("torch", "julia"):
        x = {k: v.clone().requires_grad_() for k, v in inputs.items()}
        given = {k: x[k] for k in forcing}, {k: x[k] for k in parameters}, x["state"]
        s = solve(model, *given, range(days + 1), solver, engine)
        loss = s.fluxes["discharge"].square().mean() + s.states.square().mean() * 1e-3
        found.append((s.fluxes["discharge"].detach(), torch.autograd.grad(loss, list(x.values()))))
    (q, ours), (other, theirs) = found
    of_gradient = [float((a - b).norm() / a.norm()) for a, b in zip(ours, theirs, strict=True)]
    return float(((q - other).abs() / q.abs().clamp_min(1e-3)).max()), max(of_gradient)


@pytest.mark.parametrize("method", ["implicit_euler", "sdirk2"])
def test_discharge_and_gradient(julia: Any, model: ProcessModel, method: str) -> None:
    of_discharge, of_gradient = differences(
        model, Solver(method, step=1.0, **EXACT), weather(37, 400)
    )
    assert of_discharge < 1e-6 and of_gradient < 1e-5


def test_daily_parameters_and_substeps(julia: Any, model: ProcessModel) -> None:
    of_discharge, of_gradient = differences(
        model, Solver("implicit_euler", step=0.4, **EXACT), weather(9, 60), daily=True
    )
    assert of_discharge < 1e-6 and of_gradient < 1e-5


def test_adaptive_steps(julia: Any, model: ProcessModel) -> None:
    """Two solves with steps of their own: the difference is that of the tolerance."""
    days, forcing, parameters = 30, weather(3, 30), random_parameters(model, 3)
    a, b = (
        solve(
            model,
            forcing,
            parameters,
            initial_state(model),
            range(days + 1),
            Solver("kvaerno3", rtol=1e-6),
            engine,
        )
        for engine in ("torch", "julia")
    )
    torch.testing.assert_close(a.states, b.states, rtol=1e-4, atol=1e-3)


def test_real_basins(julia: Any, shared_data: Callable[[str], Path]) -> None:
    xarray = pytest.importorskip("xarray")
    with xarray.open_dataset(shared_data("camels_us_daymet_500.nc")) as data:
        part = (
            data[["prcp", "tmin", "tmax"]].isel(basin=slice(0, 500, 8), time=slice(0, 730)).load()
        )
    temperature = torch.from_numpy((part["tmin"].values + part["tmax"].values) / 2)
    forcing = {
        "precipitation": torch.from_numpy(part["prcp"].values),
        "temperature": temperature,
        "potential_evapotranspiration": 0.17 * (temperature + 5).clamp_min(0.2),
    }
    solver = Solver("implicit_euler", step=1.0, **EXACT)
    of_discharge, of_gradient = differences(MODELS["hbv"](), solver, forcing)  # type: ignore[call-arg]
    assert of_discharge < 1e-6 and of_gradient < 1e-5
