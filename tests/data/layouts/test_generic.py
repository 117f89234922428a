"""GenericDataset: units of the files, steps of any length."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import site_files
import xarray as xr

from pydiffgeo.data import open_sites
from pydiffgeo.errors import DataError, UnitError


def test_units_are_converted_or_asked_for(tmp_path: Path) -> None:
    opened = open_sites(site_files.generic(tmp_path / "a"))
    assert opened.precipitation[1, 0] == pytest.approx(2.0) and opened.tair_mean[
        0, 0
    ] == pytest.approx(7.0)
    assert opened.own_index[0, 3] == 3.0 and opened.slope.values.tolist() == [3.5, 4.5]
    bare = site_files.generic(tmp_path / "b", units=False)
    with pytest.raises(
        UnitError, match="'prcp' has no unit, expected 'mm d-1'.*'tmean' has no unit.*pass units="
    ):
        open_sites(bare)
    told = open_sites(bare, units={"prcp": "m/day", "tair_mean": "K"})
    xr.testing.assert_equal(told.precipitation, opened.precipitation)
    with pytest.raises(UnitError, match="'prcp' has unit 'furlong', expected 'mm d-1' or one that"):
        open_sites(bare, units={"prcp": "furlong", "tmean": "K"})


def test_half_days_are_steps_as_days_are(tmp_path: Path) -> None:
    site_files.generic(tmp_path, days=pd.date_range("2001-01-01", periods=8, freq="12h"))
    opened = open_sites(tmp_path, start="2001-01-02", end="2001-01-03")
    ends = pd.date_range("2001-01-02 12:00", periods=4, freq="12h")  # of the halves of both days
    assert opened.time.values.tolist() == ends.values.tolist()
    assert opened.own_index[0].values.tolist() == [3.0, 4.0, 5.0, 6.0]
    site = tmp_path / "time_series" / "x2.nc"
    moved = xr.load_dataset(site)
    moved.assign_coords(date=moved.date + np.timedelta64(1, "h")).to_netcdf(site)
    with pytest.raises(DataError, match="site x2 has the time 2001-01-01 01:00, which is not one"):
        open_sites(tmp_path)
