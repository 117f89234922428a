"""Small hybrids and judged runs for the tests of evaluation."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr
from site_files import records

from pydiffgeo.hybrid import Hybrid
from pydiffgeo.models import HBV, Richards
from pydiffgeo.models.richards import Grid, Roots
from pydiffgeo.networks import LSTM, MLP
from pydiffgeo.solvers import Solver
from pydiffgeo.stages import (
    Canopy,
    Parallel,
    Probes,
    Process,
    Scale,
    Sequence,
    UnitHydrograph,
)

DAYS = ("2000-10-01", "2001-09-30")  # a water year


def basins(count: int = 5, days: int = 760) -> xr.Dataset:
    """Return records of basins with potential evapotranspiration and places, from 1999-10-01."""
    sites = records(count, days)
    sites["tair_mean"] = (sites.tair_min + sites.tair_max) / 2
    sites["tair_mean"].attrs["units"] = "degC"
    sites["potential_evapotranspiration"] = (sites.tair_mean.clip(0) / 5).assign_attrs(
        units="mm d-1"
    )
    return sites.assign_coords(lon=("site", np.linspace(-100, -80, count)))


def hbv(sites: xr.Dataset, scale: bool = True, model: HBV | None = None) -> Hybrid:
    """Return two copies of HBV side by side, with routing, and random parameters."""
    solver = Solver("implicit_euler", step=1.0)
    inner = [Process(model or HBV(), solver, engine="torch")]
    inner = [Scale("precipitation"), *inner] if scale else inner
    hybrid = Hybrid(MLP(hidden=(4,)), Parallel(2, *inner), UnitHydrograph("discharge"))
    return hybrid.prepare(sites, attributes=["area", "aridity"])


def lstm(sites: xr.Dataset) -> Hybrid:
    """Return a pure LSTM with random weights."""
    network = LSTM(reads=("precipitation", "tair_mean", "aridity"), hidden=4)
    return Hybrid(None, Sequence(network, gives=("discharge",))).prepare(sites)


def profile_data(models: int = 1, sites: int = 3, days: int = 40) -> list[xr.Dataset]:
    """Return simulations of soil moisture at two depths, the first 10 days of which are warm-up."""
    random = np.random.default_rng(0)
    time = pd.date_range("2020-01-01", periods=days)
    seen = 0.25 + 0.05 * random.normal(size=(sites, days, 2))
    seen[0, 12:15] = np.nan
    dims, units = ("site", "time", "depth"), {"units": "m3 m-3"}
    found = []
    for k in range(models):
        theta = seen + 0.01 * (k + 1) * random.normal(size=seen.shape)
        data = xr.Dataset(
            {
                "soil_moisture": (dims, np.nan_to_num(theta, nan=0.2), units),
                "soil_moisture_observed": (dims, seen, units),
            },
            {"site": [f"s${i}" for i in range(sites)], "time": time, "depth": [0.05, 0.5]},
        )
        found.append(data.assign_coords(judged=("time", np.arange(days) >= 10)))
    return found


def probes(count: int = 2, days: int = 20) -> xr.Dataset:
    """Return records of soil moisture at 5 and 30 cm with weather."""
    random = np.random.default_rng(0)
    time = pd.date_range("2020-05-01", periods=days)
    dims = ("site", "time")
    rain = random.gamma(0.3, 8.0, (count, days))
    seen = np.clip(0.25 + 0.05 * random.normal(size=(count, days, 2)), 0.1, 0.4)
    return xr.Dataset(
        {
            "precipitation": (dims, rain, {"units": "mm d-1"}),
            "potential_evapotranspiration": (
                dims,
                np.full((count, days), 3.0),
                {"units": "mm d-1"},
            ),
            "soil_moisture": ((*dims, "depth"), seen, {"units": "m3 m-3"}),
            "clay": ("site", random.random(count), {"units": "1"}),
        },
        {
            "site": [f"p{k}" for k in range(count)],
            "time": time,
            "depth": ("depth", [0.05, 0.3], {"units": "m"}),
        },
    )


def column(
    sites: xr.Dataset, soil: str = "loam", learn: list[str] | None = None, **options: object
) -> Hybrid:
    """Return a soil column of two layers with random soils; options are those of the solver."""
    grid = Grid.graded(100.0, 8, 4.0, layers=[0.0, 30.0])
    solver = Solver("implicit_euler", rtol=0.1, **options)
    model = Richards(grid, roots=Roots("exponential"))
    process = Process(model, solver, engine="torch", start=-100.0, soil=soil, learn=learn)
    hybrid = Hybrid(MLP(hidden=(4,)), Canopy(), process, Probes())
    return hybrid.prepare(sites)
