"""Text files as people send them.

Other separators, lost zeros, zones, words for numbers, files that end early.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import site_files
import xarray as xr
from typer.testing import CliRunner

from pydiffgeo import cli
from pydiffgeo.data import check_sites, open_sites
from pydiffgeo.data.layouts.text import parse_stamps
from pydiffgeo.errors import DataError, DataWarning

GOOD = "gauge_id,lat,slope,rock\nx1,50.0,3.5,chalk\nx2,51.0,4.5,\n"


def attributes(folder: Path, text: str, ids: tuple[str, str] = ("x1", "x2")) -> xr.Dataset:
    """What open_sites gives for two sites with this table of attributes."""
    root = site_files.generic(folder)
    for old, new in zip(("x1", "x2"), ids, strict=True):
        (root / "time_series" / f"{old}.nc").rename(root / "time_series" / f"{new}.nc")
    (root / "attributes" / "a.csv").write_bytes(text.encode())
    return open_sites(root)


@pytest.mark.parametrize(("text", "ids"), [
    (GOOD, ("x1", "x2")),
    (GOOD.replace(",", ";"), ("x1", "x2")),
    (GOOD.replace(",", "\t"), ("x1", "x2")),
    ("\ufeff" + GOOD, ("x1", "x2")),
    (GOOD.replace("\n", ",\n"), ("x1", "x2")),  # a comma at the end of each line
    (GOOD.replace("x1", "101").replace("x2", "202"), ("0101", "0202")),
    (GOOD.replace("x1", "101.0").replace("x2", "202.0"), ("0101", "0202")),
    ("gauge_id,lat,slope\n0101,50.0,3.5\n0202,51.0,4.5\n", ("0101", "0202")),  # numbers alone
    ("gauge_id,lat,area,slope\n0101,50.0,2,3.5\n0202,51.0,,4.5\n", ("0101", "0202")),
])  # fmt: skip
def test_attributes_are_found_however_the_table_is_written(
    text: str, ids: tuple[str, str], tmp_path: Path
) -> None:
    opened = attributes(tmp_path, text, ids)
    assert opened.site.values.tolist() == list(ids)
    assert opened.lat.values.tolist() == [50.0, 51.0] and opened.slope.values.tolist() == [3.5, 4.5]
    assert not check_sites(opened).serious


def test_zeros_are_not_guessed_where_two_basins_may_be_meant(tmp_path: Path) -> None:
    opened = attributes(tmp_path, "gauge_id,lat\n101,50.0\n", ("0101", "00101"))
    assert [p.kind for p in check_sites(opened).serious] == ["no attributes", "no attributes"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            GOOD.replace(",", ";").replace("50.0", "50,0"),
            "'lat' of site x1 is '50,0', a number with a comma, in .*a.csv; write",
        ),
        (
            GOOD.replace("50.0", '"1,050.0"'),
            "'lat' of site x1 is '1,050.0', a number with a comma, in .*a.csv; write",
        ),
        ("", "the table of attributes cannot be read .No columns.*a.csv; check that it is whole"),
        (GOOD + "x1,1,2,3\n", "has site 'x1' twice"),
        (GOOD + "x3,1,2,3,4,5\n", "cannot be read .*line 4"),
        (
            "gauge_id,lat\nx1,50,0\nx2,51,5\n",
            "its rows have more fields than its header: decimal commas",
        ),
    ],
)
def test_tables_that_cannot_be_read_are_named(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=words):
        attributes(tmp_path, text)


def edit(file: Path, change: Callable[[list[str]], list[str]]) -> None:
    file.write_text("\n".join(change(file.read_text().splitlines())) + "\n")


def cell(
    line: int, column: int, text: str, separator: str = ","
) -> Callable[[list[str]], list[str]]:
    """Put text into a cell of a file; lines count from 1."""

    def change(lines: list[str]) -> list[str]:
        parts = lines[line - 1].split(separator)
        parts[column] = text
        return [*lines[: line - 1], separator.join(parts), *lines[line:]]

    return change


BAD_CSV = {
    "text in forcing": (
        cell(8, 1, "Ice"),
        "precipitation_sum of site camels_02 is 'Ice', no number, in line 8 of .*-07",
    ),
    "decimal comma": (
        cell(8, 7, '"0,5"'),
        "streamflow of site camels_02 is '0,5', a number with a comma, in line 8 of .*-07",
    ),
    "comma between thousands": (
        cell(8, 7, '"1,234.5"'),
        "streamflow of site camels_02 is '1,234.5', a number with a comma, in line 8 of .*-07.*"
        "nothing between thousands",
    ),
    "no date": (
        cell(8, 0, "2001-02-31"),
        "site camels_02 .*has the invalid date '2001-02-31' in line 8",
    ),
    "empty date": (cell(8, 0, ""), "site camels_02 .*has no date in line 8"),
    "date twice": (
        cell(8, 0, "2001-01-05"),
        "date 2001-01-05 occurs twice in the series of site camels_02 .*line 8",
    ),
    "unordered": (
        cell(8, 0, "2000-01-05"),
        "unordered in .*site camels_02 .*2000-01-05 .line 8. comes after",
    ),
    "header alone": (lambda lines: lines[:1], "site camels_02 .*has a header and no days"),
    "empty": (lambda lines: [""], "series of site camels_02 cannot be read .No columns"),
    "ragged": (cell(8, 0, "2001-01-07,1,2"), "site camels_02 cannot be read .*line 8"),
}


@pytest.mark.parametrize("what", BAD_CSV)
def test_a_bad_csv_is_named_and_the_next_basin_is_read(what: str, tmp_path: Path) -> None:
    change, words = BAD_CSV[what]
    file = next(site_files.caravan(tmp_path, "csv").rglob("camels_02.csv"))
    edit(file, change)
    opened = open_sites(tmp_path, lazy=True)
    assert opened.sizes["time"] == 40
    problems = check_sites(opened).serious
    assert [(p.kind, p.site) for p in problems] == [("unreadable", "camels_02")]
    with pytest.raises(DataError, match=words):
        raise DataError(problems[0].message)
    with pytest.raises(DataError, match=words):
        open_sites(tmp_path, lazy=False)


@pytest.mark.parametrize("first", ["camels_01", "camels_02"])
def test_text_that_is_no_utf8_is_named(first: str, tmp_path: Path) -> None:
    file = next(site_files.caravan(tmp_path, "csv").rglob(f"{first}.csv"))
    file.write_bytes(file.read_bytes().replace(b"0.5", "½".encode("latin-1")))
    problems = check_sites(open_sites(tmp_path, lazy=True)).serious
    assert [(p.kind, p.site) for p in problems] == [
        ("unreadable", first)
    ] and "save it as UTF-8" in problems[0].message


def test_a_table_of_series_with_decimal_commas_throughout_is_not_taken_for_words(
    tmp_path: Path,
) -> None:
    for file in site_files.caravan(tmp_path, "csv").glob("timeseries/csv/*/*.csv"):
        file.write_text(file.read_text().replace(",", ";").replace(".", ","))
    problems = check_sites(open_sites(tmp_path, lazy=True)).serious
    assert [p.kind for p in problems] == ["unreadable"] * 3
    assert "'1,0', a number with a comma, in line 2 of " in problems[0].message


def test_a_gauge_that_begins_in_ice_keeps_its_discharge(tmp_path: Path) -> None:
    file = next(site_files.caravan(tmp_path, "csv").rglob("camels_01.csv"))
    for line in range(2, len(file.read_text().splitlines()) + 1):
        edit(file, cell(line, 7, "Ice"))
    opened = open_sites(tmp_path, lazy=True)
    with pytest.warns(
        DataWarning,
        match="streamflow of site camels_01 is text on 40 days, first 'Ice' in line 2 of",
    ):
        assert np.isnan(opened.discharge.sel(site="camels_01").values).all()
    assert np.isfinite(opened.discharge.sel(site="camels_02").values).any()


def test_ice_in_a_discharge_is_missing_and_counted(tmp_path: Path) -> None:
    caravan = site_files.caravan(tmp_path / "a", "csv")
    file = next(caravan.rglob("camels_02.csv"))
    for line in (10, 12):
        edit(file, cell(line, 7, "Ice"))
    edit(
        file, lambda lines: [*lines[:9], "", *lines[9:]]
    )  # an empty line is none of the rows, but counts as a line
    words = (
        r"streamflow of site camels_02 is text on 2 days, first 'Ice' in line 11 of .*, 2001-01-09"
    )
    with pytest.warns(DataWarning, match=words):
        opened = open_sites(caravan)
    assert np.flatnonzero(np.isnan(opened.discharge.sel(site="camels_02"))).tolist() == [
        0,
        1,
        2,
        3,
        4,
        8,
        10,
    ]
    report = check_sites(open_sites(caravan, lazy=True))
    assert [(p.kind, p.site) for p in report.problems] == [
        ("text", "camels_02")
    ] and not report.serious
    camels = site_files.camels_us(tmp_path / "b")
    edit(
        next(camels.rglob("01010101_streamflow*")),
        lambda lines: [*lines[:5], lines[5].replace("2.00", "Ice"), *lines[6:]],
    )
    with pytest.warns(
        DataWarning,
        match="of site 01010101 is text on 1 day, first 'Ice' in line 6 of .*, 2001-01-06",
    ):
        opened = open_sites(camels)
    assert np.isnan(opened.discharge[0, 5]) and opened.discharge_quality[0, 5] == 2


@pytest.mark.parametrize(
    "zone",
    [
        " 00:00:00+00:00",
        "T00:00:00Z",
        " 00:00:00+01:00",
        "T12:00",
        " 00:00:00 UTC",
        "T00:00:00-0700",
        "",
    ],
)
def test_stamps_with_a_zone_are_the_days_that_they_say(zone: str, tmp_path: Path) -> None:
    plain = open_sites(site_files.caravan(tmp_path / "a", "csv"))
    stamped = site_files.caravan(tmp_path / "b", "csv")
    for file in stamped.rglob("timeseries/csv/*/*.csv"):
        edit(
            file,
            lambda lines: [lines[0], *(line.replace(",", f"{zone},", 1) for line in lines[1:])],
        )
    xr.testing.assert_equal(open_sites(stamped), plain)
    part = open_sites(stamped, start="2001-01-10T00:00+00:00", end="2001-01-19")
    xr.testing.assert_equal(
        part.precipitation, plain.precipitation.sel(time=slice("2001-01-10", "2001-01-19"))
    )


@pytest.mark.parametrize("written", ["01/31/2001", "31.01.2001", "soon", "2001-13-01", ""])
def test_a_date_that_does_not_begin_with_the_year_is_refused(written: str) -> None:
    with pytest.raises(
        DataError, match="here has .* in row 2; correct the file, with dates such as 2000-01-31"
    ):
        parse_stamps(["2001-01-30", written], "here")


@pytest.mark.parametrize(
    "written", ["20010131", "2001-01-31", b"2001-01-31", "2001-01-31T23:59:59.5"]
)
def test_dates_are_read_in_other_forms(written: str | bytes) -> None:
    assert parse_stamps([written], "here").normalize()[0] == pd.Timestamp("2001-01-31")


def test_times_of_netcdf_may_be_text_and_other_calendars_are_refused(tmp_path: Path) -> None:
    records = site_files.records(sites=1, days=3)
    text = records.assign_coords(
        time=["1999-10-01T00:00Z", "1999-10-02T00:00Z", "1999-10-03T00:00Z"]
    )
    text.to_netcdf(tmp_path / "text.nc")
    assert open_sites(tmp_path / "text.nc").indexes["time"].equals(records.indexes["time"])
    records.convert_calendar("noleap", use_cftime=True).to_netcdf(tmp_path / "noleap.nc")
    with pytest.raises(DataError, match="calendar 'noleap'; convert them"):
        open_sites(tmp_path / "noleap.nc")


@pytest.mark.parametrize("given", ["2001-02-30", "soon", 20010230])
def test_an_impossible_first_day_is_refused(given: object, tmp_path: Path) -> None:
    site_files.caravan(tmp_path)
    with pytest.raises(DataError, match=f"start={given!r} is no date .*write it as 2000-01-31"):
        open_sites(tmp_path, start=given)
    assert open_sites(tmp_path, start=20010120).sizes["time"] == 21


def test_a_file_that_is_cut_off_is_named(tmp_path: Path) -> None:
    site_files.records(sites=30).to_netcdf(tmp_path / "all.nc")
    whole = (tmp_path / "all.nc").read_bytes()
    for share in (0.3, 0.95):
        (tmp_path / "cut.nc").write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(DataError, match="cut.nc' cannot be read"):
            open_sites(tmp_path / "cut.nc", lazy=False)


@pytest.mark.parametrize(
    "content", ["", "44.8", "44.8\n133\nlarge\n", "44.8\n133\n5e8\nYear Mnth Day Hr a b\n"]
)
@pytest.mark.parametrize("which", ["01010101", "02020202"])
def test_a_damaged_forcing_file_of_camels_does_not_hide_the_others(
    content: str, which: str, tmp_path: Path
) -> None:
    next(site_files.camels_us(tmp_path).rglob(f"{which}*cida*")).write_text(content)
    problems = check_sites(open_sites(tmp_path, lazy=True)).serious
    assert [(p.kind, p.site) for p in problems] == [
        ("unreadable", which)
    ] and f"{which}_lump_cida" in problems[0].message


def test_empty_records_and_places_in_words_are_named(tmp_path: Path) -> None:
    site_files.records(sites=1).isel(time=[]).to_netcdf(tmp_path / "all.nc")
    with pytest.raises(DataError, match="all.nc has no days"):
        open_sites(tmp_path / "all.nc")
    assert np.isnan(attributes(tmp_path / "a", "gauge_id,lat\n").lat).all()
    with pytest.raises(DataError, match="attribute 'lat' of site x2 is '51N', no number"):
        attributes(tmp_path / "b", GOOD.replace("51.0", "51N"))


def test_check_shows_the_first_of_each_kind_and_writes_all(tmp_path: Path) -> None:
    records = site_files.records(sites=4)
    records.tair_min[:, ::9] = records.tair_max[:, ::9] + 0.01
    records.to_netcdf(tmp_path / "all.nc")
    fine = CliRunner().invoke(
        cli.app, ["data", "check", str(tmp_path / "all.nc"), "--csv", str(tmp_path / "all.csv")]
    )
    assert (
        fine.exit_code == 0
        and "4 sites, 400 steps, 0 problems" in fine.stdout
        and len(fine.stdout.splitlines()) < 14
    )
    assert (
        "minimum above maximum (a remark): 180 in 4 of 4 sites" in fine.stdout
        and "and 177 more" in fine.stdout
    )
    assert len(pd.read_csv(tmp_path / "all.csv")) == 180
    records.discharge[1, 7] = -999.0
    records.to_netcdf(tmp_path / "bad.nc")
    bad = CliRunner().invoke(cli.app, ["data", "check", str(tmp_path / "bad.nc")])
    assert (
        bad.exit_code == 1 and "impossible value: 1 in 1 of 4 sites" in bad.stdout.splitlines()[5]
    )


def test_text_of_good_files_gives_no_warning(tmp_path: Path) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for kind in ("netcdf", "csv"):
            open_sites(site_files.caravan(tmp_path / kind, kind))
        open_sites(site_files.camels_us(tmp_path / "us"))
    assert [str(warning.message) for warning in caught] == []
