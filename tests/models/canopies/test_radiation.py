"""Radiation in a canopy: nothing is lost, limits with known answers, a reference by layers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from torch import Tensor

from pydiffgeo.models.canopies.radiation import (
    absorbed,
    diffuse_par_share,
    extinction,
    long_wave_exchange,
    mean_exp,
    sunlit_area,
)

F64 = torch.float64


def drawn(rows: int, seed: int = 0) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(seed)
    bounds = {
        "beam": (0, 900), "diffuse": (0, 500), "area": (1e-3, 9), "K_beam": (0.1, 10),
        "K_diffuse": (0.3, 1), "absorptivity": (0.05, 1), "soil_albedo": (0, 0.9),
    }  # fmt: skip
    draw = {k: torch.rand(rows, generator=g, dtype=F64) for k in bounds}
    return {k: low + (high - low) * draw[k] for k, (low, high) in bounds.items()}


def test_nothing_is_lost() -> None:
    x = drawn(20_000)
    found = absorbed(**x)
    total = x["beam"] + x["diffuse"]
    torch.testing.assert_close(sum(found), total, rtol=1e-12, atol=0)
    assert all(bool((part >= -1e-10).all()) for part in found)


def test_reflection_is_that_of_campbell_and_norman() -> None:
    """Equations 15.7, 15.8 and 15.11 of the book."""
    x = drawn(1000, seed=1) | {"diffuse": torch.zeros(1000, dtype=F64)}
    root, r = x["absorptivity"].sqrt(), x["soil_albedo"]
    deep = (1 - root) / (1 + root)
    ratio = (deep - r) / (deep * r - 1)
    through = torch.exp(-root * x["K_beam"] * x["area"])
    reflectance = (deep + ratio * through**2) / (1 + deep * ratio * through**2)
    transmission = (deep**2 - 1) * through / ((deep * r - 1) + deep * (deep - r) * through**2)
    found = absorbed(**x)
    torch.testing.assert_close(found.reflected, x["beam"] * reflectance)
    torch.testing.assert_close(found.soil, x["beam"] * transmission * (1 - r))


def test_black_leaves() -> None:
    """Beer's law: only sunlit leaves meet the beam; the soil gets what passes."""
    x = drawn(1000, seed=2) | {
        "absorptivity": torch.ones(1000, dtype=F64), "soil_albedo": torch.zeros(1000, dtype=F64),
    }  # fmt: skip
    beam, diffuse = (torch.exp(-x[k] * x["area"]) for k in ("K_beam", "K_diffuse"))
    found = absorbed(**x)
    torch.testing.assert_close(found.soil, x["beam"] * beam + x["diffuse"] * diffuse)
    assert float(found.reflected.abs().max()) == 0
    K = x["K_beam"] + x["K_diffuse"]
    met = x["K_diffuse"] / K * (1 - torch.exp(-K * x["area"]))
    sun = x["beam"] * (1 - beam) + x["diffuse"] * met
    torch.testing.assert_close(found.sun, sun)


def test_without_leaves_all_is_of_the_soil() -> None:
    x = drawn(1000, seed=3) | {"area": torch.full((1000,), 1e-9, dtype=F64)}
    total = x["beam"] + x["diffuse"]
    found = absorbed(**x)
    torch.testing.assert_close(found.soil, (1 - x["soil_albedo"]) * total, rtol=1e-7, atol=0)
    torch.testing.assert_close(found.reflected, x["soil_albedo"] * total, rtol=1e-6, atol=1e-5)
    assert float((found.sun / total).max()) < 1e-7


@pytest.mark.parametrize("seed", range(4))
def test_against_an_integral_over_depth(seed: int) -> None:
    """Both streams by a boundary value solver; classes by quadrature."""
    from scipy.integrate import solve_bvp

    x = {k: float(v[0]) for k, v in drawn(1, seed=10 + seed).items()}
    x["area"], x["K_beam"] = min(x["area"], 3.0), min(x["K_beam"], 1.5)
    a, r, L, sun = x["absorptivity"], x["soil_albedo"], x["area"], 0.0
    for name, K in (("beam", x["K_beam"]), ("diffuse", x["K_diffuse"])):
        turned = K * (1 - a) / 2

        def slopes(s: np.ndarray, y: np.ndarray, K: float = K, t: float = turned) -> np.ndarray:
            lost = K * a + t
            return np.vstack([-lost * y[0] + t * y[1], lost * y[1] - t * y[0]])

        def ends(top: np.ndarray, soil: np.ndarray) -> np.ndarray:
            return np.array([top[0] - 1, soil[1] - r * soil[0]])

        depth = np.linspace(0, L, 200)
        both = solve_bvp(slopes, ends, depth, np.ones((2, 200)), tol=1e-9, max_nodes=20000).sol

        def met(s: float, K: float = K, name: str = name, both: object = both) -> float:
            lit, streams = np.exp(-x["K_beam"] * s), float(both(s).sum())  # type: ignore[operator]
            first = np.exp(-K * s) if name == "beam" else 0.0
            return a * K * (first + (streams - first) * lit)

        sun += x[name] * quad(met, 0, L, epsabs=1e-12)[0]
    found = absorbed(**{k: torch.tensor(v, dtype=F64) for k, v in x.items()})
    assert float(found.sun) == pytest.approx(sun, rel=1e-6)


def test_extinction_by_spherical_leaves() -> None:
    """G = 1/2 in every direction: K = 1 / (2 sine), within the fit of the book (1 %)."""
    elevation = torch.linspace(4, 90, 50, dtype=F64)
    K = extinction(elevation, torch.ones((), dtype=F64), 0.05)
    torch.testing.assert_close(K, 0.5 / torch.sin(torch.deg2rad(elevation)), rtol=0.01, atol=0)
    low = extinction(torch.tensor([-40.0, 0.0], dtype=F64), torch.ones((), dtype=F64), 0.05)
    torch.testing.assert_close(low, torch.full((2,), 10.0, dtype=F64), rtol=0.01, atol=0)


def test_sunlit_area() -> None:
    area, K = torch.tensor([0.0, 1e-9, 3.0], dtype=F64), torch.tensor(0.7, dtype=F64)
    expected = torch.tensor([0.0, 1e-9, (1 - np.exp(-2.1)) / 0.7], dtype=F64)
    torch.testing.assert_close(sunlit_area(area, K), expected)


def test_long_wave_is_closed() -> None:
    """Sums over who sends and who gets."""
    x = drawn(10_000, seed=4)
    e = long_wave_exchange(x["area"], x["K_beam"], x["K_diffuse"])
    rest = 1 - torch.exp(-x["K_diffuse"] * x["area"])
    torch.testing.assert_close(e.sun_sky + e.shade_sky, rest)
    torch.testing.assert_close(e.sun_soil + e.shade_soil, rest)
    torch.testing.assert_close(e.sky_soil, 1 - rest)
    assert all(bool((part >= -1e-12).all()) for part in e)


def test_gradients() -> None:
    x = drawn(5, seed=5)
    x["K_beam"][0] = x["K_diffuse"][0] * x["absorptivity"][0].sqrt()  # where a quotient is 0 / 0
    values = [v.requires_grad_() for v in x.values()]
    assert torch.autograd.gradcheck(lambda *v: absorbed(*v), values)
    near = torch.tensor([0.0, 1e-6, -1e-5, 1e-3, 2.0, -3.0], dtype=F64, requires_grad=True)
    assert torch.autograd.gradcheck(mean_exp, near)


def test_diffuse_share_of_light() -> None:
    share = torch.linspace(0, 1, 101, dtype=F64)
    par = diffuse_par_share(share)
    assert float(par[0]) == 0 and float(par[-1]) == 1 and bool((par.diff() > 0).all())
    near_infrared = share - 0.5 * par
    assert bool(((near_infrared >= 0) & (near_infrared <= 0.5)).all())
