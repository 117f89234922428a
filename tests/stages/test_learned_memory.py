"""Memory: a step, a wave of the year, windows that begin anywhere, and its derivative."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
import xarray as xr

import pydiffgeo as pdg
from pydiffgeo import stages
from pydiffgeo.data.batch import Batch

F64 = torch.float64


def sites_of(days: int = 1000) -> xr.Dataset:
    """Air of two sites: a wave of a year, of other size and time."""
    time = pd.date_range("2001-03-01", periods=days)
    day = (time - pd.Timestamp("2000-01-01")).days.to_numpy()
    angle = 2 * np.pi * day / 365.25
    air = np.stack([10 + 8 * np.cos(angle), 5 + 3 * np.sin(angle)])
    return xr.Dataset(
        {"tair_mean": (("site", "time"), air, {"units": "degC"})},
        {"site": ["a", "b"], "time": time},
    )


def remembered(
    sites: xr.Dataset, days: float, batch: Batch | None = None, **options: object
) -> torch.Tensor:
    hybrid = pdg.Hybrid(pdg.MLP(reads=(), hidden=()), stages.Memory("tair_mean", "deep"), dtype=F64)
    hybrid.prepare(sites)
    windows = pdg.Windows(sites, dtype=F64, **options).reading(hybrid.reads, (), hybrid.needs)
    stage, own = hybrid.stages[0], {"deep_days": torch.full((2,), days, dtype=F64)}
    batch = windows.batch(0) if batch is None else batch
    return stage(batch.series, own, batch)["deep"]


def test_a_wave_is_damped_and_late_from_the_first_day() -> None:
    """As it is by the exponential mean of a wave that has no beginning; days are steps of it."""
    sites, days = sites_of(), 60.0
    found = remembered(sites, days)[0].numpy()
    share = np.exp(-1 / days)
    day = (sites.time.values - np.datetime64("2000-01-01")) / np.timedelta64(1, "D")
    angle = 2 * np.pi / 365.25
    gain = (1 - share) / (1 - share * np.exp(-1j * angle))
    true = 10 + 8 * np.real(gain * np.exp(1j * angle * day))
    # days are steps, and the past is that of the continuous wave: half a step apart
    assert np.abs(found - true).max() < 0.06
    assert np.abs(found[300:] - true[300:]).max() < 1e-3


def test_a_jump_is_forgotten_exponentially() -> None:
    sites = sites_of(200)
    sites["tair_mean"] = sites.tair_mean * 0 + np.where(np.arange(200) < 100, 5.0, 15.0)
    hybrid = pdg.Hybrid(pdg.MLP(reads=(), hidden=()), stages.Memory("tair_mean", "deep"), dtype=F64)
    hybrid.prepare(sites)
    found = remembered(sites, 20.0)[0]
    passed = torch.arange(1, 101, dtype=F64)
    torch.testing.assert_close(
        found[100:], 15 - (15 - found[99]) * torch.exp(-passed / 20), rtol=1e-12, atol=0
    )


def test_derivative() -> None:
    sites = sites_of(60)
    hybrid = pdg.Hybrid(pdg.MLP(reads=(), hidden=()), stages.Memory("tair_mean", "deep"), dtype=F64)
    hybrid.prepare(sites)
    batch = pdg.Windows(sites, dtype=F64).reading(hybrid.reads, (), hybrid.needs).batch(0)
    air = batch.series["tair_mean"].clone().requires_grad_()
    days = torch.tensor([30.0, 5.0], dtype=F64, requires_grad=True)

    def of(air: torch.Tensor, days: torch.Tensor) -> torch.Tensor:
        given = {"deep_days": days}
        return hybrid.stages[0]({"tair_mean": air}, given, batch)["deep"]

    assert torch.autograd.gradcheck(of, (air, days), fast_mode=True)
