"""air2stream: published tables, what is known by hand, and what may not happen."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from pydiffgeo import Air2Stream, NeuralClosure, Solution, Solver, solve
from pydiffgeo.errors import ParameterError, UnknownName
from pydiffgeo.models.streams.air2stream import VERSIONS

F64 = torch.float64
DAILY = Solver("implicit_euler", step=1.0)
RIVERS = ("MAH_2369", "SIO_2011", "DAV_2327")
LIMIT = 2.785  # d-1: explicit Runge-Kutta of order 4 with steps of a day is stable below


def tensor(x: Any) -> Tensor:
    return torch.as_tensor(np.array(x, dtype=float), dtype=F64)


@cache
def record(file: Path, river: str) -> tuple[dict[str, Tensor], Tensor]:
    """Forcing with its first year twice, and water temperatures of the calibration."""
    table = pd.read_csv(file, parse_dates=["date"])
    table = table[(table.station == river) & (table.part == "calibration")]
    days = table.date.dt.dayofyear / (365 + table.date.dt.is_leap_year)
    forcing = {
        "temperature": table.air_temp_degC,
        "relative_discharge": table.discharge_m3s / table.discharge_m3s.mean(),
        "year_fraction": days,
    }
    twice = {k: torch.cat([tensor(v)[:365], tensor(v)])[None] for k, v in forcing.items()}
    return twice, tensor(table.water_temp_degC)


def published(file: Path) -> list[tuple[str, int, dict[str, Tensor], float]]:
    rows = []
    for _, row in pd.read_csv(file).iterrows():
        names = [f"a{i}" for i in range(1, 9) if f"a{i}" not in VERSIONS[row.version]]
        rows.append((row.station, row.version, {k: tensor([row[k]]) for k in names}, row.rmse_cal))
    return rows


def rmse(simulated: Tensor, observed: Tensor) -> float:
    known = torch.isfinite(observed)
    return float((simulated[-len(observed) :] - observed)[known].square().mean().sqrt())


def linear(version: int, forcing: dict[str, Tensor], p: dict[str, Tensor]) -> np.ndarray:
    """Heat and loss of each day in dT/dt = heat - loss T above 0 degC, as the model's rates say."""
    model, p = Air2Stream(version), p | {"shift": torch.zeros(1, dtype=F64)}
    at = [
        model.rates(torch.full((1, 1), x, dtype=F64), {k: v.T for k, v in forcing.items()},
                    {k: v[:, None] for k, v in p.items()})[:, 0]
        for x in (0.0, 1.0)
    ]  # fmt: skip
    return torch.stack([at[0], at[0] - at[1]], -1).numpy()


def crank_nicolson(coefficients: np.ndarray) -> Tensor:
    """The scheme of Piccolroaz et al. (2016), with the weather of the day at its end."""
    t, out = 4.0, [4.0]
    for (heat, loss), (next_heat, next_loss) in zip(coefficients, coefficients[1:], strict=False):
        t = max((t + 0.5 * (heat - loss * t + next_heat)) / (1 + 0.5 * next_loss), 0.0)
        out.append(t)
    return tensor(out)


def runge_kutta(coefficients: np.ndarray) -> Tensor:
    """The scheme of Toffolon & Piccolroaz (2015): explicit, of order 4, with steps of a day."""
    t, out = 4.0, [4.0]
    for before, after in zip(coefficients, coefficients[1:], strict=False):
        (h0, l0), (h2, l2) = before, after
        h1, l1 = 0.5 * (before + after)
        k1 = h0 - l0 * t
        k2 = h1 - l1 * (t + 0.5 * k1)
        k3 = h1 - l1 * (t + 0.5 * k2)
        k4 = h2 - l2 * (t + k3)
        t = max(min(t + (k1 + 2 * k2 + 2 * k3 + k4) / 6, 1e6), 0.0)
        out.append(t)
    return tensor(out)


TABLES = {
    "air2stream_published_ERL2015.csv": (runge_kutta, 0.0061),
    "air2stream_published_HP2016_3rivers.csv": (crank_nicolson, 0.0006),
}


@pytest.mark.parametrize("table", TABLES)
def test_published_errors(shared_data: Callable[[str], Path], table: str) -> None:
    """Our rates in the schemes of the papers give all 30 published errors of calibration."""
    file = shared_data("stream_temperature/air2stream_swiss_daily.csv")
    scheme, tolerance = TABLES[table]
    for river, version, p, told in published(shared_data(f"stream_temperature/{table}")):
        forcing, observed = record(file, river)
        found = rmse(scheme(linear(version, forcing, p)), observed)
        assert abs(found - told) < tolerance, (river, version, found, told)


def test_published_parameters_are_stable_here(shared_data: Callable[[str], Path]) -> None:
    """Where the loss of a day passes the limit of explicit steps, they fail; ours do not."""
    file = shared_data("stream_temperature/air2stream_swiss_daily.csv")
    table = shared_data("stream_temperature/air2stream_published_HP2016_3rivers.csv")
    failed = 0
    for river, version, p, told in published(table):
        forcing, observed = record(file, river)
        coefficients = linear(version, forcing, p)
        explicit = rmse(runge_kutta(coefficients), observed)
        failed += explicit > told + 0.1
        if coefficients[:, 1].max() < LIMIT:
            assert explicit < told + 0.1
        days = range(forcing["temperature"].shape[1] + 1)
        ours = solve(Air2Stream(version), forcing, p, [10.0], days, DAILY, "torch")
        daily = ours.fluxes["water_temperature"][0]
        assert bool((daily >= 0).all()) and float(daily.max()) < 30
        assert rmse(daily, observed) < told + 0.01, (river, version)
    assert failed == 10  # of 15


def test_daily_means_of_the_trapezoid_are_those_of_crank_nicolson(
    shared_data: Callable[[str], Path], julia: Any
) -> None:
    """The published scheme with the weather at both ends of a step is, shifted by half a step, the
    trapezoidal rule with the weather of the day; what is left is ice.
    """
    file = shared_data("stream_temperature/air2stream_swiss_daily.csv")
    table = published(shared_data("stream_temperature/air2stream_published_HP2016_3rivers.csv"))
    solver, none = Solver("trapezoid", step=1.0), torch.zeros(1, dtype=F64)
    for river in RIVERS:
        forcing, observed = record(file, river)
        days = range(forcing["temperature"].shape[1] + 1)
        # versions without a parameter are those in which it is 0, but for that of five
        of_river = [row for row in table if row[0] == river and row[1] != 5]
        names = Air2Stream().spec.parameters
        p = {k: torch.cat([row[2].get(k, none) for row in of_river]) for k in names}
        ours = solve(Air2Stream(), forcing, p, [4.0], days, solver, "julia")
        for (_, version, _, told), daily in zip(
            of_river, ours.fluxes["water_temperature"], strict=True
        ):
            found = rmse(daily, observed)
            near = 0.014 if river == "DAV_2327" else 0.01  # the Dischmabach freezes
            assert abs(found - told) < near, (river, version)


def test_relaxation(engine: str) -> None:
    """Constant weather: T goes to (a1 + a2 Ta + a5 theta) / (a3 + a8 theta) exponentially."""
    p = {"a1": 1.0, "a2": 0.5, "a3": 0.6, "a4": 0.3, "a5": 2.0, "a6": 0.0, "a7": 0.5, "a8": 0.2}
    theta, air, days = 2.0, 12.0, 40
    forcing = {"temperature": air, "relative_discharge": theta, "year_fraction": 0.3}
    heat, loss = 1.0 + 0.5 * air + 2.0 * theta, 0.6 + 0.2 * theta
    end, rate = heat / loss, loss * theta**-0.3
    t = torch.arange(1, days + 1, dtype=F64)
    true = end + (3.0 - end) * torch.exp(-rate * t)
    solver = Solver("kvaerno3", rtol=1e-6)
    s = solve(Air2Stream(), forcing, p, [3.0], range(days + 1), solver, engine)
    torch.testing.assert_close(s.states[0, :, 0], true, rtol=1e-5, atol=1e-5)


def weather(columns: int, days: int, seed: int = 0) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(seed)
    t = torch.arange(days) / 365.0
    noise = torch.randn(columns, days, generator=g, dtype=F64)
    cold = 25 * torch.rand(columns, 1, generator=g, dtype=F64)
    air = 15 - cold - 15 * torch.cos(2 * math.pi * t) + 5 * noise
    theta = torch.exp(1.2 * torch.randn(columns, days, generator=g, dtype=F64))
    return {"temperature": air, "relative_discharge": theta,
            "year_fraction": (t % 1).expand(columns, -1)}  # fmt: skip


def drawn(columns: int, model: Air2Stream, seed: int = 0) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(seed)
    return {
        k: p.lower + (p.upper - p.lower) * torch.rand(columns, generator=g, dtype=F64)
        for k, p in model.spec.parameters.items()
    }


def run(model: Air2Stream, forcing: dict[str, Tensor], p: Any) -> Solution:
    days = forcing["temperature"].shape[1]
    return solve(model, forcing, p, [8.0], range(days + 1), DAILY, "torch")


def test_versions_are_nested() -> None:
    """The smaller versions are the largest with parameters that do nothing."""
    forcing, whole = weather(4, 60), drawn(4, Air2Stream())
    nothing = torch.zeros(4, dtype=F64)
    for version in (3, 4, 7):
        p = {k: v for k, v in whole.items() if k not in VERSIONS[version]}
        s = run(Air2Stream(version), forcing, p)
        other = run(Air2Stream(), forcing, whole | dict.fromkeys(VERSIONS[version], nothing))
        torch.testing.assert_close(
            s.fluxes["water_temperature"], other.fluxes["water_temperature"], rtol=1e-9, atol=1e-9
        )  # fmt: skip


@pytest.mark.parametrize("version", VERSIONS)
def test_ten_thousand_streams(version: int) -> None:
    """Any parameters and weather: no failure, heat that balances, no ice above and no steam."""
    columns = 2000  # of each version
    model, forcing = Air2Stream(version), weather(columns, 400, version)
    p = drawn(columns, model, version)
    p["a3"] = 0.05 + p["a3"]
    s = run(model, forcing, p)
    daily, end = s.fluxes["water_temperature"], s.states[..., 0]
    assert not s.failed and bool((daily >= 0).all())
    warmed = sum(s.fluxes[k] for k in ("air_exchange", "inflow_exchange", "freezing"))
    change = end.diff(dim=1)
    assert float((warmed[:, 1:] - change).abs().max()) < 1e-9 * float(end.abs().max())
    thawed = s.fluxes["freezing"] > 0
    assert bool((daily[thawed] == 0).all()) and bool(thawed.any())


def test_ice_costs_heat(engine: str) -> None:
    """A frozen stream stays at 0 degC, and the heat of freezing is what the air takes."""
    p = {"a1": 0.0, "a2": 0.5, "a3": 0.5}
    forcing = {"temperature": -10.0, "relative_discharge": 1.0, "year_fraction": 0.0}
    s = solve(Air2Stream(3), forcing, p, [2.0], range(60), DAILY, engine)
    assert float(s.fluxes["water_temperature"][0, -1]) == 0.0
    torch.testing.assert_close(s.fluxes["freezing"][0, -1], -s.fluxes["air_exchange"][0, -1],
                               rtol=1e-6, atol=1e-6)  # fmt: skip
    assert -1.0 < float(s.states[0, -1, 0]) < 0


class Formula(nn.Module):
    """The formula of a slot as a module of torch."""

    def __init__(self, slot: str, parameters: dict[str, float]) -> None:
        super().__init__()
        self.formula = Air2Stream().formula(slot, parameters)

    def forward(self, x: Tensor) -> Tensor:
        return self.formula(*x.unbind(-1))


def test_slots_hold_their_formulas() -> None:
    """A module that gives the formula changes nothing; a shift of one degree warms by that."""
    numbers = {"a4": 0.3, "a5": 2.0, "a6": 1.5, "a7": 0.6}
    whole = {k: float(p.default) for k, p in Air2Stream().spec.parameters.items()} | numbers
    forcing = weather(3, 100)
    forcing["temperature"] = forcing["temperature"].abs()
    plain = run(Air2Stream(), forcing, whole).fluxes["water_temperature"]
    closures = {k: Formula(k, numbers) for k in ("depth", "inflow")}
    filled = Air2Stream(closures=closures)
    assert set(filled.spec.parameters) == {"a1", "a2", "a3", "a8", "shift"}
    p = {k: v for k, v in whole.items() if k in filled.spec.parameters}
    torch.testing.assert_close(run(filled, forcing, p).fluxes["water_temperature"], plain)
    beside = NeuralClosure(3, (4,), output_range=(-30.0, 30.0), residual=True)
    begun = run(Air2Stream(closures={"inflow": beside}), forcing, whole)
    torch.testing.assert_close(begun.fluxes["water_temperature"], plain)
    warmer = run(Air2Stream(), forcing, whole | {"shift": 1.0}).fluxes["water_temperature"]
    assert float((warmer - plain - 1)[:, 40:].abs().max()) < 1e-3


def test_refused() -> None:
    with pytest.raises(UnknownName, match="version '6'"):
        Air2Stream(6)
    with pytest.raises(ParameterError, match="version=8"):
        Air2Stream(5, {"depth": Formula("depth", {})})
    forcing = {"temperature": 1.0, "relative_discharge": 1.0, "year_fraction": 0.0}
    with pytest.raises(ParameterError, match="'a3' is -0.1"):
        solve(Air2Stream(), forcing, {"a3": -0.1}, [1.0], range(3), DAILY, "torch")
