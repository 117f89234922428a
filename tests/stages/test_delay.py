"""A series that arrives later: by hand, water conserved, its gradient, and the name of the hour."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hybrid_cases import basins

import pydiffgeo as pdg
from pydiffgeo import stages
from pydiffgeo.errors import SettingsError
from pydiffgeo.stages.base import Series

F64 = torch.float64


def delayed(hours: torch.Tensor, rain: torch.Tensor | None = None, **options):
    """Return rain of three basins, and what the stage makes of it."""
    stage = stages.Delay("precipitation", **options)
    hybrid = pdg.Hybrid(pdg.MLP(hidden=(4,)), stage, dtype=F64)
    windows = pdg.Windows(basins(3, 40), dtype=F64)
    hybrid.prepare(windows)
    batch = windows.reading(hybrid.reads, ["discharge"], hybrid.needs).batch(0)
    rain = batch.series["precipitation"] if rain is None else rain
    given = {"precipitation_delay": hours}
    return rain, stage(Series({"precipitation": rain}), given, batch)["precipitation"]


def test_a_part_of_the_day_before_by_hand() -> None:
    rain, found = delayed(torch.tensor([0.0, 6.0, -9.0], dtype=F64))
    assert torch.equal(found[0], rain[0])
    torch.testing.assert_close(found[1, 1:], 0.75 * rain[1, 1:] + 0.25 * rain[1, :-1])
    torch.testing.assert_close(found[2, :-1], 0.625 * rain[2, :-1] + 0.375 * rain[2, 1:])


@pytest.mark.parametrize("hours", [7.3, -11.0, 24.0, 31.0])
def test_water_is_conserved(hours: float) -> None:
    rain = torch.rand(3, 40, dtype=F64, generator=torch.Generator().manual_seed(0))
    rain[:, :3], rain[:, -3:] = 0.0, 0.0  # so that none crosses the ends of the window
    _, found = delayed(torch.full((3,), hours, dtype=F64), rain)
    torch.testing.assert_close(found.sum(1), rain.sum(1), rtol=1e-14, atol=0)
    centre = torch.arange(40, dtype=F64)
    later = (found * centre).sum(1) / found.sum(1) - (rain * centre).sum(1) / rain.sum(1)
    torch.testing.assert_close(later * 24, torch.full((3,), hours, dtype=F64))


def test_gradients() -> None:
    rain = torch.rand(3, 40, dtype=F64, generator=torch.Generator().manual_seed(1))
    hours = torch.tensor([5.0, -3.0, 30.0], dtype=F64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda h, r: delayed(h, r)[1], (hours, rain.requires_grad_()))


def test_it_begins_at_no_delay_and_learns_the_hour() -> None:
    """Discharge is the rain of a day that begins six hours later: gradient descent finds it."""
    sites = basins(3, 300)
    rain = sites.precipitation.values
    moved = np.concatenate([rain[:, :1], 0.75 * rain[:, 1:] + 0.25 * rain[:, :-1]], 1)
    sites["precipitation_true"] = (("site", "time"), moved, {"units": "mm day-1"})
    sites.precipitation_true.attrs["role"] = "observed"
    hybrid = pdg.Hybrid(pdg.MLP(reads=(), hidden=(2,), small_start=True),
                        stages.Delay("precipitation"), dtype=F64)  # fmt: skip
    assert hybrid.stages[0].begin == {"precipitation_delay": 0.0}
    windows = pdg.Windows(sites, dtype=F64, forcing=["precipitation"], observed=["discharge"])
    hybrid.prepare(windows)
    batch = windows.reading(hybrid.reads, ["discharge"], hybrid.needs).batch(0)
    optimiser = torch.optim.Adam(hybrid.parameters(), 0.05)
    rows = [int(k) for k in batch.site]
    truth = torch.tensor(moved)[rows]
    for _ in range(200):
        optimiser.zero_grad()
        (hybrid(batch)["precipitation"] - truth).square().mean().backward()
        optimiser.step()
    hours = hybrid.parameters_of(batch)["precipitation_delay"]
    torch.testing.assert_close(hours, torch.full_like(hours, 6.0), rtol=0, atol=0.05)


def test_a_delay_that_varies_is_refused() -> None:
    with pytest.raises(SettingsError, match="one number for each site"):
        delayed(torch.zeros(3, 40, dtype=F64))
