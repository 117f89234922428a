"""Parts of a reach have its water, its length and its gauge, and follow one after the other."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from river_files import river

import pydiffgeo as pdg
from pydiffgeo import stages
from pydiffgeo.data import divide_reaches, network
from pydiffgeo.errors import DataError, UnitError


def test_the_river_is_the_same_in_more_parts() -> None:
    sites = river()
    sites["length"] = "site", np.array([900.0, 2000.0, 4100.0, 1000.0, 3000.0]), {"units": "m"}
    found = divide_reaches(sites, 1000.0)
    ids = ["a", "b-1", "b", "c-1", "c-2", "c-3", "c-4", "c", "d", "e-1", "e-2", "e"]
    assert found.site.values.tolist() == ids
    lower = ["c-1", "b", "c-1", "c-2", "c-3", "c-4", "c", "e-1", "e-1", "e-2", "e", ""]
    assert found.downstream.values.tolist() == lower
    assert float(found.length.max()) <= 1000.0 and found.length.attrs["units"] == "m"
    for name in ("length", "lateral_inflow"):
        whole = found[name].groupby(found.site.str.slice(0, 1)).sum()
        np.testing.assert_allclose(whole, sites[name])
    gauged = found.discharge.notnull().any("time")
    assert found.site.values[gauged].tolist() == ["c", "e"]
    assert len(network.levels(network.below(found))) == 1 + 1 + 5 + 3


def test_parts_route_as_reaches_do() -> None:
    """Two parts of a reach give what two reaches of half its length give."""
    sites = river(days=12).drop_vars("discharge")
    sites["length"] = "site", np.full(5, 8000.0), {"units": "m"}
    sites["discharge"] = sites.lateral_inflow
    halves = divide_reaches(sites, 4000.0)
    reach = stages.Process(
        pdg.MuskingumCunge(), pdg.Solver("implicit_euler", step=21600.0), engine="torch",
        learn=(), given={"length": "length", "slope": "slope"},
    )  # fmt: skip
    flows = {}
    for name, some in (("whole", sites), ("halves", halves)):
        hybrid = pdg.Hybrid(None, stages.Downstream(reach, interval="6h"), dtype=torch.float64)
        hybrid.prepare(some)
        windows = pdg.Windows(some, dtype=torch.float64, closed="upstream")
        read = windows.reading(hybrid.reads, ["discharge"], hybrid.needs)
        [batch] = read.periods(some.sizes["site"])
        made = hybrid(batch)
        flows[name] = made["discharge"]
        inflow, stored = made["total_inflow"] - made["discharge"], made["volume"]
        gain = inflow[:, 1:] * 86400 - stored.diff(dim=1)
        assert float(gain.abs().max()) < 1e-6 * float(stored.max())
    outlet = flows["halves"][-1], flows["whole"][-1]
    # the parts spread a wave less than the whole, but carry the same water later on
    assert 0.0 < float((outlet[0] - outlet[1]).abs().max()) < 0.5 * float(outlet[1].max())


def test_what_cannot_be_divided() -> None:
    sites = river()
    with pytest.raises(DataError, match="needs the attribute 'length'"):
        divide_reaches(sites.drop_vars("length"), 1000.0)
    with pytest.raises(DataError, match="must be positive"):
        divide_reaches(sites, 0.0)
    with pytest.raises(UnitError, match="no length"):
        divide_reaches(sites.assign(length=("site", np.ones(5), {"units": "K"})), 1000.0)
    named = river().assign_coords(site=["a-1", "b", "c", "d", "a"])
    named["downstream"] = "site", np.array(["c", "c", "a", "a", ""])
    named["length"] = "site", np.array([500.0, 500.0, 500.0, 500.0, 1500.0])
    with pytest.raises(DataError, match="would be called 'a-1'"):
        divide_reaches(named, 1000.0)
