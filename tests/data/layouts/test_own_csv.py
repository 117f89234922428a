"""Own CSV files: one for all sites or one for each, names and units by a mapping, time zones,
profiles, points.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from pydiffgeo import cli
from pydiffgeo.data import check_sites, open_sites
from pydiffgeo.errors import DataError, UnitError

DAYS = pd.date_range("2001-01-01", periods=5)
ROWS = [
    (site, day, 0.1 * k, 5.0 + k, 1.0 + k) for site in ("007", "12") for k, day in enumerate(DAYS)
]


def one_file(folder: Path, header: str = "gauge,day,P [m/d],tair_mean [K],Q [mm/d]") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    lines = [f"{s},{d:%Y-%m-%d},{p:.6g},{t + 273.15:.6g},{q:.6g}" for s, d, p, t, q in ROWS]
    (folder / "all.csv").write_text("\n".join([header, *lines]) + "\n")
    (folder / "attributes.csv").write_text(
        "gauge,lat,area [km2],slope,rock\n007,50.5,20,1,lime\n12,51,30,2,\n"
    )
    return folder


NAMES = {"gauge": "site", "day": "time", "P": "precipitation", "Q": "discharge"}


def test_one_file_with_names_and_units(tmp_path: Path) -> None:
    opened = open_sites(one_file(tmp_path), names=NAMES)
    assert opened.site.values.tolist() == ["007", "12"] and opened.sizes["time"] == 5
    np.testing.assert_allclose(opened.precipitation[1], 100.0 * np.arange(5))
    np.testing.assert_allclose(opened.tair_mean[0], 5.0 + np.arange(5))
    assert (
        opened.tair_mean.attrs["converted_from"] == "K" and opened.precipitation.units == "mm d-1"
    )
    assert "converted_from" not in opened.discharge.attrs  # mm/d is mm d-1
    assert opened.lat.values.tolist() == [50.5, 51.0] and opened.area.attrs["units"] == "km2"
    assert opened.rock.values.tolist() == ["lime", ""]
    lazy = open_sites(tmp_path, names=NAMES, lazy=True, sites=["12"], start="2001-01-03")
    np.testing.assert_allclose(lazy.discharge, [[3.0, 4.0, 5.0]])


def test_a_file_for_each_site_is_the_same(tmp_path: Path) -> None:
    whole = open_sites(one_file(tmp_path / "a"), names=NAMES)
    table = pd.read_csv(tmp_path / "a" / "all.csv", dtype={"gauge": str})
    (tmp_path / "b").mkdir()
    for site, rows in table.groupby("gauge"):
        rows.drop(columns="gauge").to_csv(tmp_path / "b" / f"{site}.csv", index=False)
    (tmp_path / "b" / "attributes.csv").write_text((tmp_path / "a" / "attributes.csv").read_text())
    parts = open_sites(tmp_path / "b", names=NAMES)
    for name in whole.data_vars:
        np.testing.assert_array_equal(parts[name], whole[name])


def test_units_that_are_not_told_are_asked_for_all_at_once(tmp_path: Path) -> None:
    folder = one_file(tmp_path, "gauge,day,P,tair_mean,Q")
    with pytest.raises(
        UnitError, match="'P' has no unit.*'tair_mean' has no unit.*'Q' has no unit"
    ):
        open_sites(folder, names=NAMES)
    units = {"precipitation": "m d-1", "tair_mean": "K", "Q": "mm d-1"}
    told = open_sites(folder, names=NAMES, units=units)
    np.testing.assert_allclose(told.precipitation[0, 1], 100.0)
    with pytest.raises(UnitError, match="'Q' has unit 'm3/s', expected 'mm d-1'"):
        open_sites(folder, names=NAMES, units=units | {"Q": "m3/s"})


def hours(folder: Path, stamps: list[str]) -> Path:
    folder.mkdir()
    lines = [f"{stamp},{k}" for k, stamp in enumerate(stamps)]
    (folder / "s1.csv").write_text("\n".join(["time,tair_mean [degC]", *lines]) + "\n")
    return folder


def test_times_become_utc_at_the_end_of_their_step(tmp_path: Path) -> None:
    local = [f"2001-06-30 {h:02d}:30" for h in range(20, 24)]
    path = hours(tmp_path / "a", local)
    assert str(open_sites(path).time.values[0])[:16] == "2001-06-30T20:30"
    denver = open_sites(path, zone="America/Denver", stamps="start")
    assert str(denver.time.values[0])[:16] == "2001-07-01T03:30"
    fixed = open_sites(path, zone="-07:00")
    assert str(fixed.time.values[0])[:16] == "2001-07-01T03:30"
    stated = open_sites(hours(tmp_path / "b", [f"{text}+02:00" for text in local]))
    assert str(stated.time.values[-1])[:16] == "2001-06-30T21:30"
    with pytest.raises(DataError, match="times with and without a time zone"):
        open_sites(hours(tmp_path / "c", [*local[:3], "2001-06-30 23:30Z"]))
    with pytest.raises(DataError, match="time zone 'Denver'"):
        open_sites(path, zone="Denver")


def test_a_missing_step_is_missing_and_an_odd_one_is_refused(tmp_path: Path) -> None:
    stamps = [f"2001-06-30 {h:02d}:00" for h in (1, 2, 3, 5, 6)]
    opened = open_sites(hours(tmp_path / "a", stamps))
    np.testing.assert_array_equal(opened.tair_mean[0], [0, 1, 2, np.nan, 3, 4])
    with pytest.raises(DataError, match="site s1 has the time 2001-06-30 03:10, which is not one"):
        open_sites(hours(tmp_path / "b", [*stamps[:2], "2001-06-30 03:10", *stamps[3:]]))


def test_columns_of_depths_become_a_profile(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("date,sm5,sm20\n2001-01-01,0.2,0.3\n2001-01-02,0.21,\n")
    (tmp_path / "attributes.csv").write_text("site,clay@0.05,clay@0.2\ns,10,20\n")
    names = {"sm5": "soil_moisture@0.05", "sm20": "soil_moisture@0.2"}
    opened = open_sites(tmp_path, names=names, units={"soil_moisture": "m3 m-3"})
    assert opened.soil_moisture.dims == ("site", "time", "depth")
    np.testing.assert_array_equal(opened.soil_moisture[0], [[0.2, 0.3], [0.21, np.nan]])
    assert opened.depth.values.tolist() == [0.05, 0.2] and opened.depth.units == "m"
    np.testing.assert_array_equal(opened.clay, [[10.0, 20.0]])
    assert (
        open_sites(tmp_path, names=names, units={"soil_moisture": "1"}, variables=["sm5"]).sizes[
            "depth"
        ]
        == 2
    )
    with pytest.raises(DataError, match="no depth behind the @"):
        open_sites(tmp_path, names={"sm5": "soil_moisture@top"}, units={"soil_moisture": "1"})


def test_rows_without_dates_are_points(tmp_path: Path) -> None:
    (tmp_path / "curves.csv").write_text("curve,Ci [ppm],A\na,300,10\na,200,8\nb,350,11\n")
    opened = open_sites(tmp_path)
    assert opened.Ci.dims == ("site", "point") and opened.Ci.units == "ppm"
    np.testing.assert_array_equal(opened.A, [[10.0, 8.0], [11.0, np.nan]])
    with pytest.raises(DataError, match="points without dates"):
        open_sites(tmp_path, start="2001-01-01")


def test_what_is_wrong_is_named_with_file_and_line(tmp_path: Path) -> None:
    folder = one_file(tmp_path)
    text = (folder / "all.csv").read_text()
    for old, new, words in (
        ("007,2001-01-02", ",2001-01-02", "all.csv has no site in line 3"),
        (
            "007,2001-01-03",
            "007,2001-01-02",
            "2001-01-02 occurs twice in the series of site 007 .*line 4",
        ),
        (
            "12,2001-01-02,0.1",
            "12,2001-01-02,wet",
            "P .m/d. of site 12 is 'wet', no number, in line 8",
        ),
        (
            "12,2001-01-02",
            "12,2001-13-02",
            "series of site 12 .* invalid date '2001-13-02' in line 8",
        ),
    ):
        (folder / "all.csv").write_text(text.replace(old, new, 1))
        with pytest.raises(DataError, match=words):
            open_sites(folder, names=NAMES)
    (folder / "all.csv").write_text(text)
    (folder / "more.csv").write_text(text)
    with pytest.raises(DataError, match="site '007' stands in all.csv and more.csv"):
        open_sites(folder, names=NAMES)


def test_a_folder_is_checked_and_converted_by_commands(tmp_path: Path) -> None:
    folder = one_file(tmp_path / "mine")
    told = [word for name, to in NAMES.items() for word in ("--name", f"{name}={to}")]
    check = CliRunner().invoke(cli.app, ["data", "check", str(folder), *told])
    assert check.exit_code == 0, check.output
    for words in (
        "precipitation: m/d to mm d-1",
        "tair_mean: K to degC",
        "2001-01-01 to 2001-01-05, days",
        "series: precipitation [mm d-1], tair_mean [degC]",
        "observed: discharge [mm d-1]",
        "2 sites, 5 steps, 0 problems",
    ):
        assert words in check.output
    out = tmp_path / "mine.nc"
    done = CliRunner().invoke(cli.app, ["data", "convert", str(folder), str(out), *told])
    assert done.exit_code == 0, done.output
    again = open_sites(out)
    np.testing.assert_allclose(again.discharge, open_sites(folder, names=NAMES).discharge)
    (folder / "all.csv").write_text(
        (folder / "all.csv").read_text().replace("007,2001-01-02,0.1", "007,2001-01-02,-0.1")
    )
    bad = CliRunner().invoke(cli.app, ["data", "check", str(folder), *told])
    assert bad.exit_code == 1 and "impossible value: 1 in 1 of 2 sites" in bad.output
    for k in range(5):  # a discharge that never changes
        text = (folder / "all.csv").read_text().replace(f",{1 + k}\n", ",3\n")
        (folder / "all.csv").write_text(text)
    report = check_sites(open_sites(folder, names=NAMES))
    assert [p.site for p in report.problems if p.kind == "no variance"] == ["007", "12"]
    wrong = CliRunner().invoke(cli.app, ["data", "check", str(folder), "--name", "P"])
    assert wrong.exit_code == 1 and "--name 'P' has no '='" in wrong.output


def test_a_name_or_unit_of_a_column_that_is_not_there_is_refused(tmp_path: Path) -> None:
    folder = one_file(tmp_path)
    with pytest.raises(DataError, match=r"names: no column 'Qx' in .*; did you mean 'Q'\?"):
        open_sites(folder, names={**NAMES, "Qx": "discharge"})
    with pytest.raises(DataError, match=r"units: no column 'dischrge' in .*'discharge'\?"):
        open_sites(folder, names=NAMES, units={"dischrge": "mm d-1"})
    same = open_sites(folder, names={**NAMES, "Qx": "discharge"}, unknown_names="ignore")
    assert same.identical(open_sites(folder, names=NAMES, units={"discharge": "mm d-1"}))
