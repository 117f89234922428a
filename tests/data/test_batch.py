"""A batch names its rows, and is repeated, tiled and moved."""

from __future__ import annotations

import pytest
import river_files
import site_files
import torch
import xarray as xr

from pydiffgeo import members
from pydiffgeo.data import Windows
from pydiffgeo.errors import DataError


@pytest.fixture
def records() -> xr.Dataset:
    return site_files.records(sites=7, days=500)


def test_a_row_names_its_site_and_dates(records: xr.Dataset) -> None:
    tensors = Windows(records, forcing=["precipitation", "tair_max"]).tensors
    batch = tensors.windows([2, 0], [31, 0], 10, warm_up=3)
    assert batch.where(0) == "site b0002, 1999-11-01 to 1999-11-10 (warm-up 3 steps)"
    assert batch.where(1).startswith("site b0000, 1999-10-01")
    simulated = torch.ones(2, 10)
    simulated[1, 5] = torch.nan
    simulated[0, 2] = torch.inf  # in the warm-up
    assert batch.not_finite(simulated) == [f"{batch.where(1)}: not finite from 1999-10-06"]
    with pytest.raises(DataError, match="10 steps from position 495 leaves the record of 500"):
        tensors.windows([0], [495], 10)


def test_a_batch_is_printed_as_names_and_shapes(records: xr.Dataset) -> None:
    text = repr(Windows(records, length=8, warm_up=2, batch=2).batch(0))
    assert text.startswith("Batch of 2 rows, 10 steps of which 2 are warm-up; the first from ")
    assert "precipitation [2, 10]" in text and len(text) < 1000


def test_rows_are_repeated_and_batches_tiled(records: xr.Dataset) -> None:
    batch = Windows(records, forcing=["precipitation", "tair_max"]).tensors.windows(
        [2, 0], [31, 0], 10
    )
    assert batch.repeated(3).site.tolist() == [2, 2, 2, 0, 0, 0]
    tiled = batch.tiled(3)
    assert tiled.site.tolist() == [2, 0, 2, 0, 2, 0]
    torch.testing.assert_close(tiled.series["tair_max"][4], batch.series["tair_max"][0])
    assert tiled.where(5) == batch.where(1) and batch.to("cpu").where(1) == batch.where(1)


def test_rows_know_the_row_below() -> None:
    windows = Windows(river_files.river(), observed=["discharge"])
    batch = windows.tensors.windows([4, 0, 2, 1, 3, 0], [3, 3, 3, 3, 3, 5], 10)
    assert batch.below is not None and batch.below.dtype == torch.int64
    assert batch.below.tolist() == [-1, 2, 0, 2, 0, -1]  # the last one is at another time
    assert batch.require_whole_rivers("it") is batch.below
    assert batch.to("cpu").below.tolist() == batch.below.tolist()
    for changed in (batch.repeated(3), batch.tiled(3), members._joined([batch] * 3)):
        assert changed.below is not None
        for row, below in enumerate(changed.below.tolist()):
            site = changed.sites[int(changed.site[row])]
            if below >= 0:
                assert changed.start[below] == changed.start[row]
                assert changed.sites[int(changed.site[below])] == {"c": "e", "d": "e"}.get(
                    site, "c"
                )
        assert len(set(changed.below.tolist()) - {-1}) == 6  # each copy flows into itself
        changed.require_whole_rivers("it")


def test_a_batch_without_what_flows_into_it_is_refused(records: xr.Dataset) -> None:
    river = Windows(river_files.river(), observed=["discharge"]).tensors
    part = river.windows([4, 2, 0, 1], [0] * 4, 10)
    with pytest.raises(
        DataError, match="Downstream needs all that flows into site e: 1 of 2 sites are in the"
    ):
        part.require_whole_rivers("Downstream")
    twice = river.windows([0, 0, 2], [0] * 3, 10)  # a twice, b not at all
    with pytest.raises(DataError, match="all that flows into site c: 1 of 2 sites"):
        twice.require_whole_rivers("Downstream")
    none = Windows(records, forcing=["precipitation"]).tensors.windows([2, 0], [31, 0], 10)
    assert none.below is None and none.tiled(2).below is None
    with pytest.raises(DataError, match="needs the attribute 'downstream'"):
        none.require_whole_rivers("Downstream")
