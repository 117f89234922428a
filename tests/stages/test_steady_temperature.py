"""SNTEMP's daily temperatures: the simulation of pywatershed 3.0, heat, gradients, dry reaches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from stream_cases import delaware, stream
from torch import Tensor

import pydiffgeo as pdg
from pydiffgeo import stages
from pydiffgeo.data.batch import Batch
from pydiffgeo.errors import UnknownName
from pydiffgeo.models.streams import sntemp
from pydiffgeo.stages.base import Series

F64 = torch.float64
SHIPPED = {"lateral_twice": True, "inlet_as_air": True, "kilometres": True}
FILE = "stream_temperature/sntemp_drb_108seg_1979_1980.nc"


def prepared(sites: xr.Dataset, **options: object) -> tuple[pdg.Hybrid, Batch]:
    stage = stages.SteadyStreamTemperature(**options)  # type: ignore[arg-type]
    hybrid = pdg.Hybrid(None, stage, dtype=F64)
    hybrid.prepare(sites)
    windows = pdg.Windows(sites, dtype=F64, impossible="ignore")
    return hybrid, windows.reading(hybrid.reads, (), hybrid.needs).batch(0)


def test_pywatershed(shared_data: Callable[[str], Path]) -> None:
    """108 segments x 731 days; the file has single precision. And what each of its ways does."""
    sites = delaware(shared_data(FILE))
    hybrid, batch = prepared(sites, **SHIPPED)
    found = hybrid(batch)["water_temperature"].numpy()
    true = sites.water_temperature.values
    assert np.isfinite(found).all()
    assert np.abs(found - true).max() < 1e-5

    inner = np.isin(sites.site.values, sites.downstream.values)
    least = {"lateral_twice": 0.2, "inlet_as_air": 0.005, "kilometres": 5.0}
    for name, change in least.items():
        other, own = prepared(sites, **(SHIPPED | {name: False}))
        apart = (other(own)["water_temperature"].numpy() - true)[inner, 60:]
        assert change < np.sqrt(np.square(apart).mean()) < 2 * change, name


def test_gradients_against_differences(shared_data: Callable[[str], Path]) -> None:
    """Of all that is read, over the 16 segments of the Brandywine and 40 days."""
    sites = pdg.data.cut_above(delaware(shared_data(FILE)), "2037")
    sites = sites.isel(time=slice(200, 240))
    for options in (SHIPPED, {}):
        hybrid, batch = prepared(sites, **options)
        weight = torch.randn(len(sites.site), 40, dtype=F64)
        values = {k: v.clone().requires_grad_() for k, v in batch.series.items()}
        places = {k: v.clone().requires_grad_() for k, v in batch.attributes.items()}

        def total(
            batch: Batch = batch, hybrid: pdg.Hybrid = hybrid, weight: Tensor = weight
        ) -> Tensor:
            return (hybrid(batch)["water_temperature"] * weight).sum()

        total(replace(batch, series=values, attributes=places)).backward()
        for kind, own in (("series", values), ("attributes", places)):
            for name, x in own.items():
                step = torch.randn_like(x) * x.detach().abs() * 3e-5
                with torch.no_grad():
                    high, low = (
                        total(replace(batch, **{kind: {**own, name: x + s * step}}))
                        for s in (1, -1)
                    )
                assert x.grad is not None
                slope = float((x.grad * step).sum())
                assert slope == pytest.approx(float(high - low) / 2, rel=1e-6, abs=1e-10), name


def test_heat_of_water_that_exchanges_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted once, heat at the outlet is that which entered.

    Twice, it lacks a part that is known: discharge from above times lateral inflow over the sum of
    both, times their difference. The exchange of second order, which SNTEMP lets act on the
    dilution, too, is left out.
    """

    def first_order(*given: object) -> sntemp.Exchange:
        found = exchange(*given)
        return found._replace(second=torch.zeros_like(found.second))

    exchange: Callable[..., sntemp.Exchange] = sntemp.exchange
    monkeypatch.setattr(sntemp, "exchange", first_order)
    sites = stream()
    sites["length"] = sites.length * 0 + 1e-7
    for twice in (False, True):
        hybrid, batch = prepared(sites, lateral_twice=twice)
        found = hybrid(batch)["water_temperature"]
        flow, lateral = batch.series["discharge"], batch.series["lateral_inflow"]
        own = batch.series["lateral_temperature"]
        above = {0: [], 1: [], 2: [0, 1], 3: [], 4: [2, 3]}
        for k, rows in above.items():
            passed = flow[rows].sum(0)
            entered = (flow * found)[rows].sum(0) + lateral[k] * own[k]
            if twice and rows:
                upper = (flow * found)[rows].sum(0) / passed
                entered = entered + passed * lateral[k] / flow[k] * (own[k] - upper)
            torch.testing.assert_close(flow[k] * found[k], entered, rtol=1e-8, atol=0)


def test_long_reach_comes_to_equilibrium() -> None:
    """Without lateral inflow, far down, the loss of heat is zero there."""
    sites = stream()
    sites["length"] = sites.length * 1e5
    hybrid, batch = prepared(sites)
    found = hybrid(batch)
    head = [0, 1, 3]
    torch.testing.assert_close(
        found["water_temperature"][head],
        found["equilibrium_temperature"][head].clamp(min=0),
        rtol=1e-3,
        atol=0.3,
    )


def test_dry_reaches_are_missing_and_warm_nothing() -> None:
    sites = stream()
    dry = sites.copy(deep=True)
    dry["discharge"].values[0, 3] = dry["lateral_inflow"].values[0, 3] = 0.0
    hybrid, batch = prepared(dry)
    values = {k: v.clone().requires_grad_() for k, v in batch.series.items()}
    found = hybrid(replace(batch, series=values))["water_temperature"]
    missing = torch.isnan(found)
    assert missing[0, 3] and int(missing.sum()) == 1
    found[~missing].sum().backward()
    assert all(bool(torch.isfinite(v.grad).all()) for v in values.values() if v.grad is not None)


def test_frost_ends_at_zero() -> None:
    sites = stream()
    sites["lateral_temperature"] = sites.lateral_temperature * 0
    sites["shortwave_down"] = sites.shortwave_down * 0
    hybrid, batch = prepared(sites, names={"cloud_cover": 0.0, "bed_temperature": 0.0})
    found = hybrid(batch)["water_temperature"]
    assert float(found.min()) == 0.0


def test_second_derivative_of_an_equilibrium() -> None:
    sites = stream(days=2)
    hybrid, batch = prepared(sites)

    def of(shortwave: Tensor) -> Tensor:
        given = {**batch.series, "shortwave_down": shortwave}
        return hybrid.stages[0](Series(given), {}, batch)["equilibrium_temperature"].sum()

    given = batch.series["shortwave_down"].clone().requires_grad_()
    assert torch.autograd.gradgradcheck(of, (given,))


def test_unknown_name() -> None:
    with pytest.raises(UnknownName, match="shade"):
        stages.SteadyStreamTemperature(names={"shades": 0.5})
