"""Sites in every layout come out in one form; what is wrong with a file is said with site and date."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import site_files
import xarray as xr

from pydiffgeo.data import LAYOUTS, check_sites, open_sites, write_sites
from pydiffgeo.data.lazy import is_lazy
from pydiffgeo.data.variables import VARIABLES
from pydiffgeo.errors import DataError, UnitError, UnknownName


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
    # the day length of the file is computed from latitude, that of the text files is Daymet's: they agree to 1 %
    np.testing.assert_allclose(text.shortwave_down, file.shortwave_down, rtol=0.015)
    for product in ("daymet", "maurer_extended", "nldas"):
        assert check_sites(
            open_sites(shared_data("camels_us_sample"), product=product, end="2002-12-31")
        ).lines()


def test_era5land_and_camels_are_both_read(shared_data) -> None:
    era = open_sites(shared_data("era5land_us.nc"), start="1990-01-01", end="1990-12-31")
    assert dict(era.sizes) == {"site": 370, "time": 365} and float(era.tair_mean.min()) > -60
    check_sites(era).require("missing forcing", "missing day", "wrong unit")


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


def test_units_are_converted_or_asked_for(tmp_path: Path) -> None:
    opened = open_sites(site_files.generic(tmp_path / "a"))
    assert opened.precipitation[1, 0] == pytest.approx(2.0) and opened.tair_mean[
        0, 0
    ] == pytest.approx(7.0)
    assert opened.own_index[0, 3] == 3.0 and opened.slope.values.tolist() == [3.5, 4.5]
    bare = site_files.generic(tmp_path / "b", units=False)
    with pytest.raises(
        UnitError, match="'prcp' has no unit, expected 'mm d-1'.*'tmean' has no unit.*pass units="
    ):
        open_sites(bare)
    told = open_sites(bare, units={"prcp": "m/day", "tair_mean": "K"})
    xr.testing.assert_equal(told.precipitation, opened.precipitation)
    with pytest.raises(UnitError, match="'prcp' has unit 'furlong', expected 'mm d-1' or one that"):
        open_sites(bare, units={"prcp": "furlong", "tmean": "K"})


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
    with pytest.raises(DataError, match="must end in .nc"):
        write_sites(before, tmp_path / "all.zip")


def test_memory_stays_bounded(tmp_path: Path) -> None:
    """A hundred sites of four years (5 MB) pass through an archive, a file and a report in less than half of that."""
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
    with pytest.raises(DataError, match="none of the known layouts.*camels_us"):
        open_sites(root / "camels_attributes_v2.0")
    with pytest.raises(DataError, match="no file or folder .*absent"):
        open_sites(tmp_path / "absent")
    with pytest.raises(DataError, match="before its start"):
        open_sites(root, start="2001-02-01", end="2001-01-01")


def _lines(root: Path, what: str) -> Path:
    return next(root.rglob(f"01010101*{what}*"))


@pytest.mark.parametrize(("what", "row", "change", "words"), [
    ("cida", 8, lambda line: line.replace("2001 01 05", "2001 01 04"), "2001-01-04 occurs twice in the forcing of site 0101"),
    ("cida", 8, lambda line: line.replace("2001 01 05", "2000 12 05"), "unordered in the forcing of site 0101.*2000-12-05"),
    ("cida", 8, lambda line: line.replace("2001 01 05", "2001 02 31"), "forcing of site 01010101.* invalid date in line 9"),
    ("cida", 43, lambda line: line[:30], "forcing of site 01010101 ends within a line, on 2001-02-09.*download it again"),
    ("cida", 2, lambda line: "", "header of .*01010101.* is damaged"),
    ("cida", 8, lambda line: line.replace("200.00", "abc"), "shortwave_down of site 01010101 is .abc., no .* 2001-01-05"),
    ("qc", 4, lambda line: line.replace(" A", " Q"), "site 01010101 has the unknown quality flag 'Q' on 2001-01-05"),
    ("qc", 4, lambda line: line.replace("01 05", "01 04"), "2001-01-04 occurs twice in the discharge of site 01010101"),
])  # fmt: skip
def test_damaged_text_is_named(what: str, row: int, change, words: str, tmp_path: Path) -> None:
    file = _lines(site_files.camels_us(tmp_path), what)
    lines = file.read_text().splitlines()
    lines[row] = change(lines[row])
    file.write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match=words):
        open_sites(tmp_path, lazy=False)


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


def test_half_days_are_steps_as_days_are(tmp_path: Path) -> None:
    site_files.generic(tmp_path, days=pd.date_range("2001-01-01", periods=8, freq="12h"))
    opened = open_sites(tmp_path, start="2001-01-02", end="2001-01-03")
    assert (
        opened.time.values.tolist()
        == pd.date_range("2001-01-02", periods=4, freq="12h").values.tolist()
    )
    assert opened.own_index[0].values.tolist() == [2.0, 3.0, 4.0, 5.0]
    site = tmp_path / "time_series" / "x2.nc"
    moved = xr.load_dataset(site)
    moved.assign_coords(date=moved.date + np.timedelta64(1, "h")).to_netcdf(site)
    with pytest.raises(DataError, match="site x2 has the time 2001-01-01 01:00, which is not one"):
        open_sites(tmp_path)
