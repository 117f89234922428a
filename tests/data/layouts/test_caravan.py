"""Caravan, netCDF and CSV, in its own units."""

from __future__ import annotations

from pathlib import Path

import pytest
import site_files
import xarray as xr

from pydiffgeo.data import check_sites, open_sites
from pydiffgeo.errors import DataError, UnitError


def test_caravan_of_both_kinds_is_the_same(tmp_path: Path) -> None:
    a = open_sites(site_files.caravan(tmp_path / "a"), sites=["lamah_7", "camels_02"])
    b = open_sites(site_files.caravan(tmp_path / "b", "csv"), sites=["lamah_7", "camels_02"])
    xr.testing.assert_allclose(a, b)
    assert a.precipitation[:, 0].values.tolist() == [3.0, 2.0] and a.discharge.isnull().sum() == 10
    assert (
        a.potential_evaporation_sum.attrs["units"] == "mm d-1"
    )  # ERA5-Land's is not taken for the form's
    assert "potential_evapotranspiration" not in a and a.p_mean.attrs["units"] == "mm d-1"
    site_files.caravan(tmp_path / "archive" / "Caravan-nc")  # packed one level down
    assert open_sites(tmp_path / "archive").sizes["site"] == 3
    assert open_sites(tmp_path / "a", product="lamah").site.values.tolist() == ["lamah_7"]


def test_damaged_netcdf_is_named(tmp_path: Path) -> None:
    file = site_files.caravan(tmp_path) / "timeseries" / "netcdf" / "camels" / "camels_02.nc"
    whole = xr.load_dataset(file)
    whole.isel(date=[0, 1, 1, 2]).to_netcdf(file)
    with pytest.raises(DataError, match="2001-01-02 occurs twice in the series of site camels_02"):
        open_sites(tmp_path)
    report = check_sites(open_sites(tmp_path, lazy=True, start="2001-01-01", end="2001-01-09"))
    assert [(p.kind, p.site) for p in report.problems] == [("unreadable", "camels_02")]
    file.write_bytes(b"not a file")
    with pytest.raises(DataError, match="camels_02.nc' cannot be read as netCDF"):
        open_sites(tmp_path)


def test_caravan_in_other_units_is_refused(tmp_path: Path) -> None:
    file = site_files.caravan(tmp_path) / "timeseries" / "netcdf" / "camels" / "camels_01.nc"
    whole = xr.load_dataset(file)
    whole.assign_attrs(Units="temperature_2m: 2m air temperature [K]\n").to_netcdf(file)
    with pytest.raises(
        UnitError, match="'temperature_2m_mean' of .*camels_01.nc is in 'K', Caravan's is in 'degC'"
    ):
        open_sites(tmp_path)
    told = open_sites(
        tmp_path, units={f"temperature_2m_{part}": "K" for part in ("mean", "min", "max")}
    )
    assert told.tair_mean[0, 0] == pytest.approx(9.0 - 273.15)
