"""The twin of a river: its truth, its gauges, and a network that comes nearer to the truth."""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import pydiffgeo as pdg

FILE = Path(__file__).parents[2] / "pydiffgeo" / "examples" / "river_twin.py"
spec = importlib.util.spec_from_file_location("river_twin", FILE)
assert spec is not None and spec.loader is not None
twin = importlib.util.module_from_spec(spec)
spec.loader.exec_module(twin)
DAYS = 120


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> xr.Dataset:
    """Seven reaches of 20 km, opened from a file as the example reads it."""
    random = np.random.default_rng(3)
    inflow = random.gamma(0.3, 20.0, (7, DAYS))
    file = xr.Dataset(
        {
            "qprime": (("reach", "time"), inflow, {"units": "m3 s-1"}),
            "q_obs": ("time", inflow.sum(0), {"units": "m3 s-1"}),
            "down_index": ("reach", [1, 3, 3, 6, 5, 6, -1]),
            "length": ("reach", np.full(7, 2e4), {"units": "m"}),
            "slope": ("reach", np.full(7, 2e-3)),
            **{name: ("reach", random.normal(2.0, 1.0, 7)) for name in twin.ATTRIBUTES},
        },
        {"reach": np.arange(7), "time": pd.date_range("1981-10-01", periods=DAYS)},
    )
    path: Path = tmp_path_factory.mktemp("river") / "river.nc"
    file.to_netcdf(path)
    return pdg.open_sites(path, "river", derive={"width": {"area": "log10_uparea"}})


def test_the_truth_follows_its_attributes(sites: xr.Dataset) -> None:
    n = np.log(np.stack([twin.drawn(sites, seed) for seed in range(200)]).mean(0) / twin.CENTRE)
    values = np.stack([sites[name].values for name in twin.ATTRIBUTES], 1)
    values = (values - values.mean(0)) / values.std(0)
    np.testing.assert_allclose(n, values @ np.array(twin.WEIGHTS), atol=0.05)


def test_fewer_gauges_are_a_part_of_more(sites: xr.Dataset) -> None:
    few, many = (twin.gauges(sites, count, seed=0) for count in (2, 5))
    assert few[0] == 6 and set(few) < set(many) and len(set(many)) == 5


def test_a_network_comes_nearer_to_the_truth(sites: xr.Dataset) -> None:
    truth = twin.drawn(sites, 0)
    known = sites.assign(discharge=twin.observed(sites, truth, 0))
    given = argparse.Namespace(seed=0, window=40)
    first, last = (
        twin.recovered(known, truth, 7, False, argparse.Namespace(**{**vars(given), "steps": k}))
        for k in (1, 15)
    )
    error = [np.sqrt(np.mean(np.log(n / truth) ** 2)) for n in (first, last)]
    assert error[1] < 0.85 * error[0]
