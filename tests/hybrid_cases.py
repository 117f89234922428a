"""Small synthetic sites for hybrids: basins with discharge, and stations with soil moisture."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr

import pydiffgeo as pdg
from pydiffgeo import stages

LAYERS = (0.0, 15.0, 35.0)


def basins(count: int = 5, days: int = 80, seed: int = 0) -> xr.Dataset:
    random = np.random.default_rng(seed)
    dims, shape = ("site", "time"), (count, days)
    season = 10 * np.sin(np.arange(days) / 58.0)
    sites = xr.Dataset(
        {
            "precipitation": (dims, random.gamma(0.5, 8.0, shape), {"units": "mm day-1"}),
            "tair_mean": (dims, 8 + season + random.normal(0, 3, shape), {"units": "degC"}),
            "potential_evapotranspiration": (
                dims,
                random.uniform(0.2, 4.0, shape),
                {"units": "mm day-1"},
            ),
            "discharge": (dims, random.gamma(1.0, 2.0, shape), {"units": "mm day-1"}),
        },
        coords={
            "site": [f"b{k}" for k in range(count)],
            "time": pd.date_range("2000-01-01", periods=days),
        },
    )
    sites["discharge"][0, 10:20] = np.nan
    for name in ("slope", "forest", "clay"):
        sites[name] = ("site", random.uniform(0, 1, count))
    return sites


def stations(count: int = 3, days: int = 24, seed: int = 1) -> xr.Dataset:
    random = np.random.default_rng(seed)
    sites = basins(count, days, seed).drop_vars("discharge")
    depth = [0.05, 0.2, 0.5]
    profile = random.uniform(0.15, 0.3, (count, 1, 3)) + random.normal(0, 0.01, (count, days, 3))
    dims = ("site", "time", "depth")
    sites = sites.assign_coords(depth=depth)
    sites["soil_moisture"] = (dims, profile, {"units": "m3 m-3"})
    for name, level in (("q05", 0.05), ("q50", 0.5), ("q95", 0.95)):
        values = np.quantile(profile, level, axis=1)
        sites[f"soil_moisture_{name}"] = (("site", "depth"), values, {"units": "m3 m-3"})
    sites["soil_moisture_first"] = (("site", "depth"), profile[:, 0], {"units": "m3 m-3"})
    return sites


def basin_hybrid(network=None, copies: int = 2, **options) -> pdg.Hybrid:
    return pdg.Hybrid(
        network or pdg.MLP(hidden=(8,)),
        stages.Parallel(
            copies,
            stages.Scale("precipitation", between=(0.5, 2.0)),
            stages.Process(
                pdg.HBV(),
                pdg.Solver("implicit_euler", step=1.0),
                engine="torch",
                bounds={"K2": (0.01, 0.2)},
            ),
        ),
        stages.UnitHydrograph("discharge"),
        **options,
    )


def column_process(**options) -> stages.Process:
    grid = pdg.Grid.graded(80.0, 8, 4.0, layers=LAYERS)
    solver = options.pop("solver", pdg.Solver("implicit_euler", rtol=0.1, on_failure="report"))
    richards = pdg.Richards(grid, bottom="free_drainage", roots=pdg.Roots("exponential"))
    return stages.Process(
        richards,
        solver,
        engine="torch",
        forcing={"rain": "rain_and_melt"},
        start="soil_moisture_first",
        soil="loam",
        **options,
    )


def column_hybrid(network=None, **options) -> pdg.Hybrid:
    known = ("slope", "forest", "soil_moisture_q05", "soil_moisture_q95")
    shape = {"hidden": (6,), "activation": "tanh", "small_start": True}
    return pdg.Hybrid(
        network
        or pdg.Mixed(pdg.MLP(known, seed=9, **shape), layers=pdg.MLP(known, per="layer", **shape)),
        stages.DegreeDay(),
        stages.Canopy(),
        column_process(
            begin={
                "theta_r": ("soil_moisture_q05", 0.5),
                "theta_s": ("soil_moisture_q95", 1.1, 0.02),
            }
        ),
        stages.Probes(),
        **{"dtype": __import__("torch").float64, **options},
    )
