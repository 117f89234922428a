"""A surface that stores water: an analytic solution, the balance, gradients, and both engines."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from richards_cases import F64, Small
from torch import Tensor

from pydiffgeo import Grid, Richards, Roots, Solution, Solver, solve, usda_soil
from pydiffgeo.bridge.models import evaluate
from pydiffgeo.errors import DataError
from pydiffgeo.solvers.jacobian import coloured

TIMES = torch.tensor([0.0, 1.0, 2.0, 4.0, 8.0, 24.0], dtype=F64)
STORM = {
    "rain": [5.0, 0.0, 0.0, 0.05, 0.0],
    "potential_evaporation": [0.0, 0.02, 0.02, 0.02, 0.04],
    "potential_transpiration": 0.02,
}


def storm(
    height: float, method: str = "kvaerno3", top: str = "surface_layer", **options: Any
) -> Solution:
    """An hour of 5 cm on a silt loam, then a dry day."""
    model = Richards(Grid.graded(50.0, 20, 0.5), top=top, roots=Roots())
    parameters = {"ponding_height": height, **usda_soil("silt loam")}
    return solve(model, STORM, parameters, -300.0, TIMES, Solver(method, **options))


def test_pond_over_a_saturated_column(engine: str) -> None:
    # Darcy with a falling head: dW/dt = -K_s (W + L) / L over a column of length L that ends in a
    # free water table
    length, K_s, start = 20.0, 0.5, 8.0
    grid = Grid.uniform(length, 10)
    model = Richards(grid, top="surface_layer", bottom="head")
    psi = start * (1 - grid.depth / length)  # the steady profile, linear from the pond to the table
    times = torch.linspace(0, 12, 13, dtype=F64)
    forcing = {"rain": 0.0, "potential_evaporation": 0.0, "bottom_head": 0.0}
    parameters = {**usda_soil("loam"), "K_s": K_s, "ponding_height": 10.0, "specific_storage": 1e-9}
    solution = solve(
        model,
        forcing,
        parameters,
        torch.cat([torch.tensor([start], dtype=F64), psi]),
        times,
        Solver(rtol=1e-6),
    )
    expected = (start + length) * torch.exp(-K_s * times / length) - length
    assert float(expected[-1]) > 0.5
    torch.testing.assert_close(solution.states[0, :, 0], expected[1:], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(solution.fluxes["ponding"], -solution.fluxes["infiltration"])
    # all of it runs through: what infiltrates drains
    torch.testing.assert_close(
        solution.fluxes["infiltration"], solution.fluxes["drainage"], rtol=1e-5, atol=1e-7
    )


@pytest.mark.parametrize("method", ["implicit_euler", "sdirk2", "kvaerno3"])
def test_water_of_a_storm(engine: str, method: str) -> None:
    s = storm(1.5, method)
    pond, q = s.states[0, :, 0], {k: v[0] for k, v in s.fluxes.items()}
    rain = torch.tensor(STORM["rain"], dtype=F64)
    assert float(s.balance_error().max()) < 1e-12
    torch.testing.assert_close(
        q["infiltration"] + q["runoff"] + q["ponding"], rain, rtol=1e-12, atol=1e-12
    )
    # full at the end of the storm, and no fuller; what stands there infiltrates in the next hours,
    # when no rain falls
    assert float(pond[0]) == pytest.approx(1.5, abs=1e-6) and float(q["runoff"][0]) > 1.5
    assert (
        float(q["infiltration"][1]) > 0.5
        and float(pond[1]) < 1.0
        and float(pond[-1]) == pytest.approx(0.0, abs=1e-6)
    )
    assert float(pond.min()) > -1e-9 and (q["runoff"][1:].abs() < 1e-12).all()
    # it evaporates at the potential rate
    assert float(q["evaporation"][1]) == pytest.approx(0.02, rel=1e-4)


@pytest.mark.parametrize(
    "height", [2.0, [[5.0, 2.0, 2.0, 2.0]]], ids=["at the start", "since it fell"]
)
def test_what_is_above_the_greatest_depth_runs_off_without_rain(engine: str, height: Any) -> None:
    # the excess e of a pond on clay without pores: de/dt = -60 (e - f/2) above the film f, -60 e^2
    # / (2 f) within it
    model = Richards(Grid.uniform(20.0, 4), top="surface_layer", bottom="flux")
    falls = [0.0, 0.02, 0.5, 6.0] if height == 2.0 else [0.0, 1.0, 1.02, 1.5, 7.0]
    parameters = {
        **usda_soil("clay"),
        "K_s": 1e-9,
        "pond_film": 0.01,
        "ponding_height": torch.as_tensor(height, dtype=F64),
    }
    dry = {"rain": 0.0, "potential_evaporation": 0.0, "bottom_flux": 0.0}
    s = solve(model, dry, parameters, {"pond": 5.0, "psi": -0.01}, falls, Solver(rtol=1e-6))
    pond, f = s.states[0, -3:, 0] - 2, 0.01
    left = f / (
        1 + 30 * (torch.tensor([0.5, 6.0], dtype=F64) - math.log((3 - f / 2) / (f / 2)) / 60)
    )
    expected = torch.tensor([(3 - f / 2) * math.exp(-1.2) + f / 2, *left.tolist()], dtype=F64)
    torch.testing.assert_close(pond, expected, rtol=1e-3, atol=1e-5)
    runoff = (s.fluxes["runoff"][0] * s.lengths).sum()
    assert (
        float(runoff + s.states[0, -1, 0]) == pytest.approx(5.0, abs=1e-6)
        and float(s.balance_error()) < 1e-12
    )


def test_a_deep_pond_never_overflows_and_a_flat_surface_stores_nothing(engine: str) -> None:
    deep, flat, plain = storm(50.0), storm(0.0), storm(0.0, top="atmospheric")
    assert float(deep.fluxes["runoff"].abs().max()) < 1e-12 and float(deep.states[0, 0, 0]) > 3
    assert float(flat.states[0, :, 0].abs().max()) < 1e-9
    for name, q in plain.fluxes.items():
        torch.testing.assert_close(flat.fluxes[name], q, rtol=2e-3, atol=1e-4)
    gained = torch.stack([s.fluxes["infiltration"].sum() for s in (plain, storm(1.0), deep)])
    assert (gained.diff() > 0.1).all()


def test_storm_of_hydrus_on_two_layers(engine: str) -> None:
    # the second example of the HYDRUS-1D tutorial (Rassam et al. 2018) with model 3: 6, 10 and 2
    # cm/d for 2, 3 and 2 days on 50 cm of clay loam over sandy loam, a surface layer up to 3 cm, a
    # seepage face; run with HYDRUS-1D 4.08, nodes every cm
    model = Richards(
        Grid.uniform(100.0, 100, layers=[0.0, 50.0]),
        "van_genuchten_vogel",
        "surface_layer",
        "seepage_face",
    )
    soil = {
        "theta_r": [0.095, 0.065],
        "theta_s": [0.41, 0.41],
        "alpha": [0.019, 0.075],
        "n": [1.31, 1.89],
    }
    soil["K_s"] = [6.24 / 24, 106.1 / 24]
    forcing = {"rain": [[6 / 24, 10 / 24, 2 / 24]], "potential_evaporation": 0.0}
    parameters = {k: torch.tensor([v], dtype=F64) for k, v in soil.items()} | {
        "ponding_height": 3.0
    }
    times = 24 * torch.tensor([0.0, 2.0, 5.0, 7.0], dtype=F64)
    solution = solve(model, forcing, parameters, -100.0, times)
    sums = {k: (q[0] * times.diff()).cumsum(0).tolist() for k, q in solution.fluxes.items()}
    hydrus = {
        "infiltration": [12.0, 33.26, 40.17],
        "runoff": [0.0, 5.83, 5.83],
        "drainage": [0.0, 19.26, 28.29],
    }
    for name, expected in hydrus.items():
        assert sums[name] == pytest.approx(expected, abs=0.1), name
    assert solution.states[0, :, 0].tolist() == pytest.approx([0.0, 3.0, 0.0], abs=1e-4)
    assert float(solution.balance_error()) < 1e-12


def test_narrower_films_change_little(engine: str) -> None:
    def infiltrated(film: float) -> Tensor:
        model = Richards(Grid.graded(50.0, 12, 1.0), top="surface_layer")
        parameters = {"ponding_height": 0.5, "pond_film": film, **usda_soil("silt loam")}
        forcing = {"rain": STORM["rain"][:2], "potential_evaporation": 0.0}
        s = solve(model, forcing, parameters, -300.0, TIMES[:3], Solver(rtol=1e-4))
        return s.fluxes["infiltration"].sum()

    assert float(infiltrated(0.01) / infiltrated(0.001)) == pytest.approx(1, abs=1e-3)


def test_initial_states_with_and_without_the_pond() -> None:
    model = Richards(Grid.uniform(30.0, 3), top="surface_layer", bottom="flux")
    dry = {"rain": 0.0, "potential_evaporation": 0.0, "bottom_flux": 0.0}
    heads = [-100.0] * 3
    for initial in (
        -100.0,
        heads,
        [0.0, *heads],
        [[0.0, *heads]],
        {"psi": -100.0},
        {"psi": [heads], "pond": [0.0]},
    ):
        solution = solve(model, dry, {}, initial, [0.0, 1.0], engine="torch")
        assert solution.initial_state.tolist() == [[0.0, -100.0, -100.0, -100.0]]
    wrong = [
        (heads[:2], "state has shape"),
        ({"psi": heads[:2]}, "'psi' has shape"),
        ({"pond": 1.0}, "psi"),
    ]
    for initial, message in wrong:
        with pytest.raises(DataError, match=message):
            solve(model, dry, {}, initial, [0.0, 1.0])
    assert "pond, psi in 3 cells" in repr(solution)
    theta = model.water_content(solution.states, {})
    assert theta.shape == (1, 1, 3) and torch.equal(
        theta, model.water_content(solution.states[..., 1:], {})
    )
    data = solution.to_xarray()
    assert (
        data["pond"].dims == ("batch", "time")
        and data["pond"].attrs["units"] == "cm"
        and data["psi"].shape == (1, 1, 3)
    )


PONDS = torch.tensor([[0.2], [0.998]], dtype=F64)  # one of them nearly full


def pond(method: str, ponds: Tensor = PONDS) -> Small:
    case = Small(method, top="surface_layer", roots=Roots())
    case.parameters["ponding_height"] = torch.tensor([0.5, 1.0], dtype=F64)
    case.initial = torch.cat([ponds, case.initial], -1)
    return case


@pytest.mark.parametrize("rain", [0.0, 0.3, 3.0])
def test_jacobian(rain: float) -> None:
    case = pond("kvaerno3")
    parameters = {
        k: torch.tensor([[s.default]], dtype=F64) for k, s in case.model.spec.parameters.items()
    }
    parameters["ponding_height"] += 1.0
    p = case.model.prepare(parameters)
    forcing = {
        k: torch.tensor([[v]], dtype=F64)
        for k, v in {**STORM, "rain": rain, "potential_evaporation": 0.03}.items()
    }
    depths = torch.tensor([0.3, 0.004, 0.995, 0.0, -0.001, 1.2, 1.003], dtype=F64)[:, None]
    state = torch.cat([depths, -100 * torch.rand(7, 6, dtype=F64)], -1)
    ours, theirs = case.model.linearise(state, forcing, p), coloured(case.model, state, forcing, p)
    for a, b in zip((*ours[:3], *ours.jacobian), (*theirs[:3], *theirs.jacobian), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(("method", "above"), [("implicit_euler", 0.4), ("trbdf2", 0.0)])
def test_gradients(engine: str, method: str, above: float) -> None:
    case = pond(method, PONDS + above)
    case.parameters["pond_film"] = torch.tensor([0.02, 0.05], dtype=F64)

    def scaled(x: Tensor) -> dict[str, Any]:
        pond, heads, height, film, K_s, rain, evaporation = x
        parameters = {"ponding_height": height, "pond_film": film, "K_s": K_s}
        forcing = {"rain": rain, "potential_evaporation": evaporation}
        return {
            "initial": torch.cat([case.initial[:, :1] * pond, case.initial[:, 1:] * heads], -1),
            "parameters": {k: v * case.parameters[k] for k, v in parameters.items()},
            "forcing": {k: v * case.forcing[k] for k, v in forcing.items()},
        }

    assert case.gradcheck(torch.ones(7, dtype=F64), scaled)


@pytest.mark.parametrize("face_mean", ["arithmetic", "upstream"])
def test_engines_agree(julia: Any, face_mean: str) -> None:
    grid, rows = Grid.from_faces([0.0, 2.0, 5.0, 9.0, 14.0, 20.0, 30.0], layers=[0.0, 9.0]), 60
    model = Richards(
        grid, top="surface_layer", roots=Roots(demand_dependent=True), face_mean=face_mean
    )
    forcing = {
        k: torch.rand(rows, 1, dtype=F64) * v
        for k, v in (("rain", 3.0), ("potential_evaporation", 0.05))
    }
    forcing["potential_transpiration"] = 0.1 * torch.rand(rows, 1, dtype=F64)
    parameters = {
        k: torch.tensor([[s.default]], dtype=F64) for k, s in model.spec.parameters.items()
    }
    parameters["ponding_height"] += 1.0
    depths = torch.cat(
        [
            torch.rand(40, dtype=F64),
            0.01 * torch.rand(10, dtype=F64),
            1.01 - 0.02 * torch.rand(10, dtype=F64),
        ]
    )
    state = torch.cat([depths[:, None], -(10 ** (3 * torch.rand(rows, 6, dtype=F64)))], -1)
    ours = model.evaluate(state, forcing, model.prepare(parameters), fluxes=True)
    for a, b in zip(ours, evaluate(julia, model, state, forcing, parameters), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def test_metres_and_days() -> None:
    roots = Roots(density=[2.0, 1.0], depth=[0.0, 30.0], demand_dependent=True, compensated=True)
    metres = Roots(density=[2.0, 1.0], depth=[0.0, 0.3], demand_dependent=True, compensated=True)
    faces = torch.tensor([0.0, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5], dtype=F64)
    models = [
        Richards(
            Grid.from_faces(100 * faces), "van_genuchten_vogel", top="surface_layer", roots=roots
        ),
        Richards(
            Grid.from_faces(faces, unit="m", time_unit="d"),
            "van_genuchten_vogel",
            top="surface_layer",
            roots=metres,
        ),
    ]
    solutions = []
    for model, length, time in zip(models, (1.0, 0.01), (1.0, 24.0), strict=True):
        forcing = {k: length * time * torch.as_tensor(v, dtype=F64) for k, v in STORM.items()}
        initial = {"pond": 2.5 * length, "psi": -200.0 * length}
        solutions.append(
            solve(
                model,
                forcing,
                {"ponding_height": 2.0 * length},
                initial,
                TIMES / time,
                engine="torch",
            )
        )
    ours, theirs = solutions
    torch.testing.assert_close(theirs.states, 0.01 * ours.states, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(theirs.storage, 0.01 * ours.storage, rtol=1e-9, atol=1e-12)
    for name, q in ours.fluxes.items():
        torch.testing.assert_close(theirs.fluxes[name], 0.24 * q, rtol=1e-6, atol=1e-9)
