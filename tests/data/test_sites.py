"""Sites in every layout come out in one form.

What is wrong with a file is said with site and date.
"""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import site_files
import xarray as xr

from pydiffgeo.data import LAYOUTS, check_sites, open_sites, write_sites
from pydiffgeo.data.lazy import is_lazy, joined, seen_at
from pydiffgeo.data.variables import VARIABLES
from pydiffgeo.errors import DataError, SettingsError, UnknownName


def make(kind: str, root: Path) -> Path:
    if kind == "netcdf":
        return write_sites(site_files.records(), root / "all.nc")
    if kind.startswith("caravan"):
        return site_files.caravan(root, "csv" if kind.endswith("csv") else "netcdf")
    return {"camels_us": site_files.camels_us, "generic": site_files.generic}[kind](root)


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("kind", ["camels_us", "caravan", "caravan_csv", "generic", "netcdf"])
def test_every_layout_gives_the_one_form(kind: str, lazy: bool, tmp_path: Path) -> None:
    opened = open_sites(make(kind, tmp_path), lazy=lazy)
    assert kind.removesuffix("_csv") in LAYOUTS
    assert opened.precipitation.dims == ("site", "time") and opened.site.dtype.kind == "U"
    assert set(opened.indexes["time"].diff()[1:].days) == {1}
    for name, variable in VARIABLES.items():
        if name in opened:
            assert is_lazy(opened[name]) == lazy
            assert opened[name].attrs["units"] == variable.unit and opened[name].dtype == float
            assert opened[name].attrs.get("standard_name") == variable.standard_name
            known = opened[name].values[np.isfinite(opened[name].values)]
            assert known.min() >= variable.lower and known.max() <= variable.upper
    assert opened.lat.dims == ("site",) and np.isfinite(opened.lat).all()


def test_era5land_and_camels_are_both_read(shared_data) -> None:
    era = open_sites(shared_data("era5land_us.nc"), start="1990-01-01", end="1990-12-31")
    assert dict(era.sizes) == {"site": 370, "time": 365} and float(era.tair_mean.min()) > -60
    check_sites(era).require("missing forcing", "missing day", "wrong unit")


def test_a_written_file_is_read_back(tmp_path: Path) -> None:
    before = site_files.records(sites=40)
    after = open_sites(
        write_sites(before, tmp_path / "deep" / "all.nc", dtype="float64"), layout="netcdf"
    )
    for name in before.data_vars:
        np.testing.assert_array_equal(before[name].values, after[name].values)
    np.testing.assert_array_equal(before.lat, after.lat)
    cut = open_sites(
        tmp_path / "deep" / "all.nc",
        sites=["b0003"],
        variables=["prcp"],
        start="1999-12-30",
        end="2000-01-02",
    )
    assert dict(cut.sizes) == {"site": 1, "time": 4}
    np.testing.assert_array_equal(
        cut.precipitation, before.precipitation.sel(site=["b0003"], time=cut.time)
    )
    flags = open_sites(site_files.camels_us(tmp_path / "camels"))
    stored = open_sites(write_sites(flags, tmp_path / "flags.nc"))
    np.testing.assert_array_equal(stored.discharge_quality, flags.discharge_quality)
    assert stored.discharge_quality.attrs["flag_meanings"] == "approved estimated missing"
    with pytest.raises(DataError, match="must end in .nc or .zarr"):
        write_sites(before, tmp_path / "all.zip")


def test_a_written_zarr_folder_is_read_as_the_file_is(tmp_path: Path) -> None:
    pytest.importorskip("zarr")
    before = site_files.records(sites=300, days=40).assign_coords(
        lat=("site", np.linspace(-60.0, 60.0, 300))
    )
    write_sites(before, tmp_path / "all.nc")
    for _ in range(2):  # the second one takes the place of the first
        write_sites(before, tmp_path / "all.zarr")
    folder = tmp_path / "all.zarr"
    assert len([f for f in (folder / "precipitation" / "c").rglob("*") if f.is_file()]) == 2
    zarr, netcdf = open_sites(folder, lazy=True), open_sites(tmp_path / "all.nc")
    xr.testing.assert_equal(zarr.load(), netcdf)
    assert zarr.precipitation.attrs == netcdf.precipitation.attrs
    assert not list(tmp_path.glob(".*.part"))


@pytest.mark.parametrize("form", ["all.zarr", "all.nc"])
def test_some_sites_and_days_are_read_lazily_in_any_order(tmp_path: Path, form: str) -> None:
    if form == "all.zarr":
        pytest.importorskip("zarr")
    before = site_files.records(sites=40, days=50)
    path = write_sites(before, tmp_path / form, dtype="float64")
    names = before.site.values[[31, 2, 3, 4, 17]]
    given = {"sites": names, "start": before.time.values[7], "end": before.time.values[30]}
    opened = open_sites(path, lazy=True, **given)
    wanted = before.sel(site=names, time=slice(given["start"], given["end"]))
    for rows in (slice(None), [4, 0], slice(1, 4), 3):
        np.testing.assert_array_equal(
            opened.precipitation.isel(site=rows), wanted.precipitation.isel(site=rows)
        )
    later = open_sites(path, lazy=True, end=before.time.values[-1] + np.timedelta64(3, "D"))
    assert np.isnan(later.precipitation[:, -3:]).all()  # days that the file does not have
    np.testing.assert_array_equal(later.precipitation[:, :-3], before.precipitation)


def test_memory_stays_bounded(tmp_path: Path) -> None:
    """A hundred sites of four years (5 MB) pass through an archive, a file and a report in less
    than half of that.
    """
    days = pd.date_range("1980-01-01", periods=1500)
    values = np.random.default_rng(0).random((1500, 4))
    folder = tmp_path / "time_series"
    folder.mkdir()
    (tmp_path / "attributes").mkdir()
    one = xr.Dataset({f"v{i}": ("date", values[:, i]) for i in range(4)}, {"date": days})
    one.to_netcdf(folder / "b000.nc")
    for i in range(1, 100):
        (folder / f"b{i:03d}.nc").hardlink_to(folder / "b000.nc")
    opened = open_sites(tmp_path, lazy=True)
    import pydiffgeo.data.lazy as lazy

    size = 100 * values.nbytes
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lazy, "CACHE_BYTES", 0)
        patch.setattr(lazy, "BLOCK_BYTES", 0)
        opened = open_sites(tmp_path, lazy=True)
        tracemalloc.start()
        write_sites(opened, tmp_path / "all.nc")
        check_sites(open_sites(tmp_path / "all.nc", lazy=True))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    # sixteen sites at a time, in their cache and once more on the way
    assert peak < 0.5 * size, f"{peak / 1e6:.0f} of {size / 1e6:.0f} MB"
    part = open_sites(tmp_path / "all.nc", lazy=True).v2.isel(site=[7, 3], time=slice(5, 8))
    np.testing.assert_allclose(part, np.broadcast_to(values[5:8, 2], (2, 3)), rtol=1e-6)


def test_unknown_names_are_answered(tmp_path: Path) -> None:
    root = site_files.camels_us(tmp_path)
    with pytest.raises(
        DataError, match="no site '1010101'.*did you mean '01010101'.*leading zeros"
    ):
        open_sites(root, sites=["1010101"])
    with pytest.raises(DataError, match="'01010101' is asked for twice"):
        open_sites(root, sites=["01010101", "01010101"])
    with pytest.raises(
        DataError, match="no variable 'precipitatoin'.*did you mean 'precipitation'"
    ):
        open_sites(root, variables=["precipitatoin"])
    with pytest.raises(UnknownName, match="did you mean 'daymet'"):
        open_sites(root, product="dayment")
    with pytest.raises(DataError, match="no forcing product 'maurer'.*daymet, nldas"):
        open_sites(root, product="maurer")
    with pytest.raises(UnknownName, match="did you mean 'caravan'"):
        open_sites(root, "karavan")
    with pytest.raises(SettingsError, match="'my_lakes:open_source' cannot be imported"):
        open_sites(root, "my_lakes:open_source")
    with pytest.raises(DataError, match="'operator:is_' returns bool"):
        open_sites(root, "operator:is_")
    with pytest.raises(DataError, match="none of the known layouts.*camels_us"):
        open_sites(root / "camels_attributes_v2.0")
    with pytest.raises(DataError, match="no file or folder .*absent"):
        open_sites(tmp_path / "absent")
    with pytest.raises(DataError, match="before its start"):
        open_sites(root, start="2001-02-01", end="2001-01-01")


def test_records_of_several_groups_are_joined_without_being_read(tmp_path: Path) -> None:
    before = site_files.records(sites=40, days=30)
    path = write_sites(before, tmp_path / "all.nc", dtype="float64")
    opened = open_sites(path, lazy=True)
    groups = [before.site.values[rows] for rows in (slice(30, 40), [0, 7, 2], slice(3, 7))]
    whole = joined([opened.sel(site=names) for names in groups])
    wanted = before.sel(site=np.concatenate(groups))
    assert is_lazy(whole.precipitation) and is_lazy(whole.discharge)
    assert list(whole.data_vars) == list(opened.data_vars)
    assert whole.precipitation.attrs == opened.precipitation.attrs
    order = whole.sel(site=["b0005", "b0031", "b0000", "b0006"])
    for name in ("precipitation", "discharge", "area"):
        np.testing.assert_array_equal(whole[name], wanted[name])
        np.testing.assert_array_equal(order[name], before[name].sel(site=order.site))
    xr.testing.assert_identical(
        joined([opened.sel(site=names).load() for names in groups]), whole.load()
    )


@pytest.mark.parametrize("lazy", [True, False])
def test_a_series_is_seen_at_some_sites_alone(tmp_path: Path, lazy: bool) -> None:
    before = site_files.records(sites=40, days=30)
    opened = open_sites(write_sites(before, tmp_path / "all.nc", dtype="float64"), lazy=lazy)
    sites = np.isin(np.arange(40), [3, 20, 39])
    found = seen_at(opened.discharge, sites)
    assert is_lazy(xr.DataArray(found)) == lazy and found.attrs == opened.discharge.attrs
    wanted = before.discharge.where(xr.DataArray(sites, dims="site")).transpose("site", "time")
    np.testing.assert_array_equal(found[{"site": [39, 4, 3]}], wanted[[39, 4, 3]])
    np.testing.assert_array_equal(found, wanted)
