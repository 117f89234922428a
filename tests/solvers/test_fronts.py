"""A front solves what Newton's method alone does not."""

from __future__ import annotations

import pytest
import torch
from whole_river_cases import chain


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
