"""A small river in the site form, and in files of other kinds."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr


def river(days: int = 40, seed: int = 0) -> xr.Dataset:
    """Five reaches: a and b flow into c, c and d into e; gauges at c and e.

    Discharge is the sum of the lateral inflow above.
    """
    random = np.random.default_rng(seed)
    inflow = random.gamma(2.0, 1.0, (5, days))
    above = np.array([[1, 0, 0, 0, 0], [0, 1, 0, 0, 0], [1, 1, 1, 0, 0], [0, 0, 0, 1, 0], [1] * 5])
    flow = np.where(np.array([0, 0, 1, 0, 1])[:, None] == 1, above @ inflow, np.nan)
    dims = ("site", "time")
    return xr.Dataset(
        {
            "lateral_inflow": (dims, inflow, {"units": "m3 s-1"}),
            "discharge": (dims, flow, {"units": "m3 s-1"}),
            "length": ("site", random.uniform(1e3, 1e4, 5), {"units": "m"}),
            "slope": ("site", random.uniform(1e-4, 1e-2, 5), {"units": "1"}),
            "downstream": ("site", np.array(["c", "c", "e", "e", ""])),
        },
        {"site": list("abcde"), "time": pd.date_range("2000-01-01", periods=days)},
    )


def reach_file(root: Path) -> Path:
    """The river as a netCDF file of its own kind.

    Dimensions of its own, in the other order, the reach below by position, gauges, land units.
    """
    sites = river().transpose("time", "site")
    opened = xr.Dataset(
        {
            "q_lateral": (("time", "segment"), sites.lateral_inflow.values, {"units": "m3 s-1"}),
            "q_obs": (("time", "gauge"), sites.discharge.values[:, [4, 2]], {"units": "m3 s-1"}),
            "gauge_segment": ("gauge", np.array([4, 2])),
            "drainage_area": ("gauge", np.array([50.0, 30.0]), {"units": "km2"}),
            "down_index": ("segment", np.array([2, 2, 4, 4, -1])),
            "length": ("segment", sites.length.values / 1e3, {"units": "km"}),
            "slope": ("segment", np.array([0.0, 1e-5, 1e-3, 1e-2, -1e-3])),
            "mann_n": ("segment", np.full(5, 0.04)),
            "prcp": (("time", "hru"), np.ones((40, 2)), {"units": "mm d-1"}),
        },
        {"time": sites.time.values, "segment": np.arange(11, 16), "gauge": ["0101", "0202"]},
    )
    opened.to_netcdf(root / "reaches.nc")
    return root / "reaches.nc"


def table(root: Path, style: str, days: int = 40) -> Path:
    """The river as a table of flowpaths: of t-route, MERIT-Basins, HydroRIVERS (GeoPackage), or
    gauges; with lateral inflow and discharge in files beside it.
    """
    sites, ids, down = river(days), np.arange(11, 16), np.array([13, 13, 15, 15, 0])
    styles = {
        "t-route": {
            "link": ids, "to": down, "dx": sites.length.values, "n": 0.05, "s0": 1e-3, "bw": 3.0,
            "tw": 5.0, "twcc": 15.0, "ncc": 0.1, "cs": 0.5, "waterbody": [-9999] * 4 + [77],
            "gages": ["", "", "0202", "", "0101"],
        },
        "merit": {
            "COMID": ids, "NextDownID": down, "lengthkm": sites.length.values / 1e3,
            "slope": 1e-3, "uparea": [10.0, 10.0, 30.0, 10.0, 100.0], "up1": [0, 0, 11, 0, 13],
        },
        "hydrorivers": {
            "HYRIV_ID": ids, "NEXT_DOWN": down, "MAIN_RIV": 15, "CATCH_SKM": 10.0,
            "LENGTH_KM": sites.length.values / 1e3, "UPLAND_SKM": [10.0, 10.0, 30.0, 10.0, 100.0],
        },
    }  # fmt: skip
    frame = pd.DataFrame(styles[style])
    inflow = pd.DataFrame(
        sites.lateral_inflow.values.T, pd.DatetimeIndex(sites.time, name="time"), ids.astype(str)
    )
    inflow.to_csv(root / "inflow.csv")
    inflow.T.to_csv(root / "rows.csv")
    flow = pd.DataFrame(sites.discharge.values[[4, 2]].T, inflow.index, ["15", "13"])
    flow.to_csv(root / "observed.csv")
    flow.rename(columns={"15": "0101", "13": "0202"}).to_csv(root / "gauges.csv")
    wide = xr.DataArray(inflow.values, {"time": inflow.index.values, "link": ids}, ("time", "link"))
    wide.rename("qlat").assign_attrs(units="m3 s-1").to_netcdf(root / "inflow.nc")
    if style == "hydrorivers":
        with closing(sqlite3.connect(root / "rivers.gpkg")) as base:
            frame.to_sql("rivers", base, index_label="fid")
            base.execute("CREATE TABLE gpkg_contents (table_name TEXT)")
            base.execute("INSERT INTO gpkg_contents VALUES ('rivers')")
            base.commit()
        return root / "rivers.gpkg"
    frame.to_csv(root / "flowpaths.csv", index=False)
    return root / "flowpaths.csv"
