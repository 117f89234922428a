"""Scaling knows the training period only; batches are seeded, resumable, and say where they come from."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import basin_files
import numpy as np
import pytest
import torch
import xarray as xr

from pydiffgeo.data import (
    Scaling,
    WindowSampler,
    fit_scaling,
    load_tensors,
    open_basins,
    write_basins,
)
from pydiffgeo.data.batches import BasinTensors, Batch
from pydiffgeo.errors import DataError, SettingsError, UnknownName

FORCING, STATIC = ("precipitation", "tair_max"), ("aridity", "area")


@pytest.fixture
def records() -> xr.Dataset:
    return basin_files.records(basins=7, days=500)


@pytest.fixture
def tensors(records: xr.Dataset) -> BasinTensors:
    return load_tensors(records, FORCING, attributes=STATIC, dtype=torch.float64)


def same(a: Batch, b: Batch) -> bool:
    pairs = [
        (getattr(a, n), getattr(b, n))
        for n in ("forcing", "observed", "attributes", "basin", "start")
    ]
    return all(torch.equal(torch.nan_to_num(x, 9e9), torch.nan_to_num(y, 9e9)) for x, y in pairs)


def test_scaling_is_fitted_on_the_training_period_alone(records: xr.Dataset) -> None:
    records.precipitation[1, 3] = np.nan
    period = slice("1999-11-01", "2000-06-30")
    scaling = fit_scaling(records, FORCING, STATIC, "1999-11-01", "2000-06-30")
    records.precipitation.loc[{"time": slice("2000-07-01", None)}] = (
        1e6  # what comes later must not matter
    )
    assert scaling == fit_scaling(records, FORCING, STATIC, "1999-11-01", "2000-06-30")
    part = records.sel(time=period)
    for name in FORCING:
        assert scaling.mean[name] == pytest.approx(float(part[name].mean()), rel=1e-12)
        assert scaling.std[name] == pytest.approx(float(part[name].std()), rel=1e-12)
    assert scaling.std["area"] == pytest.approx(float(records.area.std()), rel=1e-12)
    assert (scaling.start, scaling.end, scaling.basins) == ("1999-11-01", "2000-06-30", 7)


def test_scaling_standardises_and_comes_back_from_json(records: xr.Dataset, tmp_path: Path) -> None:
    scaling = fit_scaling(records, FORCING, STATIC)
    values = torch.tensor(np.stack([records[name].values for name in FORCING], -1))
    scaled = scaling.apply(values, FORCING)
    torch.testing.assert_close(scaled.mean((0, 1)), torch.zeros(2).double(), atol=1e-12, rtol=0)
    torch.testing.assert_close(scaled.std((0, 1), correction=0), torch.ones(2).double())
    torch.testing.assert_close(scaling.undo(scaled, FORCING), values)
    read = Scaling.load(scaling.save(tmp_path / "run" / "scaling.json"))
    assert read == scaling and read.apply(values.float(), FORCING).dtype == torch.float32
    with pytest.raises(UnknownName, match="did you mean 'tair_max'"):
        scaling.apply(values, ("precipitation", "tair_maxx"))
    with pytest.raises(DataError, match="2 features, 1 names"):
        scaling.apply(values, ("precipitation",))
    (tmp_path / "bad.json").write_text(json.dumps({"mean": {}}))
    for name in ("bad.json", "absent.json"):
        with pytest.raises(DataError, match=f"{name}.* is no scaling"):
            Scaling.load(tmp_path / name)


def test_what_cannot_be_scaled_is_named(records: xr.Dataset) -> None:
    records["area"][:] = 5.0
    with pytest.raises(DataError, match="'area' has the same value 5 everywhere"):
        fit_scaling(records, FORCING, STATIC)
    with pytest.raises(DataError, match="'geology' is text"):
        fit_scaling(records, FORCING, ["geology"])
    with pytest.raises(DataError, match="no attribute 'slope'"):
        fit_scaling(records, FORCING, ["slope"])
    with pytest.raises(DataError, match="no days between 2010-01-01 and None"):
        fit_scaling(records, FORCING, start="2010-01-01")
    records["tair_max"][:] = np.nan
    with pytest.raises(DataError, match="'tair_max' has no values"):
        fit_scaling(records, FORCING)


def test_windows_are_those_of_the_records(records: xr.Dataset, tensors: BasinTensors) -> None:
    sampler = WindowSampler(
        tensors, batch_size=5, days=30, warm_up=20, start="1999-12-01", end="2000-12-31"
    )
    scored = set()
    for batch in (next(sampler) for _ in range(100)):
        assert (
            batch.forcing.shape == (5, 50, 2)
            and batch.observed.shape == (5, 50, 1)
            and batch.forcing.dtype == torch.float64
        )
        assert len(set(batch.basin.tolist())) == 5  # different basins as long as there are enough
        for i in range(5):
            part = records.isel(basin=int(batch.basin[i])).sel(time=batch.times(i))
            np.testing.assert_array_equal(
                batch.forcing[i], np.stack([part[n] for n in FORCING], -1)
            )
            np.testing.assert_array_equal(batch.observed[i, :, 0], part.discharge)
            np.testing.assert_array_equal(batch.attributes[i], [part.aridity, part.area])
            assert batch.observed[i, 20:].isfinite().any()
            scored.update(batch.times(i)[20:])
    assert min(scored) >= np.datetime64("1999-12-01") and max(scored) <= np.datetime64("2000-12-31")
    assert len(scored) > 385  # of 397 days
    assert sampler.steps_per_epoch == round(397 * 7 / (5 * 30))


def test_a_sample_names_its_basin_and_days(tensors: BasinTensors) -> None:
    batch = tensors.windows([2, 0], [31, 0], 10, warm_up=3)
    assert batch.where(0) == "basin b0002, 1999-11-01 to 1999-11-10 (warm-up 3 days)"
    assert batch.where(1).startswith("basin b0000, 1999-10-01")
    with pytest.raises(DataError, match="10 days from position 495 leaves the record of 500 days"):
        tensors.windows([0], [495], 10)


def test_the_same_seed_gives_the_same_batches_and_another_does_not(tensors: BasinTensors) -> None:
    a, b, c = (WindowSampler(tensors, 4, 30, seed=seed) for seed in (1, 1, 2))
    for _ in range(5):
        x, y, z = next(a), next(b), next(c)
        assert same(x, y) and not same(x, z)


def test_a_resumed_run_gets_the_very_next_batch(tensors: BasinTensors, tmp_path: Path) -> None:
    first = WindowSampler(tensors, 4, 30, warm_up=10, seed=3)
    for _ in range(7):
        next(first)
    torch.save(first.state_dict(), tmp_path / "state.pt")
    second = WindowSampler(tensors, 4, 30, warm_up=10, seed=3)
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    for _ in range(3):
        assert same(next(first), next(second))


@pytest.mark.parametrize(("change", "words"), [
    ({"seed": 4}, "seed is 4, the checkpoint has 3"),
    ({"batch_size": 5}, "batch_size is 5"),
    ({"end": "2000-11-30"}, "data is"),
])  # fmt: skip
def test_a_run_does_not_resume_as_another(
    tensors: BasinTensors, change: dict[str, object], words: str
) -> None:
    state = WindowSampler(tensors, 4, 30, seed=3).state_dict()
    other = WindowSampler(tensors, **({"batch_size": 4, "days": 30, "seed": 3} | change))
    with pytest.raises(SettingsError, match=f"cannot resume: {words}"):
        other.load_state_dict(state)


def test_lazy_tensors_give_the_same_batches(
    records: xr.Dataset, tensors: BasinTensors, tmp_path: Path
) -> None:
    write_basins(records, tmp_path / "all.nc", dtype="float64")
    row = 500 * 3 * 8
    opened = open_basins(tmp_path / "all.nc", lazy=True)
    lazy = load_tensors(opened, FORCING, attributes=STATIC, dtype=torch.float64, memory=2 * row)
    assert tensors.in_memory and not lazy.in_memory
    a, b = (WindowSampler(t, 6, 40, warm_up=10, seed=1) for t in (tensors, lazy))
    assert a.windows == b.windows
    for _ in range(10):
        assert same(next(a), next(b))
    assert len(lazy._kept) == 2  # as many basins as were allowed
    for x, y in zip(tensors.periods(3), lazy.periods(3), strict=True):
        assert same(x, y)
    torch.testing.assert_close(tensors.observed_std(), lazy.observed_std(), rtol=0, atol=0)


def test_missing_forcing_is_refused_or_never_touched(records: xr.Dataset) -> None:
    records.precipitation[2, 100:103] = np.nan
    records.tair_max[4] = np.nan
    with pytest.raises(
        DataError,
        match="2 problems in 2 of 7 basins:\n.*basin b0002 from 2000-01-09 to 2000-01-11 .3 days",
    ):
        load_tensors(records, FORCING)
    tensors = load_tensors(records, FORCING, missing="skip")
    assert [p.site for p in tensors.report.problems] == ["b0002", "b0004"]
    with pytest.warns(UserWarning, match="1 basins have no window .*not trained on: b0004"):
        sampler = WindowSampler(tensors, 6, 30, warm_up=30)
    assert sampler.left_out == ("b0004",)
    drawn = [
        (int(r), int(s))
        for _ in range(100)
        for b in [next(sampler)]
        for r, s in zip(b.basin, b.start, strict=True)
    ]
    assert 4 not in {row for row, _ in drawn}
    assert all(start + 60 <= 100 or start >= 103 for row, start in drawn if row == 2) and 2 in {
        row for row, _ in drawn
    }
    with pytest.raises(
        DataError, match="forcing is missing in basin b0002 on 2000-01-09, and in 2 basins"
    ):
        tensors.periods(3)


def test_windows_without_observations_are_never_drawn(records: xr.Dataset) -> None:
    records.discharge[:] = np.nan
    records.discharge[3, [250, 251]] = 1.0
    records.discharge[5, 5] = 1.0  # in nobody's scored part once there is a warm-up of twenty days
    tensors = load_tensors(records, FORCING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sampler = WindowSampler(tensors, 4, 10, warm_up=20)
    assert sampler.windows == 11 and len(sampler.left_out) == 6
    starts = {int(s) for _ in range(50) for s in next(sampler).start}
    assert starts == set(range(250 - 29, 252 - 20))
    assert tensors.report.missing_observations["discharge"]["b0003"] == 498
    with pytest.raises(
        DataError,
        match="no basin has a window of 20 . 10 days .* between 2000-08-17 and 2001-02-11",
    ):
        WindowSampler(tensors, 4, 10, warm_up=20, start="2000-08-17")
    with pytest.raises(
        DataError, match="7 basins have fewer than two different .*b0003 .discharge."
    ):
        tensors.observed_std()  # the two observations of b0003 are equal


def test_whole_periods_come_in_order(records: xr.Dataset, tensors: BasinTensors) -> None:
    batches = list(tensors.periods(3, "2000-01-01", "2000-12-31", warm_up=90))
    assert [b.basin.tolist() for b in batches] == [[0, 1, 2], [3, 4, 5], [6]]
    assert batches[0].forcing.shape == (3, 456, 2) and batches[0].times(0)[90] == np.datetime64(
        "2000-01-01"
    )
    np.testing.assert_array_equal(
        batches[2].observed[0, 90:, 0], records.discharge[6].sel(time="2000")
    )
    with pytest.raises(
        DataError, match="93 days of warm-up before 2000-01-01 do not fit .* begins on 1999-10-01"
    ):
        tensors.periods(3, "2000-01-01", "2000-12-31", warm_up=93)
    with pytest.raises(
        DataError, match="2000-01-01 to 2003-12-31 is not in the record, 1999-10-01 to 2001-02-11"
    ):
        tensors.periods(3, "2000-01-01", "2003-12-31")
    std = tensors.observed_std("2000-01-01", "2000-12-31")
    np.testing.assert_allclose(
        std[:, 0], records.discharge.sel(time="2000").std("time"), rtol=1e-12
    )


def test_more_windows_than_basins_and_several_targets(records: xr.Dataset) -> None:
    records["snow"] = records.discharge * np.nan
    records.snow[:, :50] = 1.0
    tensors = load_tensors(records, FORCING, targets=("discharge", "snow"))
    batch = next(WindowSampler(tensors, 64, 20))
    assert (
        batch.observed.shape == (64, 20, 2)
        and batch.observed.dtype == torch.float32
        and batch.attributes.shape == (64, 0)
    )
    assert batch.to("cpu").where(3) == batch.where(3)


def test_what_does_not_fit_is_said(records: xr.Dataset, tensors: BasinTensors) -> None:
    with pytest.raises(DataError, match="windows of 400 . 200 days do not fit 500 days"):
        WindowSampler(tensors, 4, 200, warm_up=400)
    with pytest.raises(DataError, match="batch_size 0"):
        WindowSampler(tensors, 0, 10)
    with pytest.raises(DataError, match="no variable 'pet' in time"):
        load_tensors(records, ["pet"])
    records.aridity[2] = np.nan
    with pytest.raises(DataError, match="attribute 'aridity' is missing for 1 basins: b0002"):
        load_tensors(records, FORCING, attributes=STATIC)
    with pytest.raises(DataError, match="no attribute 'geology' with numbers"):
        load_tensors(records, FORCING, attributes=["geology"])
    with pytest.raises(DataError, match="float16"):
        load_tensors(records, FORCING, dtype=torch.float16)


def test_basins_are_drawn_evenly_and_windows_too(tensors: BasinTensors) -> None:
    sampler = WindowSampler(tensors, 7, 100)
    starts = np.concatenate([next(sampler).start.numpy() for _ in range(500)])
    counts = np.histogram(starts, bins=4, range=(0, 401))[0]
    expected = len(starts) / 4
    assert (
        (counts - expected) ** 2 / expected
    ).sum() < 16.3  # chi squared, three degrees of freedom, 0.1 %


@pytest.mark.parametrize("day", ["2000-02-30", "soon"])
def test_a_period_that_begins_on_no_date_is_refused(
    day: str, records: xr.Dataset, tensors: BasinTensors
) -> None:
    for call in (
        lambda: fit_scaling(records, FORCING, start=day),
        lambda: WindowSampler(tensors, 4, 30, start=day),
    ):
        with pytest.raises(DataError, match=f"start={day!r} is no date .*write it as 2000-01-31"):
            call()
    assert tensors.span("2000-01-01T00:00Z", "20000201") == tensors.span("2000-01-01", "2000-02-01")
