"""The exchange of a reach in SNTEMP: its expansion at the inlet, and the reach as a differential
equation.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pydiffgeo.models.streams import sntemp

F64 = torch.float64


def heat(count: int = 50) -> tuple[Tensor, sntemp.Balance]:
    """Temperatures of inlets, and balances of heat drawn at random."""
    g = torch.Generator().manual_seed(0)

    def drawn(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, generator=g, dtype=F64)

    around = sntemp.Surroundings(
        drawn(50, 300), drawn(0.3, 0.95), drawn(0, 1), drawn(1e-9, 5e-8), drawn(0, 0.6),
        drawn(0, 0.5), drawn(8, 12), drawn(3, 30), drawn(1e-4, 1e-2), drawn(0, 800),
    )  # fmt: skip
    return drawn(2, 25), sntemp.balance(drawn(0, 25), drawn(0.01, 10), around)


def test_equilibrium_loses_nothing_and_the_exchange_is_that_of_the_inlet() -> None:
    inlet, of_reach = heat()
    x = sntemp.exchange(inlet, of_reach)
    assert float(of_reach.loss(x.equilibrium).abs().max()) < 1e-9
    over = inlet - x.equilibrium
    # the parabola through the equilibrium, with its slope there, and the loss at the inlet
    torch.testing.assert_close(x.first * over - x.second * over**2, of_reach.loss(inlet))


def test_reach_is_the_solution_of_its_differential_equation() -> None:
    """By Runge's and Kutta's method along the reach, for an exchange of first order."""
    inlet, of_reach = heat()
    x = sntemp.exchange(inlet, of_reach)._replace(second=torch.zeros_like(inlet))
    above, lateral, own = torch.full_like(inlet, 2.0), torch.full_like(inlet, 1.0), inlet * 0 + 9
    width, length = torch.full_like(inlet, 10.0), torch.full_like(inlet, 5e3)
    found = sntemp.reach_temperature(inlet, above, lateral, own, x, width, length)

    def slope(part: float, t: Tensor) -> Tensor:
        gain = lateral * (own - t) + x.first * width * length / sntemp.HEAT * (x.equilibrium - t)
        return gain / (above + part * lateral)

    t, n = inlet, 200
    for k in range(n):
        a = slope(k / n, t)
        b = slope((k + 0.5) / n, t + a / (2 * n))
        c = slope((k + 0.5) / n, t + b / (2 * n))
        d = slope((k + 1) / n, t + c / n)
        t = t + (a + 2 * b + 2 * c + d) / (6 * n)
    torch.testing.assert_close(found, t.clamp(min=0), rtol=1e-7, atol=1e-7)
    # as little lateral inflow as there may be is as none
    none = sntemp.reach_temperature(inlet, above, lateral * 0, own, x, width, length)
    few = sntemp.reach_temperature(inlet, above, lateral * 2e-6, own, x, width, length)
    torch.testing.assert_close(none, few, rtol=1e-5, atol=1e-4)
