"""Steady states of the Richards model, and the order of its time stepping."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from richards_cases import F64, METHODS, resolved, whole_soil
from torch import Tensor

from pydiffgeo import Grid, Richards, Solver, solve
from pydiffgeo.models.richards.hydraulics import usda_soil

pytestmark = pytest.mark.usefixtures("engine")

MEANS = ("arithmetic", "geometric", "harmonic", "upstream")

TWO_SOILS: dict[str, dict[str, list[list[float]]]] = {
    "van_genuchten": {
        "theta_r": [[0.065, 0.068]],
        "theta_s": [[0.41, 0.38]],
        "alpha": [[0.075, 0.008]],
        "n": [[1.89, 1.09]],
        "K_s": [[4.42, 0.2]],
    },
    "brooks_corey": {"psi_b": [[7.0, 30.0]], "pore_index": [[0.6, 0.2]], "K_s": [[20.0, 0.1]]},
    "gardner": {"alpha": [[0.1, 0.02]], "K_s": [[5.0, 0.5]]},
    "haverkamp": {"theta_r": [[0.075, 0.1]], "theta_s": [[0.287, 0.4]], "K_s": [[34.0, 3.0]]},
}


@pytest.mark.parametrize("face_mean", MEANS)
@pytest.mark.parametrize("hydraulics", TWO_SOILS)
def test_hydrostatic_equilibrium_stays(hydraulics: str, face_mean: str) -> None:
    # without flux, psi falls by 1 cm per cm above the water table, whatever the soils
    grid = Grid.graded(120.0, 30, top=1.0, layers=[0.0, 40.0])
    model = Richards(grid, hydraulics=hydraulics, top="flux", bottom="head", face_mean=face_mean)
    parameters = whole_soil(
        model, {k: torch.tensor(v, dtype=F64) for k, v in TWO_SOILS[hydraulics].items()}
    )
    psi = grid.depth - 120.0
    forcing = {"top_flux": 0.0, "bottom_head": 0.0}
    times = torch.tensor([0.0, 1000.0], dtype=F64)
    solver = resolved("kvaerno3", rtol=1e-4)
    solution = solve(model, forcing, parameters, psi, times, solver=solver)
    assert (solution.states[0, 0] - psi).abs().max() < 1e-8
    assert solution.fluxes["drainage"].abs().max() < 1e-12


@pytest.mark.parametrize("face_mean", MEANS)
def test_unit_gradient_flow_is_steady(face_mean: str) -> None:
    # a uniform soil at -30 cm passes its conductivity
    model = Richards(
        Grid.uniform(50.0, 25), top="flux", bottom="free_drainage", face_mean=face_mean
    )
    p = usda_soil("loam")
    m = 1 - 1 / p["n"]
    S = (1 + (p["alpha"] * 30.0) ** p["n"]) ** -m
    q = p["K_s"] * S**0.5 * (1 - (1 - S ** (1 / m)) ** m) ** 2
    times = torch.tensor([0.0, 200.0], dtype=F64)
    solution = solve(model, {"top_flux": q}, p, -30.0, times)
    assert (solution.states + 30.0).abs().max() < 1e-9
    assert float(solution.fluxes["drainage"]) == pytest.approx(q, rel=1e-10)
    assert float(solution.fluxes["infiltration"]) == pytest.approx(q, rel=1e-14)


def test_any_start_ends_in_the_analytic_steady_state() -> None:
    # Gardner soil above a water table: exp(alpha psi) = q / K_s + (1 - q / K_s) exp(-alpha height)
    errors = []
    for cells in (50, 100):
        grid = Grid.uniform(100.0, cells)
        model = Richards(grid, hydraulics="gardner", top="flux", bottom="head")
        parameters = {"theta_r": 0.06, "theta_s": 0.4, "alpha": 0.05, "K_s": 2.0}
        forcing = {"top_flux": 0.5, "bottom_head": 0.0}
        times = torch.tensor([0.0, 2000.0], dtype=F64)
        solution = solve(model, forcing, parameters, -150.0, times, solver=Solver(rtol=1e-6))
        height = 100.0 - grid.depth
        exact = torch.log(0.25 + 0.75 * torch.exp(-0.05 * height)) / 0.05
        errors.append(float((solution.states[0, 0] - exact).abs().max()))
    assert errors[0] < 5e-2
    assert errors[0] / errors[1] == pytest.approx(4.0, rel=0.1)


def test_harmonic_mean_gives_the_resistance_of_saturated_layers() -> None:
    # two saturated soils in series under a pond: q = (drop of head) / (sum of thickness / K_s)
    grid = Grid.uniform(60.0, 30, layers=[0.0, 20.0])
    parameters = {k: torch.tensor(v, dtype=F64) for k, v in TWO_SOILS["van_genuchten"].items()}
    model = Richards(grid, top="head", bottom="head")
    forcing = {"top_head": 10.0, "bottom_head": 5.0}
    times = torch.tensor([0.0, 100.0, 110.0], dtype=F64)
    solution = solve(model, forcing, parameters, 5.0, times, solver=Solver(rtol=1e-6))
    q = (10.0 - 5.0 + 60.0) / (20.0 / 4.42 + 40.0 / 0.2)
    assert float(solution.fluxes["drainage"][0, 1]) == pytest.approx(q, rel=1e-8)
    psi = solution.states[0, -1]
    assert float(0.2 * (1 - (psi[-1] - psi[-2]) / 2.0)) == pytest.approx(q, rel=1e-8)


# ---- order in time ------------------------------------------------------------------

ORDERS = {"implicit_euler": 1, "sdirk2": 2, "trbdf2": 2, "kvaerno3": 3}


def smooth(solver: Solver) -> Tensor:
    """Heads (cm) and mean drainage (1e-3 cm/h) after 16 hours of redistribution of a smooth wave of
    heads.
    """
    grid = Grid.uniform(100.0, 20)
    model = Richards(grid, top="flux", bottom="free_drainage")
    initial = -120.0 - 60.0 * torch.cos(grid.depth * (np.pi / 100.0))
    times = torch.tensor([0.0, 16.0], dtype=F64)
    forcing = {"top_flux": 0.0}
    solution = solve(model, forcing, usda_soil("loam"), initial, times, solver=solver)
    return torch.cat([solution.states[0, 0], 1e3 * solution.fluxes["drainage"][0]])


@pytest.fixture(scope="module")
def exact(engine: str) -> Tensor:
    return smooth(resolved("kvaerno3", rtol=1e-6, step=1 / 32))


@pytest.mark.parametrize("method", METHODS)
def test_order_in_time(method: str, exact: Tensor) -> None:
    steps = (1.0, 0.5, 0.25)
    errors = [
        float((smooth(resolved(method, rtol=1e-6, step=h)) - exact).abs().max()) for h in steps
    ]
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert orders[-1] == pytest.approx(ORDERS[method], abs=0.15)
