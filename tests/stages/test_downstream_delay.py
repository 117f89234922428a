"""Downstream: runoff that arrives later."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from downstream_cases import F64, GIVEN, batch_of, sites_of

import pydiffgeo as pdg
from pydiffgeo import stages
from pydiffgeo.engines.whole_rivers import delayed
from pydiffgeo.errors import SettingsError


def test_a_delay_moves_water_and_loses_none() -> None:
    series = torch.zeros(3, 10, dtype=F64)
    series[:, 3], series[:, 4] = 2.0, 1.0
    steps = torch.tensor([0.0, 2.0, 1.25], dtype=F64, requires_grad=True)
    found = delayed(series, steps)
    assert torch.equal(found[0], series[0])
    assert torch.equal(found[1, 2:], series[1, :-2])
    assert found[2, 3:8].tolist() == [0.0, 1.5, 1.25, 0.25, 0.0]
    torch.testing.assert_close(found.sum(1), series.sum(1), rtol=1e-15, atol=0)
    torch.testing.assert_close(
        delayed(torch.full((1, 4), 7.0), torch.tensor([2.5])), torch.full((1, 4), 7.0)
    )
    weight = torch.rand(3, 10, dtype=F64)
    (gradient,) = torch.autograd.grad((found * weight).sum(), steps)
    h = 1e-6
    difference = [
        float(((delayed(series, steps + d)[2] * weight[2]).sum()).detach()) for d in (h, -h)
    ]
    assert float(gradient[2]) == pytest.approx((difference[0] - difference[1]) / (2 * h), rel=1e-6)


def test_a_learned_delay() -> None:
    """It begins at its lower bound or none, and runoff of a storm arrives so many hours later."""
    sites = sites_of(6)
    storm = np.zeros((5, 6))
    storm[:, 2] = 20.0
    sites["lateral_inflow"] = (("site", "time"), storm, {"units": "m3 s-1"})
    process = stages.Process(pdg.MuskingumCunge(), engine="torch", given=GIVEN, learn=())
    part = stages.Downstream(process, "1h", delay=(0.0, 9.0))
    hybrid = pdg.Hybrid(pdg.MLP(hidden=(4,)), part, dtype=F64)
    assert part.begin["delay"] == 0.0 and list(hybrid.learns) == ["delay"]
    hybrid.prepare(sites)
    batch = batch_of(hybrid, sites)
    delay = torch.full((5, 1), 2.5, dtype=F64, requires_grad=True)
    outlet = hybrid.run(batch, {"delay": delay})["discharge"][4]
    at = (torch.arange(6, dtype=F64) * outlet.detach()).sum() / outlet.detach().sum()
    none = hybrid.run(batch, {"delay": torch.zeros(5, 1, dtype=F64)})["discharge"][4].detach()
    before = (torch.arange(6, dtype=F64) * none).sum() / none.sum()
    assert 24 * float(at - before) == pytest.approx(2.5, abs=0.2)
    (gradient,) = torch.autograd.grad(outlet.square().sum(), delay)
    moved, h = [], 1e-5
    for d in (h, -h):
        changed = delay.detach().clone()
        changed[0] += d
        moved.append(float(hybrid.run(batch, {"delay": changed})["discharge"][4].square().sum()))
    assert float(gradient[0]) == pytest.approx((moved[0] - moved[1]) / (2 * h), rel=1e-6)


def test_a_delay_that_varies_in_time_is_refused() -> None:
    sites = sites_of()
    process = stages.Process(pdg.MuskingumCunge(), engine="torch", given=GIVEN, learn=())
    part = stages.Downstream(process, delay=(0.0, 12.0))
    hybrid = pdg.Hybrid(pdg.MLP(reads=("length",), hidden=(4,)), part, dtype=F64)
    hybrid.prepare(sites)
    with pytest.raises(SettingsError, match="'delay' is one number for each site"):
        hybrid.run(batch_of(hybrid, sites), {"delay": torch.ones(5, 1, 12, dtype=F64)})
