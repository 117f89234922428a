"""Which sites are trained on and held out, and what is filled or left out before that."""

from __future__ import annotations

import numpy as np
import pytest
import site_files
import xarray as xr

from pydiffgeo.data import GapRules, Span, choose_sites, synthetic_weather, usable_sites
from pydiffgeo.errors import DataError

KNOWN = [f"b{i}" for i in range(8)]


def test_fewer_sites_are_among_more_and_the_same_are_held_out() -> None:
    more, held = choose_sites(KNOWN, 5, 2, ["b3"], split_seed=1)
    fewer, same = choose_sites(KNOWN, 3, 2, ["b3"], split_seed=1)
    assert held == same and set(fewer) < set(more) and not {"b3", *held} & set(more)
    assert more == sorted(more) and len(more) == 5 and len(held) == 2
    assert choose_sites(KNOWN, 5, 2, ["b3"], split_seed=2) != (more, held)
    rest, apart = choose_sites(KNOWN, None, ["b6", "b0"])
    assert apart == ["b0", "b6"] and rest == ["b1", "b2", "b3", "b4", "b5", "b7"]


@pytest.mark.parametrize(
    ("asked", "words", "place"),
    [
        (
            (["b1", "c1"],),
            "data.sites: no site 'c1' in the records; did you mean",
            ("data", "sites", 1),
        ),
        ((["b1"], ["b1"]), "site b1 is in data.sites and in data.held_out", ()),
        ((7, 2), "asks for 7 sites and data.held_out for 2; the records have 8", ("data", "sites")),
        ((None, 0, KNOWN), "of which data.exclude leaves 0", ("data", "exclude")),
    ],
)
def test_a_choice_that_cannot_be_met_is_refused(asked: tuple, words: str, place: tuple) -> None:
    with pytest.raises(DataError, match=words) as error:
        choose_sites(KNOWN, *asked)
    assert error.value.setting == place


def stations() -> xr.Dataset:
    weather = synthetic_weather(seed=1, sites=4)
    moisture = np.random.default_rng(0).uniform(0.1, 0.4, (4, weather.sizes["time"], 2))
    weather["soil_moisture"] = (("site", "time", "depth"), moisture, {"units": "m3 m-3"})
    return weather.assign_coords(depth=[0.05, 0.5])


SPANS = [
    Span("training", "2020-02-01", "2020-06-30", least=30),
    Span("test", "2020-07-01", "2020-10-31", least=2),
]
READ = (("precipitation", "tair_mean"), ("soil_moisture",))


def test_gaps_are_filled_and_sites_that_cannot_be_are_left_out() -> None:
    records = stations()
    records.tair_mean[0, 100:102] = np.nan
    records.tair_mean[1, 100:120] = np.nan
    records.tair_mean[3, :20] = np.nan  # on days that nobody needs
    records.soil_moisture[2, 40:200, 1] = np.nan
    records.soil_moisture[2, 45, 1] = 0.3
    found = usable_sites(records, SPANS, *READ, missing="skip", gaps=GapRules())
    assert found.selection.kept == ("S01", "S04") == tuple(found.sites.site.values)
    reasons = found.selection.left_out["all"]
    assert "20 days), longer than gaps.max_days = 3" in reasons["S02"]
    assert "observations of soil_moisture in level 2 of 2 in the training period" in reasons["S03"]
    assert [(f.site, f.days, f.method) for f in found.fills] == [("S01", 2, "linear")]
    assert found.sites.tair_mean.sel(time=slice("2020-02-01", "2020-10-31")).notnull().all()
    with pytest.raises(DataError, match=r"sites cannot be used as they are(.|\n)*S03"):
        usable_sites(records, SPANS, *READ, gaps=GapRules())


def test_without_rules_nothing_is_filled() -> None:
    records = site_files.records(sites=3)
    records.tair_max[1, 300] = np.nan
    spans = [Span("test", "2000-07-01", "2000-09-30")]
    with pytest.raises(DataError, match="no record of any forcing in site b0001 on 2000-07-27"):
        usable_sites(records, spans, ["tair_max"])
    records.discharge[0, 290] = -999.0
    found = usable_sites(
        records, spans, ["tair_max"], ["discharge"], missing="skip", impossible="missing"
    )
    assert found.selection.left_out["test"].keys() == {"b0001"} and found.fills == ()
    assert np.isnan(found.sites.discharge[0, 290]) and len(found.sites.site) == 3


def test_an_identifier_without_quotes_is_no_count() -> None:
    with pytest.raises(DataError, match=r"Identifiers stand in quotes, in a list"):
        choose_sites(KNOWN, None, 1078000)


def test_an_optional_series_may_be_missing_and_is_remarked_but_not_impossible() -> None:
    records = stations()
    records["precipitation_era5"] = records.precipitation.copy()
    records.precipitation_era5[1, 100:120] = np.nan
    records.precipitation_era5[3, :20] = np.nan  # on days that nobody needs
    options = {"missing": "error", "optional": ["precipitation_era5"]}
    found = usable_sites(records, SPANS, *READ, **options)
    assert found.selection.kept == ("S01", "S02", "S03", "S04")
    assert found.selection.remarks == (
        ("S02", "site S02 lacks precipitation_era5 on 20 days, first on 2020-04-10: other products "
                "take its weight there."),
    )  # fmt: skip
    records.precipitation_era5[0, 100] = -999.0
    with pytest.raises(DataError, match="precipitation_era5 is -999"):
        usable_sites(records, SPANS, *READ, **options)
    found = usable_sites(records, SPANS, *READ, **options, impossible="missing")
    assert np.isnan(found.sites.precipitation_era5[0, 100])
