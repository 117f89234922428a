"""Heat of streams: conserved, bounded, frozen, dry, at rest, and carried down a river."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from torch import Tensor

import pydiffgeo as pdg
from pydiffgeo import Solution, Solver, StreamTemperature, solve, stages
from pydiffgeo.errors import DataError, ParameterError, UnknownName
from pydiffgeo.models.streams.stream_temperature import C

F64, DAY = torch.float64, 86400.0
STILL = {"total_inflow": 0.0, "lateral_inflow": 0.0, "discharge": 0.0, "loss": 0.0}
MILD = STILL | {
    "heat_inflow": 0.0, "temperature": 15.0, "shortwave_down": 150.0, "vapour_pressure": 1200.0,
    "cloud_cover": 0.5, "wind_speed": 2.0, "groundwater_temperature": 10.0,
    "soil_water_temperature": 12.0, "season": -0.5,
}  # fmt: skip
FIRST = 10000.0 * 10.0  # m3 degC


def weather(count: int, days: int, seed: int = 0) -> dict[str, Tensor]:
    """Years of weather from the Arctic to the desert, day by day, and floods, `[reach, day]`."""
    g = torch.Generator().manual_seed(seed)

    def drawn(low: float, high: float, *size: int) -> Tensor:
        return low + (high - low) * torch.rand(size, generator=g, dtype=F64)

    day = 2 * math.pi * torch.arange(days, dtype=F64) / 365 + drawn(0, 7, count, 1)
    season = torch.sin(day)
    mean, swing = drawn(-15, 28, count, 1), drawn(0, 20, count, 1)
    air = mean + swing * season + drawn(-8, 8, count, days)
    full = 610.8 * torch.exp(17.27 * air / (air + 237.3))
    clear = drawn(0.2, 1, count, days)
    return {
        "temperature": air,
        "shortwave_down": drawn(80, 200, count, 1) * (1 + 0.9 * season) * clear,
        "vapour_pressure": (full * drawn(0.05, 1, count, days)).clamp(max=4000),
        "cloud_cover": drawn(0, 1, count, days),
        "wind_speed": drawn(0, 10, count, days),
        "groundwater_temperature": mean + 0.2 * swing * season,
        "soil_water_temperature": mean + 0.7 * swing * season,
        "season": -season,
    }  # fmt: skip


def river(count: int = 12, days: int = 40, seed: int = 0) -> xr.Dataset:
    """Reaches that flow together at random, from brooks to rivers, with weather."""
    random = np.random.default_rng(seed)
    below = [str(min(i + random.integers(1, 4), count - 1)) for i in range(count - 1)]
    dims = ("site", "time")
    lateral = random.gamma(0.3, 3.0, (count, days)) * 10.0 ** random.uniform(-3, 1, (count, 1))
    spec = StreamTemperature().spec.forcings
    air = weather(count, days, seed)
    names = {"temperature": "tair_mean"}
    series = {names.get(k, k): (dims, v.numpy(), {"units": spec[k].unit}) for k, v in air.items()}
    # global radiation as the site form has it
    series["shortwave_down"] = dims, air["shortwave_down"].numpy() * 0.0864, {"units": "MJ m-2 d-1"}
    return xr.Dataset(
        {
            "lateral_inflow": (dims, lateral, {"units": "m3 s-1"}),
            **series,
            "length": ("site", 10.0 ** random.uniform(2.5, 4.3, count), {"units": "m"}),
            "slope": ("site", 10.0 ** random.uniform(-4, -1.3, count), {"units": "1"}),
            "downstream": ("site", [*below, ""]),
        },
        {"site": [str(i) for i in range(count)], "time": pd.date_range("2000-01-01", periods=days)},
    )


CHANNEL = {"length": "length", "slope": "slope"}


def hybrid_of(
    sites: xr.Dataset, engine: str, interval: str | None = None, **options: object
) -> pdg.Hybrid:
    """Muskingum-Cunge with seepage, and the heat of the same water."""
    water = stages.Process(
        "muskingum_cunge", engine=engine, given={**CHANNEL, "leakance": 1e-6}, learn=()
    )
    given = {"given": CHANNEL, "learn": ()} | options
    heat = stages.Process("stream_temperature", engine=engine, **given)  # type: ignore[arg-type]
    down = (stages.Downstream(part, interval) for part in (water, heat))
    hybrid = pdg.Hybrid(None, *down, dtype=F64)
    hybrid.prepare(sites)
    return hybrid


def simulated(hybrid: pdg.Hybrid, sites: xr.Dataset) -> dict[str, Tensor]:
    windows = pdg.Windows(sites, dtype=F64, impossible="ignore")
    return dict(hybrid(windows.reading(hybrid.reads, (), hybrid.needs).batch(0)))


def alone(
    model: StreamTemperature,
    forcing: dict[str, object],
    count: int,
    days: int,
    heat: float = FIRST,
    solver: Solver | None = None,
    step: float = DAY,
    volume: float = 1e4,
    engine: str = "torch",
    **parameters: object,
) -> Solution:
    """Reaches by themselves, `days` steps."""
    given = {k: v for k, v in (MILD | forcing).items() if k in model.spec.forcings}
    given = {k: torch.as_tensor(v, dtype=F64).expand(count, days) for k, v in given.items()}
    state = torch.tensor([[volume, heat]], dtype=F64).expand(count, 2)
    known = {k: torch.as_tensor(v, dtype=F64).expand(count) for k, v in parameters.items()}
    times = torch.arange(days + 1, dtype=F64) * step
    return solve(
        model, given, known, state, times, solver or Solver("implicit_euler", step=step), engine
    )


@pytest.mark.parametrize("interval", [None, "6h"])
def test_heat_is_conserved_over_a_river(engine: str, interval: str | None) -> None:
    """All that entered or left through any surface is what is in the reaches, each and together."""
    sites = river()
    found = simulated(hybrid_of(sites, engine, interval), sites)
    spec = StreamTemperature().spec.fluxes
    net = sum(q.balance * found[k] for k, q in spec.items()) * DAY
    first = torch.full((len(net), 1), 10000.0, dtype=F64)
    heat = torch.cat([first, found["heat"]], 1)
    size = sum(found[k].abs() for k, q in spec.items() if q.balance) * DAY
    assert float(((net - heat.diff(dim=1)) / size.amax(1, keepdim=True)).abs().max()) < 1e-9
    # heat that left a reach entered the one below
    below = [list(sites.site.values).index(s) if s else -1 for s in sites.downstream.values]
    came = torch.zeros_like(net)
    for k, target in enumerate(below):
        if target >= 0:
            came[target] += found["heat_outflow"][k]
    own = found["soil_water_temperature"] + 0.6 * (
        found["groundwater_temperature"] - found["soil_water_temperature"]
    )
    lateral = torch.from_numpy(sites.lateral_inflow.values) * own.clamp(min=0)
    torch.testing.assert_close(found["advected_heat"], came + lateral, rtol=1e-9, atol=1e-9)
    assert bool(torch.isfinite(heat).all())


@pytest.mark.parametrize("interval", [None, "3h"])
def test_water_of_one_temperature_keeps_it(engine: str, interval: str | None) -> None:
    """Whatever floods run through, where nothing is exchanged: heat and water move together."""
    sites = river()
    for name in ("groundwater_temperature", "soil_water_temperature"):
        sites[name] = (sites[name] * 0 + 10.0).assign_attrs(units="degC")
    nothing = {"width": 1e-12, "slope": 1e-12}
    hybrid = hybrid_of(sites, engine, interval, given={"length": "length", **nothing})
    found = simulated(hybrid, sites)
    wet = found["volume"] > 2.0
    off = (found["heat"] / found["volume"] - 10.0)[wet]
    assert int(wet.sum()) > 300 and float(off.abs().max()) < 1e-5


def random_reaches(
    count: int, days: int, seed: int
) -> tuple[dict[str, Tensor], dict[str, float | Tensor]]:
    """Brooks to rivers in any climate: forcing [reach, day], and parameters [reach]."""
    g = torch.Generator().manual_seed(seed)

    def drawn(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, generator=g, dtype=F64)

    flow, own = 10 ** drawn(-3, 2), weather(count, days, seed)
    lateral = 0.1 * flow[:, None].expand(count, days)
    forcing = own | {
        "total_inflow": flow[:, None], "discharge": flow[:, None], "lateral_inflow": lateral,
        "heat_inflow": 0.9 * flow[:, None] * own["temperature"].clamp(0, 30),
    }  # fmt: skip
    return forcing, {
        "width": 10 ** drawn(0, 1.7), "length": 10 ** drawn(2, 4.5), "shade": drawn(0, 0.95),
        "bed_exchange": drawn(0, 100),
    }  # fmt: skip


def warmest(forcing: dict[str, Tensor]) -> Tensor:
    """The air, and what the sun can do to water that loses 8 W m-2 per degree, [reach]."""
    return forcing["temperature"].amax(1).clamp(min=5) + forcing["shortwave_down"].amax(1) / 8


def test_temperatures_are_possible() -> None:
    """Between ice and what the sun can do; the balance closes. 500 random reaches, 60 days."""
    forcing, parameters = random_reaches(500, 60, 1)
    solution = alone(StreamTemperature(), forcing, 500, 60, heat=5e4, **parameters)
    water, ice = solution.fluxes["water_temperature"], solution.fluxes["ice_share"]
    assert not solution.failed and float(water.min()) >= 0.0
    assert bool((water.amax(1) < warmest(forcing)).all())
    assert float(ice.max()) <= 1.0 and float((ice > 0).double().mean()) > 0.02
    assert float(solution.balance_error().max()) < 1e-9


@pytest.mark.parametrize("seed", range(5))
def test_ten_thousand_years(julia: Any, seed: int) -> None:
    """The same in 10,000 random reaches, each a year."""
    forcing, parameters = random_reaches(2000, 365, seed)
    solution = alone(
        StreamTemperature(), forcing, 2000, 365, heat=5e4, engine="julia", **parameters
    )
    water, ice = solution.fluxes["water_temperature"], solution.fluxes["ice_share"]
    assert not solution.failed and float(water.min()) >= 0.0
    assert bool((water.amax(1) < warmest(forcing)).all())
    assert float(ice.max()) <= 1.0 and float((ice > 0).double().mean()) > 0.1
    assert float(solution.balance_error().max()) < 1e-9


def equilibrium(**change: float) -> float:
    """Temperature at which water in MILD weather, with default parameters, loses nothing."""
    f = MILD | change
    p = {k: q.default for k, q in StreamTemperature().spec.parameters.items()}
    shade = 0.5 * (p["bare_shade"] * (1 + f["season"]) + p["shade"] * (1 - f["season"]))
    wind = p["still_wind"] + p["moving_wind"] * f["wind_speed"]
    black = 0.97 * 5.670374e-8

    def gain(t: float) -> float:
        sky = (0.5917 + 0.0485 * math.sqrt(f["vapour_pressure"] / 100)) * (1 + 0.17 * 0.25)
        air = black * (f["temperature"] + 273.15) ** 4 * ((1 - shade) * sky + shade * 0.97)
        full = 610.8 * math.exp(17.27 * t / (t + 237.3))
        turbulent = wind * (f["vapour_pressure"] - full + 61 * (f["temperature"] - t))
        bed = p["bed_exchange"] * (f["groundwater_temperature"] - t)
        sun = 0.94 * (1 - shade) * f["shortwave_down"]
        return sun + air - black * (t + 273.15) ** 4 + turbulent + bed

    low, high = -20.0, 60.0
    for _ in range(100):
        low, high = (
            (0.5 * (low + high), high)
            if gain(0.5 * (low + high)) > 0
            else (low, 0.5 * (low + high))
        )
    return low


def test_relaxation_to_equilibrium() -> None:
    """Standing water comes to the temperature that loses nothing, exponentially at the end."""
    rest = equilibrium()
    model, volume, surface = StreamTemperature(), 1e4, 5000.0 * 8.0 * 1e-6**0.26
    fine = Solver("kvaerno3", rtol=1e-9)
    low, high = (
        alone(model, {}, 1, 4, volume * (rest + d), fine, step=5 * DAY) for d in (-0.01, 0.01)
    )
    off = (high.states - low.states)[0, :, 1] / volume
    p = {k: q.default for k, q in model.spec.parameters.items()}
    wind = p["still_wind"] + 2 * p["moving_wind"]
    full = 610.8 * math.exp(17.27 * rest / (rest + 237.3))
    steep = full * 17.27 * 237.3 / (rest + 237.3) ** 2
    rate = 4 * 0.97 * 5.670374e-8 * (rest + 273.15) ** 3 + wind * (steep + 61) + p["bed_exchange"]
    times = torch.arange(1, 5, dtype=F64) * 5 * DAY
    true = 0.02 * torch.exp(-rate * surface / (C["CAPACITY"] * volume) * times)
    torch.testing.assert_close(off, true, rtol=1e-4, atol=0)
    middle = (high.states + low.states)[0, -1, 1] / (2 * volume)
    assert float(middle) == pytest.approx(rest, abs=1e-5)


def test_frost_makes_ice_and_keeps_the_heat() -> None:
    """Water stays at 0, a growing part of it is ice, and as much heat melts it as was lost."""
    cold = {"temperature": -25.0, "shortwave_down": 0.0, "vapour_pressure": 60.0, "discharge": 1.0,
            "total_inflow": 1.0, "groundwater_temperature": 0.0}  # fmt: skip
    solution = alone(StreamTemperature(), cold, 1, 80, heat=1e4, length=2e4, width=20.0)
    q = {k: v[0] for k, v in solution.fluxes.items()}
    assert float(q["water_temperature"][10:].max()) == 0.0
    share = q["ice_share"]
    assert 0 < float(share[20]) < 1 and bool((share.diff() >= -1e-12).all())
    assert bool((q["ice_cover"][10:] > 0).all()) and float(share.max()) <= 1
    assert float(solution.balance_error().max()) < 1e-12
    thaw = {"discharge": 1.0, "total_inflow": 1.0, "temperature": 30.0}
    warm = alone(StreamTemperature(), thaw, 1, 60, heat=float(solution.states[0, -1, 1]))
    assert float(solution.states[0, -1, 1]) < 0 and float(warm.fluxes["ice_share"][0, -1]) == 0
    assert float(warm.fluxes["water_temperature"][0, -1]) > 3


def test_a_reach_that_dries_out_stays_finite() -> None:
    """Gradients, too, and with water it comes back."""
    flow = torch.cat([torch.ones(10), torch.zeros(20), torch.ones(10)]).double()
    out = torch.where(torch.arange(40) == 9, 1 + 1e4 / DAY, flow)  # as it empties
    back = torch.where(torch.arange(40) == 30, 1 + 1e4 / DAY, flow)
    forcing = {"total_inflow": back, "discharge": out, "lateral_inflow": back, "heat_inflow": 0.0}
    width = torch.tensor(8.0, dtype=F64, requires_grad=True)
    solution = alone(StreamTemperature(), forcing, 1, 40, width=width)
    water = solution.fluxes["water_temperature"][0]
    assert abs(float(solution.states[0, 20, 0].detach())) < 1e-6
    assert bool(torch.isfinite(water).all()) and 5 < float(water[-1].detach()) < 25
    water.sum().backward()
    assert width.grad is not None and bool(torch.isfinite(width.grad))


def test_exchange_by_evaporation() -> None:
    """Latent heat is that of the evaporation given, and Bowen's ratio is that of the air."""
    model = StreamTemperature("evaporation")
    assert "wind_speed" not in model.spec.forcings and "still_wind" not in model.spec.parameters
    solution = alone(model, {"evaporation": 3e-8}, 1, 3)
    q = {k: v[0, 0] for k, v in solution.fluxes.items()}
    full = 610.8 * math.exp(17.27 * 15 / (15 + 237.3))
    bowen = 61.0 * (15.0 - float(q["water_temperature"])) / (full - 1200.0)
    assert float(q["sensible_heat"] / q["latent_heat"]) == pytest.approx(-bowen, rel=1e-9)
    surface = 5000.0 * 8.0 * 1e-6**0.26
    assert float(q["latent_heat"]) == pytest.approx(-1000 * 2.46e6 * 3e-8 * surface / 4.182e6)
    with pytest.raises(UnknownName, match="wind"):
        StreamTemperature("winds")
    with pytest.raises(ParameterError, match="no wind function"):
        closure = pdg.NeuralClosure(1, (3,), output_range=(0.0, 1.0))
        StreamTemperature("evaporation", closures={"wind": closure})


def test_engines_agree_over_a_river(julia: Any) -> None:
    sites = river()
    found = {
        name: simulated(hybrid_of(sites, name, "6h"), sites)["water_temperature"]
        for name in ("torch", "julia")
    }
    torch.testing.assert_close(found["torch"], found["julia"], rtol=1e-7, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"discharge": -1.0}, "'discharge' is -1 m3 s-1"),
        ({"lateral_inflow": -1.0}, "'lateral_inflow' is -1 m3 s-1"),
        ({"shade": 1.5}, "'shade' is 1.5 at column 0; it must not be above 1"),
        ({"ground_share": -0.5}, "'ground_share' is -0.5"),
    ],
)
def test_water_that_runs_up_and_shares_that_are_none(change: dict[str, float], words: str) -> None:
    model = StreamTemperature()
    forcing = dict.fromkeys(model.spec.forcings, 1.0)
    parameters = {k: v for k, v in change.items() if k not in forcing}
    forcing |= {k: v for k, v in change.items() if k in forcing}
    solver = Solver("implicit_euler", step=DAY)
    with pytest.raises((DataError, ParameterError), match=words):
        solve(model, forcing, parameters, [5e3, 5e4], [0.0, DAY], solver, "torch")
