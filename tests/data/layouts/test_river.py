"""Rivers are read from netCDF and tables of several kinds into one form."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import river_files
import xarray as xr

from pydiffgeo.data import LAYOUTS, check_sites, network, open_sites, write_sites
from pydiffgeo.data.layouts.reaches import attribute_of
from pydiffgeo.data.layouts.source import Request
from pydiffgeo.errors import DataError, DataWarning, UnitError

UNITS = {"lateral_inflow": "m3 s-1", "discharge": "m3 s-1"}
TRUTH = river_files.river()


def open_table(path: Path, units: dict[str, str] | None = UNITS, **options: str) -> xr.Dataset:
    told = {k: v for k, v in (units or {}).items() if k != "discharge" or "observed" in options}
    return open_sites(path, "river", options={"inflow": "inflow.csv"} | options, units=told)


def is_the_river(sites: xr.Dataset, gauged: bool = True) -> None:
    assert sites.site.values.tolist() == ["11", "12", "13", "14", "15"]
    assert sites.downstream.values.tolist() == ["13", "13", "15", "15", ""]
    assert sites.n_upstream.values.tolist() == [1, 1, 3, 1, 5]
    np.testing.assert_allclose(sites.lateral_inflow, TRUTH.lateral_inflow, rtol=1e-6)
    np.testing.assert_allclose(sites.length, TRUTH.length, rtol=1e-6)
    assert sites.length.attrs["units"] == "m"
    if gauged:
        np.testing.assert_allclose(sites.discharge, TRUTH.discharge, rtol=1e-6)
        assert sites.discharge.attrs["units"] == "m3 s-1"


def test_netcdf_of_any_dimension(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "pydiffgeo"):
        sites = open_sites(river_files.reach_file(tmp_path))
    is_the_river(sites)
    assert "left out, of other dimensions than reaches: prcp of reaches.nc" in caplog.text
    assert sites.n.values.tolist() == [0.04] * 5
    assert sites.gauge.values.tolist() == ["", "", "0202", "", "0101"]
    np.testing.assert_array_equal(sites.drainage_area, [np.nan, np.nan, 30, np.nan, 50])
    assert sites.slope.values.tolist() == [0.0, 1e-5, 1e-3, 1e-2, -1e-3]
    report = check_sites(sites)
    assert not report.serious  # a reach without a gauge is no problem
    assert [(p.kind, p.site, p.variable) for p in report.problems] == [
        ("no fall", "11", "slope"),
        ("no fall", "15", "slope"),
    ]


def test_slopes_are_raised_aloud(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = river_files.reach_file(tmp_path)
    sites = open_sites(path, options={"least_slope": 1e-4})
    assert sites.slope.values.tolist() == [1e-4, 1e-4, 1e-3, 1e-2, 1e-4]
    assert "3 of 5 slopes were raised to 0.0001" in caplog.text
    assert sites.attrs["least_slope"] == "3 of 5 slopes were raised to 0.0001"
    assert sites.slope.attrs["units"] == "1" and not check_sites(sites).problems
    written = write_sites(sites, tmp_path / "written.nc")
    with pytest.raises(DataError, match="layout 'netcdf' has no option 'least_slope'. It has none"):
        open_sites(written, options={"least_slope": 1e-4})
    again = open_sites(written, options={"least_slope": 1e-4}, unknown_names="ignore")
    assert again.downstream.values.tolist() == sites.downstream.values.tolist()
    with pytest.raises(DataError, match="least_slope=0 is not above 0"):
        open_sites(path, options={"least_slope": 0})


def test_the_column_of_times_has_any_name_and_identifiers_may_be_named(tmp_path: Path) -> None:
    path = river_files.table(tmp_path, "merit")
    for name in ("inflow.csv", "observed.csv"):
        table = pd.read_csv(tmp_path / name)
        table.rename(columns={table.columns[0]: "date"}).to_csv(tmp_path / name, index=False)
    is_the_river(open_table(path, observed="observed.csv"))
    names = {"COMID": "site", "NextDownID": "downstream"}
    units = {"lateral_inflow": "m3 s-1"}
    sites = open_sites(path, options={"inflow": "inflow.csv"}, names=names, units=units)
    is_the_river(sites, gauged=False)
    assert sites.site.values.tolist() == ["11", "12", "13", "14", "15"]
    assert sites.downstream.values.tolist() == ["13", "13", "15", "15", ""]


@pytest.mark.parametrize("style", ["t-route", "merit", "hydrorivers"])
def test_tables_of_flowpaths(tmp_path: Path, style: str) -> None:
    path = river_files.table(tmp_path, style)
    river = LAYOUTS["river"]
    assert [name for name, layout in LAYOUTS.items() if layout.recognises(path)][0] == "river"
    assert "river" in river.title
    sites = open_table(path, observed="observed.csv")
    is_the_river(sites)
    if style == "t-route":
        assert sites.slope.values.tolist() == [1e-3] * 5 and sites.n.values.tolist() == [0.05] * 5
        assert float(sites.bottom_width[0]) == 3 and float(sites.top_width_cc[0]) == 15
        assert sites.waterbody.values.tolist() == ["", "", "", "", "77"]
        assert sites.gauge.values.tolist() == ["", "", "0202", "", "0101"]
        is_the_river(open_table(path, observed="gauges.csv"))
    else:
        assert sites.uparea.values.tolist() == [10, 10, 30, 10, 100]
        assert sites.uparea.attrs["units"] == "km2"
        np.testing.assert_allclose(sites.log10_uparea, [1, 1, 1.47712, 1, 2], atol=1e-5)
        assert "up1" not in sites and "MAIN_RIV" not in sites
    if style == "hydrorivers":
        assert sites["area"].attrs["units"] == "km2"


def test_inflow_comes_in_rows_columns_or_netcdf(tmp_path: Path) -> None:
    path = river_files.table(tmp_path, "merit")
    for name in ("rows.csv", "inflow.nc"):
        is_the_river(open_table(path, inflow=name), gauged=False)
    del_one = pd.read_csv(tmp_path / "inflow.csv", index_col=0).drop(columns="12")
    del_one.assign(**{"99": 1.0}).to_csv(tmp_path / "short.csv")
    with pytest.raises(DataError, match="no lateral_inflow of 1 of 5 reaches: 12; add them"):
        open_table(path, inflow="short.csv")
    with pytest.raises(DataError, match="'inflo.csv' is no variable of .*, and no file beside it"):
        open_table(path, inflow="inflo.csv")
    with pytest.raises(UnitError, match="'lateral_inflow' has no unit, expected 'm3 s-1'"):
        open_table(path, units=None)
    with pytest.raises(UnitError, match="'discharge' has no unit, expected 'm3 s-1'"):
        open_table(path, {"lateral_inflow": "m3 s-1"}, observed="observed.csv")
    with pytest.raises(DataError, match="has no series; name a file of lateral inflow"):
        open_sites(path, "river")


@pytest.mark.parametrize(
    ("file", "row", "column", "line", "given", "why"),
    [
        ("inflow.csv", 3, 2, 4, "Ice", "'Ice', no number"),
        ("inflow.csv", 3, 2, 4, '"0,5"', "'0,5', a number with a comma"),
        ("rows.csv", 2, 3, 3, "Ice", "'Ice', no number"),
    ],
)
def test_text_in_a_table_of_reaches_is_named(
    tmp_path: Path, file: str, row: int, column: int, line: int, given: str, why: str
) -> None:
    path = river_files.table(tmp_path, "merit")
    lines = [row.split(",") for row in (tmp_path / file).read_text().splitlines()]
    lines[row][column] = given
    (tmp_path / file).write_text("\n".join(map(",".join, lines)))
    words = f"reach 12 of the lateral_inflow in {file} is {why}, in line {line} of .*2000-01-03; "
    with pytest.raises(DataError, match=words):
        open_table(path, inflow=file)


def test_ice_at_a_gauge_is_missing_and_counted(tmp_path: Path) -> None:
    path = river_files.table(tmp_path, "merit")
    lines = [row.split(",") for row in (tmp_path / "observed.csv").read_text().splitlines()]
    lines[4][1] = "Ice"
    (tmp_path / "observed.csv").write_text("\n".join(map(",".join, lines)))
    words = "reach 15 of the discharge in observed.csv is text on 1 day, first 'Ice' in line 5 of"
    with pytest.warns(DataWarning, match=words):
        sites = open_table(path, observed="observed.csv")
    flow = sites.discharge.sel(site="15").values
    assert np.flatnonzero(np.isnan(flow)).tolist() == [3]


def test_netcdf_of_reaches_alone_has_its_series_beside_it(tmp_path: Path) -> None:
    """As RouteLink of the National Water Model."""
    river_files.table(tmp_path, "merit")
    ids, down = np.arange(11, 16), np.array([13, 13, 15, 15, 0])
    gauges = np.array([b"     ", b"", b"0202 ", b"", b"0101 "])
    columns = {"link": ids, "from": 0 * ids, "to": down, "So": 1e-3 + 0.0 * ids, "gages": gauges}
    columns["Length"] = TRUTH.length.values
    route_link = xr.Dataset({name: ("feature_id", values) for name, values in columns.items()})
    route_link.to_netcdf(tmp_path / "RouteLink.nc")
    options = {"inflow": "inflow.nc", "observed": "gauges.csv"}
    sites = open_sites(tmp_path / "RouteLink.nc", options=options, units={"discharge": "m3 s-1"})
    is_the_river(sites)
    assert sites.gauge.values.tolist() == ["", "", "0202", "", "0101"]
    assert set(map(str, sites.data_vars)) == {
        "lateral_inflow", "discharge", "length", "slope", "gauge", "downstream", "n_upstream",
    }  # fmt: skip


def test_a_series_of_time_alone_belongs_to_the_outlet(tmp_path: Path) -> None:
    with xr.open_dataset(river_files.reach_file(tmp_path)) as opened:
        one = opened.drop_dims("gauge").load()
    one["q_obs"] = "time", TRUTH.discharge.values[4], {"units": "m3 s-1"}
    one.to_netcdf(tmp_path / "one.nc")
    sites = open_sites(tmp_path / "one.nc")
    np.testing.assert_array_equal(sites.discharge[4], TRUTH.discharge[4])
    assert np.isnan(sites.discharge[:4]).all()
    other = open_sites(tmp_path / "one.nc", options={"gauge_site": "13"})
    assert np.isfinite(other.discharge).any("time").values.tolist() == [False, False, True, False,
                                                                       False]  # fmt: skip
    with pytest.raises(DataError, match="gauge_site: .* has no reach '133'; did you mean '13'"):
        open_sites(tmp_path / "one.nc", options={"gauge_site": "133"})


def test_of_two_gauges_at_a_reach_that_of_the_larger_basin_stays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with xr.open_dataset(river_files.reach_file(tmp_path)) as opened:
        opened = opened.load()
    opened["gauge_segment"] = "gauge", [2, 2]
    opened.to_netcdf(tmp_path / "two.nc")
    sites = open_sites(tmp_path / "two.nc")
    assert "gauges 0101 and 0202 are both at reach 13: 0202 is left out" in caplog.text
    np.testing.assert_array_equal(sites.discharge[2], TRUTH.discharge[4])
    assert sites.gauge.values.tolist() == ["", "", "0101", "", ""]
    opened.rename(gauge_segment="where").to_netcdf(tmp_path / "named.nc")
    with pytest.raises(DataError, match="does not tell at which reach each gauge is"):
        open_sites(tmp_path / "named.nc")
    named = open_sites(tmp_path / "named.nc", options={"gauge_site": "where"})
    assert named.gauge.values.tolist() == sites.gauge.values.tolist()


def test_gauges_may_name_their_reach_or_have_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with xr.open_dataset(river_files.reach_file(tmp_path)) as opened:
        opened = opened.load()
    opened["gauge_segment"] = "gauge", [15, 13]  # identifiers, not positions
    opened.to_netcdf(tmp_path / "named.nc")
    is_the_river(open_sites(tmp_path / "named.nc"))
    opened["gauge_segment"] = "gauge", [4, -1]
    opened.to_netcdf(tmp_path / "away.nc")
    with caplog.at_level(logging.INFO, "pydiffgeo"):
        sites = open_sites(tmp_path / "away.nc")
    assert "1 gauges of away.nc are at no reach" in caplog.text
    assert sites.gauge.values.tolist() == ["", "", "", "", "0101"]
    opened["down_index"] = "segment", [2, 2, 4, 7, -1]
    opened.to_netcdf(tmp_path / "far.nc")
    with pytest.raises(DataError, match="down_index of reach '14' in .* is 7, and there are 5"):
        open_sites(tmp_path / "far.nc")


def test_parquet_is_read_where_its_package_is_there(tmp_path: Path) -> None:
    table = pd.read_csv(river_files.table(tmp_path, "merit"))
    path = tmp_path / "flowpaths.parquet"
    try:
        table.to_parquet(path)
    except ImportError:
        path.write_bytes(b"PAR1")
        with pytest.raises(DataError, match="which needs the package pyarrow"):
            open_table(path)
    else:
        is_the_river(open_table(path), gauged=False)


def test_finer_observations_become_means_of_steps(tmp_path: Path) -> None:
    with xr.open_dataset(river_files.reach_file(tmp_path)) as opened:
        opened = opened.drop_vars("q_obs").load()
    hours = pd.date_range("2000-01-02T01:00", periods=48, freq="h")
    flow = np.arange(96.0).reshape(48, 2)
    opened["q_obs"] = ("obs_time", "gauge"), flow, {"units": "m3 s-1"}
    opened.assign_coords(obs_time=hours).to_netcdf(tmp_path / "fine.nc")
    sites = open_sites(tmp_path / "fine.nc")
    assert sites.discharge[4, 2:4].values.tolist() == [flow[:24, 0].mean(), flow[24:, 0].mean()]
    assert int(np.isfinite(sites.discharge).sum()) == 4


def test_a_part_of_a_network_ends_where_it_is_told_to(tmp_path: Path) -> None:
    path = river_files.table(tmp_path, "merit")
    text = path.read_text().replace("\n15,0,", "\n15,99,")
    path.write_text(text)
    with pytest.raises(DataError, match="below '15' is '99', which .* does not have"):
        open_table(path)
    is_the_river(open_table(path, outside="outlet"), gauged=False)
    with pytest.raises(DataError, match="outside='x' is neither"):
        open_table(path, outside="x")
    with pytest.raises(DataError, match="no option 'gauge_sites'; did you mean 'gauge_site'"):
        open_table(path, gauge_sites="a")
    with pytest.raises(DataError, match="downstream: .* has no 'down'.* It has COMID"):
        open_table(path, downstream="down")


def test_nested_gauges_with_series_in_long_form(tmp_path: Path) -> None:
    """As the six gauges of the Severn: a table of nodes and one CSV of all days."""
    (tmp_path / "nodes.csv").write_text(
        "gauge_id,area_km2,downstream_gauge_id,distance_downstream_km\n0201,50,202,12.5\n202,90,,\n"
    )
    days = pd.date_range("2000-01-01", periods=5)
    rows = [(g, f"{d:%Y-%m-%d}", 1.0, k + 5.0) for g in ("0201", "202") for k, d in enumerate(days)]
    table = pd.DataFrame(rows, columns=["gauge_id", "date", "precip", "flow"])
    table.to_csv(tmp_path / "days.csv", index=False)
    given: dict[str, Any] = {
        "names": {"flow": "discharge"},
        "units": {"precipitation": "mm d-1", "discharge": "m3 s-1"},
    }
    sites = open_sites(tmp_path / "nodes.csv", "river", options={"series": "days.csv"}, **given)
    assert network.below(sites).tolist() == [1, -1]
    assert sites.downstream.values.tolist() == ["202", ""]
    assert sites.discharge.attrs["units"] == "m3 s-1" and sites.discharge[0, 1] == 6.0
    assert float(sites.distance_downstream[0]) == 12500.0 and sites["area"].attrs["units"] == "km2"
    # the layout of own CSV files reads it, too, where its table is called so
    (tmp_path / "own").mkdir()
    (tmp_path / "days.csv").rename(tmp_path / "own" / "days.csv")
    (tmp_path / "nodes.csv").rename(tmp_path / "own" / "sites.csv")
    given["names"] |= {"downstream_gauge_id": "downstream"}
    own = open_sites(tmp_path / "own", "csv", **given)
    assert network.below(own).tolist() == [1, -1]
    assert own.discharge.attrs["units"] == "m3 s-1"


@pytest.mark.parametrize(("native", "unit", "found"), [
    ("LENGTH_KM", None, ("length", "m", 1000.0)),
    ("dx", None, ("length", "m", 1.0)),
    ("CATCH_SKM", None, ("area", "km2", 1.0)),
    ("incremental_area_km2", None, ("incremental_area", "km2", 1.0)),
    ("area", "m2", ("area", "km2", 1e-6)),
    ("DIST_DN_KM", None, ("DIST_DN", "m", 1000.0)),
    ("NDVI", None, ("NDVI", None, 1.0)),
])  # fmt: skip
def test_lengths_are_metres_and_areas_square_kilometres(
    native: str, unit: str | None, found: tuple[str, str | None, float]
) -> None:
    assert attribute_of(native, unit, Request()) == pytest.approx(found)


def test_the_juniata_is_read(shared_data: Any) -> None:
    sites = open_sites(shared_data("routing/juniata_1980_1995.nc"))
    below = network.below(sites)
    assert sites.sizes == {"site": 213, "time": 5752}
    assert len(network.levels(below)) == 39 and network.outlet(sites) == 212
    assert int(np.isfinite(sites.discharge).any("time").sum()) == 1
    total = sites.lateral_inflow.sum("site")
    assert 0.8 < float(total.mean() / sites.discharge[212].mean()) < 1.2  # water is conserved


def test_long_reaches_are_divided(tmp_path: Path) -> None:
    path = river_files.reach_file(tmp_path)
    whole = open_sites(path, "river")
    parts = open_sites(path, "river", options={"longest": 3000.0})
    assert float(parts.length.max()) <= 3000.0 and parts.sizes["site"] > 5
    for name in ("length", "lateral_inflow", "discharge"):
        np.testing.assert_allclose(parts[name].sum(), whole[name].sum(), rtol=1e-6)
    seen = parts.discharge.notnull().any("time")
    assert parts.site.values[seen].tolist() == ["13", "15"]
