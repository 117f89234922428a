"""Summaries are those of the days that are given, and of no others."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import yaml

from pydiffgeo.data import derived, synthetic_weather
from pydiffgeo.data.derive import attributes_of, derivation, settings_line, sources_of
from pydiffgeo.errors import DataError, SettingsError, UnknownName

SPEC = {
    "potential_evapotranspiration": {"method": "priestley_taylor", "elevation": 0.0},
    "rain_and_melt": None,
    "climate": {},
    "moisture": {},
    "first_profile": {},
}
PERIOD = ("2020-02-01", "2020-08-31")


@pytest.fixture
def sites() -> xr.Dataset:
    weather = synthetic_weather(seed=1, sites=3)
    moisture = np.random.default_rng(0).uniform(0.1, 0.4, (3, weather.sizes["time"], 2))
    moisture[1, :40, 1] = np.nan
    weather["soil_moisture"] = (("site", "time", "depth"), moisture, {"units": "m3 m-3"})
    return weather.assign_coords(depth=[0.05, 0.5])


def test_statistics_are_those_of_the_given_days(sites: xr.Dataset) -> None:
    found = derived(sites, SPEC, *PERIOD)
    part = found.sel(time=slice(*PERIOD))
    np.testing.assert_allclose(found.climate_rain, part.rain_and_melt.mean("time"))
    wet = part.rain_and_melt > 1.0
    np.testing.assert_allclose(found.climate_wet_days, wet.mean("time"))
    np.testing.assert_allclose(
        found.climate_rain_per_wet_day, part.rain_and_melt.where(wet).mean("time")
    )
    ratio = (part.potential_evapotranspiration.mean("time") + 0.01) / (found.climate_rain + 0.01)
    np.testing.assert_allclose(found.climate_dryness, np.log(ratio))
    np.testing.assert_allclose(found.climate_temperature_swing, part.tair_mean.std("time", ddof=1))
    np.testing.assert_allclose(
        found.soil_moisture_q25,
        part.soil_moisture.quantile(0.25, "time").transpose("site", "depth"),
    )
    assert found.soil_moisture_first.dims == ("site", "depth")
    assert found.soil_moisture_first[1, 1] == sites.soil_moisture[1, 40, 1]
    assert found.soil_moisture_first[1, 0] == sites.soil_moisture[1, 31, 0]
    assert found.climate_rain.attrs["units"] == "mm d-1"
    sites["precipitation"].loc[{"time": slice("2020-09-01", None)}] = 500.0
    later = derived(sites, SPEC, *PERIOD)  # what comes later must not matter
    for name in found.data_vars:
        if "time" not in found[name].dims:
            np.testing.assert_array_equal(found[name], later[name])


def test_a_site_without_a_series_has_no_climate_of_it_and_changes_no_other(
    sites: xr.Dataset, recwarn: pytest.WarningsRecorder
) -> None:
    lacking = sites.copy(deep=True)
    for name in ("rh_mean", "tair_mean"):  # as of a satellite's cells beside stations
        lacking[name][0] = np.nan
    found, whole = (derived(s, {"climate": {}}) for s in (lacking, sites))
    for name in ("humidity", "temperature", "temperature_swing"):
        values = found[f"climate_{name}"].values
        assert np.isnan(values[0])
        np.testing.assert_array_equal(values[1:], whole[f"climate_{name}"].values[1:])
    assert not recwarn.list


def test_what_is_missing_is_said(sites: xr.Dataset) -> None:
    with pytest.raises(UnknownName, match="derived variable 'climat'; did you mean 'climate'"):
        derived(sites, {"climat": {}})
    with pytest.raises(SettingsError, match="derive.climate has no argument 'begin'"):
        derived(sites, {"climate": {"begin": 1}})
    with pytest.raises(DataError, match="'precipitation'"):
        derived(sites.drop_vars("precipitation"), {"rain_and_melt": None})
    sites.soil_moisture[2, :, 0] = np.nan
    with pytest.raises(DataError, match="1 sites have no observation of soil_moisture.*S03"):
        derived(sites, {"moisture": {}})
    hourly = sites.assign_coords(
        time=pd.date_range("2020-01-01", periods=sites.sizes["time"], freq="h")
    )
    with pytest.raises(DataError, match="computed from daily records, these have steps of"):
        derived(hourly, {"potential_evapotranspiration": "oudin"})


def test_sources_are_what_series_are_made_of(sites: xr.Dataset) -> None:
    bare = sites.drop_vars("tair_mean")
    wanted = {"potential_evapotranspiration": "oudin", "rain_and_melt": None}
    names = ["rain_and_melt", "potential_evapotranspiration"]
    series, places = sources_of(bare, wanted, dict.fromkeys(names, "somebody"))
    assert set(series) == {"precipitation", "tair_min", "tair_max"} and places == ("lat",)
    with pytest.raises(
        DataError,
        match="'rain_and_meltt', which HBV reads, in .*; did you mean",
    ):
        sources_of(bare, wanted, {"rain_and_meltt": "HBV"})


@pytest.mark.parametrize(
    "name",
    ["potential_evapotranspiration", "tair_mean", "rain_and_melt", "climate_rain",
     "soil_moisture_q95", "soil_moisture_first"],
)  # fmt: skip
def test_what_can_be_computed_is_told_with_its_line(sites: xr.Dataset, name: str) -> None:
    bare = sites.drop_vars(["tair_mean", "potential_evapotranspiration"], errors="ignore")
    assert name not in bare and name in derived(bare, derivation(bare, name))
    line = settings_line(bare, {}, name)
    given = yaml.safe_load(line.split("`")[1])
    assert name in derived(bare, given["derive"])
    assert settings_line(bare, given["derive"], name) == ""
    for other in ("soil_moisture_q94", "moisture_first", "climate", "rain", "lat"):
        assert derivation(bare, other) == {}, other
    cold = bare.drop_vars(["tair_min", "tair_max"])
    for other in ("potential_evapotranspiration", "tair_mean", "rain_and_melt"):
        assert settings_line(cold, {}, other) == "", other


def test_attributes_that_will_be_there_are_known(sites: xr.Dataset) -> None:
    wanted = {"climate": {}, "moisture": "soil_moisture", "first_profile": None}
    made = set(derived(sites, wanted)) - set(sites)
    assert made <= set(attributes_of(wanted)) and attributes_of({"rain_and_melt": {}}) == []


def test_units_and_gaps_of_records_do_not_change_what_is_derived(sites: xr.Dataset) -> None:
    wanted = {"rain_and_melt": {}, "climate": {}}
    expected = derived(sites, wanted)
    rain = (sites.precipitation / 24).assign_attrs(units="mm h-1")
    warm = (sites.tair_mean + 273.15).assign_attrs(units="K")
    found = derived(sites.assign(precipitation=rain, tair_mean=warm), wanted)
    names = ["rain_and_melt", "climate_rain", "climate_temperature", "climate_wet_days"]
    for name in names:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, atol=1e-4)
    xr.testing.assert_identical(found.tair_mean, warm)  # what was there stays
    known = sites.precipitation.values[:, 10:]
    gap = sites.assign(precipitation=sites.precipitation.where(sites.time >= sites.time[10]))
    share = derived(gap, {"climate": {}}).climate_wet_days
    np.testing.assert_allclose(share, (known > 1).mean(1))
