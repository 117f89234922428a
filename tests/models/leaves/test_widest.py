"""Of two states of a leaf that with the stomata open widest."""

from __future__ import annotations

import torch
from leaf_cases import at
from torch import Tensor

from pydiffgeo.models.leaves.energy import deficit, heat
from pydiffgeo.models.leaves.widest import at_conductance, widest

AIR = {
    "shortwave": at(500.0, 500.0), "longwave": at(420.0, 420.0), "air_temperature": at(32.0, 32.0),
    "vapour_pressure": at(1500.0, 1500.0), "pressure": at(1e5, 1e5),
    "boundary_layer_conductance": at(0.4, 0.4),
}  # fmt: skip


def test_the_energy_closes_at_a_conductance() -> None:
    conductance = at(0.3, 1e-3)
    t = at_conductance(conductance, at(20.0, 60.0), AIR)
    vapour = conductance * deficit(t, AIR["vapour_pressure"]) * 1000 / AIR["pressure"]
    e = heat(t, vapour, AIR)
    left = e.net_radiation - e.latent - e.sensible
    torch.testing.assert_close(left, torch.zeros_like(left), rtol=0, atol=1e-6)
    assert float(t[0]) < float(t[1])


def test_stomata_that_shut_in_the_warmth_have_an_open_state_beside_the_shut() -> None:
    """Open to 1 mol m-2 s-1 below a temperature and shut above it: a leaf found shut has another
    state, one found open none that is wider.
    """
    total = {gs: gs * 0.4 / (gs + 0.4) for gs in (1.0, 1e-3)}
    cool, hot = (
        at_conductance(torch.full_like(AIR["pressure"], total[gs]), at(30.0, 30.0), AIR)
        for gs in (1.0, 1e-3)
    )
    middle = 0.5 * (cool + hot)

    def conductance(rows: Tensor, co2: Tensor | None, t: Tensor) -> tuple[Tensor, Tensor]:
        return torch.full_like(t, 300.0), torch.where(t < middle[rows], 1.0, 1e-3).to(t)

    found = torch.stack([hot[0], cool[1]])
    temperature, co2 = widest(found, AIR, conductance)
    torch.testing.assert_close(temperature[0], cool[0], rtol=0, atol=1e-5)
    assert float(co2[0]) == 300.0 and bool(torch.isnan(temperature[1]))
