"""Windows of rivers: gauges with all sites above them, at one time, seeded and resumable."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import river_files
import torch
import xarray as xr

from pydiffgeo.data import Windows, network
from pydiffgeo.errors import DataError, SettingsError
from pydiffgeo.losses import KGE, MSE, NSE, LogRMSE, Profile

READ: dict[str, Any] = {
    "forcing": ("lateral_inflow",),
    "observed": ("discharge",),
    "attributes": ("length",),
    "dtype": torch.float64,
    "closed": "upstream",
}


@pytest.fixture
def river() -> xr.Dataset:
    return river_files.river(days=60)


def names(windows: Windows, step: int) -> list[str]:
    return [windows.names[i] for i in windows.batch(step).site.tolist()]


def test_a_batch_holds_gauges_and_all_above_them(river: xr.Dataset) -> None:
    windows = Windows(river, 10, 5, 1, **READ)
    drawn = {"".join(names(windows, k)) for k in range(30)}
    assert drawn == {"abc", "abcde"}  # those above the gauges c and e
    assert windows.left_out == () and windows.count == 2 * (60 - 15 + 1)
    for k in range(10):
        batch = windows.batch(k)
        assert len(set(batch.start.tolist())) == 1 and len(set(batch.site.tolist())) == len(batch)
        below = batch.require_whole_rivers("it")
        part = river.isel(site=batch.site.tolist())
        ids = [part.site.values[i] if i >= 0 else "" for i in below.tolist()]
        inside = np.isin(part.downstream.values, part.site.values)
        assert ids == np.where(inside, part.downstream.values, "").tolist()
        inflow = part.sel(time=batch.dates(0)).lateral_inflow
        np.testing.assert_array_equal(batch.series["lateral_inflow"], inflow)
    both = Windows(river, 10, 5, 2, **READ)
    assert all(names(both, k) == list("abcde") and both.rows(k) == 2 for k in range(5))
    assert Windows(river, 10, 5, 9, **READ).size == 2


def test_gauges_of_a_batch_are_observed_at_its_time(river: xr.Dataset) -> None:
    river.discharge[2, 30:] = np.nan
    river.discharge[4, :25] = np.nan
    windows = Windows(river, 8, 0, 2, **READ)
    seen = []
    for k in range(60):
        batch = windows.batch(k)
        observed = torch.isfinite(batch.observed["discharge"]).any(1)
        seen.append("".join(np.array(windows.names)[batch.site[observed].numpy()]))
        assert windows.rows(k) == len(seen[-1]) or seen[-1] == "ce"
    assert set(seen) == {"c", "e", "ce"}


def test_batches_depend_on_seed_and_number_alone(river: xr.Dataset) -> None:
    a, b, c = (Windows(river, 10, 5, 1, seed, **READ) for seed in (1, 1, 2))
    drawn = [[(x.site.tolist(), x.start.tolist()) for x in (next(w) for _ in range(8))]
             for w in (a, b, c)]  # fmt: skip
    assert drawn[0] == drawn[1] != drawn[2]
    again = Windows(river, 10, 5, 1, 1, **READ)
    again.load_state_dict(a.state_dict())
    assert next(again).start.tolist() == a.batch(8).start.tolist()
    other = Windows(
        river.assign(downstream=("site", ["c", "e", "e", "e", ""])), 10, 5, 1, 1, **READ
    )
    with pytest.raises(SettingsError, match="cannot resume: data"):
        other.load_state_dict(a.state_dict())
    with pytest.raises(SettingsError, match="cannot resume"):
        Windows(river, 10, 5, 1, 1, **READ | {"closed": None}).load_state_dict(a.state_dict())


def test_a_gap_above_a_gauge_is_never_touched(river: xr.Dataset) -> None:
    river.lateral_inflow[3, 20:] = np.nan  # d flows into e alone
    windows = Windows(river, 10, 5, 2, **READ)
    for k in range(30):
        batch = windows.batch(k)
        assert torch.isfinite(batch.series["lateral_inflow"]).all()
    assert {"".join(names(windows, k)) for k in range(30)} == {"abc", "abcde"}
    river.lateral_inflow[3] = np.nan
    windows = Windows(river, 10, 5, 2, **READ)
    with pytest.warns(UserWarning, match="left out between .*: e"):
        assert windows.left_out == ("e",)
    assert list(windows.periods(9, missing="skip"))[0].site.tolist() == [0, 1, 2]
    with pytest.raises(DataError, match="forcing is missing in site d"):
        windows.periods(9)


def test_the_whole_period_has_all_gauges_or_all_sites(river: xr.Dataset) -> None:
    whole = Windows(river, **READ)
    assert names(whole, 0) == list("abcde") and whole.steps_per_epoch == 1
    parts = Windows(river, batch=1, **READ)
    assert {"".join(names(parts, k)) for k in range(2)} == {"abc", "abcde"}
    ungauged = river.assign(discharge=river.discharge.where(river.site == "c"))
    assert names(Windows(ungauged, **READ), 0) == list("abc")
    none = river.assign(discharge=river.discharge * np.nan)
    assert names(Windows(none, **READ), 0) == list("abcde")
    with pytest.raises(DataError, match="is neither 'upstream' nor 'cell' nor None"):
        Windows(river, **READ | {"closed": "up"})
    with pytest.raises(DataError, match="no attribute 'downstream'"):
        Windows(river.drop_vars("downstream"), **READ)


def test_periods_come_in_whole_rivers(river: xr.Dataset) -> None:
    two = river.assign(downstream=("site", ["c", "c", "", "e", ""]))
    found = [b.site.tolist() for b in Windows(two, **READ).periods(1)]
    assert found == [[0, 1, 2], [3, 4]]
    assert [b.site.tolist() for b in Windows(river, **READ).periods(2)] == [[0, 1, 2, 3, 4]]
    below = np.array([-1, 0, -1, -1, 3, 3])
    parts = network.whole_rivers(below, np.arange(6), 2)
    assert [part.tolist() for part in parts] == [[0, 1], [2, 3, 4, 5]]
    rest = network.whole_rivers(below, np.array([0, 2, 3]), 2)
    assert [part.tolist() for part in rest] == [[0, 2], [3]]


@pytest.mark.parametrize("loss", [NSE(), MSE(), KGE(), LogRMSE(), Profile("discharge")])
def test_sites_that_are_not_observed_count_in_no_loss(river: xr.Dataset, loss: Any) -> None:
    windows = Windows(river, 30, 5, 2, **READ)
    windows.require_variance()
    batch = windows.batch(0)
    assert torch.isnan(batch.spread["discharge"]).sum() == 3
    simulated = (batch.series["lateral_inflow"] + 1.0).requires_grad_()
    value = loss({"discharge": simulated}, batch.observed, batch)
    (gradient,) = torch.autograd.grad(value, simulated)
    assert torch.isfinite(value) and torch.isfinite(gradient).all()
    seen = torch.isfinite(batch.observed["discharge"]).any(1)
    assert (gradient[~seen] == 0).all() and (gradient[seen][:, 5:] != 0).any()
    gauges = [row for row, some in enumerate(seen.tolist()) if some]
    alone = Windows(river.isel(site=gauges), 30, 5, **READ | {"closed": None})
    part = alone.tensors.windows([0, 1], [int(batch.start[0])] * 2, 35, 5)
    same = loss({"discharge": simulated[gauges]}, part.observed, part)
    torch.testing.assert_close(value, same)


def test_a_gauge_whose_discharge_never_changes_is_named(river: xr.Dataset) -> None:
    river.discharge[2] = 1.0
    with pytest.raises(DataError, match="1 sites have fewer than two different .*: c .discharge"):
        Windows(river, 10, **READ).require_variance()
