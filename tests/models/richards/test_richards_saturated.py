"""Columns that start saturated, where a soil stores nothing.

They drain as those do that are hardly less or more than full.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from richards_cases import F64, METHODS, Small, gradcheck
from torch import Tensor

from pydiffgeo import Grid, Richards, Solution, Solver, solve, usda_soil

pytestmark = pytest.mark.usefixtures("engine")

GRID = Grid.uniform(50.0, 25)
CURVES: dict[str, dict[str, Any]] = {
    "van_genuchten": usda_soil("loam"),
    "brooks_corey": {
        "theta_r": 0.05,
        "theta_s": 0.43,
        "psi_b": 15.0,
        "pore_index": 0.4,
        "K_s": 1.0,
    },
    "gardner": {"theta_r": 0.05, "theta_s": 0.43, "alpha": 0.04, "K_s": 1.0},
    "haverkamp": {
        "theta_r": 0.075,
        "theta_s": 0.287,
        "A_theta": 1.611e6,
        "beta": 3.96,
        "A_K": 1.175e6,
        "gamma": 4.74,
        "K_s": 34.0,
    },
}
BOTTOMS: dict[str, dict[str, float]] = {
    "free_drainage": {},
    "seepage_face": {},
    "head": {"bottom_head": 0.0},
    "flux": {"bottom_flux": 0.05},
}


def drain(
    initial: Any,
    hydraulics: str,
    bottom: str,
    soil: dict[str, Any] | None = None,
    method: str = "kvaerno3",
    **options: Any,
) -> Solution:
    """A day without rain."""
    model = Richards(GRID, hydraulics, top="flux", bottom=bottom)
    initial = torch.as_tensor(initial, dtype=F64)
    return solve(
        model,
        {"top_flux": 0.0, **BOTTOMS[bottom]},
        soil or CURVES[hydraulics],
        initial,
        [0.0, 24.0],
        Solver(method, max_steps=1000, **options),
    )


def drained(solution: Solution) -> Tensor:
    """Water that left at the bottom, cm `[batch]`; it came out of the column."""
    out = solution.fluxes["drainage"][:, 0] * 24
    lost = solution.storage[:, 0] - solution.storage[:, -1]
    torch.testing.assert_close(out, lost, rtol=1e-9, atol=1e-9)
    return out


@pytest.mark.parametrize("bottom", BOTTOMS)
@pytest.mark.parametrize("hydraulics", CURVES)
def test_zero_head_drains_as_heads_near_zero(hydraulics: str, bottom: str) -> None:
    for method in METHODS:
        full = torch.zeros(1, GRID.cells, dtype=F64)
        out = drained(
            drain(torch.cat([full, -full, full - 1e-6]), hydraulics, bottom, method=method)
        )
        assert float(out[0]) > 1.0
        torch.testing.assert_close(out, out[:1].expand(3), rtol=1e-3, atol=0.0)


@pytest.mark.parametrize("top", ["flux", "atmospheric", "surface_layer"])
@pytest.mark.parametrize("grid", [Grid.uniform(100.0, 20), Grid.graded(100.0, 20, 1.0)])
def test_a_sand_of_haverkamp_starts_full(grid: Grid, top: str) -> None:
    """Water content and conductivity were level at zero head, and the heads of the first steps not
    to be found. As full, full to 1e-6 cm and with a centimetre above, it drains alike."""
    model = Richards(grid, "haverkamp", top=top, bottom="free_drainage")
    names = {"top_flux": 0.0, "rain": 0.1, "potential_evaporation": 0.01}
    forcing = {name: names[name] for name in model.spec.forcings}
    heads = torch.tensor([0.0, 1e-6, 1.0], dtype=F64)[:, None].expand(-1, grid.cells)
    if top == "surface_layer":
        heads = torch.cat([torch.zeros(3, 1, dtype=F64), heads], 1)
    for method in ("implicit_euler", "trbdf2"):
        solution = solve(
            model, forcing, CURVES["haverkamp"], heads, [0.0, 24.0], Solver(method, max_steps=1000)
        )
        out = solution.fluxes["drainage"][:, 0] * 24
        assert float(out[0]) > 5.0
        torch.testing.assert_close(out, out[:1].expand(3), rtol=1e-3, atol=0.0)


def test_a_saturated_loam_loses_28_mm_in_a_day() -> None:
    assert float(drained(drain(0.0, "van_genuchten", "seepage_face"))) == pytest.approx(
        2.790, abs=2e-3
    )


def test_the_head_of_the_saturated_water_content_is_a_start() -> None:
    model = Richards(GRID, top="flux", bottom="free_drainage")
    soil = usda_soil("clay")
    head = model.head(torch.full((1, GRID.cells), soil["theta_s"], dtype=F64), soil)
    assert float(head.abs().max()) == 0.0
    assert float(drained(drain(head, "van_genuchten", "free_drainage", soil))) > 0.1


@pytest.mark.parametrize("bottom", BOTTOMS)
def test_a_sand_whose_curve_is_flat_near_saturation(bottom: str) -> None:
    """For n > 2 water content hardly changes from -1e-4 cm to zero, so that the matrix there is
    next to singular.
    """
    heads = torch.tensor([1e-6, 0.0, -1e-9, -1e-6, -1e-5, -1e-4, -1e-3], dtype=F64)
    initial = heads[:, None].expand(-1, GRID.cells)
    for method in METHODS:
        out = drained(drain(initial, "van_genuchten", bottom, usda_soil("sand"), method))
        torch.testing.assert_close(out, out[:1].expand(len(heads)), rtol=1e-3, atol=0.0)


@pytest.mark.parametrize("alpha", [0.005, 0.04, 0.2])
@pytest.mark.parametrize("bottom", BOTTOMS)
def test_full_columns_of_gardner_drain(bottom: str, alpha: float) -> None:
    """Its published curve bends at zero head, where Newton's method went to and fro with the
    specific storage of the defaults."""
    soil = CURVES["gardner"] | {"alpha": alpha}
    heads = torch.tensor([0.0, 1e-6, 1e-2, 0.1, 1.0, 5.0, -1e-6, -1e-3], dtype=F64)
    initial = heads[:, None].expand(-1, GRID.cells)
    for method in METHODS:
        out = drained(drain(initial, "gardner", bottom, soil, method))
        torch.testing.assert_close(out, out[:1].expand(len(heads)), rtol=3e-3, atol=0.0)


@pytest.mark.parametrize("hydraulics", CURVES)
def test_partly_saturated_columns(hydraulics: str) -> None:
    """A water table at the centre of a cell, with the soil above it at rest or full."""
    below = GRID.depth - GRID.depth[12]
    initial = torch.stack([below, below.clamp_max(0.0)])
    for method in METHODS:
        out = drained(drain(initial, hydraulics, "seepage_face", method=method))
        torch.testing.assert_close(
            out[1], out[0], rtol=2e-3, atol=0.0
        )  # what is below the table hangs on specific storage


@pytest.mark.parametrize("method", ["implicit_euler", "kvaerno3"])
@pytest.mark.parametrize(("hydraulics", "shape"), [("van_genuchten", "n"), ("gardner", "alpha")])
def test_gradient_from_a_saturated_start(method: str, hydraulics: str, shape: str) -> None:
    """Along a random direction of soil and flux, against central differences of the same steps."""
    column = Small(method, top="flux", bottom="seepage_face", hydraulics=hydraulics)
    column.initial = torch.zeros(2, 6, dtype=F64)
    given = {
        "K_s": column.parameters["K_s"],
        shape: column.parameters[shape],
        "top_flux": column.forcing["top_flux"],
    }
    random = torch.Generator().manual_seed(3)
    ways = {k: v * torch.rand(v.shape, generator=random, dtype=F64) for k, v in given.items()}

    def along(t: Tensor) -> Tensor:
        x = {k: v + t * ways[k] for k, v in given.items()}
        return column.outputs(forcing={"top_flux": x.pop("top_flux")}, parameters=x)

    assert gradcheck(along, torch.zeros((), dtype=F64, requires_grad=True))


@pytest.mark.parametrize("bottom", ["free_drainage", "flux"])
def test_float32_fills_a_clay_in_a_few_times_the_steps_of_float64(engine: str, bottom: str) -> None:
    """A saturated clay stores 1e-6 per cm.

    What float32 rounds off a water content is a tenth of a cm of head, and no trend. How often that
    costs a step depends on the vector instructions of the CPU: 1.0 to 2.8 times the steps.
    """
    if bottom == "flux":
        top, forcing = (
            "atmospheric",
            {"rain": 0.3, "potential_evaporation": 0.0, "bottom_flux": 0.0},
        )
    else:
        top, forcing = "head", {"top_head": 0.0}
    model = Richards(Grid.uniform(50.0, 12), top=top, bottom=bottom)
    exact, rounded = (
        solve(
            model,
            forcing,
            usda_soil("clay"),
            -300.0,
            [0.0, 24.0, 48.0],
            Solver(dtype=dtype, max_steps=3000),
            engine,
        )
        for dtype in (torch.float64, torch.float32)
    )
    assert int(rounded.stats["accepted"]) < 4 * int(exact.stats["accepted"])
    torch.testing.assert_close(rounded.storage.double(), exact.storage, rtol=2e-4, atol=0)
