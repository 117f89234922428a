"""Fronts are taken where they are faster, and solve what Newton's method alone does not."""

from __future__ import annotations

import pytest
import torch
from whole_river_cases import MODEL, inputs, together, tree

from pydiffgeo import Solver
from pydiffgeo.engines.whole_rivers import River
from pydiffgeo.solving import solve_river

F64 = torch.float64


def chain(reaches: int, days: int) -> object:
    """Return what the engine makes of short reaches in a row, by the quarter of an hour."""
    below = torch.arange(1, reaches + 1)
    below[-1] = -1
    river = River(below, list(torch.arange(reaches)[:, None]), 4, "discharge", "inflow")
    lateral = torch.zeros(reaches, days, dtype=F64)
    lateral[0] = 0.1
    given = {"length": 34.0, "slope": 8.8e-4, "n": 0.05, "width": 2.9, "side_slope": 1.7}
    return solve_river(
        MODEL, {"inflow": 0.0, "lateral_inflow": lateral}, given | {"step": 900.0},
        {"volume": 1000.0}, torch.arange(days + 1) * 3600.0,
        Solver("implicit_euler", step=900.0), "torch", river,
    )  # fmt: skip


def test_fronts_where_levels_are_many_and_steps_few() -> None:
    assert chain(30, 4) is not None
    assert chain(3, 40) is None
    assert together(inputs(), tree(), "torch", delay=False) is None


def test_a_full_reach_that_empties_in_one_step_is_solved_with_bounds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Newton's method alone goes to and fro: here a store gives less the more it holds."""
    solution = chain(30, 4)
    assert solution is not None
    flux = solution.fluxes  # type: ignore[attr-defined]
    water = 3600 * (flux["total_inflow"] - flux["discharge"] - flux["loss"]).cumsum(1)
    states = solution.states[..., 0]  # type: ignore[attr-defined]
    torch.testing.assert_close(states, 1000.0 + water, rtol=0, atol=1e-6)
    assert float(states.min()) > -1e-6
    monkeypatch.setattr("pydiffgeo.solvers.fronts.MOST", 1)
    assert chain(30, 4) is None
