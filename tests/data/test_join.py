"""Further forcing products beside the first: names, units, sites and days that they lack."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hybrid_cases import basins, stations
from site_files import records

from pydiffgeo.data import append_sites, join_sites, write_sites
from pydiffgeo.errors import DataError, DataWarning, SettingsError, UnitError
from pydiffgeo.experiment.build import open_records
from pydiffgeo.experiment.data_schema import DataSettings


def product(sites: xr.Dataset) -> xr.Dataset:
    """The weather of a site less, in another order and for fewer days, with a discharge."""
    other = sites[["precipitation", "tair_mean", "discharge"]].isel(site=[3, 1, 2])
    other = other.isel(time=slice(5, None))
    other["precipitation"] = (2 * other.precipitation / 1000).assign_attrs(units="m d-1")
    return other.assign(slope=("site", np.ones(3)))


def test_forcing_comes_beside_by_site_and_day() -> None:
    sites = basins(4, 30)
    with pytest.warns(DataWarning, match="1 of 4 sites are not in era5.*b0"):
        found = join_sites(sites, era5=product(sites))
    for name in sites.variables:
        xr.testing.assert_identical(found[name], sites[name])
    added = set(found.data_vars) - set(sites.data_vars)
    assert added == {"precipitation_era5", "tair_mean_era5"}  # no observation, no attribute
    assert found.precipitation_era5.attrs["units"] == "m d-1"
    np.testing.assert_array_equal(
        found.precipitation_era5[1:, 5:], 2 * sites.precipitation[1:, 5:] / 1000
    )
    assert bool(found.precipitation_era5[0].isnull().all())
    assert bool(found.tair_mean_era5[:, :5].isnull().all())


def test_what_does_not_join_is_refused() -> None:
    sites = basins(4, 30)
    with pytest.raises(DataError, match="era5 has none of the sites; it has x0, x1"):
        join_sites(sites, era5=product(sites).assign_coords(site=["x0", "x1", "x2"]))
    hours = product(sites).assign_coords(time=np.datetime64("2000-01-01") + np.arange(25) * 10**9)
    hours["time"] = np.datetime64("2000-01-01", "ns") + np.arange(25) * np.timedelta64(1, "h")
    with pytest.raises(DataError, match="steps of 0 days 01:00:00"):
        join_sites(sites, era5=hours)
    twice = join_sites(sites, era5=sites)
    with pytest.raises(DataError, match="have 'precipitation_era5' already"):
        join_sites(twice, era5=sites)


def settings(tmp_path: Path, join: dict) -> DataSettings:
    """Settings of two files in a folder."""
    write_sites(records(sites=3), tmp_path / "first.nc")
    second = records(sites=3)[["precipitation", "tair_max"]].isel(site=slice(2))
    write_sites(second, tmp_path / "second.nc")
    train, test = ({"start": f"{y}-01-01", "end": f"{y}-12-31"} for y in (2000, 2001))
    return DataSettings(path="first.nc", join=join, train=train, test=test)


def test_in_settings_by_a_file_or_the_arguments_of_open_sites(tmp_path: Path) -> None:
    search = (str(tmp_path),)
    data = settings(tmp_path, {"era5": "second.nc", "own": {"path": "second.nc", "names": {}}})
    with pytest.warns(DataWarning, match="1 of 3 sites"):
        found = open_records(data, search)
    for name in ("precipitation_era5", "tair_max_era5", "precipitation_own", "tair_max_own"):
        own = found[name.rsplit("_", 1)[0]]
        np.testing.assert_array_equal(found[name][:2], own[:2])
    for wrong, words in (
        ({"layout": "auto"}, "path is missing"),
        ({"path": "second.nc", "namse": {}}, "no key 'namse'; did you mean 'names'"),
    ):
        with pytest.raises(SettingsError, match=words) as error:
            open_records(settings(tmp_path, {"era5": wrong}), search)
        assert error.value.setting == ("data", "join", "era5")


def test_records_that_have_a_product_are_not_joined(tmp_path: Path) -> None:
    data = settings(tmp_path, {"era5": "nowhere.nc"})
    whole = join_sites(records(sites=3), era5=records(sites=3))
    write_sites(whole, tmp_path / "first.nc")
    assert "precipitation_era5" in open_records(data, (str(tmp_path),))


def other_sites() -> xr.Dataset:
    """Two stations with profiles, forty days after the basins."""
    found = stations(2, 20).assign_coords(site=["s0", "s1"])
    return found.assign_coords(time=found.time + np.timedelta64(40, "D"))


def test_other_sites_come_after_whatever_their_times() -> None:
    sites, others = basins(2, 20), other_sites()
    found = append_sites(sites, others)
    assert found.site.values.tolist() == ["b0", "b1", "s0", "s1"] and found.sizes["time"] == 60
    assert found.soil_moisture.dims == ("site", "time", "depth")
    for one in (sites, others):
        back = found.sel(site=one.site, time=one.time)
        for name in one.data_vars:
            xr.testing.assert_equal(back[name].transpose(*one[name].dims), one[name])
            assert back[name].attrs == one[name].attrs
    gap = found.precipitation.sel(time=slice("2000-01-21", "2000-02-09"))
    assert bool(gap.isnull().all()) and bool(found.soil_moisture[:2].isnull().all())
    assert bool(found.discharge[2:].isnull().all())


def test_sites_that_do_not_fit_are_refused() -> None:
    with pytest.raises(DataError, match="b0, b1 are in two of the records"):
        append_sites(basins(2, 20), basins(2, 20))
    others = other_sites()
    others.precipitation.attrs["units"] = "m d-1"
    with pytest.raises(UnitError, match="'precipitation' is in 'mm day-1' and in 'm d-1'"):
        append_sites(basins(2, 20), others)
    late = other_sites()
    late = late.assign_coords(time=late.time + np.timedelta64(6, "h"))
    with pytest.raises(DataError, match="begin at other hours"):
        append_sites(basins(2, 20), late)
    hours = other_sites()
    hours["time"] = np.datetime64("2000-01-01", "ns") + np.arange(20) * np.timedelta64(1, "h")
    with pytest.raises(DataError, match="other steps"):
        append_sites(basins(2, 20), hours)


def test_times_and_sites_that_do_not_meet_are_refused() -> None:
    """Each of these once gave a product that is missing everywhere, without a word."""
    sites = basins(4, 30)
    other = sites[["precipitation"]]
    for shift in (np.timedelta64(12, "h"), np.timedelta64(4000, "D")):
        with pytest.raises(DataError, match="era5 has no step in common"):
            join_sites(sites, era5=other.assign_coords(time=other.time + shift))
    with pytest.raises(DataError, match="era5 have b0 twice"):
        join_sites(sites, era5=xr.concat([other, other.isel(site=[0])], "site"))
    noleap = xr.date_range("2000-01-01", periods=30, calendar="noleap", use_cftime=True)
    with pytest.raises(DataError, match="standard calendar"):
        join_sites(sites, era5=other.assign_coords(time=noleap))


def test_sites_are_joined_by_their_names_as_text() -> None:
    sites = basins(4, 30)
    numbers, texts = [1, 2, 3, 4], ["1", "2", "3", "4"]
    for mine, theirs in ((numbers, texts), (texts, numbers)):
        other = sites[["precipitation"]].assign_coords(site=theirs)
        found = join_sites(sites.assign_coords(site=mine), era5=other)
        np.testing.assert_array_equal(found.precipitation_era5, sites.precipitation)
        assert found.site.values.tolist() == mine


def test_series_without_a_unit_or_with_another_role_are_not_appended() -> None:
    sites = basins(4, 30)
    other = sites.assign_coords(site=list("abcd"))
    bare = other.assign(precipitation=other.precipitation.drop_attrs())
    for pair in ((sites, bare), (bare, sites)):
        with pytest.raises(UnitError, match="no unit"):
            append_sites(*pair)
    forcing = other.assign(discharge=other.discharge.assign_attrs(role="forcing"))
    with pytest.raises(DataError, match="'discharge' is observed in one"):
        append_sites(sites, forcing)


def test_cells_named_by_text_and_by_numbers_are_not_appended() -> None:
    sites = basins(3, 30)
    other = sites.assign_coords(site=list("abc")).assign(cell=("site", ["1", "2", ""]))
    with pytest.raises(DataError, match="'cell' is text in one"):
        append_sites(sites.assign(cell=("site", [1, 2, 3])), other)
