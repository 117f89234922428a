"""Rivers go on where an earlier simulation ended, to the last bit."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from river_cases import RIVERS, USUAL, WIDE, channels

import pydiffgeo as pdg
from pydiffgeo import stages
from pydiffgeo.evaluation.simulate import simulate

F64 = torch.float64
# power laws in front of a wave can have several roots in a step: on the torch engine windows of
# steps may find another one than the states alone lead to
MONOTONE = ("muskingum", "muskingum_cunge", "kinematic_wave", "kinematic_wave power_law")


def river_of(
    model: pdg.ProcessModel, reaches: int, days: int, ranges: dict[str, tuple[float, float]]
) -> tuple[xr.Dataset, list[str]]:
    """Return random channels that flow together, showers on them, and what they begin with."""
    random = np.random.default_rng(reaches)
    given = channels(model, reaches, 1.0, seed=reaches, ranges=ranges)
    given.pop("step", None)
    below = np.minimum(np.arange(reaches) + 1 + random.integers(0, 4, reaches), reaches)
    peak = 10 ** random.uniform(-3, 2.5, (reaches, 1))
    showers = np.where(
        random.random((reaches, days)) < 0.3, peak * random.random((reaches, days)), 0
    )
    sites = xr.Dataset(
        {
            "lateral_inflow": (("site", "time"), showers, {"units": "m3 s-1"}),
            "downstream": ("site", ["" if k == reaches else str(k) for k in below]),
            "water": ("site", 10 ** random.uniform(-2, 5, reaches), {"units": "m3"}),
            **{
                k: ("site", v.numpy(), {"units": model.spec.parameters[k].unit})
                for k, v in given.items()
            },
        },
        {"site": [str(k) for k in range(reaches)], "time": pd.date_range("2000", periods=days)},
    )
    return sites, list(given)


def cut_in_two(
    name: str, interval: str | None, engine: str, reaches: int, days: int,
    ranges: dict[str, tuple[float, float]] = USUAL,
) -> tuple[xr.Dataset, xr.Dataset]:  # fmt: skip
    """Return a simulation at once, and in two parts."""
    model = RIVERS[name]()
    sites, names = river_of(model, reaches, days, ranges)
    process = stages.Process(
        model, engine=engine, learn=(), given={k: k for k in names}, start={"volume": "water"}
    )
    hybrid = pdg.Hybrid(None, stages.Downstream(process, interval), dtype=F64)
    hybrid.prepare(sites)

    def run(part: xr.Dataset) -> xr.Dataset:
        return simulate(hybrid, part, warm_up=0, also=["volume", "discharge", "loss"])

    whole, first = run(sites), run(sites.isel(time=slice(0, days // 2)))
    water = first.volume.isel(time=-1, drop=True)
    second = run(sites.isel(time=slice(days // 2, None)).assign(water=water))
    return whole, xr.concat([first, second], "time")


def check(whole: xr.Dataset, parts: xr.Dataset) -> None:
    for name in ("volume", "discharge", "loss"):
        assert whole[name].dtype == np.float64 and bool(np.isfinite(whole[name]).all())
        np.testing.assert_array_equal(parts[name], whole[name])
    assert float(whole.discharge.std()) > 0


@pytest.mark.parametrize("interval", ["6h", None])
@pytest.mark.parametrize("name", RIVERS)
def test_julia_goes_on_to_the_last_bit(name: str, interval: str | None, julia: object) -> None:
    """Any channel, from a ditch to the Amazon."""
    check(*cut_in_two(name, interval, "julia", 24, 16, WIDE))


@pytest.mark.parametrize("interval", ["6h", None])
@pytest.mark.parametrize("name", MONOTONE)
def test_torch_by_windows_goes_on_to_the_last_bit(name: str, interval: str | None) -> None:
    """Few levels and many steps."""
    check(*cut_in_two(name, interval, "torch", 12, 40))


@pytest.mark.parametrize("name", RIVERS)
def test_torch_by_fronts_goes_on_to_the_last_bit(name: str) -> None:
    """Many levels and few steps; any channel."""
    check(*cut_in_two(name, None, "torch", 40, 6, WIDE))


def test_volumes_are_those_of_the_balance(julia: object) -> None:
    """On Julia what leaves a reach is what entered it less what it holds more, to rounding."""
    whole, _ = cut_in_two("muskingum_cunge", "6h", "julia", 24, 16, WIDE)
    sites, _ = river_of(RIVERS["muskingum_cunge"](), 24, 16, WIDE)
    outlets = sites.downstream.values == ""
    entered = 86400 * float(sites.lateral_inflow.sum())
    left = 86400 * float(whole.discharge[outlets].sum() + whole.loss.sum())
    more = float((whole.volume.isel(time=-1) - sites.water).sum())
    assert left + more == pytest.approx(entered, rel=1e-13)
