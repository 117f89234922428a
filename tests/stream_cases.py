"""The Delaware trees that pywatershed 3.0 simulated, as sites; and small rivers with weather."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

CFS = 0.3048**3  # m3 s-1
INCH = 25.4  # mm
LANGLEY = 11.63 / 24 * 0.0864  # MJ m-2 d-1 of a Langley a day, as PRMS has it

SERIES = {  # name: name in the file, factor, unit
    "discharge": ("seg_outflow", CFS, "m3 s-1"),
    "lateral_inflow": ("seg_lateral_inflow", CFS, "m3 s-1"),
    "lateral_temperature": ("seg_tave_lat", 1.0, "degC"),
    "groundwater_temperature": ("seg_tave_gw", 1.0, "degC"),
    "tair_mean": ("seg_tave_air", 1.0, "degC"),
    "shortwave_down": ("seginc_swrad", LANGLEY, "MJ m-2 d-1"),
    "rh_mean": ("seg_humid", 100.0, "percent"),
    "cloud_cover": ("seg_ccov", 1.0, "1"),
    "potential_evapotranspiration": ("seg_potet", INCH, "mm d-1"),
    "shade": ("seg_shade", 1.0, "1"),
    "leaf_shade": ("seg_svi", 1.0, "1"),
    "width": ("seg_flow_width", 1.0, "m"),
    "water_temperature": ("seg_tave_water", 1.0, "degC"),
}
SITE = {"length": "length_m", "slope": "slope", "elevation": "elev_m"}


def delaware(path: Path) -> xr.Dataset:
    """108 segments x 731 days with all that SNTEMP reads, and its water temperature."""
    with xr.open_dataset(path) as file:
        file.load()
    names = file.nhm_seg.values.astype(int).astype(str)
    below = [names[k] if k >= 0 else "" for k in file.down_index.values]
    dims = ("site", "time")
    data = {
        name: (dims, file[old].values.T.astype(float) * factor, {"units": unit})
        for name, (old, factor, unit) in SERIES.items()
    }
    units = {"length": "m", "slope": "1", "elevation": "m"}
    site = {k: ("site", file[v].values, {"units": units[k]}) for k, v in SITE.items()}
    return xr.Dataset(
        {**data, **site, "downstream": ("site", np.array(below))},
        {"site": names, "time": file.time.values},
    )


def stream(days: int = 30, seed: int = 0) -> xr.Dataset:
    """Five reaches as `river_files.river`, with what SNTEMP reads drawn at random."""
    random = np.random.default_rng(seed)
    shape = (5, days)
    lateral = random.gamma(2.0, 0.3, shape)
    above = np.array([[1, 0, 0, 0, 0], [0, 1, 0, 0, 0], [1, 1, 1, 0, 0], [0, 0, 0, 1, 0], [1] * 5])
    values = {
        "discharge": above @ lateral,
        "lateral_inflow": lateral,
        "lateral_temperature": random.uniform(5, 15, shape),
        "groundwater_temperature": random.uniform(8, 12, shape),
        "tair_mean": random.uniform(5, 25, shape),
        "shortwave_down": random.uniform(5, 25, shape),
        "rh_mean": random.uniform(40, 90, shape),
        "cloud_cover": random.uniform(0, 1, shape),
        "potential_evapotranspiration": random.uniform(0.1, 5, shape),
        "shade": random.uniform(0, 0.7, shape),
        "leaf_shade": random.uniform(0, 0.5, shape),
        "width": random.uniform(3, 20, shape),
    }
    site = {
        "length": random.uniform(1e3, 1e4, 5),
        "slope": random.uniform(1e-4, 1e-2, 5),
        "elevation": random.uniform(0, 500, 5),
    }
    units = {k: SERIES[k][2] for k in values} | {"length": "m", "slope": "1", "elevation": "m"}
    return xr.Dataset(
        {k: (("site", "time"), v, {"units": units[k]}) for k, v in values.items()}
        | {k: ("site", v, {"units": units[k]}) for k, v in site.items()}
        | {"downstream": ("site", np.array(["c", "c", "e", "e", ""]))},
        {"site": list("abcde"), "time": pd.date_range("2001-06-01", periods=days)},
    )
