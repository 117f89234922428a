"""What is missing or wrong is reported by site and date."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import site_files

from pydiffgeo.data import (
    PET_METHODS,
    add_pet,
    check_sites,
    open_sites,
    potential_evapotranspiration,
)
from pydiffgeo.data.lazy import is_lazy
from pydiffgeo.data.site_report import SiteReport
from pydiffgeo.errors import DataError


def test_good_records_have_no_problems_and_their_gaps_are_counted() -> None:
    report = check_sites(site_files.records())
    report.require()
    assert report.problems == () and report.table().empty
    assert report.missing_observations == {"discharge": {"b0000": 10, "b0001": 10, "b0002": 10}}
    assert report.lines() == [
        "discharge: 30 of 1200 steps are not observed (2.5%); most in site b0000 (10 steps)"
    ]


def test_everything_that_is_wrong_is_listed_by_basin_and_date() -> None:
    records = site_files.records()
    records.precipitation[0, 5:8] = np.nan
    records.precipitation[1, 0] = -1.0
    for name in ("precipitation", "tair_min", "tair_max"):
        records[name][2, 100] = np.nan
    records.tair_min[1, 7] = records.tair_max[1, 7] + 1.0
    records.discharge[2] = np.nan
    records.area[1] = records.aridity[1] = np.nan
    records.geology[1] = ""
    records.aridity[0] = np.nan
    records.tair_max.attrs["units"] = "K"
    report = check_sites(records, attributes=["aridity"])
    assert report.table()[["kind", "site", "variable", "start", "end", "days"]].values.tolist() == [
        ["wrong unit", "", "tair_max", "", "", 0],
        ["missing attribute", "b0000", "aridity", "", "", 0],
        ["no attributes", "b0001", "", "", "", 0],
        ["missing forcing", "b0000", "precipitation", "1999-10-06", "1999-10-08", 3],
        ["impossible value", "b0001", "precipitation", "1999-10-01", "1999-10-01", 1],
        ["minimum above maximum", "b0001", "tair_min", "1999-10-08", "1999-10-08", 1],
        ["missing time", "b0002", "", "2000-01-09", "2000-01-09", 1],
        ["no observation", "b0002", "discharge", "1999-10-01", "2000-11-03", 400],
    ]
    with pytest.raises(DataError, match="8 problems in 4 of 3 sites:\n  wrong unit"):
        report.require()
    with pytest.raises(
        DataError,
        match="precipitation is missing in site b0000 from 1999-10-06 to 1999-10-08 .3 days.; fill",
    ):
        report.require("missing forcing")
    report.require("unreadable")
    assert len(report.lines()) == 9 and "observed in 2 of 3 sites" in report.lines()[-1]


def test_a_long_list_is_cut_and_counted() -> None:
    records = site_files.records()
    records.precipitation[:, ::20] = np.nan
    with pytest.raises(DataError, match="60 problems in 3 of 3 sites:(.|\n)*and 50 more"):
        check_sites(records).require()


def test_days_that_a_file_lacks_are_missing_days(tmp_path: Path) -> None:
    root = site_files.camels_us(tmp_path)
    file = next(root.rglob("02020202*cida*"))
    lines = file.read_text().splitlines()
    file.write_text("\n".join(lines[:10] + lines[12:]) + "\n")
    next(root.rglob("01010101_streamflow_qc.txt")).unlink()
    opened = open_sites(root, end="2001-02-11")
    assert opened.sizes["time"] == 42
    kinds = [(p.kind, p.site, p.start, p.end) for p in check_sites(opened).problems]
    assert kinds == [
        ("missing time", "01010101", "2001-02-10", "2001-02-11"),
        ("no observation", "01010101", "2001-01-01", "2001-02-11"),
        ("missing time", "02020202", "2001-01-07", "2001-01-08"),
        ("missing time", "02020202", "2001-02-10", "2001-02-11"),
    ]


def test_a_basin_without_attributes_is_kept_and_named(tmp_path: Path) -> None:
    root = site_files.camels_us(tmp_path)
    for file in (root / "camels_attributes_v2.0").iterdir():
        file.write_text(
            "".join(line for line in file.read_text().splitlines(True) if not line.startswith("02"))
        )
    opened = open_sites(root)
    assert opened.sizes["site"] == 2
    assert [(p.kind, p.site) for p in check_sites(opened).problems] == [
        ("no attributes", "02020202")
    ]
    with pytest.raises(DataError, match="1 sites have no 'lat': 02020202"):
        add_pet(opened)


def test_attributes_that_two_tables_name_or_a_basin_has_twice(tmp_path: Path) -> None:
    root = site_files.camels_us(tmp_path)
    table = root / "camels_attributes_v2.0" / "camels_soil.txt"
    table.write_text("gauge_id;elev_mean\n01010101;3\n")
    with pytest.raises(DataError, match="attribute 'elev_mean' stands in two files"):
        open_sites(root)
    table.write_text("gauge_id;sand\n01010101;3\n01010101;4\n")
    with pytest.raises(DataError, match="camels_soil.txt has site '01010101' twice"):
        open_sites(root)


@pytest.mark.parametrize("method", ["oudin", "hamon", "hargreaves"])
def test_pet_of_basins_is_that_of_a_single_series(method: str) -> None:
    records = site_files.records(sites=20)
    whole = add_pet(records, method).potential_evapotranspiration
    assert whole.attrs["method"] == method and whole.attrs["units"] == "mm d-1"
    one = records.isel(site=[17]).rename(site="site")
    one["tair_mean"] = 0.5 * (one.tair_min + one.tair_max)
    np.testing.assert_array_equal(whole[17], potential_evapotranspiration(one, method)[0])
    assert float(whole[:, 270:300].mean()) > 3 * float(whole[:, 90:120].mean())  # July, January


def test_oudin_and_hamon_by_hand() -> None:
    # Uccle, 6 July (FAO-56, example 18): Ra = 41.09 MJ m-2 d-1, 16.1 hours of daylight. Oudin at
    # 16.9 degC: 41.09 / 2.45 * (16.9 + 5) / 100 = 3.67 mm. Hamon as in Oudin et al. 2005: (16.1 /
    # 12)^2 exp(16.9 / 16) = 5.18 mm.
    records = site_files.records(sites=1, days=1, start="2015-07-06").assign_coords(
        lat=("site", [50.8])
    )
    records["tair_mean"] = (("site", "time"), [[16.9]], {"units": "degC"})
    assert add_pet(records).potential_evapotranspiration.item() == pytest.approx(3.67, abs=0.03)
    assert add_pet(records, "hamon").potential_evapotranspiration.item() == pytest.approx(
        5.18, abs=0.05
    )


def test_pet_is_lazy_where_the_weather_is_and_missing_where_it_is(tmp_path: Path) -> None:
    root = site_files.camels_us(tmp_path)
    eager, lazy = (add_pet(open_sites(root, lazy=lazy, end="2001-02-12")) for lazy in (False, True))
    assert is_lazy(lazy.potential_evapotranspiration) and not is_lazy(
        eager.potential_evapotranspiration
    )
    found = eager.potential_evapotranspiration
    np.testing.assert_array_equal(lazy.potential_evapotranspiration, found)
    assert np.isnan(found[:, -3:]).all() and found[:, :-3].notnull().all()


def test_pet_says_what_it_lacks(tmp_path: Path) -> None:
    records = site_files.records()
    with pytest.raises(DataError, match="turc.* needs 'shortwave_down'.*hargreaves, oudin, hamon"):
        add_pet(records, "turc")
    records["tair_min"] = records.tair_max
    with pytest.raises(
        DataError, match="equals tair_max on every day in site b0000 .*take oudin or hamon"
    ):
        add_pet(records, "hargreaves")
    with pytest.raises(DataError, match="'lat'"):
        add_pet(records.drop_vars("lat"))


def test_pet_of_camels_follows_its_own_estimate(shared_data) -> None:
    """CAMELS-US has a mean of Priestley-Taylor.

    Temperature alone orders the sites much the same way.
    """
    file = shared_data("camels_us_daymet_500.nc")
    opened = open_sites(file, variables=["tmin", "tmax"], start="1990-10-01", end="1991-09-30")
    for method in ("oudin", "hamon", "hargreaves"):
        assert method in PET_METHODS
        mean = add_pet(opened, method).potential_evapotranspiration.mean("time")
        assert 1.5 < float(mean.mean()) < 3.5 and np.corrcoef(mean, opened.pet_mean)[0, 1] > 0.35


def test_a_series_without_gaps_is_not_mentioned() -> None:
    report = SiteReport(("a", "b"), 10, (), {"discharge": {"a": 0, "b": 0}})
    assert report.summary() == []
    gap = SiteReport(("a", "b"), 10, (), {"discharge": {"a": 0, "b": 2}})
    assert "2 of 20 steps are not observed" in gap.summary()[0]


def test_sites_without_a_gauge_are_counted_apart() -> None:
    report = SiteReport(("a", "b", "c"), 10, (), {"discharge": {"a": 10, "b": 1, "c": 10}})
    assert report.summary() == [
        "discharge: observed in 1 of 3 sites, where 1 of 10 steps are not observed (10.0%); "
        "most in site b (1 steps)",
    ]
