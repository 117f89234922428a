"""Energy of a canopy: nothing is made on the way, and slopes are those of differentiation."""

from __future__ import annotations

import torch
from canopy_cases import solved, weather

from pydiffgeo import TwoBigLeaf
from pydiffgeo.models.canopies.balance import CLASSES, terms
from pydiffgeo.solvers.jacobian import coloured

F64 = torch.float64
MODEL = TwoBigLeaf()


def at_random(rows: int) -> tuple[torch.Tensor, dict, dict]:
    given = weather(rows, seed=7)
    g = torch.Generator().manual_seed(8)
    begin = MODEL.guess(given, {})
    state = begin * (0.8 + 0.4 * torch.rand(begin.shape, generator=g, dtype=F64))
    known = MODEL.spec.parameters.items()
    return state, given, {k: torch.full((1, 1), p.default, dtype=F64) for k, p in known}


def test_at_any_state_nothing_is_made() -> None:
    """What leaves and soil give to the air is what leaves the canopy; radiation is exchanged."""
    state, given, p = at_random(500)
    f = {k: v[:, 0] for k, v in (given | MODEL.drivers(given, p)).items()}
    t = terms(state, torch.zeros(500, 2, dtype=F64), f, {k: v[:, 0] for k, v in p.items()})
    moves = [2 * f["boundary_sun"], 2 * f["boundary_shade"], f["soil_heat"]]
    warm = state[:, 2:5] - f["air_temperature"][:, None]
    above = sum(m * w for m, w in zip(moves, warm.unbind(-1), strict=True))
    above = 29.3 * f["aerodynamic"] * above / (sum(moves) + f["aerodynamic"])
    torch.testing.assert_close(sum(t.heat.values()), above, rtol=1e-9, atol=1e-7)
    upward = sum(f[f"long_{k}_sky"] * t.black[k] for k in CLASSES)
    upward = upward + f["long_sky_soil"] * t.black["soil"]
    net = f["shortwave_down"] - f["short_reflected"] + f["longwave_down"] - upward
    torch.testing.assert_close(sum(t.net.values()), net, rtol=1e-9, atol=1e-9)


def test_slopes() -> None:
    state, given, p = at_random(200)
    rates, entries = MODEL.slopes(state, given, p)
    true = coloured(MODEL, state, given, p)
    dense = torch.zeros(200, 6, 6, dtype=F64)
    for (row, column), value in entries.items():
        dense[:, row, column] = value
    torch.testing.assert_close(dense, true.jacobian[0], rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(torch.stack(rates, -1), true.rates)


def test_the_root_is_stable() -> None:
    """du / dt = f(u) leads there: real parts of all eigenvalues are negative."""
    state, given, p = at_random(300)
    rates, entries = MODEL.slopes(solved(MODEL, given).states[:, 0], given, p)
    dense = torch.zeros(300, 6, 6, dtype=F64)
    for (row, column), value in entries.items():
        dense[:, row, column] = value
    assert float(torch.linalg.eigvals(dense).real.max()) < 0
