"""Richards' equation against solutions in closed form and against HYDRUS-1D."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from richards_cases import F64, reference_file
from scipy.linalg import eig
from scipy.optimize import brentq

from pydiffgeo import Grid, Richards, Solver, solve

# ---- Srivastava & Yeh (1991): Gardner soil, alpha 1/cm, surface flux 0.1 then 0.9 cm/h, water table at the base -----

SOIL = {"theta_r": 0.06, "theta_s": 0.4, "alpha": 1.0}
BEFORE, AFTER = 0.1, 0.9  # cm/h
HOURS = np.arange(1, 101) * 0.1


def series(depth: np.ndarray, hours: np.ndarray, length: float = 10.0, K_s: float = 1.0) -> np.ndarray:
    """Heads `[time, depth]` of one layer by separation of variables in W = exp(alpha psi), alpha = 1.

    With z the height and T = K_s t / (theta_s - theta_r): W_T = W_zz + W_z, W = 1 at the table, W_z + W = q / K_s at the
    surface. W - steady = exp(-z/2 - T/4) sum a_n sin(k_n z) exp(-k_n^2 T) with tan(k L) = -2 k.
    """
    qA, qB = BEFORE / K_s, AFTER / K_s
    z, T = length - depth, hours[:, None] * K_s / (SOIL["theta_s"] - SOIL["theta_r"])
    k = np.array([
        brentq(lambda x: np.sin(x * length) + 2 * x * np.cos(x * length), (i - 0.5) * np.pi / length, i * np.pi / length)
        for i in range(1, 200)
    ])  # fmt: skip
    # projections of 2 (qA - qB) sinh(z/2), which is exp(z/2) times the initial departure from the new steady state
    grid, weight = np.polynomial.legendre.leggauss(2000)
    x, w = 0.5 * length * (grid + 1), 0.5 * length * weight
    sines = np.sin(np.outer(k, x))
    a = (sines * 2 * (qA - qB) * np.sinh(x / 2)) @ w / (sines**2 @ w)
    terms = a * np.sin(np.outer(z, k))  # [depth, n]
    decay = np.exp(-(k**2) * T)  # [time, n]
    W = qB + (1 - qB) * np.exp(-z) + np.exp(-z / 2 - T / 4) * (decay @ terms.T)
    return np.log(W)


def spectral(depth: np.ndarray, hours: np.ndarray, K_s: Sequence[float], nodes: int = 48) -> np.ndarray:
    """Heads `[time, depth]` of layers of 10 cm by Chebyshev collocation in space and the exact exponential in time."""
    m, layers = nodes + 1, len(K_s)
    i = np.arange(m)
    x = np.cos(np.pi * i / nodes)  # 1 .. -1
    c = np.where((i == 0) | (i == nodes), 2.0, 1.0) * (-1.0) ** i
    D = np.outer(c, 1 / c) / (x[:, None] - x + np.eye(m))
    D -= np.diag(D.sum(1))
    D = -D / 5.0  # depth z = 5 (1 - x) in each layer, from 0 to 10
    span = SOIL["theta_s"] - SOIL["theta_r"]
    total = m * layers
    L, C, right = np.zeros((total, total)), [], []  # W' = L W inside, C W = right at faces
    for j, K in enumerate(K_s):
        own = slice(j * m, (j + 1) * m)
        L[own, own] = K / span * (D @ D - D)
        flux = np.zeros((m, total))
        flux[:, own] = K * (np.eye(m) - D)  # flux, positive downward
        if j == 0:
            C.append(flux[0])
            right.append("surface")
        else:
            continuous = np.zeros(total)
            continuous[j * m - 1], continuous[j * m] = 1, -1
            C += [continuous, below - flux[0]]  # noqa: F821 (set in the layer above)
            right += [0.0, 0.0]
        below = flux[-1]
    table = np.zeros(total)
    table[-1] = 1
    C, right = np.array([*C, table]), [*right, 1.0]

    def steady(q: float) -> np.ndarray:
        A = L.copy()
        A[faces] = C
        b = np.zeros(total)
        b[faces] = [q if r == "surface" else r for r in right]
        return np.linalg.solve(A, b)

    faces = np.array([n for j in range(layers) for n in (j * m, (j + 1) * m - 1)])
    inner = np.setdiff1d(np.arange(total), faces)
    # departures from the new steady state meet homogeneous conditions, which give the faces from the inside
    lift = -np.linalg.solve(C[:, faces], C[:, inner])
    rates, vectors = eig(L[np.ix_(inner, inner)] + L[np.ix_(inner, faces)] @ lift)
    start = np.linalg.solve(vectors, (steady(BEFORE) - steady(AFTER))[inner])
    out = np.empty((len(hours), len(depth)))
    bary = np.where((i == 0) | (i == nodes), 0.5, 1.0) * (-1.0) ** i
    for t, hour in enumerate(hours):
        W = steady(AFTER).copy()
        departure = (vectors @ (np.exp(rates * hour) * start)).real
        W[inner] += departure
        W[faces] += lift @ departure
        for n, z in enumerate(depth):
            j = min(int(z // 10), layers - 1)
            gap = (1 - (z - 10 * j) / 5) - x
            exact = np.abs(gap) < 1e-13
            w = exact.astype(float) if exact.any() else bary / gap
            out[t, n] = np.log(w @ W[j * m : (j + 1) * m] / w.sum())
    return out


def srivastava_yeh(cells: int, K_s: Sequence[float]) -> tuple[Grid, np.ndarray]:
    """Grid and heads `[time, cell]` from our solver."""
    length = 10.0 * len(K_s)
    grid = Grid.uniform(length, cells, layers=[10.0 * i for i in range(len(K_s))])
    model = Richards(grid, hydraulics="gardner", top="flux", bottom="head")
    solution = solve(
        model,
        forcing={"top_flux": AFTER, "bottom_head": 0.0},
        parameters={**SOIL, "K_s": torch.tensor([list(K_s)], dtype=F64)},
        initial_state=torch.tensor(spectral_steady(grid.depth.numpy(), K_s), dtype=F64),
        times=torch.tensor(np.r_[0.0, HOURS], dtype=F64),
        solver=Solver("kvaerno3", rtol=1e-6),
        engine="torch",
    )
    return grid, solution.states[0].numpy()


def spectral_steady(depth: np.ndarray, K_s: Sequence[float]) -> np.ndarray:
    """Steady heads under the initial flux: W - q / K_s decays as exp(-height) within each layer, W is continuous."""
    W, base = np.empty_like(depth), 1.0
    for j in reversed(range(len(K_s))):
        q, bottom = BEFORE / K_s[j], 10.0 * (j + 1)
        here = (depth <= bottom) & (depth >= bottom - 10)
        W[here] = q + (base - q) * np.exp(depth[here] - bottom)
        base = q + (base - q) * np.exp(-10.0)
    return np.log(W)


LAYERS = {"srivastava_yeh_homogeneous.nc": (1.0,), "srivastava_yeh_two_layer.nc": (10.0, 1.0)}


def test_the_two_independent_solutions_agree() -> None:
    depth = np.linspace(0.05, 9.95, 40)
    assert series(depth, HOURS[::10]) == pytest.approx(spectral(depth, HOURS[::10], (1.0,)), abs=1e-8)


@pytest.mark.parametrize("name", LAYERS)
def test_reference_file_agrees_with_the_analytic_solution(name: str) -> None:
    # heads down to -4.6 cm in single precision are rounded to 2.4e-7 cm
    with xr.open_dataset(reference_file(name)) as file:
        psi, depth, hours = file.pressure_head.values[1:], file.depth.values, file.time.values[1:]
    if "layer" in file:  # the node of the interface is stored twice
        depth = np.minimum(depth, 20.0)
    assert spectral(depth, hours, LAYERS[name]) == pytest.approx(psi, abs=2e-5)


@pytest.mark.parametrize("name", LAYERS)
def test_srivastava_yeh_second_order_in_space(name: str) -> None:
    K_s = LAYERS[name]
    errors = []
    for dz in (0.05, 0.025):
        grid, psi = srivastava_yeh(round(10 * len(K_s) / dz), K_s)
        errors.append(np.abs(psi - spectral(grid.depth.numpy(), HOURS, K_s)).max())
    assert errors[0] < 2e-3
    assert errors[1] < 2e-3 / 4
    assert errors[0] / errors[1] > 3.6


@pytest.mark.parametrize("name", LAYERS)
def test_srivastava_yeh_against_the_reference_file(name: str) -> None:
    K_s = LAYERS[name]
    with xr.open_dataset(reference_file(name)) as file:
        expected, depth = file.pressure_head.values[1:], file.depth.values
    errors = []
    for dz in (0.05, 0.025):
        grid, psi = srivastava_yeh(round(10 * len(K_s) / dz), K_s)
        inside = (depth > dz) & (depth < 10 * len(K_s) - dz)
        # heads at faces from the two centres beside them; the faces of the column have none outside
        got = np.stack([np.interp(depth[inside], grid.depth.numpy(), row) for row in psi])
        errors.append(np.abs(got - expected[:, inside]).max())
    assert errors[0] < 2e-3
    assert errors[1] < 2e-3 / 4


# ---- steady states ------------------------------------------------------------------------------------------------

HYDROSTATIC: dict[str, dict[str, Any]] = {
    "van_genuchten": {"theta_r": [[0.065, 0.068]], "theta_s": [[0.41, 0.38]], "alpha": [[0.075, 0.008]],
                      "n": [[1.89, 1.09]], "K_s": [[4.42, 0.2]]},
    "brooks_corey": {"psi_b": [[7.0, 30.0]], "pore_index": [[0.6, 0.2]], "K_s": [[20.0, 0.1]]},
    "gardner": {"alpha": [[0.1, 0.02]], "K_s": [[5.0, 0.5]]},
    "haverkamp": {"K_s": [[34.0, 3.0]]},
}  # fmt: skip


@pytest.mark.parametrize("face_mean", ["arithmetic", "geometric", "harmonic", "upstream"])
@pytest.mark.parametrize("hydraulics", HYDROSTATIC)
def test_hydrostatic_equilibrium_stays(hydraulics: str, face_mean: str) -> None:
    # without flux, psi falls by 1 cm per cm above the water table whatever the soils
    grid = Grid.graded(120.0, 30, top=1.0, layers=[0.0, 40.0])
    model = Richards(grid, hydraulics=hydraulics, top="flux", bottom="head", face_mean=face_mean)
    parameters = {k: torch.tensor(v, dtype=F64) for k, v in HYDROSTATIC[hydraulics].items()}
    psi = grid.depth - 120.0
    forcing = {"top_flux": 0.0, "bottom_head": 0.0}
    times = torch.tensor([0.0, 1000.0], dtype=F64)
    solution = solve(model, forcing, parameters, psi, times, solver=Solver(rtol=1e-4), engine="torch")
    assert (solution.states[0, 0] - psi).abs().max() < 1e-8
    assert solution.fluxes["drainage"].abs().max() < 1e-12


@pytest.mark.parametrize("face_mean", ["arithmetic", "geometric", "harmonic", "upstream"])
def test_unit_gradient_flow_is_steady(face_mean: str) -> None:
    # a uniform soil at -30 cm passes its conductivity
    model = Richards(Grid.uniform(50.0, 25), top="flux", bottom="free_drainage", face_mean=face_mean)
    parameters = {"theta_r": 0.078, "theta_s": 0.43, "alpha": 0.036, "n": 1.56, "K_s": 1.04}
    x, m = 0.036 * 30.0, 1 - 1 / 1.56
    S = (1 + x**1.56) ** -m
    q = 1.04 * S**0.5 * (1 - (1 - S ** (1 / m)) ** m) ** 2
    times = torch.tensor([0.0, 200.0], dtype=F64)
    solution = solve(model, {"top_flux": q}, parameters, -30.0, times, engine="torch")
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
        solution = solve(model, forcing, parameters, -150.0, times, solver=Solver(rtol=1e-6), engine="torch")
        height = 100.0 - grid.depth
        exact = torch.log(0.25 + 0.75 * torch.exp(-0.05 * height)) / 0.05
        errors.append(float((solution.states[0, 0] - exact).abs().max()))
    assert errors[0] < 5e-2
    assert errors[0] / errors[1] == pytest.approx(4.0, rel=0.1)


# ---- HYDRUS-1D ----------------------------------------------------------------------------------------------------


def test_hydrus_two_layers_infiltration_and_evaporation() -> None:
    with xr.open_dataset(reference_file("hydrus1d_two_layer_infiltration.nc")) as file:
        file.load()
    # material 2, a loam, lies from 0 to 10 cm above material 1, a sandy loam
    soil = {ours: torch.tensor(file[f"vg_{theirs}"].sel(mat=[2, 1]).values)[None] for ours, theirs in (
        ("theta_r", "theta_r"), ("theta_s", "theta_s"), ("alpha", "alpha"), ("n", "n"), ("K_s", "Ks"))}  # fmt: skip
    grid = Grid.uniform(20.0, 200, layers=[0.0, 10.0])
    hours = file.time.values
    top = np.where(hours[1:] <= 8 + 1e-9, 0.3, np.where(hours[1:] <= 12 + 1e-9, -0.02, 0.2))
    solution = solve(
        Richards(grid, top="flux", bottom="head"),
        forcing={"top_flux": top, "bottom_head": -1000.0},
        parameters=soil,
        initial_state=-1000.0,
        times=torch.tensor(hours),
        solver=Solver(rtol=1e-4),
        engine="torch",
    )
    # heads are continuous across the interface, water contents are not: interpolate heads, within each layer
    depth, material = file.depth.values, file.material.values
    centre, psi = grid.depth.numpy(), solution.states[0].numpy()
    theta = np.empty((len(hours) - 1, len(depth)))
    for layer, number in ((0, 2), (1, 1)):
        node, cell = material == number, grid.layer.numpy() == layer
        heads = np.stack([_interpolate(depth[node], centre[cell], row[cell]) for row in psi])
        p = {k: float(v[0, layer]) for k, v in soil.items()}
        x = (p["alpha"] * np.abs(heads)) ** p["n"]
        theta[:, node] = p["theta_r"] + (p["theta_s"] - p["theta_r"]) * (1 + x) ** (1 / p["n"] - 1)
    rmse = np.sqrt(np.mean((theta - file.water_content.values[1:]) ** 2))
    assert rmse < 0.002


def _interpolate(at: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Linear between the points and, for half a cell, beyond them."""
    i = np.clip(np.searchsorted(x, at) - 1, 0, len(x) - 2)
    return y[i] + (at - x[i]) * (y[i + 1] - y[i]) / (x[i + 1] - x[i])
