"""One netCDF file or zarr folder: profiles, hours and points come back as they were written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from pydiffgeo.data import open_sites, write_sites
from pydiffgeo.data.lazy import is_lazy
from pydiffgeo.errors import DataError, UnitError


def profiles() -> xr.Dataset:
    random = np.random.default_rng(0)
    time = pd.date_range("2001-03-01 00:30", periods=60, freq="30min")
    dims = ("site", "time", "depth")
    return xr.Dataset(
        {
            "soil_moisture": (dims, random.random((20, 60, 3)), {"units": "m3 m-3"}),
            "tair_mean": (dims[:2], random.random((20, 60)), {"units": "K"}),
            "own": (dims[:2], random.random((20, 60)), {"units": "1", "role": "observed"}),
            "clay": (("site", "depth"), random.random((20, 3)), {"units": "1"}),
        },
        {
            "site": [f"s{i}" for i in range(20)],
            "time": time,
            "depth": ("depth", [5.0, 20.0, 50.0], {"units": "cm"}),
        },
    )


@pytest.mark.parametrize("lazy", [False, True])
def test_profiles_of_half_hours_come_back(lazy: bool, tmp_path: Path) -> None:
    before = profiles()
    before.to_netcdf(tmp_path / "a.nc")
    first = open_sites(tmp_path / "a.nc", lazy=lazy)
    after = open_sites(write_sites(first, tmp_path / "b.nc", dtype="float64"), lazy=lazy)
    assert after.depth.values.tolist() == [0.05, 0.2, 0.5]
    assert after.soil_moisture.dims == ("site", "time", "depth")
    assert is_lazy(after.soil_moisture) == lazy
    assert after.indexes["time"].equals(before.indexes["time"])
    assert after.own.attrs["role"] == "observed"
    part = {"site": [7, 3], "time": slice(5, 8)}
    np.testing.assert_array_equal(after.soil_moisture.isel(part), before.soil_moisture.isel(part))
    np.testing.assert_array_equal(after.soil_moisture[4, :, 1], before.soil_moisture[4, :, 1])
    np.testing.assert_allclose(after.tair_mean, before.tair_mean - 273.15)
    np.testing.assert_array_equal(after.clay, before.clay)


def test_zarr_is_read_as_netcdf_is(tmp_path: Path) -> None:
    pytest.importorskip("zarr")
    profiles().to_zarr(tmp_path / "a.zarr")
    profiles().to_netcdf(tmp_path / "a.nc")
    zarr, netcdf = (open_sites(tmp_path / name) for name in ("a.zarr", "a.nc"))
    xr.testing.assert_equal(zarr, netcdf)


def test_points_need_no_dates(tmp_path: Path) -> None:
    points = xr.Dataset({"A": (("point", "curve"), np.ones((4, 2)))}, {"curve": ["a", "b"]})
    points.to_netcdf(tmp_path / "a.nc")
    opened = open_sites(tmp_path / "a.nc")
    assert dict(opened.sizes) == {"site": 2, "point": 4} and "time" not in opened.coords
    again = open_sites(write_sites(opened, tmp_path / "b.nc"))
    np.testing.assert_array_equal(again.A, opened.A)


def test_depths_must_be_told(tmp_path: Path) -> None:
    profiles().drop_vars("depth").to_netcdf(tmp_path / "a.nc")
    with pytest.raises(DataError, match="'depth' of .*a.nc has no coordinate"):
        open_sites(tmp_path / "a.nc")
    wrong = profiles()
    wrong.depth.attrs["units"] = "hPa"
    wrong.to_netcdf(tmp_path / "b.nc")
    with pytest.raises(UnitError, match="depths of .*b.nc have unit 'hPa'"):
        open_sites(tmp_path / "b.nc")


def test_all_at_once_is_what_comes_site_by_site(tmp_path: Path) -> None:
    """Units, flags, a part of sites and days; a time off the steps is found in either way."""
    before = profiles().drop_vars(["soil_moisture", "clay"]).drop_dims("depth")
    before["flag"] = before.own.copy(data=np.arange(1200).reshape(20, 60) % 3).astype("int8")
    before.to_netcdf(tmp_path / "a.nc")
    for part in ({}, {"sites": ["s7", "s3"], "start": "2001-03-01 06:00", "variables": ["flag"]}):
        lazily = open_sites(tmp_path / "a.nc", lazy=True, **part).load()
        xr.testing.assert_identical(open_sites(tmp_path / "a.nc", **part), lazily)
    late = before.time.values.copy()
    late[30] += np.timedelta64(7, "m")
    before.assign_coords(time=late).to_netcdf(tmp_path / "off.nc")
    with pytest.raises(DataError, match="which is not one of the regular steps"):
        open_sites(tmp_path / "off.nc", lazy=False)
