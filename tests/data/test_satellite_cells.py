"""Sites in cells of a satellite: their names, windows of whole cells, means by hand, copies."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr
from hybrid_cases import basins

import pydiffgeo as pdg
from pydiffgeo.data.satellite_cells import cells, members, require_whole_cells
from pydiffgeo.errors import DataError
from pydiffgeo.members import _joined

F64 = torch.float64
NAMES = ["N", "S", "N", "", "S", "N"]


def sites(days: int = 60) -> xr.Dataset:
    """Six sites, five of them in two cells, that are observed at one site each."""
    found = basins(6, days).assign(cell=("site", np.array(NAMES)))
    found["discharge"][[0, 1, 4]] = np.nan
    return found


def test_cells_by_name_and_number() -> None:
    np.testing.assert_array_equal(cells(sites()), [0, 1, 0, 3, 1, 0])
    numbers = sites().assign(cell=("site", [7.0, 3, 7, np.nan, np.nan, 3]))
    np.testing.assert_array_equal(cells(numbers), [0, 1, 0, 3, 4, 1])
    rows, of = members(cells(sites()), np.array([1, 0]))
    assert rows.tolist() == [1, 4, 0, 2, 5] and of.tolist() == [0, 0, 1, 1, 1]
    with pytest.raises(DataError, match="no attribute 'cell'"):
        cells(basins(2, 5))
    assert "cell" not in pdg.Windows(numbers).attributes


def test_windows_hold_whole_cells_from_their_day() -> None:
    windows = pdg.Windows(sites(), length=10, batch=2, seed=3, closed="cell")
    drawn = set()
    for step in range(40):
        batch = windows.batch(step)
        starts = {}
        for row, start in zip(batch.site.tolist(), batch.start.tolist(), strict=True):
            starts.setdefault(start, []).append(NAMES[row])
        for names in starts.values():
            counts = {name: names.count(name) for name in names}
            assert all(counts[name] == NAMES.count(name) for name in counts)
        drawn |= {NAMES[int(row)] for row in batch.site}
    assert drawn == {"N", ""}  # nobody observes S
    again = pdg.Windows(sites(), length=10, batch=2, seed=3, closed="cell").batch(7)
    assert torch.equal(again.start, windows.batch(7).start)


def test_a_gap_of_one_site_keeps_windows_of_its_cell_away() -> None:
    gap = sites()
    gap.precipitation[5, 30] = np.nan
    windows = pdg.Windows(gap, length=10, batch=2, closed="cell")
    for step in range(40):
        batch = windows.batch(step)
        north = batch.cell == 0
        touched = (batch.start <= 30) & (batch.start + 10 > 30)
        assert not bool((north & touched).any())
    kept = [int(row) for batch in windows.periods(2, missing="skip") for row in batch.site]
    assert kept == [1, 4, 3]


def test_the_mean_of_a_cell_by_hand() -> None:
    batch = pdg.Windows(sites(), dtype=F64, closed="cell").batch(0)
    rain = batch.series["precipitation"]
    assert sorted(batch.site.tolist()) == [0, 2, 3, 5]  # of the cells that are observed
    rows = {int(site): k for k, site in enumerate(batch.site)}
    found = batch.mean_of_cells(rain, "a test")
    by_hand = (rain[rows[0]] + rain[rows[2]] + rain[rows[5]]) / 3
    for site in (0, 2, 5):
        torch.testing.assert_close(found[rows[site]], by_hand, rtol=1e-14, atol=0)
    assert torch.equal(found[rows[3]], rain[rows[3]])
    values = torch.rand(4, 3, dtype=F64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: batch.mean_of_cells(x, "a test"), (values,))


def test_copies_and_members_are_no_sites_of_one_cell() -> None:
    batch = pdg.Windows(sites(), dtype=F64, closed="cell").batch(0)
    rain = batch.series["precipitation"]
    mean = batch.mean_of_cells(rain, "a test")
    scales = torch.tensor([1.0, 10.0], dtype=F64)
    wide = batch.repeated(2)
    copies = rain.repeat_interleave(2, 0) * scales.repeat(len(batch))[:, None]
    expected = mean.repeat_interleave(2, 0) * scales.repeat(len(batch))[:, None]
    torch.testing.assert_close(wide.mean_of_cells(copies, "a test"), expected)
    both, factor = torch.cat([rain, 10 * rain]), torch.cat([mean, 10 * mean])
    torch.testing.assert_close(batch.tiled(2).mean_of_cells(both, "a test"), factor)
    torch.testing.assert_close(_joined([batch, batch]).mean_of_cells(both, "a test"), factor)


def test_a_cell_in_part_is_refused() -> None:
    batch = pdg.Windows(sites(), batch=4, dtype=F64).batch(0)
    with pytest.raises(DataError, match=r'of 3 are in the batch; take Windows\(..., closed="cell"'):
        batch.mean_of_cells(batch.series["precipitation"], "a test")
    plain = pdg.Windows(basins(2, 20), dtype=F64).batch(0)
    with pytest.raises(DataError, match="a test needs the attribute 'cell'"):
        plain.mean_of_cells(plain.series["precipitation"], "a test")
    require_whole_cells(sites(), ("b0", "b2", "b5"), ("b1", "b4"))
    for groups in ((("b0", "b2"),), (("b0", "b2"), ("b5",))):
        with pytest.raises(DataError, match="b0, b2, b5 share a cell.*split_by"):
            require_whole_cells(sites(), *groups)
