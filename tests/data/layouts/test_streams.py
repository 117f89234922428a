"""Tables of streams become sites: stations, parts, sondes, and what drives and what is observed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import stream_files

from pydiffgeo.data import check_form, check_sites, open_sites
from pydiffgeo.data.form import observed_names, series_names
from pydiffgeo.errors import DataError


def test_stations_and_parts(tmp_path: Path) -> None:
    path = stream_files.days(tmp_path)
    sites = open_sites(path).load()
    assert sites.site.values.tolist() == ["UP_1", "LOW_2"] and sites.sizes["time"] == 60
    assert set(series_names(sites)) == {"tair_mean", "discharge"}
    assert observed_names(sites) == ("water_temperature",)
    assert sites.discharge.attrs["units"] == "m3 s-1" and not check_sites(check_form(sites)).serious
    assert np.flatnonzero(np.isnan(sites.water_temperature.values[1])).tolist() == [3]
    half = open_sites(path, options={"part": "validation"}, sites=["LOW_2"]).load()
    np.testing.assert_array_equal(half.tair_mean.values[0], sites.tair_mean.values[1, 30:])
    assert str(half.time.values[0])[:10] == "2001-01-31"
    with pytest.raises(DataError, match="no rows of the part 'validatoin'; did you mean"):
        open_sites(path, options={"part": "validatoin"})


def test_forcing_alone(tmp_path: Path) -> None:
    """A scenario has no water temperatures."""
    path = stream_files.days(tmp_path)
    pd.read_csv(path).drop(columns=["water_temp_degC", "part"]).to_csv(path, index=False)
    assert set(open_sites(path).data_vars) == {"tair_mean", "discharge", "station"}


def test_sondes(tmp_path: Path) -> None:
    """A moment that stands there twice counts once; attributes come from the caller."""
    options = {"attributes": {"low_B": {"lat": 41.3, "lon": -106.3}}}
    sites = open_sites(stream_files.sondes(tmp_path), options=options).load()
    assert sites.site.values.tolist() == ["low_A", "low_B"]
    oxygen = sites.dissolved_oxygen.sel(site="low_B").dropna("time")
    assert oxygen.values.tolist() == [8.24, 8.25, 8.30]
    assert observed_names(sites) == ("dissolved_oxygen",)
    assert series_names(sites) == ("water_temperature",)
    assert float(sites.lat.sel(site="low_B")) == 41.3
    with pytest.raises(DataError, match="no site 'low_C'"):
        open_sites(stream_files.sondes(tmp_path), options={"attributes": {"low_C": {"lat": 1.0}}})


def test_segments(tmp_path: Path) -> None:
    """Days of river-dl; the river between the sites comes from the caller."""
    path = stream_files.segments(tmp_path)
    options = {"attributes": {"7": {"downstream": "9", "length": 5e3}, "9": {"downstream": ""}}}
    sites = open_sites(path, options=options).load()
    assert sites.downstream.values.tolist() == ["9", ""]
    told = open_sites(path, options=options, units={"length": "m"})
    assert "units" not in sites.length.attrs and told.length.attrs["units"] == "m"
    assert set(series_names(sites)) == {
        "tair_mean", "precipitation", "discharge", "sntemp_temperature"
    }  # fmt: skip
    assert set(observed_names(sites)) == {"water_temperature", "gauged_discharge"}
    later = pd.read_csv(path).drop(columns=["water_temp_obs_degC", "discharge_obs_m3_s"])
    later.to_csv(path, index=False)
    assert "water_temperature" not in open_sites(path)


def test_short_gaps_of_a_sonde_are_bridged(tmp_path: Path) -> None:
    path = stream_files.sondes(tmp_path)
    path.write_text(path.read_text().replace("14.13,", ","))
    sites = open_sites(path, sites=["low_A"]).load()
    np.testing.assert_allclose(sites.water_temperature.values[0], [14.21, 14.12, 14.03])
    assert np.isnan(sites.dissolved_oxygen.values[0]).tolist() == [False, True, False]


def test_a_series_without_any_value_is_missing(tmp_path: Path) -> None:
    path = stream_files.days(tmp_path)
    table = pd.read_csv(path)
    table.loc[table.station == "UP_1", "discharge_m3s"] = np.nan
    table.to_csv(path, index=False)
    sites = open_sites(path, sites=["UP_1"]).load()
    assert np.isnan(sites.discharge.values).all() and np.isfinite(sites.tair_mean.values).all()


def test_metabolism(tmp_path: Path) -> None:
    sites = open_sites(stream_files.metabolism(tmp_path)).load()
    assert sites.site.values.tolist() == ["brook_may"]
    assert str(sites.time.values[1])[:19] == "2012-05-01T00:57:37"
    assert set(series_names(sites)) == {
        "water_temperature", "water_depth", "light", "discharge", "told_saturation"
    }  # fmt: skip


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    path = stream_files.days(tmp_path)
    text = path.read_text().replace("UP_1,2001-01-05", ",2001-01-05")
    path.write_text(text)
    with pytest.raises(DataError, match="no station in line 6"):
        open_sites(path)
    other = tmp_path / "other.csv"
    other.write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="no table of a stream"):
        open_sites(other, layout="streams")


@pytest.mark.parametrize(
    ("file", "count"),
    [
        ("stream_temperature/air2stream_swiss_daily.csv", 3),
        ("water_quality/brandywine_do_30min.csv", 1),
        ("water_quality/french_creek_do_5min.csv", 2),
        ("stream_temperature/brandywine_daily.csv", 4),
        ("stream_temperature/clearwater_daily.csv", 18),
        ("stream_temperature/hjandrews_daily.csv", 12),
    ],
)
def test_real_tables(shared_data: Callable[[str], Path], file: str, count: int) -> None:
    sites = open_sites(shared_data(file))
    assert sites.sizes["site"] == count
    name = observed_names(sites)[0]
    values = sites[name].values
    assert -1 <= np.nanmin(values) and np.nanmax(values) < 30
