"""Impossible values are known by their variable, real records have none, and sites that lack
something are found before use.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import river_files
import site_files
import xarray as xr

from pydiffgeo.data import (
    Span,
    Windows,
    add_pet,
    check_sites,
    open_sites,
    select_sites,
    usable_sites,
    without_impossible,
    write_sites,
)
from pydiffgeo.data.lazy import is_lazy, lazy_variable
from pydiffgeo.data.variables import canonical_name, find_impossible, limits
from pydiffgeo.errors import DataError

FORCING, DISCHARGE = ("precipitation", "tair_min", "tair_max"), ("discharge",)
TRAIN = Span("training", "1999-12-01", "2000-06-30", 30, "windows", (30, 60), DISCHARGE)
TEST = Span("test", "2000-09-01", "2000-10-31", 20)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("discharge", -999.0),
        ("precipitation", -9999.0),
        ("tair_min", 285.0),
        ("soil_moisture", 43.0),
        ("soil_porosity", 43.0),
        ("precipitation_nldas", -999.0),
        ("theta_s", 43.0),
        ("gauge_lat", -999.0),
        ("lai_max", -999.0),
        ("own_index", -9999.0),
        ("own_index", 1e20),
        ("own_index", np.inf),
        ("own_index", 9.96921e36),
        ("own_index", -999.0),
    ],
)
def test_fill_values_and_other_units_are_impossible(name: str, value: float) -> None:
    good = 0.5 * sum(limits(name)) if limits(name) != limits("own_index") else -998.0
    assert find_impossible(name, np.array([value, good, np.nan])).tolist() == [True, False, False]


def test_rounding_of_packed_numbers_is_not_impossible() -> None:
    assert not find_impossible("precipitation", np.array([-1e-18, -1e-9, 0.0])).any()
    records = site_files.records(sites=2)
    records.precipitation[1, 3:5] = [-1e-7, -1e-18]
    batch = Windows(records, forcing=FORCING).tensors.windows([1], [3], 2)
    assert float(batch.series["precipitation"].min()) == 0.0  # which models ask for
    assert not find_impossible("dom_land_cover_frac", np.array([1.00000000000009])).any()


@pytest.mark.parametrize(
    "file", ["camels_us_daymet_500.nc", "era5land_us.nc", "camels_us_nldas_1993_2000.nc"]
)
def test_no_real_value_is_impossible(file: str, shared_data) -> None:
    with xr.open_dataset(shared_data(file)) as opened:
        numbers = {
            canonical_name(str(n)): v for n, v in opened.variables.items() if v.dtype.kind in "fiu"
        }
        for name, values in numbers.items():
            if name != "shortwave_down":  # in these files a mean over daylight, W m-2
                assert not find_impossible(name, values.values.astype(float)).any(), (
                    name,
                    limits(name),
                )


def test_no_real_basin_of_the_original_text_files_is_left_out(shared_data) -> None:
    for table in shared_data("camels_us_sample/camels_attributes_v2.0").glob("*.txt"):
        for name, values in (
            pd.read_csv(table, sep=";", index_col=0).select_dtypes("number").items()
        ):
            assert not find_impossible(str(name), values.to_numpy(float)).any(), name
    span = Span("test", "2000-10-01", "2002-12-31", 270)
    for product in ("daymet", "maurer_extended", "nldas"):
        opened = open_sites(
            shared_data("camels_us_sample"), product=product, lazy=True, end="2002-12-31"
        )
        series = [
            str(name)
            for name, values in opened.data_vars.items()
            if values.ndim == 2 and name != "discharge_quality"
        ]
        found = select_sites(
            opened,
            [span],
            [n for n in series if n != "discharge"],
            DISCHARGE,
            ["elev_mean", "soil_porosity"],
        )
        assert len(found.kept) == 4 and not found.left_out["all"]


def test_the_nldas_file_opens_with_its_remark_on_daylight(shared_data) -> None:
    opened = open_sites(shared_data("camels_us_nldas_1993_2000.nc"))
    assert (
        10 < float(opened.shortwave_down.mean()) < 20
    )  # MJ m-2 d-1; 24 hours of the mean over daylight would be twice that
    assert [(p.kind, p.site) for p in check_sites(opened).serious] == [
        ("no observation", "06221400")
    ]


@pytest.mark.parametrize("packed", [False, True])
def test_integer_temperatures_in_kelvin_become_degrees(packed: bool, tmp_path: Path) -> None:
    records = site_files.records(sites=2, days=60)
    kelvin = (records[["tair_min", "tair_max"]] + 273.15).round(2 if packed else 0)
    for values in kelvin.data_vars.values():
        values.attrs["units"] = "K"
    rest = records.drop_vars(["tair_min", "tair_max"]).assign(
        quality=(("site", "time"), np.ones((2, 60), "int8"))
    )
    how = {"dtype": "int16", "_FillValue": -32768} | (
        {"scale_factor": 0.01, "add_offset": 273.15} if packed else {}
    )
    rest.merge(kelvin).to_netcdf(tmp_path / "all.nc", encoding={name: how for name in kelvin})
    opened = open_sites(tmp_path / "all.nc")
    np.testing.assert_allclose(opened.tair_min, records.tair_min, atol=0.011 if packed else 0.51)
    assert (
        opened.tair_min.attrs["units"] == "degC" and opened.quality.dtype == np.int8
    )  # a flag stays one
    assert 0 < float(add_pet(opened).potential_evapotranspiration.max()) < 10
    assert not check_sites(opened).serious


def test_a_day_length_in_seconds_stays_a_number(tmp_path: Path) -> None:
    records = site_files.records(sites=1, days=5)
    records["dayl"] = ("site", "time"), np.full((1, 5), 36000.0), {"units": "s"}
    records.to_netcdf(tmp_path / "all.nc")
    assert open_sites(tmp_path / "all.nc").day_length[0, 0] == 36000.0


def broken() -> xr.Dataset:
    """Ten sites of which b0000 and b0009 are whole; each other one lacks something."""
    records = site_files.records(sites=10)
    at = {str(day)[:10]: i for i, day in enumerate(records.time.values)}
    records.precipitation[1, at["2000-09-15"] : at["2000-09-18"]] = np.nan  # in the test period
    records.discharge[2, ::3] = -999.0
    records.aridity[3] = np.nan
    records.aridity[4] = -9999.0
    records.discharge[5, :280] = 1.0  # no variance in training
    records.discharge[6, :280] = np.nan
    records.tair_max[7, at["2000-01-10"]] = np.nan  # in the training period
    records.precipitation[8, at["2000-03-05"]] = 1e20
    records.precipitation[9, at["1999-10-05"]] = np.nan  # no period touches these
    records.discharge[9, at["2000-07-20"]] = -999.0
    records.tair_min[9, at["2000-08-01"]] = np.inf
    return records


def test_all_that_is_wrong_is_said_at_once_with_site_and_date() -> None:
    with pytest.raises(DataError) as error:
        select_sites(broken(), [TRAIN, TEST], FORCING, DISCHARGE, ["aridity", "area"])
    text = str(error.value)
    assert text.startswith("8 of 10 sites cannot be used as they are:")
    for words in (
        "test period: precipitation is missing in site b0001 from 2000-09-15 to 2000-09-17 (3 "
        "days)",
        "discharge is -999 mm d-1, outside [0, 2000] in site b0002 on 1999-11-03, and on ",
        "attribute 'aridity' of site b0003 is missing",
        "attribute aridity is -9999, outside [0, 10000] in site b0004",
        "site b0005 has fewer than two different observations of discharge in the training "
        "period, 1999-12-01 to 2000-06-30",
        "site b0006 has no window of 30 + 60 days with complete forcing and an observation in the "
        "training period",
        "training period: tair_max is missing in site b0007 on 2000-01-10",
        "precipitation is 1e+20 mm d-1, outside [0, 2000] in site b0008 on 2000-03-05",
        "`exclude`",
        "`impossible: missing`",
        "`missing: skip`",
    ):
        assert words in text
    assert "b0009" not in text and text.endswith(".")


def test_skipping_leaves_out_only_what_cannot_be_used(tmp_path: Path) -> None:
    records = broken()
    with pytest.raises(
        DataError,
        match=r"3 of 10 sites(.|\n)*b0002(.|\n)*b0004(.|\n)*b0008(.|\n)*impossible: missing",
    ):
        select_sites(records, [TRAIN, TEST], FORCING, DISCHARGE, ["aridity"], missing="skip")
    found = select_sites(
        records,
        [TRAIN, TEST],
        FORCING,
        DISCHARGE,
        ["aridity"],
        missing="skip",
        impossible="missing",
    )
    assert list(found.left_out["all"]) == ["b0003", "b0004", "b0005", "b0006"] and list(
        found.left_out["test"]
    ) == ["b0001"]
    assert found.kept == ("b0000", "b0001", "b0002", "b0007", "b0008", "b0009")
    remarks = dict(found.remarks)
    assert (
        "counts as missing" in remarks["b0002"]
        and "no training window touches them" in remarks["b0007"]
    )
    write_sites(records, tmp_path / "all.nc", dtype="float64")
    lazy = without_impossible(
        open_sites(tmp_path / "all.nc", lazy=True), ["precipitation", "discharge"]
    )
    eager = without_impossible(records, ["precipitation", "discharge"])
    assert is_lazy(lazy.precipitation) and lazy.discharge.attrs["units"] == "mm d-1"
    for name in ("precipitation", "discharge"):
        np.testing.assert_array_equal(lazy[name], eager[name])
        assert not find_impossible(name, eager[name].values).any()
    assert int(eager.precipitation.isnull().sum()) == 3 + 1 + 1


def test_a_site_that_cannot_be_read_does_not_take_its_neighbours_with_it() -> None:
    """Sites are read some at a time; two of forty are damaged."""
    records, damaged = site_files.records(sites=40), {5, 21}
    values = records.precipitation.values

    def read(rows: Any) -> Any:
        if lost := damaged & set(rows.tolist()):
            raise DataError(f"the file of site {min(lost)} is damaged")
        return values[rows]

    shape = {str(dim): size for dim, size in records.precipitation.sizes.items()}
    records["precipitation"] = lazy_variable(read, shape)
    found = select_sites(records, [TRAIN], FORCING, DISCHARGE, missing="skip")
    reasons = found.left_out["all"]
    assert list(reasons) == ["b0005", "b0021"] and len(found.kept) == 38
    assert "file of site 5" in reasons["b0005"] and "file of site 21" in reasons["b0021"]


def test_a_basin_that_gets_no_score_is_said_before_the_first_step() -> None:
    records = site_files.records(sites=3)
    at = int(records.indexes["time"].get_loc("2000-09-01"))
    records.discharge[1, at:] = np.nan
    records.discharge[2, at:] = 1.0
    found = select_sites(records, [TRAIN, TEST], FORCING, DISCHARGE)
    assert found.kept == ("b0000", "b0001", "b0002") and not any(found.left_out.values())
    period = "of discharge in the test period, 2000-09-01 to 2000-10-31: it gets no NSE there."
    assert found.remarks == (
        ("b0001", f"site b0001 has no observation {period}"),
        ("b0002", f"site b0002 has fewer than two different observations {period}"),
    )


def test_what_leaves_nothing_is_an_error_before_the_first_step() -> None:
    records = site_files.records(sites=3)
    with pytest.raises(
        DataError,
        match=r"the test period, 2000-09-01 to 2010-10-31, is not in the record, 1999-10-01 to ",
    ):
        select_sites(records, [Span("test", "2000-09-01", "2010-10-31")], FORCING)
    records.tair_min[:, -30:] = np.nan
    with pytest.raises(
        DataError, match=r"no site can be judged in the test period.\n3 sites are left out of"
    ):
        select_sites(records, [TRAIN, TEST], FORCING, DISCHARGE, missing="skip")
    judged = Span("validation", "2000-07-01", "2000-08-01", judged=DISCHARGE)
    records.discharge[:, 270:320] = 2.0
    with pytest.raises(
        DataError,
        match="no site has two different observations of discharge in the validation period",
    ):
        select_sites(records, [TRAIN, judged], FORCING, DISCHARGE)
    both = Span("validation", "2000-07-01", "2000-08-01", judged=("tair_max", "discharge"))
    with pytest.raises(DataError, match="no site has two different observations of discharge in"):
        select_sites(records, [TRAIN, both], FORCING, ("tair_max", "discharge"))
    records.aridity[:] = np.nan
    with pytest.raises(DataError, match="no site can be used"):
        select_sites(records, [TRAIN], FORCING, DISCHARGE, ["aridity"], missing="skip")


def test_windows_are_not_made_of_impossible_values() -> None:
    records = site_files.records(sites=3)
    records.discharge[1, 7:9] = -999.0
    words = r"discharge is -999 mm d-1, outside \[0, 2000\] in site b0001 from 1999-10-08 to"
    with pytest.raises(DataError, match=words):
        Windows(records).batch(0)
    assert Windows(without_impossible(records, DISCHARGE)).report.problems == ()
    records.aridity[2] = np.inf
    words = r"attribute aridity is inf, outside \[0, 10000\] in site b0002"
    with pytest.raises(DataError, match=words):
        Windows(without_impossible(records, DISCHARGE), attributes=["aridity"]).batch(0)


def test_a_window_may_have_an_observation_of_any_series_at_any_depth() -> None:
    """A profile beside a series without depths once ended in an error of numpy."""
    records = site_files.records(sites=3)
    profile = np.full((3, records.sizes["time"], 2), np.nan)
    profile[1, 150, 1] = 0.2
    records["soil_moisture"] = ("site", "time", "depth"), profile, {"units": "m3 m-3"}
    records = records.assign_coords(depth=("depth", [0.05, 0.2], {"units": "m"}))
    records.discharge[1:] = np.nan
    span = Span("training", "1999-12-01", "2000-06-30", 30, "windows", (30, 60))
    observed = ("discharge", "soil_moisture")
    found = select_sites(records, [span], FORCING, observed, missing="skip")
    assert found.kept == ("b0000", "b0001")
    assert "no window of 30 + 60 days" in found.left_out["all"]["b0002"]


def river_span(**own: Any) -> Span:
    given: dict[str, Any] = {"gaps": "windows", "window": (5, 10), "varied": ("discharge",)}
    return Span("training", "2000-01-06", "2000-02-05", 5, **given | own)


def test_no_site_of_a_river_is_left_out() -> None:
    river = river_files.river()
    spans = [river_span(), Span("test", "2000-01-20", "2000-02-09", least=3)]
    given = (spans, ["lateral_inflow"], ["discharge"])
    for missing in ("error", "skip"):
        found = select_sites(river, *given, missing=missing)
        assert found.kept == tuple("abcde") and not found.problems and not found.remarks
        assert not any(found.left_out.values())
    river.lateral_inflow[1, 30:] = np.nan  # of training and test
    words = "1 of 5 sites .* and water flows through each to those below:\n  b: .*Remedy: correct"
    with pytest.raises(DataError, match=f"(?s){words}.*fill what is missing\\."):
        select_sites(river, *given, missing="skip")


def test_a_gauge_that_cannot_be_used_is_no_gauge() -> None:
    river = river_files.river()
    river.discharge[2] = 1.0
    given = ([river_span()], ["lateral_inflow"], ["discharge"])
    with pytest.raises(DataError, match="site c has fewer than two different observations"):
        select_sites(river, *given)
    usable = usable_sites(river, *given, missing="skip")
    assert usable.selection.kept == tuple("abcde")
    assert usable.selection.masked == (("c", "discharge"),)
    assert [site for site, _ in usable.selection.remarks] == ["c"]
    assert np.isfinite(usable.sites.discharge).any("time").values.tolist() == [False] * 4 + [True]
