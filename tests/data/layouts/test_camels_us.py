"""CAMELS-US in its text files: units, flags, and what is damaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import site_files

from pydiffgeo.data import check_sites, open_sites
from pydiffgeo.errors import DataError


def test_camels_us_units_and_flags(tmp_path: Path) -> None:
    opened = open_sites(site_files.camels_us(tmp_path))
    # 1 ft3/s = 0.028316846592 m3/s = 2446.575545... m3/day; over 500 km2: 0.0048931511 mm/day
    assert opened.discharge.sel(site="01010101", time="2001-01-01").item() == pytest.approx(
        0.0048931511, rel=1e-8
    )
    assert opened.discharge.sel(site="02020202", time="2001-01-02").item() == pytest.approx(
        0.0048931511 / 2, rel=1e-8
    )
    assert opened.discharge.isnull().sum() == 2 and np.isnan(opened.discharge[0, 2])
    assert opened.discharge_quality[0, :4].values.tolist() == [0, 1, 2, 0]
    assert opened.shortwave_down[0, 0] == pytest.approx(
        200 * 36000 / 1e6
    )  # W/m2 over ten hours of daylight
    assert opened.tair_mean[0, 3] == pytest.approx(8.0)
    assert opened.area.values.tolist() == [500.0, 1000.0] and opened.season.values.tolist() == [
        "son",
        "mam",
    ]
    two = open_sites(
        tmp_path, product=["daymet", "nldas"], variables=["precipitation_nldas", "tair_mean_daymet"]
    )
    assert list(v for v in two.data_vars if two[v].ndim == 2) == [
        "precipitation_nldas",
        "tair_mean_daymet",
    ]


def test_camels_us_sample_agrees_with_the_file_of_all_basins(shared_data) -> None:
    text = open_sites(
        shared_data("camels_us_sample"), sites=["02064000", "01022500"], end="2000-09-30"
    )
    file = open_sites(
        shared_data("camels_us_daymet_500.nc"), sites=["02064000", "01022500"], start="2000-01-01"
    )
    assert text.site.values.tolist() == ["02064000", "01022500"] and text.sizes == file.sizes
    for name, tolerance in (("precipitation", 5e-3), ("tair_min", 6e-3), ("vapour_pressure", 0.6)):
        np.testing.assert_allclose(text[name], file[name], atol=tolerance)
    np.testing.assert_allclose(text.discharge, file.discharge, rtol=2e-3, atol=1e-4)
    # the day length of the file is computed from latitude, that of the text files is Daymet's: they
    # agree to 1 %
    np.testing.assert_allclose(text.shortwave_down, file.shortwave_down, rtol=0.015)
    for product in ("daymet", "maurer_extended", "nldas"):
        assert check_sites(
            open_sites(shared_data("camels_us_sample"), product=product, end="2002-12-31")
        ).lines()


def _lines(root: Path, what: str) -> Path:
    return next(root.rglob(f"01010101*{what}*"))


@pytest.mark.parametrize(
    ("what", "row", "change", "words"),
    [
        (
            "cida",
            8,
            lambda line: line.replace("2001 01 05", "2001 01 04"),
            "2001-01-04 occurs twice in the forcing of site 0101",
        ),
        (
            "cida",
            8,
            lambda line: line.replace("2001 01 05", "2000 12 05"),
            "unordered in the forcing of site 0101.*2000-12-05",
        ),
        (
            "cida",
            8,
            lambda line: line.replace("2001 01 05", "2001 02 31"),
            "forcing of site 01010101.* invalid date in line 9",
        ),
        (
            "cida",
            43,
            lambda line: line[:30],
            "forcing of site 01010101 ends within a line, on 2001-02-09.*download it again",
        ),
        ("cida", 2, lambda line: "", "header of .*01010101.* is damaged"),
        (
            "cida",
            8,
            lambda line: line.replace("200.00", "abc"),
            "shortwave_down of site 01010101 is .abc., no .* 2001-01-05",
        ),
        (
            "qc",
            4,
            lambda line: line.replace(" A", " Q"),
            "site 01010101 has the unknown quality flag 'Q' on 2001-01-05",
        ),
        (
            "qc",
            4,
            lambda line: line.replace("01 05", "01 04"),
            "2001-01-04 occurs twice in the discharge of site 01010101",
        ),
    ],
)
def test_damaged_text_is_named(what: str, row: int, change, words: str, tmp_path: Path) -> None:
    file = _lines(site_files.camels_us(tmp_path), what)
    lines = file.read_text().splitlines()
    lines[row] = change(lines[row])
    file.write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match=words):
        open_sites(tmp_path, lazy=False)
