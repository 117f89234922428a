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

from pydiffgeo import Grid, Richards, Solver, solve

Find = Callable[[str], Path]

HOURS = np.arange(1, 101) * 0.1
LAYERS = {"srivastava_yeh_homogeneous.nc": (1.0,), "srivastava_yeh_two_layer.nc": (10.0, 1.0)}


def solve_srivastava_yeh(dz: float, K_s: Sequence[float]) -> tuple[Grid, np.ndarray]:
    """Grid and heads `[time, cell]`."""
    length = sy.LAYER * len(K_s)
    grid = Grid.uniform(length, round(length / dz), layers=[sy.LAYER * i for i in range(len(K_s))])
    initial = np.log(sy.steady(grid.depth.numpy(), K_s, sy.BEFORE))
    solution = solve(
        Richards(grid, hydraulics="gardner", top="flux", bottom="head"),
        forcing={"top_flux": sy.AFTER, "bottom_head": 0.0},
        parameters={
            "theta_r": sy.THETA_R,
            "theta_s": sy.THETA_S,
            "alpha": sy.ALPHA,
            "K_s": torch.tensor([K_s], dtype=F64),
        },
        initial_state=torch.tensor(initial),
        times=torch.tensor(np.r_[0.0, HOURS]),
        solver=Solver("kvaerno3", rtol=1e-6),
        engine="torch",
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


@pytest.mark.parametrize("name", LAYERS)
def test_srivastava_yeh_against_the_reference_file(name: str, shared_data: Find) -> None:
    with xr.open_dataset(shared_data(f"richards_reference/{name}")) as file:
        expected, depth = file.pressure_head.values[1:], file.depth.values
    for dz, allowed in ((0.05, 2e-3), (0.025, 2e-3 / 4)):
        grid, psi = solve_srivastava_yeh(dz, LAYERS[name])
        # the file's nodes are faces of our grid; those of the column's ends have a centre on one side only
        inside = (depth > dz) & (depth < depth[-1] - dz)
        got = np.stack([np.interp(depth[inside], grid.depth.numpy(), row) for row in psi])
        assert np.abs(got - expected[:, inside]).max() < allowed


def test_hydrus_infiltration_and_evaporation_of_two_layers(shared_data: Find) -> None:
    with xr.open_dataset(shared_data("richards_reference/hydrus1d_two_layer_infiltration.nc")) as file:
        file.load()
    # material 2, a loam, from 0 to 10 cm, above material 1, a sandy loam
    names = {"theta_r": "theta_r", "theta_s": "theta_s", "alpha": "alpha", "n": "n", "K_s": "Ks"}
    soil = {k: torch.tensor(file[f"vg_{v}"].sel(mat=[2, 1]).values)[None] for k, v in names.items()}
    grid = Grid.uniform(20.0, 200, layers=[0.0, 10.0])
    hours = file.time.values
    ends = np.round(hours[1:], 6)
    top_flux = np.where(ends <= 8, 0.3, np.where(ends <= 12, -0.02, 0.2))
    solution = solve(
        Richards(grid, top="flux", bottom="head"),
        forcing={"top_flux": top_flux, "bottom_head": -1000.0},
        parameters=soil,
        initial_state=-1000.0,
        times=torch.tensor(hours),
        solver=Solver(rtol=1e-4),
        engine="torch",
    )
    # heads are continuous across the interface, water contents are not: interpolate heads, within each layer
    depth, material = file.depth.values, file.material.values
    centre, psi = grid.depth.numpy(), solution.states[0].numpy()
    theta = np.empty((len(ends), len(depth)))
    for layer, number in ((0, 2), (1, 1)):
        node, cell = material == number, grid.layer.numpy() == layer
        heads = np.stack([_interpolate(depth[node], centre[cell], row[cell]) for row in psi])
        theta_r, theta_s, alpha, n = (float(soil[k][0, layer]) for k in ("theta_r", "theta_s", "alpha", "n"))
        theta[:, node] = theta_r + (theta_s - theta_r) * (1 + (alpha * np.abs(heads)) ** n) ** (1 / n - 1)
    assert np.sqrt(np.mean((theta - file.water_content.values[1:]) ** 2)) < 0.002
    stored = file.bulk_storage.values - file.bulk_storage.values[0]
    gained = (solution.storage[0] - solution.storage[0, 0]).numpy()
    assert gained == pytest.approx(stored, abs=0.01)


def _interpolate(at: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Linear between the points and, for half a cell, beyond them."""
    i = np.clip(np.searchsorted(x, at) - 1, 0, len(x) - 2)
    return y[i] + (at - x[i]) * (y[i + 1] - y[i]) / (x[i + 1] - x[i])
