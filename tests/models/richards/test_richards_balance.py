"""Water is conserved: by every method, under every boundary condition, at every tolerance."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from richards_cases import F64, METHODS, balance_errors, new_mexico, water_moved, whole_soil
from torch import Tensor

from pydiffgeo import Grid, Richards, Roots, Solution, Solver, solve

pytestmark = pytest.mark.usefixtures("engine")

TOPS = ("head", "flux", "atmospheric")
BOTTOMS = ("head", "flux", "free_drainage", "seepage_face")

# a sandy loam over a clay loam, a loam over a silt, a sand over a loam
SOILS = {
    "theta_r": [[0.065, 0.095], [0.078, 0.034], [0.045, 0.078]],
    "theta_s": [[0.41, 0.41], [0.43, 0.46], [0.43, 0.43]],
    "alpha": [[0.075, 0.019], [0.036, 0.016], [0.145, 0.036]],
    "n": [[1.89, 1.31], [1.56, 1.37], [2.68, 1.56]],
    "K_s": [[4.42, 0.26], [1.04, 0.25], [29.7, 1.04]],
}
HOURS = torch.tensor([0.0, 0.5, 1.0, 2.0, 3.0, 4.0], dtype=F64)
FORCING = {
    "top_head": [-20.0, -5.0, 1.0, -100.0, -300.0],
    "top_flux": [0.05, 0.1, -0.01, 0.0, 0.02],
    "rain": [2.0, 8.0, 0.0, 0.0, 0.3],
    "potential_evaporation": [0.0, 0.0, 0.03, 0.1, 0.02],
    "potential_transpiration": [0.01, 0.0, 0.05, 0.06, 0.0],
    "bottom_head": [-50.0, -20.0, 5.0, -10.0, -80.0],
    "bottom_flux": [0.0, 0.01, -0.02, 0.03, 0.0],
}


Case = tuple[Richards, Solution, dict[str, Any], Tensor]


def run(top: str, bottom: str, solver: Solver, roots: bool, times: Tensor = HOURS) -> Case:
    """Three layered columns of 60 cm, four hours of changing weather."""
    grid = Grid.graded(60.0, 12, top=2.0, layers=[0.0, 20.0])
    model = Richards(grid, top=top, bottom=bottom, roots=Roots() if roots else None)
    parameters: dict[str, Any] = {k: torch.tensor(v, dtype=F64) for k, v in SOILS.items()}
    parameters["specific_storage"] = 1e-5
    if top == "atmospheric":
        parameters["ponding_height"] = 0.5
    initial = torch.tensor([[-30.0], [-100.0], [-400.0]], dtype=F64) + torch.zeros(12, dtype=F64)
    forcing = {k: FORCING[k][: len(times) - 1] for k in model.spec.forcings}
    solution = solve(model, forcing, parameters, initial, times, solver=solver)
    return model, solution, parameters, initial


@pytest.mark.parametrize("bottom", BOTTOMS)
@pytest.mark.parametrize("top", TOPS)
@pytest.mark.parametrize("method", METHODS)
def test_balance_closes(method: str, top: str, bottom: str) -> None:
    # half of the cases with roots
    roots = (TOPS.index(top) + BOTTOMS.index(bottom)) % 2 == 0
    for rtol, allowed in ((1e-3, 1e-8), (1e-5, 1e-10)):
        # steps are many at the tight tolerance: the first hour shows as much
        tight = HOURS[:2] if method == "implicit_euler" else HOURS[:3]
        times = HOURS if rtol > 1e-5 else tight
        model, solution, parameters, initial = run(
            top, bottom, Solver(method, rtol=rtol), roots, times
        )
        reported, recomputed = balance_errors(model, solution, parameters, initial[:, None], times)
        assert not solution.failed
        assert (water_moved(solution, times) > 0.01).all()
        assert float(reported.max()) < allowed
        assert float(recomputed.max()) < allowed


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("hydraulics", ["brooks_corey", "gardner", "haverkamp"])
def test_balance_of_the_other_soils(hydraulics: str, method: str) -> None:
    model = Richards(Grid.uniform(60.0, 20), hydraulics=hydraulics, roots=Roots())
    parameters = whole_soil(model, {"alpha": 0.03}) if hydraulics == "gardner" else {}
    forcing = {k: FORCING[k] for k in model.spec.forcings}
    initial = torch.full((1, 20), -80.0, dtype=F64)
    times = 6 * HOURS
    solution = solve(model, forcing, parameters, initial, times, solver=Solver(method))
    for error in balance_errors(model, solution, parameters, initial[:, None], times):
        assert float(error.max()) < 1e-8


def test_rain_is_infiltration_plus_runoff() -> None:
    model, solution, parameters, _ = run("atmospheric", "free_drainage", Solver(), roots=True)
    q = solution.fluxes
    rain = torch.tensor(FORCING["rain"], dtype=F64)
    torch.testing.assert_close(
        q["infiltration"] + q["runoff"], rain.expand(3, -1), rtol=1e-12, atol=1e-14
    )
    assert (q["runoff"] > -1e-9).all() and (
        q["runoff"][:2, 1] > 0.5
    ).all()  # 8 cm/h on a loam runs off
    demand = torch.tensor(FORCING["potential_evaporation"], dtype=F64)
    # a mean over stages with negative weights may pass the demand by what the stages differ
    assert (q["evaporation"] >= -1e-12).all() and (q["evaporation"] <= demand * (1 + 1e-6)).all()
    demand = torch.tensor(FORCING["potential_transpiration"], dtype=F64)
    assert (q["transpiration"] >= -1e-12).all() and (
        q["transpiration"] <= demand * (1 + 1e-6)
    ).all()
    # the surface cell never stands above the pond
    assert float(solution.states[..., 0].max()) < parameters["ponding_height"] + 0.5 + 1e-6
    assert set(model.spec.fluxes) == set(q)


def test_storage_change_of_new_mexico_is_its_infiltration() -> None:
    model, solution = new_mexico(100)
    gain = float(solution.storage[0, 1] - solution.storage[0, 0])
    net = float(solution.fluxes["infiltration"] - solution.fluxes["drainage"])
    assert gain == pytest.approx(24 * net, rel=1e-8)
