"""Small stages: snow against the code for files, demand by plants, factors, routing of hours."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from hybrid_cases import basins

import pydiffgeo as pdg
from pydiffgeo import stages

F64 = torch.float64


def batch_and_hybrid(*parts: stages.Stage):
    sites = basins(3, 40)
    hybrid = pdg.Hybrid(pdg.MLP(), *parts, dtype=F64)
    windows = pdg.Windows(sites, dtype=F64)
    hybrid.prepare(windows)
    return hybrid, windows.reading(hybrid.reads, ["discharge"], hybrid.needs).batch(0), sites


def test_snow_waits_and_melts_and_water_is_conserved() -> None:
    hybrid, batch, sites = batch_and_hybrid(stages.DegreeDay(threshold=6.0, learn=(1.0, 5.0)))
    series = hybrid(batch)
    factor = hybrid.parameters_of(batch)["snow_factor"].detach().numpy()[:, 0]
    fall, warmth = sites.precipitation.values, np.maximum(sites.tair_mean.values - 6.0, 0.0)
    store, liquid = np.zeros(3), np.zeros_like(fall)
    for day in range(40):
        frozen = warmth[:, day] <= 0
        store += np.where(frozen, fall[:, day], 0.0)
        melt = np.minimum(store, factor * warmth[:, day])
        store -= melt
        liquid[:, day] = melt + np.where(frozen, 0.0, fall[:, day])
    found = series["rain_and_melt"].detach().numpy()
    np.testing.assert_allclose(found, liquid, rtol=1e-10, atol=1e-10)
    left = series["snow_store"][:, -1].detach().numpy()
    np.testing.assert_allclose(found.sum(1) + left, fall.sum(1), rtol=1e-12)
    assert series["snow_store"].max() > 0
    series["rain_and_melt"].square().sum().backward()
    assert all(bool(torch.isfinite(w.grad).all()) for w in hybrid.parameters())


def test_plants_and_soil_share_the_demand() -> None:
    hybrid, batch, sites = batch_and_hybrid(stages.Canopy(bounds={"cover": (0.1, 0.6)}))
    series, p = hybrid(batch), hybrid.parameters_of(batch)
    whole = series["potential_transpiration"] + series["potential_evaporation"]
    demand = torch.tensor(sites.potential_evapotranspiration.values) * p["crop_coefficient"]
    torch.testing.assert_close(whole, demand, rtol=1e-12, atol=0)
    assert bool((p["cover"] < 0.6).all())


def test_the_hydrograph_is_in_days_whatever_the_step() -> None:
    """Runoff of the first hours of days, routed by the hour, is by the day what the same water by
    the day is.
    """
    days = basins(3, 40)
    first = np.zeros((3, 40, 24))
    first[..., 0] = 24 * days.discharge.fillna(0.0).values
    hours = days.drop_vars([n for n in days if "time" in days[n].dims]).drop_vars("time")
    found = []
    for runoff, step in ((days.discharge.fillna(0.0).values, 24), (first.reshape(3, -1), 1)):
        times = np.datetime64("2000-01-01") + np.arange(runoff.shape[1]) * np.timedelta64(step, "h")
        sites = hours.assign_coords(time=times)
        sites["q"] = (("site", "time"), runoff, {"units": "mm d-1"})
        sites["discharge"] = sites.q
        hybrid = pdg.Hybrid(pdg.MLP(hidden=(4,)), stages.UnitHydrograph("q"), dtype=F64)
        windows = pdg.Windows(sites, dtype=F64)
        hybrid.prepare(windows)
        with torch.no_grad():
            found.append(hybrid(windows.batch(0))["q"])
    mean = found[1].unflatten(1, (40, 24)).mean(2)
    torch.testing.assert_close(mean, found[0], rtol=1e-9, atol=1e-12)
    assert bool((found[1][:, 1:24] > 0).all())


def test_a_factor_begins_at_one_or_at_the_nearest_bound() -> None:
    assert stages.Scale("rain").begin == {"rain_factor": 1.0}
    assert stages.Scale("rain", (1.2, 2.0)).begin == {"rain_factor": 1.2}


def test_runoff_of_the_land_as_a_volume() -> None:
    sites = basins(3, 40)
    sites["land"] = "site", np.array([86.4, 8640.0, 0.864]), {"units": "km2"}
    hybrid = pdg.Hybrid(None, stages.Lateral("precipitation", "land"), dtype=F64)
    hybrid.prepare(sites)
    read = pdg.Windows(sites, dtype=F64).reading(hybrid.reads, ["discharge"], hybrid.needs)
    found = hybrid(read.batch(0))["lateral_inflow"]
    # 1 mm d-1 over 86.4 km2 is 1 m3 s-1
    expected = sites.precipitation.values * np.array([1.0, 100.0, 0.01])[:, None]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert hybrid.units["lateral_inflow"] == "m3 s-1"


def test_areas_of_whole_basins_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    """Of three basins one in the other the water of the first would count three times."""
    days = pd.date_range("2000-01-01", periods=3)
    sites = xr.Dataset(
        {
            "runoff": (("site", "time"), np.ones((3, 3)), {"units": "mm d-1"}),
            "area": ("site", [10.0, 25.0, 40.0], {"units": "km2"}),
            "own_area": ("site", [10.0, 15.0, 15.0], {"units": "km2"}),
            "downstream": ("site", ["b", "c", ""]),
        },
        {"site": list("abc"), "time": days},
    )
    pdg.Hybrid(None, stages.Lateral("runoff", "own_area")).prepare(
        sites.assign(own_area=sites.own_area * [1, 1, 0.5])
    )
    assert not caplog.text
    pdg.Hybrid(None, stages.Lateral("runoff")).prepare(sites)
    assert "'area' of each site is no less than that of the sites above it" in caplog.text
