"""Batches are seeded, resumable, those of the records, and say where they come from."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import site_files
import torch
import xarray as xr

from pydiffgeo.data import Batch, Windows, open_sites, write_sites
from pydiffgeo.errors import DataError, SettingsError

READ: dict[str, Any] = {
    "forcing": ("precipitation", "tair_max"),
    "attributes": ("aridity", "area"),
    "dtype": torch.float64,
}


@pytest.fixture
def records() -> xr.Dataset:
    return site_files.records(sites=7, days=500)


def tensors_of(batch: Batch) -> list[torch.Tensor]:
    named = (batch.series, batch.attributes, batch.observed, batch.spread)
    return [*(t for group in named for t in group.values()), batch.site, batch.start]


def same(a: Batch, b: Batch) -> bool:
    pairs = zip(tensors_of(a), tensors_of(b), strict=True)
    return all(torch.equal(torch.nan_to_num(x, 9e9), torch.nan_to_num(y, 9e9)) for x, y in pairs)


# drawn by the sampler of the version before this one, which had its own form of records
BEFORE: list[
    tuple[dict[str, Any], int, int, dict[int, tuple[list[int], list[int], float, float]]]
] = [
    (
        {
            "batch": 4,
            "length": 30,
            "warm_up": 20,
            "start": "1999-12-01",
            "end": "2000-12-31",
            "seed": 3,
        },
        20,
        1743,
        {
            0: ([1, 0, 5, 2], [255, 55, 256, 269], 3990.64193449531, 298.8553076660719),
            1: ([5, 2, 1, 6], [272, 351, 239, 247], 4328.535574531001, 305.45991859483183),
            17: ([2, 5, 0, 3], [357, 280, 105, 307], 3159.6307275834597, 317.0652916380204),
        },
    ),
    (
        {"batch": 8, "length": 10, "seed": 1},
        38,
        2373,
        {
            0: (
                [2, 3, 5, 6, 0, 0, 5, 6],
                [316, 153, 300, 207, 134, 406, 299, 200],
                1370.095130485075,
                149.31402690336108,
            ),
            1: (
                [3, 1, 2, 3, 3, 3, 3, 0],
                [438, 394, 230, 9, 384, 37, 489, 214],
                1044.065826016944,
                149.9035130031407,
            ),
            17: (
                [5, 5, 3, 1, 5, 5, 1, 0],
                [301, 296, 303, 311, 298, 292, 71, 374],
                1570.5921760880155,
                84.6724235251022,
            ),
        },
    ),
]


@pytest.mark.parametrize(("given", "epoch", "count", "batches"), BEFORE)
def test_batches_are_those_of_earlier_versions(
    records: xr.Dataset, given: dict[str, Any], epoch: int, count: int, batches: dict[int, Any]
) -> None:
    records.precipitation[2, 100:180] = np.nan
    records.tair_max[4] = np.nan
    records.discharge[5, :] = np.nan
    records.discharge[5, 300:303] = 2.0
    windows = Windows(records, **(READ | {"dtype": torch.float32}), **given)
    with pytest.warns(UserWarning, match="left out between .* and .*of a window .*: b0004"):
        assert windows.left_out == ("b0004",)
    assert (windows.steps_per_epoch, windows.count) == (epoch, count)
    for step, (sites, starts, forcing, observed) in batches.items():
        batch = windows.batch(step)
        assert batch.site.tolist() == sites and batch.start.tolist() == starts
        total = sum(float(values.double().sum()) for values in batch.series.values())
        assert total == pytest.approx(forcing, rel=1e-13)
        seen = float(batch.observed["discharge"].double().nansum())
        assert seen == pytest.approx(observed, rel=1e-13)


def test_the_spread_is_that_of_the_period() -> None:
    records = site_files.records(sites=3, days=500)
    period = {"start": "1999-12-01", "end": "2000-12-31"}
    spread = Windows(records, 30, forcing=["precipitation"], **period).batch(0).spread["discharge"]
    assert sorted(spread.tolist()) == sorted(
        [2.4725186824798584, 2.327028751373291, 2.6881892681121826]
    )
    double = Windows(records, **period, dtype=torch.float64).tensors.spread["discharge"]
    part = records.discharge.sel(time=slice("1999-12-01", "2000-12-31"))
    np.testing.assert_allclose(double, part.std("time"), rtol=1e-12)


def test_windows_are_those_of_the_records(records: xr.Dataset) -> None:
    windows = Windows(records, 30, 20, 5, start="1999-12-01", end="2000-12-31", **READ)
    scored = set()
    for batch in (next(windows) for _ in range(100)):
        assert (
            batch.series["tair_max"].shape == (5, 50)
            and batch.series["tair_max"].dtype == torch.float64
        )
        assert batch.observed["discharge"].shape == (5, 50) and len(batch) == 5
        assert len(set(batch.site.tolist())) == 5  # different sites as long as there are enough
        for i in range(5):
            part = records.isel(site=int(batch.site[i])).sel(time=batch.dates(i))
            for name in ("precipitation", "tair_max"):
                np.testing.assert_array_equal(batch.series[name][i], part[name])
            np.testing.assert_array_equal(batch.observed["discharge"][i], part.discharge)
            assert batch.attributes["aridity"][i] == float(part.aridity)
            assert batch.observed["discharge"][i, 20:].isfinite().any()
            scored.update(batch.dates(i)[20:])
    assert min(scored) >= np.datetime64("1999-12-01") and max(scored) <= np.datetime64("2000-12-31")
    assert len(scored) > 385  # of 397 days
    assert windows.steps_per_epoch == round(397 * 7 / (5 * 30))
    assert batch.units["precipitation"] == "mm d-1" and batch.step == pd.Timedelta(days=1)


def test_the_same_seed_gives_the_same_batches_and_another_does_not(records: xr.Dataset) -> None:
    a, b, c = (Windows(records, 30, batch=4, seed=seed, **READ) for seed in (1, 1, 2))
    for _ in range(5):
        x, y, z = next(a), next(b), next(c)
        assert same(x, y) and not same(x, z)
    assert same(a.batch(3, slice(1, 3)), b.batch(3, slice(1, 3)))
    assert a.batch(3, slice(1, 3)).start.tolist() == b.batch(3).start[1:3].tolist()


def test_a_resumed_run_gets_the_very_next_batch(records: xr.Dataset, tmp_path: Path) -> None:
    first = Windows(records, 30, 10, 4, 3, **READ)
    for _ in range(7):
        next(first)
    torch.save(first.state_dict(), tmp_path / "state.pt")
    second = Windows(records, 30, 10, 4, 3, **READ)
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    for _ in range(3):
        assert same(next(first), next(second))


@pytest.mark.parametrize(("change", "words"), [
    ({"seed": 4}, "seed is 4, the checkpoint has 3"),
    ({"batch": 5}, "batch is 5"),
    ({"end": "2000-11-30"}, "data is"),
])  # fmt: skip
def test_a_run_does_not_resume_as_another(
    records: xr.Dataset, change: dict[str, Any], words: str
) -> None:
    state = Windows(records, 30, batch=4, seed=3, **READ).state_dict()
    other = Windows(records, 30, **({"batch": 4, "seed": 3} | READ | change))
    with pytest.raises(SettingsError, match=f"cannot resume: {words}"):
        other.load_state_dict(state)


def test_lazy_records_give_the_same_batches(records: xr.Dataset, tmp_path: Path) -> None:
    write_sites(records, tmp_path / "all.nc", dtype="float64")
    opened = open_sites(tmp_path / "all.nc", lazy=True)
    given = READ | {"batch": 6, "length": 40, "warm_up": 10, "seed": 1}
    a, b = Windows(records, **given), Windows(opened, **given, memory=2 * 500 * 3 * 8)
    assert a.tensors.in_memory and not b.tensors.in_memory and a.count == b.count
    for _ in range(10):
        assert same(next(a), next(b))
    assert len(b.tensors._kept) == 2  # as many sites as were allowed
    for x, y in zip(a.periods(3), b.periods(3), strict=True):
        assert same(x, y)


def test_missing_forcing_is_refused_or_never_touched(records: xr.Dataset) -> None:
    records.precipitation[2, 100:103] = np.nan
    records.tair_max[4] = np.nan
    with pytest.raises(
        DataError,
        match="2 problems in 2 of 7 sites:\n.*site b0002 from 2000-01-09 to 2000-01-11 .3 days",
    ):
        Windows(records, **READ, missing="error").batch(0)
    windows = Windows(records, 30, 30, 6, **READ)
    assert [p.site for p in windows.report.problems] == ["b0002", "b0004"]
    with pytest.warns(UserWarning, match="left out between .* and .*of a window .*: b0004"):
        assert windows.left_out == ("b0004",)
    drawn = [
        (int(r), int(s))
        for _ in range(100)
        for b in [next(windows)]
        for r, s in zip(b.site, b.start, strict=True)
    ]
    assert 4 not in {row for row, _ in drawn}
    assert all(start + 60 <= 100 or start >= 103 for row, start in drawn if row == 2)
    assert 2 in {row for row, _ in drawn}
    with pytest.raises(
        DataError, match="forcing is missing in site b0002 on 2000-01-09, and in 2 sites"
    ):
        windows.periods(3)
    skipped = [b.site.tolist() for b in windows.periods(3, missing="skip")]
    assert skipped == [[0, 1, 3], [5, 6]]
    after = [b.site.tolist() for b in windows.periods(9, "2000-02-01", missing="skip")]
    assert after == [[0, 1, 2, 3, 5, 6]]


def test_windows_without_observations_are_never_drawn(records: xr.Dataset) -> None:
    records.discharge[:] = np.nan
    records.discharge[3, [250, 251]] = 1.0
    records.discharge[5, 5] = 1.0  # in nobody's scored part once there is a warm-up of twenty days
    windows = Windows(records, 10, 20, 4, **READ)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert windows.count == 11 and len(windows.left_out) == 6
    starts = {int(s) for _ in range(50) for s in next(windows).start}
    assert starts == set(range(250 - 29, 252 - 20))
    assert windows.report.missing_observations["discharge"]["b0003"] == 498
    with pytest.raises(
        DataError,
        match="no site has a window of 20 . 10 steps .* between 2000-08-17 and 2001-02-11",
    ):
        Windows(records, 10, 20, 4, start="2000-08-17", **READ).batch(0)
    with pytest.raises(
        DataError, match="7 sites have fewer than two different .*b0003 .discharge."
    ):
        windows.require_variance()  # the two observations of b0003 are equal


def test_whole_periods_come_in_order(records: xr.Dataset) -> None:
    windows = Windows(records, 30, **READ)
    batches = list(windows.periods(3, "2000-01-01", "2000-12-31", warm_up=90))
    assert [b.site.tolist() for b in batches] == [[0, 1, 2], [3, 4, 5], [6]]
    assert batches[0].series["tair_max"].shape == (3, 456)
    assert batches[0].dates(0)[90] == np.datetime64("2000-01-01")
    np.testing.assert_array_equal(
        batches[2].observed["discharge"][0, 90:], records.discharge[6].sel(time="2000")
    )
    with pytest.raises(
        DataError, match="93 steps of warm-up before 2000-01-01 do not fit .* begins on 1999-10-01"
    ):
        windows.periods(3, "2000-01-01", "2000-12-31", warm_up=93)
    with pytest.raises(
        DataError, match="2000-01-01 to 2003-12-31, is not in the record, 1999-10-01 to 2001-02-11"
    ):
        windows.periods(3, "2000-01-01", "2003-12-31")


def test_a_batch_of_all_is_no_copy(records: xr.Dataset) -> None:
    """Memory holds a large river once; a batch of some sites is its own."""
    windows = Windows(records, **READ)
    kept = [*windows.periods(7), *windows.periods(7), *windows.periods(4)]
    assert len({b.series["tair_max"].untyped_storage().data_ptr() for b in kept}) == 3
    whole, _, *some = (b.series["tair_max"] for b in kept)
    assert torch.equal(whole, torch.cat(some))


def test_a_whole_period_is_one_batch_or_one_epoch(records: xr.Dataset) -> None:
    all_at_once = Windows(records, warm_up=30, start="1999-11-01", end="2000-10-31", **READ)
    batch = all_at_once.batch(7)
    assert batch.site.tolist() == list(range(7)) and set(batch.start.tolist()) == {1}
    assert batch.warm_up == 30 and batch.dates(0)[[30, -1]].tolist() == [
        pd.Timestamp("1999-11-01"),
        pd.Timestamp("2000-10-31"),
    ]
    assert all_at_once.steps_per_epoch == 1
    parts = Windows(records, batch=3, **READ)
    assert parts.steps_per_epoch == 3
    drawn = [parts.batch(k).site.tolist() for k in range(6)]
    for epoch in (drawn[:3], drawn[3:]):
        assert sorted(site for sites in epoch for site in sites) == list(range(7))
    assert drawn[0] != drawn[3]


def test_windows_are_narrowed_to_what_is_read(records: xr.Dataset) -> None:
    records["tair_min"][3] = np.nan  # which nobody reads
    records["aridity"][2] = np.nan
    records["same"] = ("site", np.ones(7))
    windows = Windows(records, 30, batch=6, seed=2)
    assert windows.forcing == ("precipitation", "tair_min", "tair_max")
    assert windows.observed == ("discharge",) and windows.attributes == ("area",)
    narrow = windows.reading(["tair_max"], ["discharge"], ["lat"])
    batch = narrow.batch(0)
    assert set(batch.series) == {"tair_max"} and set(batch.attributes) == {"lat"}
    assert narrow.left_out == () and narrow.batch_size == 6 and narrow.seed == 2
    assert set(windows.batch(0).attributes) == {"area"}
    with pytest.raises(
        DataError, match="no series 'tair_mx' in the records; did you mean 'tair_max'"
    ):
        windows.reading(["tair_mx"]).batch(0)
    with pytest.raises(DataError, match="attribute 'aridity' is missing for 1 sites: b0002"):
        windows.reading(attributes=["aridity"]).batch(0)


def test_observations_and_attributes_may_have_depths(records: xr.Dataset) -> None:
    random = np.random.default_rng(1)
    records = records.drop_vars("discharge").assign_coords(depth=[0.05, 0.2])
    moisture = random.uniform(0.1, 0.4, (7, 500, 2))
    moisture[:, 40:50, 1] = np.nan
    records["soil_moisture"] = (("site", "time", "depth"), moisture, {"units": "m3 m-3"})
    records["clay"] = (("depth", "site"), random.uniform(0, 0.5, (2, 7)))
    windows = Windows(records, 60, 10, 3, dtype=torch.float64, forcing=["tair_max"])
    batch = windows.batch(4)
    assert batch.depths is not None and batch.depths.tolist() == [5.0, 20.0]
    assert batch.observed["soil_moisture"].shape == (3, 70, 2)
    for i, (site, start) in enumerate(zip(batch.site, batch.start, strict=True)):
        np.testing.assert_array_equal(
            batch.observed["soil_moisture"][i], moisture[site, start : start + 70]
        )
        np.testing.assert_array_equal(batch.attributes["clay"][i], records.clay[:, int(site)])
        np.testing.assert_allclose(
            batch.spread["soil_moisture"][i], np.nanstd(moisture[site], 0), rtol=1e-12
        )
    moisture[2, 7, 1] = 1.5
    with pytest.raises(DataError, match="soil_moisture is 1.5 m3 m-3.* site b0002 on 1999-10-08"):
        Windows(records, 60, forcing=["tair_max"]).batch(0)


def test_hours_are_steps_as_days_are() -> None:
    records = site_files.records(sites=2, days=480)
    records = records.assign_coords(time=pd.date_range("2001-03-01T01:00", periods=480, freq="h"))
    windows = Windows(
        records, 24, 48, 2, start="2001-03-05", end="2001-03-10", forcing=["tair_max"]
    )
    batch = windows.batch(0)
    assert batch.step == pd.Timedelta(hours=1) and batch.length == 72
    assert batch.dates(0)[48] >= pd.Timestamp("2001-03-05") and batch.dates(0)[-1] < pd.Timestamp(
        "2001-03-11"
    )
    assert ":00" in batch.where(0)
    whole = Windows(records, start="2001-03-05", end="2001-03-05T12:00").batch(0)
    assert whole.dates(0)[-1] == pd.Timestamp("2001-03-05T12:00")
    with pytest.raises(
        DataError, match="times are not regular: 2001-03-01 05:00.* 2001-03-01 07:00"
    ):
        Windows(records.drop_isel(time=5))


def test_records_of_points_need_no_dates() -> None:
    values = np.array([[300.0, 200.0, 100.0], [350.0, 250.0, np.nan]])
    points = xr.Dataset({
        "co2": (("site", "point"), values, {"units": "ppm"}),
        "assimilation": (("site", "point"), values / 10, {"role": "observed"}),
    }, {"site": ["a", "b"]})  # fmt: skip
    batch = Windows(points).batch(0)
    assert batch.series["co2"].tolist() == [[300.0, 200.0, 100.0], [350.0, 250.0, 250.0]]
    assert batch.observed["assimilation"][1].isnan().tolist() == [False, False, True]
    assert batch.where(1) == "site b, point 0 to point 2 (warm-up 0 steps)"
    with pytest.raises(DataError, match="has dates, but the records are points"):
        Windows(points, start="2000-01-01")


def test_more_windows_than_sites_and_several_observed(records: xr.Dataset) -> None:
    records["snow"] = records.discharge * np.nan
    records.snow[:, :50] = 1.0
    windows = Windows(
        records, 20, batch=64, forcing=["tair_max"], observed=("discharge", "snow"), attributes=()
    )
    batch = next(windows)
    assert batch.observed["snow"].shape == (64, 20) and batch.attributes == {}
    assert batch.observed["snow"].dtype == torch.float32


def test_what_does_not_fit_is_said(records: xr.Dataset) -> None:
    with pytest.raises(DataError, match="windows of 400 . 200 steps do not fit 500 steps"):
        Windows(records, 200, 400)
    with pytest.raises(DataError, match="batch 0"):
        Windows(records, 10, batch=0)
    with pytest.raises(DataError, match="no series 'pet' in the records"):
        Windows(records, forcing=["pet"]).batch(0)
    with pytest.raises(DataError, match="no attribute 'geology' with numbers"):
        Windows(records, attributes=["geology"]).batch(0)
    with pytest.raises(DataError, match="float16"):
        Windows(records, dtype=torch.float16)
    with pytest.raises(DataError, match="need the dimensions 'site' and 'time'.* have basin, time"):
        Windows(records.rename(site="basin"))


def test_sites_are_drawn_evenly_and_windows_too(records: xr.Dataset) -> None:
    windows = Windows(records, 100, batch=7, **READ)
    starts = np.concatenate([next(windows).start.numpy() for _ in range(500)])
    counts = np.histogram(starts, bins=4, range=(0, 401))[0]
    expected = len(starts) / 4
    # chi squared, three degrees of freedom, 0.1 %
    assert ((counts - expected) ** 2 / expected).sum() < 16.3


@pytest.mark.parametrize("day", ["2000-02-30", "soon"])
def test_a_period_that_begins_on_no_date_is_refused(day: str, records: xr.Dataset) -> None:
    with pytest.raises(DataError, match=f"start={day!r} is no date .*write it as 2000-01-31"):
        Windows(records, 30, start=day)


def test_without_any_window_the_longest_gap_is_named(records) -> None:
    records.precipitation[:, 10:] = np.nan
    day = str(records.time.values[10])[:10]
    with pytest.raises(DataError, match=f"longest gap: precipitation is missing .* from {day} to"):
        next(Windows(records, 50, **READ))


def test_what_is_observed_is_no_forcing_of_the_same_windows(records: xr.Dataset) -> None:
    with pytest.raises(DataError, match="discharge is observed, and read as a forcing"):
        Windows(records, forcing=["precipitation", "discharge"], observed=["discharge"])
