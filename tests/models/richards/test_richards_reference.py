"""Richards' equation against analytic solutions and HYDRUS-1D."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import srivastava_yeh as sy
import torch
import xarray as xr
from richards_cases import F64
from torch import Tensor

from pydiffgeo import Grid, Richards, Solver, solve
from pydiffgeo.models.base import Values
from pydiffgeo.models.richards.hydraulics import SoilHydraulics, UserHydraulics, VanGenuchten

pytestmark = pytest.mark.usefixtures("engine")

Find = Callable[[str], Path]

HOURS = np.arange(1, 101) * 0.1
LAYERS = {"srivastava_yeh_homogeneous.nc": (1.0,), "srivastava_yeh_two_layer.nc": (10.0, 1.0)}


def solve_srivastava_yeh(
    dz: float, K_s: Sequence[float], before: float = sy.BEFORE, after: float = sy.AFTER
) -> tuple[Grid, np.ndarray]:
    """Grid and heads `[time, cell]`."""
    length = sy.LAYER * len(K_s)
    grid = Grid.uniform(length, round(length / dz), layers=[sy.LAYER * i for i in range(len(K_s))])
    initial = np.log(sy.steady(grid.depth.numpy(), K_s, before))
    solution = solve(
        Richards(grid, hydraulics="gardner", top="flux", bottom="head"),
        forcing={"top_flux": after, "bottom_head": 0.0},
        parameters={
            "theta_r": sy.THETA_R,
            "theta_s": sy.THETA_S,
            "alpha": sy.ALPHA,
            "K_s": torch.tensor([K_s], dtype=F64),
        },
        initial_state=torch.tensor(initial),
        times=torch.tensor(np.r_[0.0, HOURS]),
        solver=Solver("kvaerno3", rtol=1e-6),
    )
    return grid, solution.states[0].numpy()


def test_the_two_analytic_solutions_agree() -> None:
    depth = np.linspace(0, 10, 41)
    assert sy.series(depth, HOURS) == pytest.approx(sy.spectral(depth, HOURS, (1.0,)), abs=1e-9)


@pytest.mark.parametrize("name", LAYERS)
def test_the_reference_file_is_the_analytic_solution(name: str, shared_data: Find) -> None:
    # heads down to -4.6 cm are rounded to 2.4e-7 cm in the single precision of the file
    with xr.open_dataset(shared_data(f"richards_reference/{name}")) as file:
        assert file.time.values[1:] == pytest.approx(HOURS)
        exact = sy.spectral(file.depth.values, HOURS, LAYERS[name])
        assert exact == pytest.approx(file.pressure_head.values[1:], abs=3e-7)


@pytest.mark.parametrize("name", LAYERS)
def test_srivastava_yeh_is_second_order_in_space(name: str) -> None:
    K_s = LAYERS[name]
    errors = []
    for dz in (0.05, 0.025):
        grid, psi = solve_srivastava_yeh(dz, K_s)
        errors.append(np.abs(psi - sy.spectral(grid.depth.numpy(), HOURS, K_s)).max())
    assert errors[0] < 2e-3
    assert errors[1] < 2e-3 / 4
    assert errors[0] / errors[1] > 3.6


@pytest.mark.parametrize(("before", "after"), [(1.0, 0.1), (0.1, 1.0)], ids=["drains", "fills"])
def test_srivastava_yeh_from_and_up_to_saturation(before: float, after: float) -> None:
    """A flux of K_s is a full column, psi = 0 and theta = theta_s throughout, with the specific
    storage of 1e-6 per cm."""
    errors = []
    for dz in (0.2, 0.1):
        grid, psi = solve_srivastava_yeh(dz, (1.0,), before, after)
        exact = sy.spectral(grid.depth.numpy(), HOURS, (1.0,), before=before, after=after)
        errors.append(np.abs(np.exp(psi) - np.exp(exact)).max())  # of K / K_s
    assert errors[0] < 2e-3
    assert errors[0] / errors[1] > 3.6


@pytest.mark.parametrize("name", LAYERS)
def test_srivastava_yeh_against_the_reference_file(name: str, shared_data: Find) -> None:
    with xr.open_dataset(shared_data(f"richards_reference/{name}")) as file:
        expected, depth = file.pressure_head.values[1:], file.depth.values
        layer = file.layer.values if "layer" in file else np.ones(len(depth))
    for dz, allowed in ((0.05, 2e-3), (0.025, 2e-3 / 4)):
        grid, psi = solve_srivastava_yeh(dz, LAYERS[name])
        # the file's nodes are faces of our grid: between two centres, within each layer, whose
        # slopes differ
        for number, cells in zip((2, 1), (0, 1), strict=True) if layer.max() == 2 else ((1, 0),):
            node, cell = layer == number, grid.layer.numpy() == cells
            got = np.stack(
                [_interpolate(depth[node], grid.depth.numpy()[cell], row[cell]) for row in psi]
            )
            assert np.abs(got - expected[:, node]).max() < allowed


def _interpolate(at: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Linear between the points and, for half a cell, beyond them."""
    i = np.clip(np.searchsorted(x, at) - 1, 0, len(x) - 2)
    return y[i] + (at - x[i]) * (y[i + 1] - y[i]) / (x[i + 1] - x[i])


# ---- HYDRUS-1D, infiltration and evaporation, a loam above a sandy loam ------------------


class Hydrus:
    """The reference file, and our solution on a grid whose cell centres are its nodes."""

    def __init__(self, path: Path, dz: float = 0.1):
        with xr.open_dataset(path) as file:
            self.file = file.load()
        hours = self.file.time.values
        ends = np.round(hours[1:], 6)
        self.times = torch.tensor(hours)
        self.top_flux = np.where(ends <= 8, 0.3, np.where(ends <= 12, -0.02, 0.2))
        names = {
            "theta_r": "theta_r",
            "theta_s": "theta_s",
            "alpha": "alpha",
            "n": "n",
            "K_s": "Ks",
        }
        soils = self.file.sel(mat=[2, 1])  # 2, the loam, lies above 1, the sandy loam
        self.soil = {
            ours: torch.tensor(soils[f"vg_{theirs}"].values)[None] for ours, theirs in names.items()
        }
        # its nodes lie every 0.1 cm from 0 to 20 cm; that of the interface, at 10 cm, is stored
        # twice
        layer = np.r_[0.0, np.arange(dz / 2, 10, dz), 10.0]
        self.grid = Grid.from_faces(np.r_[layer, 10 + layer[1:]], layers=[0.0, 10.0])

    def rmse(self, hydraulics: str | SoilHydraulics, until: float = 20.0) -> float:
        """Root mean square difference of the water contents over all nodes and the hours up to
        `until`.
        """
        T = round(until / 0.1)
        solution = solve(
            Richards(self.grid, hydraulics=hydraulics, top="flux", bottom="head"),
            forcing={"top_flux": self.top_flux[:T], "bottom_head": -1000.0},
            parameters=self.soil,
            initial_state=-1000.0,
            times=self.times[: T + 1],
        )
        cell = self.grid.layer.numpy()
        centre, psi = self.grid.depth.numpy(), solution.states[0].numpy()
        theta = []
        for layer, material in ((0, 2), (1, 1)):
            node, here = (
                self.file.depth.values[self.file.material.values == material],
                cell == layer,
            )
            heads = np.stack([_interpolate(node, centre[here], row[here]) for row in psi])
            p = {k: v[:, layer : layer + 1] for k, v in self.soil.items()}
            theta.append(
                VanGenuchten().curves(torch.tensor(heads), VanGenuchten().derive(p))[0].numpy()
            )
        return float(
            np.sqrt(np.mean((np.hstack(theta) - self.file.water_content.values[1 : T + 1]) ** 2))
        )


def hydrus_table(psi: Tensor, p: Values, which: int) -> Tensor:
    """Water content (0) or conductivity (1) linear between 100 entries from 1e-6 to 1e4 cm, as in
    HYDRUS.
    """
    low, step = -6.0, 10.0 / 99
    entry = ((torch.log10(-psi.detach()) - low) / step).floor()
    left, right = -(10 ** (low + step * entry)), -(10 ** (low + step * (entry + 1)))
    exact = VanGenuchten()
    derived = exact.derive(dict(p))
    at_left, at_right = exact.curves(left, derived)[which], exact.curves(right, derived)[which]
    return at_left + (at_right - at_left) * (psi - left) / (right - left)


def test_hydrus_two_layers(shared_data: Find) -> None:
    case = Hydrus(shared_data("richards_reference/hydrus1d_two_layer_infiltration.nc"))
    assert case.rmse("van_genuchten") < 0.002


def test_hydrus_two_layers_with_its_tables(torch_only: None, shared_data: Find) -> None:
    # what separates converged solutions is that HYDRUS interpolates in tables of 100 entries, which
    # raises K
    case = Hydrus(shared_data("richards_reference/hydrus1d_two_layer_infiltration.nc"), dz=0.025)
    tables = UserHydraulics(
        lambda psi, p: hydrus_table(psi, p, 0),
        lambda psi, p: hydrus_table(psi, p, 1),
        parameters=VanGenuchten.parameters,
    )
    assert case.rmse(tables, until=2.0) < 0.1 * case.rmse("van_genuchten", until=2.0)
