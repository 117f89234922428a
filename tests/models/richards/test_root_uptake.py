"""Roots: a density of one's own, and thresholds that depend on the demand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from richards_cases import F64, Small
from torch import Tensor

from pydiffgeo import Grid, Richards, Roots, Solver, solve, usda_soil
from pydiffgeo.bridge.models import evaluate
from pydiffgeo.errors import ParameterError, UnknownName
from pydiffgeo.solvers.linear import structure

OWN = Roots(density=[3.0, 2.0, 0.0, 1.0, 0.5, 0.0])
BY_DEPTH = Roots(density=[2.0, 1.0, 0.0], depth=[0.0, 10.0, 25.0])
DEPENDENT = Roots(demand_dependent=True)
DEMAND = {"feddes_3_high": -40.0, "feddes_3_low": -150.0, "demand_high": 0.055, "demand_low": 0.015}


def shares(roots: Roots, faces: list[float]) -> np.ndarray:
    """Share of the roots in each cell."""
    grid = Grid.from_faces(faces)
    return (
        (roots.shares(grid.faces, {"root_depth": torch.tensor([20.0], dtype=F64)}) * grid.thickness)
        .view(-1)
        .numpy()
    )


def test_density_of_each_cell() -> None:
    # a density is roots per length: a cell twice as thick has twice the roots
    for unit in (1, 10):
        np.testing.assert_allclose(
            shares(Roots(density=[3 * unit, unit, 0]), [0, 1, 3, 10]), [0.6, 0.4, 0.0], rtol=1e-12
        )


def test_density_by_depth_is_integrated_over_the_cells() -> None:
    # falls linearly from 2 at the surface to 0 at 20: 1 - (1 - z / 20)^2 of the roots lie above z
    faces = [0, 1, 4, 11, 19, 30]
    above = [1 - (1 - min(z, 20) / 20) ** 2 for z in faces]
    np.testing.assert_allclose(
        shares(Roots(density=[2, 0], depth=[0, 20]), faces), np.diff(above), rtol=1e-12
    )
    np.testing.assert_allclose(shares(Roots("linear"), faces), np.diff(above), rtol=1e-12)
    # roots between 4 and 8 only, and what lies below the column is none of it
    np.testing.assert_allclose(
        shares(Roots(density=[1, 1], depth=[4, 8]), [0, 5, 6, 10]), [0.25, 0.25, 0.5], rtol=1e-12
    )
    np.testing.assert_allclose(
        shares(Roots(density=[1, 1], depth=[0, 40]), [0, 5, 20]), [0.25, 0.75], rtol=1e-12
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"density": [1.0, 2.0]}, "has 2 values for 3 cells"),
        ({"density": [1.0, -2.0, 0.0]}, "is -2 at place 1"),
        ({"density": [1.0, float("nan"), 0.0]}, "must be finite"),
        ({"density": [0.0, 0.0, 0.0]}, "zero in the whole column"),
        ({"density": [1.0, 1.0], "depth": [40.0, 50.0]}, "zero in the whole column"),
        ({"density": [1.0, 1.0], "depth": [10.0, 5.0]}, "must increase"),
        ({"density": [1.0], "depth": [5.0, 10.0]}, "has 1 values for 2 depths"),
        ({"profile": "given"}, "needs one"),
        ({"profile": "uniform", "density": [1.0, 1.0, 1.0]}, "no other profile takes a density"),
        ({"depth": [1.0, 2.0]}, "give density"),
        (
            {"density": [[1.0, 2.0], [3.0, 4.0]]},
            r"density of roots must be a list of numbers, got \[\[1.0, 2.0\]",
        ),
        ({"density": torch.ones(2, 3)}, "density of roots must be a list of numbers"),
        ({"density": "much"}, "density of roots must be a list of numbers"),
        ({"density": 1.0}, "density of roots must be a list of numbers, got 1.0"),
    ],
)
def test_densities_that_are_none(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        Richards(Grid.uniform(30.0, 3), roots=Roots(**options))


def test_unknown_profile() -> None:
    with pytest.raises(UnknownName, match="did you mean 'given'"):
        Roots("givn")


def test_threshold_of_drought_falls_from_high_to_low_demand() -> None:
    # HYDRUS-1D manual 4.17, fig. 2.1: h3 is P2H above r2H, P2L below r2L, linear in the demand
    # between
    roots = Roots(demand_dependent=True)
    p = {k: torch.tensor([[v]], dtype=F64) for k, v in DEMAND.items()}
    p |= {
        "feddes_1": torch.tensor([[-10.0]], dtype=F64),
        "feddes_2": torch.tensor([[-25.0]], dtype=F64),
    }
    p |= {
        "feddes_4": torch.tensor([[-1000.0]], dtype=F64),
        "root_depth": torch.tensor([[30.0]], dtype=F64),
    }
    roots.prepare(torch.tensor([0.0, 10.0, 20.0], dtype=F64), p)
    for demand, threshold in (
        (0.1, -40.0),
        (0.055, -40.0),
        (0.035, -95.0),
        (0.015, -150.0),
        (0.0, -150.0),
    ):
        psi = torch.tensor([[-300.0, threshold + 1e-9, threshold - 5.0]], dtype=F64)
        expected = [
            (-300 + 1000) / (threshold + 1000),
            1.0,
            (threshold - 5 + 1000) / (threshold + 1000),
        ]
        got = roots.stress(psi, torch.tensor([[demand]], dtype=F64), p)
        torch.testing.assert_close(got, torch.tensor([expected], dtype=F64), rtol=1e-12, atol=0)


def test_thresholds_out_of_order() -> None:
    model = Richards(Grid.uniform(30.0, 3), top="flux", roots=Roots(demand_dependent=True))
    for wrong, message in (
        ({"feddes_3_low": -20.0}, "feddes_3_low must be below feddes_2"),
        ({"feddes_3_high": -2e4}, "feddes_4 must be below feddes_3_high"),
        ({"demand_low": 0.03}, "demand_low must be below demand_high"),
    ):
        with pytest.raises(ParameterError, match=message):
            solve(
                model, {"top_flux": 0.0, "potential_transpiration": 0.01}, wrong, -100.0, [0.0, 1.0]
            )
    model = Richards(Grid.uniform(30.0, 3), top="flux", roots=Roots(compensated=True))
    with pytest.raises(
        ParameterError, match="omega_c is 1.5 at column 1: .* at most 1, which is no compensation"
    ):
        solve(
            model,
            {"top_flux": 0.0, "potential_transpiration": 0.01},
            {"omega_c": [1.0, 1.5]},
            -100.0,
            [0.0, 1.0],
        )


COMPENSATED = Roots("linear", demand_dependent=True, compensated=True)


def test_compensation_of_dry_roots() -> None:
    # Jarvis (1989): uptake is divided by the larger of omega, the mean stress of the roots, and
    # omega_c
    grid, plain = (
        Grid.uniform(30.0, 3),
        Richards(Grid.uniform(30.0, 3), roots=Roots(density=[2, 1, 1])),
    )
    model = Richards(grid, roots=Roots(density=[2, 1, 1], compensated=True))
    forcing = {k: torch.tensor([[0.05]], dtype=F64) for k in model.spec.forcings}
    psi = torch.tensor([[-14000.0, -100.0, -15.0], [-14000.0, -12000.0, -11.0]], dtype=F64)
    raw = {k: torch.tensor([[s.default]], dtype=F64) for k, s in model.spec.parameters.items()}
    stress = torch.tensor(
        [[1e3 / 14500, 1.0, 5 / 15], [1e3 / 14500, 3e3 / 14500, 1 / 15]], dtype=F64
    )
    share = torch.tensor([0.5, 0.25, 0.25], dtype=F64)
    omega = stress @ share
    transpired = list(model.spec.fluxes).index("transpiration")
    for critical in (0.2, 0.5, 1.0):
        p = model.prepare(raw | {"omega_c": torch.tensor([[critical]], dtype=F64)})
        fluxes = model.evaluate(psi, forcing, p, fluxes=True).fluxes[:, transpired]
        torch.testing.assert_close(
            fluxes, 0.05 * omega / omega.clamp_min(critical), rtol=1e-12, atol=0
        )
        if (
            critical == 0.2
        ):  # the first plant makes up for all that its dry roots lack, the second cannot
            assert float(fluxes[0]) == pytest.approx(0.05) and float(fluxes[1]) < 0.04
    without = plain.evaluate(
        psi, forcing, plain.prepare({k: v for k, v in raw.items() if k != "omega_c"}), fluxes=True
    )
    torch.testing.assert_close(
        fluxes, without.fluxes[:, transpired], rtol=1e-14, atol=0
    )  # omega_c is 1


@pytest.mark.parametrize("top", ["atmospheric", "surface_layer"])
def test_jacobian_of_compensated_roots(top: str) -> None:
    model = Richards(Grid.uniform(60.0, 6), top=top, roots=COMPENSATED)
    raw = {k: torch.tensor([[s.default]], dtype=F64) for k, s in model.spec.parameters.items()}
    p = model.prepare(raw | {"omega_c": torch.tensor([[0.3]], dtype=F64)})
    forcing = {
        k: torch.tensor([[v]], dtype=F64)
        for k, v in zip(model.spec.forcings, (0.3, 0.02, 0.1), strict=True)
    }
    for psi in (
        [-3000.0, -900.0, -17.0, -14.0, -50.0, -12.0],
        [-9000.0, -8000.0, -7000.0, -12.0, -9000.0, -5000.0],
    ):
        state = torch.tensor([[0.1] * (model.size - 6) + psi], dtype=F64)
        whole = torch.autograd.functional.jacobian(
            lambda u: model.evaluate(u, forcing, p).rates[0], state
        )[:, 0]
        lin, algebra = model.linearise(state, forcing, p), structure(model.structure, (0, 0))
        rows = algebra.transpose_apply(lin.jacobian, torch.eye(model.size, dtype=F64))
        torch.testing.assert_close(rows, whole, rtol=1e-10, atol=1e-14)
        step, right = torch.tensor([[0.7]], dtype=F64), torch.rand(1, model.size, dtype=F64)
        matrix = algebra.assemble(lin.capacity, lin.jacobian, step)
        full = lin.capacity[0].diag() - 0.7 * whole
        torch.testing.assert_close(
            algebra.solve(matrix, right)[0], torch.linalg.solve(full, right[0])
        )
        torch.testing.assert_close(
            algebra.solve_transposed(matrix, right)[0], torch.linalg.solve(full.T, right[0])
        )


def test_compensated_roots_balance_and_transpire_more(engine: str) -> None:
    # the upper half dries out, the lower half of the roots is in wet soil
    grid = Grid.uniform(60.0, 12)
    initial = torch.where(grid.depth < 30, -6000.0, -60.0)[None]
    forcing = {"top_flux": 0.0, "bottom_flux": 0.0, "potential_transpiration": 0.02}
    sums = []
    for roots in (Roots("uniform"), Roots("uniform", compensated=True)):
        model = Richards(grid, top="flux", bottom="flux", roots=roots)
        parameters = {"root_depth": 60.0} | ({"omega_c": 0.4} if roots.compensated else {})
        solution = solve(model, forcing, parameters, initial, [0.0, 6.0, 24.0])
        assert float(solution.balance_error().max()) < 1e-12
        sums.append(float(solution.fluxes["transpiration"][0, 0]))
    assert sums[0] < 0.017 and sums[1] == pytest.approx(0.02, rel=1e-6)


def test_equal_thresholds_are_the_plain_ones(engine: str) -> None:
    plain, dependent = (Small("kvaerno3", roots=Roots(demand_dependent=d)) for d in (False, True))
    plain.parameters["feddes_3"] = torch.tensor(-60.0, dtype=F64)
    dependent.parameters |= {
        k: torch.tensor(-60.0, dtype=F64) for k in ("feddes_3_high", "feddes_3_low")
    }
    for a, b in zip(plain.run().fluxes.values(), dependent.run().fluxes.values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def test_roots_take_up_where_they_are_and_water_balances(engine: str) -> None:
    grid = Grid.uniform(30.0, 6)
    model = Richards(
        grid, top="flux", bottom="flux", roots=Roots(density=[0.0, 0.0, 1.0, 0.0, 0.0, 0.0])
    )
    # hardly any flow between the cells: only the third loses water
    soil = usda_soil("loam") | {"K_s": 1e-9}
    forcing = {"top_flux": 0.0, "bottom_flux": 0.0, "potential_transpiration": 0.005}
    solution = solve(model, forcing, soil, -100.0, [0.0, 5.0, 10.0], Solver(rtol=1e-6))
    lost = model.water_content(torch.full((1, 6), -100.0, dtype=F64), soil) - model.water_content(
        solution.states[:, -1], soil
    )
    expected = torch.tensor([[0.0, 0.0, 0.05 / 5.0, 0.0, 0.0, 0.0]], dtype=F64)
    torch.testing.assert_close(lost, expected, rtol=1e-5, atol=1e-7)
    assert float(solution.balance_error().max()) < 1e-12


GRADIENTS: list[tuple[Roots, str, Tensor]] = [
    (OWN, "feddes_3", torch.tensor([-40.0, -150.0], dtype=F64)),
    (
        DEPENDENT,
        "potential_transpiration",
        torch.tensor([[0.02, 0.05, 0.04], [0.06, 0.03, 0.02]], dtype=F64),
    ),
    (COMPENSATED, "omega_c", torch.tensor([0.3, 0.9], dtype=F64)),
    (COMPENSATED, "feddes_3_low", torch.tensor([DEMAND["feddes_3_low"]], dtype=F64)),
    *(
        (DEPENDENT, k, torch.tensor([DEMAND[k]], dtype=F64))
        for k in ("feddes_3_high", "demand_low")
    ),
]


@pytest.mark.parametrize(("roots", "name", "value"), GRADIENTS)
def test_gradients(engine: str, roots: Roots, name: str, value: Tensor) -> None:
    case = Small("implicit_euler", roots=roots)
    if roots.demand_dependent:
        case.parameters |= {k: torch.tensor(v, dtype=F64) for k, v in DEMAND.items()}
    kind = "forcing" if name in case.forcing else "parameters"
    assert case.gradcheck(value, lambda x: {kind: {name: x}})


@pytest.mark.parametrize(
    "roots", [OWN, BY_DEPTH, Roots("linear", demand_dependent=True), COMPENSATED]
)
def test_engines_agree(julia: Any, roots: Roots) -> None:
    case = Small("kvaerno3", roots=roots)
    rows = 50
    psi = -(10 ** (1 + 3 * torch.rand(rows, 6, dtype=F64)))
    forcing = {k: v[:1, :1].expand(rows, 1) for k, v in case.forcing.items()}
    forcing["potential_transpiration"] = 0.1 * torch.rand(rows, 1, dtype=F64)
    raw = {k: torch.tensor([[s.default]], dtype=F64) for k, s in case.model.spec.parameters.items()}
    raw |= {k: torch.tensor([[v]], dtype=F64) for k, v in DEMAND.items() if k in raw}
    ours = case.model.evaluate(psi, forcing, case.model.prepare(raw), fluxes=True)
    for a, b in zip(ours, evaluate(julia, case.model, psi, forcing, raw), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)
