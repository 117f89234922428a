"""Rivers: positions, levels and closures agree with plain loops, and mistakes are named."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import river_files
import xarray as xr

from pydiffgeo.data import cut_above, network, open_sites, write_sites
from pydiffgeo.data.form import telling_attributes
from pydiffgeo.errors import DataError, DataWarning


def drawn(count: int, seed: int) -> np.ndarray:
    """A random forest whose sites stand in no order."""
    random = np.random.default_rng(seed)
    ordered = np.array([-1 if i < 2 else int(random.integers(i)) for i in range(count)])
    place = random.permutation(count)
    below = np.full(count, -1)
    below[place] = np.where(ordered < 0, -1, place[ordered])
    return below


@pytest.mark.parametrize("seed", range(3))
def test_levels_closures_and_sums_are_those_of_plain_loops(seed: int) -> None:
    below = drawn(60, seed)

    def path(i: int) -> list[int]:
        return [i] + (path(int(below[i])) if below[i] >= 0 else [])

    above = {i: [j for j in range(60) if i in path(j)] for i in range(60)}

    def level(i: int) -> int:
        return max((level(int(j)) + 1 for j in np.flatnonzero(below == i)), default=0)

    found = network.levels(below)
    assert sorted(np.concatenate(found)) == list(range(60))
    assert [level(int(i)) for rows in found for i in rows] == [
        k for k, rows in enumerate(found) for _ in rows
    ]
    for i in range(60):
        assert network.upstream(below, i).tolist() == above[i]
    some = [3, 50]
    assert network.upstream(below, some).tolist() == sorted({*above[3], *above[50]})
    areas = np.random.default_rng(1).uniform(1, 9, 60)
    sums = [areas[above[i]].sum() for i in range(60)]
    np.testing.assert_allclose(network.accumulated(below, areas), sums, rtol=1e-12)
    assert network.rivers(below).tolist() == [path(i)[-1] for i in range(60)]


def test_a_small_river() -> None:
    sites = river_files.river()  # a and b flow into c, c and d into e
    below = network.below(sites)
    assert below.tolist() == [2, 2, 4, 4, -1]
    assert [rows.tolist() for rows in network.levels(below)] == [[0, 1, 3], [2], [4]]
    assert network.outlet(sites) == 4
    assert network.accumulated(below, np.ones(5, int)).tolist() == [1, 1, 3, 1, 5]


@pytest.mark.parametrize(("ids", "words"), [
    (["c", "c", "a", "e", ""], "runs in a loop: (a -> c -> a|c -> a -> c); correct"),
    (["c", "c", "e", "e", "e"], "e flows into itself; leave `downstream` empty"),
    (["c", "c", "e", "E", ""], "below 'd' is 'E', which the records do not have; did you mean 'e'"),
])  # fmt: skip
def test_a_river_that_is_none_is_refused(ids: list[str], words: str) -> None:
    sites = river_files.river()
    sites["downstream"] = "site", ids
    with pytest.raises(DataError, match=words):
        network.below(sites)


def test_other_mistakes_are_named() -> None:
    sites = river_files.river()
    with pytest.raises(DataError, match="site 'a' occurs twice"):
        network.below(sites.assign_coords(site=["a", "a", "c", "d", "e"]))
    with pytest.raises(DataError, match="no attribute 'downstream'"):
        network.below(sites.drop_vars("downstream"))
    with pytest.raises(DataError, match="form a loop"):
        network.levels([1, 2, 0, -1])
    two = sites.assign(downstream=("site", ["c", "c", "", "e", ""]))
    with pytest.raises(DataError, match="2 outlets, one is needed: c, e; take one river by"):
        network.outlet(two)
    with pytest.raises(DataError, match="no site 'x'"):
        cut_above(sites, "x")


def test_a_river_is_cut_above_a_site() -> None:
    sites = river_files.river()
    part = cut_above(sites, "c")
    assert part.site.values.tolist() == ["a", "b", "c"]
    assert part.downstream.values.tolist() == ["c", "c", ""]
    assert network.below(part).tolist() == [2, 2, -1]
    both = cut_above(sites, ["a", "c"])
    assert both.downstream.values.tolist() == ["c", "c", ""]


def test_numbers_are_identifiers_too() -> None:
    known = ["0101", "202"]
    assert network.identifiers([101.0, np.nan], known).tolist() == ["0101", ""]
    assert network.identifiers(np.array([202, 5]), known).tolist() == ["202", "5"]
    given = np.array(["202.0", None, " 0101 "], dtype=object)
    assert network.identifiers(given, known).tolist() == ["202", "", "0101"]
    assert network.identifiers([73006286.0]).tolist() == ["73006286"]


def test_the_site_below_is_kept_by_selection_and_files(tmp_path: Path) -> None:
    sites = river_files.river()
    assert "downstream" not in telling_attributes(sites)
    reversed_ = sites.isel(site=slice(None, None, -1))
    assert network.below(reversed_).tolist() == [-1, 0, 0, 2, 2]
    again = open_sites(write_sites(sites, tmp_path / "river.nc"))
    assert again.downstream.values.tolist() == ["c", "c", "e", "e", ""]
    sites.to_netcdf(tmp_path / "plain.nc")
    with xr.open_dataset(tmp_path / "plain.nc") as plain:
        assert network.below(plain).tolist() == [2, 2, 4, 4, -1]
    headwaters = open_sites(tmp_path / "river.nc", sites=["a", "b"])
    assert headwaters.downstream.values.tolist() == ["", ""]
    with pytest.warns(DataWarning, match="not asked for flow into c, which lack their water"):
        part = open_sites(tmp_path / "river.nc", sites=["a", "c"])
    assert network.below(part).tolist() == [1, -1]


def test_a_hundred_thousand_sites_take_less_than_a_second() -> None:
    count = 100_000
    below = drawn(count, 0)
    names = np.array([f"{i:06d}" for i in range(count)])
    ids = np.where(below < 0, "", names[below])
    sites = xr.Dataset({"downstream": ("site", ids)}, {"site": names})
    start = time.perf_counter()
    found = network.below(sites)
    network.levels(found), network.upstream(found, [5, 7]), network.rivers(found)
    assert time.perf_counter() - start < 3.0  # 0.3 s by itself
    np.testing.assert_array_equal(found, below)
