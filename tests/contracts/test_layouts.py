"""Every layout is recognised, opened into the one form, passes the checks and is read back from
what is written.
"""

from __future__ import annotations

from pathlib import Path

import leaf_files
import numpy as np
import pytest
import river_files
import site_files
import stream_files
import xarray as xr

from pydiffgeo.data import LAYOUTS, check_sites, open_sites, write_sites
from pydiffgeo.data.form import axis_of, positions, times_of
from pydiffgeo.data.variables import VARIABLES, variable_of


def _csv(root: Path) -> Path:
    sites = site_files.records(sites=2, days=60)
    table = sites[["precipitation", "tair_min", "tair_max", "discharge"]].to_dataframe()
    units = {name: f"{name} [{sites[name].attrs['units']}]" for name in table}
    table.reset_index().rename(columns=units).to_csv(root / "own.csv", index=False)
    return root / "own.csv"


def _zarr(root: Path) -> Path:
    pytest.importorskip("zarr")
    site_files.records(sites=2, days=60).to_zarr(root / "sites.zarr")
    return root / "sites.zarr"


# What writes a small sample of each layout; a new layout needs a line here
SAMPLES = {
    "camels_us": site_files.camels_us,
    "caravan": site_files.caravan,
    "generic": site_files.generic,
    "netcdf": lambda root: write_sites(site_files.records(sites=2, days=60), root / "all.nc"),
    "river": river_files.reach_file,
    "zarr": _zarr,
    "points": leaf_files.curves,
    "flux_tower": leaf_files.towers,
    "streams": stream_files.days,
    "csv": _csv,
}
REAL = {"uscrn": "soil_moisture/uscrn_2020_daily_profiles.nc"}


@pytest.fixture(params=LAYOUTS)
def sample(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    kind = request.param
    assert kind in SAMPLES or kind in REAL, (
        f"tests/contracts/test_layouts.py has no sample of {kind!r}"
    )
    if kind in REAL:
        return kind, request.getfixturevalue("shared_data")(REAL[kind])
    return kind, SAMPLES[kind](tmp_path)


def test_a_layout_is_recognised_opened_and_checked(
    sample: tuple[str, Path], tmp_path: Path
) -> None:
    kind, path = sample
    assert [name for name, layout in LAYOUTS.items() if layout.recognises(path)][0] == kind
    assert LAYOUTS[kind].title
    sites = open_sites(path)
    xr.testing.assert_identical(sites.load(), open_sites(path, layout=kind).load())
    assert sites.site.dtype.kind == "U" and sites.sizes["site"] > 1
    axis = axis_of(sites)
    steps = np.diff(times_of(sites).values)
    assert len(set(steps.tolist())) == 1, "regular steps"
    series = [name for name in sites.data_vars if axis in sites[name].dims]
    assert series
    for name in sites.data_vars:
        dims = sites[name].dims
        assert dims[0] == "site" and dims[1:] in ((), (axis,), ("depth",), (axis, "depth")), name
        if name in VARIABLES:
            of_river = "downstream" in sites or kind == "streams"
            unit = sites[name].attrs["units"] if of_river else None
            variable, known = (
                variable_of(name, unit),
                sites[name].values[np.isfinite(sites[name].values)],
            )
            assert sites[name].attrs["units"] == variable.unit, name
            assert known.min() >= variable.lower and known.max() <= variable.upper, name
    assert check_sites(sites) is not None
    again = open_sites(write_sites(sites, tmp_path / "again" / "sites.nc", dtype="float64"))
    for name in series:
        np.testing.assert_array_equal(again[name].values, sites[name].values)


def test_a_part_is_that_part_of_all(sample: tuple[str, Path]) -> None:
    """Some sites, variables and days are read as they stand in the whole."""
    _, path = sample
    whole = open_sites(path).load()
    if axis_of(whole) == "point":
        part = open_sites(path, sites=[str(whole.site.values[1])], variables=["par"])
        np.testing.assert_array_equal(part.par.values, whole.par.values[1:2, : part.sizes["point"]])
        return
    first = str(whole.site.values[1])
    name = next(str(n) for n, v in whole.items() if v.dims == ("site", "time"))
    start, end = (str(whole.time.values[k])[:10] for k in (5, 12))
    part = open_sites(path, sites=[first], variables=[name], start=start, end=end)
    days = slice(*positions(times_of(whole), start, end))
    assert part.site.values.tolist() == [first]
    np.testing.assert_array_equal(
        part[name].values, whole[name].sel(site=[first]).isel(time=days).values
    )
