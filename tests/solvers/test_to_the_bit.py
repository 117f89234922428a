"""What makes a state independent of the window of steps in which it was found."""

from __future__ import annotations

import torch

from pydiffgeo.solvers.substitution import one_after_another
from pydiffgeo.solvers.to_the_bit import GRID, _on_grid

F64 = torch.float64


def test_nodes_one_after_another_begin_anywhere() -> None:
    """x_k = v_k + m_k x_(k-1), the same to the last bit from any x_k on."""
    g = torch.Generator().manual_seed(0)
    values = torch.randn(60, 1, 3, generator=g, dtype=F64)
    factors = torch.rand(60, 1, 3, generator=g, dtype=F64)
    whole = one_after_another(values, factors)
    x = torch.zeros(1, 3, dtype=F64)
    for k in range(60):
        x = values[k] + factors[k] * x
        torch.testing.assert_close(whole[k], x, rtol=1e-12, atol=1e-13)
    rest = torch.cat([whole[20:21], values[21:]])
    assert torch.equal(one_after_another(rest, factors[20:]), whole[20:])


def test_near_states_share_a_point_of_the_grid() -> None:
    g = torch.Generator().manual_seed(1)
    states = (10 ** (12 * torch.rand(1000, generator=g, dtype=F64) - 6)).reshape(1, 1000, 1)
    scale = torch.ones(1, 1, 1, dtype=F64)
    points, _ = _on_grid(states, scale)
    moved, _ = _on_grid(states * (1 + 1e-15), scale)
    assert torch.equal(points, moved)
    away = ((points - states) / states).abs()
    assert 0 < float(away.max()) <= 2.0**-GRID
