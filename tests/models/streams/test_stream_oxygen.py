"""Oxygen of streams: published saturation, an analytic day, and what may not happen."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from pydiffgeo import NeuralClosure, Solver, StreamOxygen, solve
from pydiffgeo.errors import ParameterError
from pydiffgeo.models.streams.stream_oxygen import (
    air_pressure,
    oxygen_saturation,
    schmidt_oxygen,
)

F64 = torch.float64
# mg L-1 at one atmosphere: APHA, Standard Methods, table 4500-O:I (Benson & Krause 1984)
TABLE = {0.0: 14.621, 5.0: 12.770, 10.0: 11.288, 15.0: 10.084, 20.0: 9.092, 25.0: 8.263,
         30.0: 7.559, 35.0: 6.949, 40.0: 6.412}  # fmt: skip


def test_saturation_of_the_tables() -> None:
    t = torch.tensor(list(TABLE), dtype=F64)
    found = oxygen_saturation(t)
    assert float((found - torch.tensor(list(TABLE.values()), dtype=F64)).abs().max()) < 1.1e-3


def test_saturation_under_pressure() -> None:
    """Dry air: in proportion to the pressure; water that boils holds none."""
    t = torch.tensor([0.0, 20.0], dtype=F64)
    half = oxygen_saturation(t, 0.5 * 1013.25) / oxygen_saturation(t)
    assert bool(((half < 0.5) & (half > 0.485)).all())
    vapour = 1013.25 * math.exp(11.8571 - 3840.70 / 293.15 - 216961 / 293.15**2)
    assert abs(vapour - 23.4) < 0.1  # hPa, at 20 degC
    assert float(oxygen_saturation(t[1:], vapour)) == pytest.approx(0, abs=1e-12)


def test_air_pressure_of_the_standard_atmosphere() -> None:
    for altitude, told in ((0.0, 1013.25), (1000.0, 898.7), (2000.0, 794.9), (3000.0, 701.1)):
        assert float(air_pressure(altitude)) == pytest.approx(told, abs=0.15)


def test_schmidt_number_is_600_near_18_degrees() -> None:
    assert 480 < float(schmidt_oxygen(torch.tensor(20.0, dtype=F64))) < 600
    assert float(schmidt_oxygen(torch.tensor(0.0, dtype=F64))) == 1568.0


def test_constant_forcing(engine: str) -> None:
    """Oxygen goes exponentially to saturation + (GPP + ER) / (z K)."""
    p = {"GPP": 4.0, "ER": -6.0, "K600": 8.0, "mean_light": 300.0}
    forcing = {"light": 450.0, "water_temperature": 20.0, "water_depth": 0.4, "pressure": 950.0}
    twenty = torch.tensor(20.0, dtype=F64)
    rate = 8.0 * math.sqrt(600 / float(schmidt_oxygen(twenty)))
    end = float(oxygen_saturation(twenty, 950.0)) + (4.0 * 1.5 - 6.0) / 0.4 / rate
    assert end == pytest.approx(float(oxygen_saturation(twenty, 950.0)))
    p["ER"] = -5.0
    end += 1.0 / 0.4 / rate
    t = torch.arange(1, 49, dtype=F64) / 48
    true = end + (5.0 - end) * torch.exp(-rate * t)
    times = torch.arange(49, dtype=F64) / 48
    solver = Solver("kvaerno3", rtol=1e-6)
    s = solve(StreamOxygen(), forcing, p, [5.0], times, solver, engine)
    torch.testing.assert_close(s.states[0, :, 0], true, rtol=1e-5, atol=1e-5)


def test_warmth_speeds_up_what_lives() -> None:
    """Ten degrees more: by theta^10, in a stream without exchange."""
    p = {"GPP": 0.0, "ER": -2.0, "K600": 1e-9, "theta_ER": 1.06}
    used = []
    for temperature in (10.0, 20.0):
        forcing = {"light": 0.0, "water_temperature": temperature, "water_depth": 0.5,
                   "pressure": 1000.0}  # fmt: skip
        s = solve(
            StreamOxygen(), forcing, p, [9.0], [0.0, 0.5], Solver("sdirk2", step=0.1), "torch"
        )
        used.append(9.0 - float(s.states[0, -1, 0]))
    assert used[1] == pytest.approx(2.0 / 0.5 * 0.5, rel=1e-6)
    assert used[1] / used[0] == pytest.approx(1.06**10, rel=1e-6)


def test_slots_begin_as_their_formulas() -> None:
    t = torch.arange(97, dtype=F64) / 48
    light: Tensor = (800 * torch.sin(2 * math.pi * (t[1:] - 0.25))).clamp_min(0.0)
    forcing = {"light": light, "water_temperature": 14 + 3 * torch.sin(6.28 * (t[1:] - 0.4)),
               "water_depth": 0.3, "pressure": 980.0}  # fmt: skip
    closures = {
        "gpp": NeuralClosure(2, (4,), output_range=(0.0, 20.0), residual=True),
        "gas_exchange": NeuralClosure(1, (4,), output_range=(0.0, 10.0), residual=True),
    }
    solver = Solver("implicit_euler", step=1 / 48)
    plain, begun = (
        solve(m, forcing, {}, [9.0], t, solver, "torch").states
        for m in (StreamOxygen(), StreamOxygen(closures=closures))
    )
    torch.testing.assert_close(begun, plain, rtol=1e-9, atol=1e-9)
    assert float(plain.max()) > float(plain.min()) + 1


def test_respiration_that_would_give_oxygen_is_refused() -> None:
    forcing = {"light": 500.0, "water_temperature": 15.0, "water_depth": 0.4, "pressure": 1000.0}
    solver = Solver("implicit_euler", step=1 / 24)
    with pytest.raises(ParameterError, match="'ER' is 6; .* below 0"):
        solve(StreamOxygen(), forcing, {"ER": 6.0}, [9.0], [0.0, 1 / 24], solver, "torch")


def test_ten_thousand_streams_keep_their_oxygen() -> None:
    """Whatever lives in it, the oxygen is not negative, and its balance closes."""
    columns, steps, g = 10_000, 96, torch.Generator().manual_seed(0)
    t = torch.arange(steps + 1, dtype=F64) / 48

    def drawn(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(columns, generator=g, dtype=F64)

    model = StreamOxygen()
    p = {k: drawn(s.lower, s.upper) for k, s in model.spec.parameters.items() if s.learn}
    light = (drawn(0, 2000)[:, None] * torch.sin(2 * math.pi * (t[1:] - 0.25))).clamp_min(0.0)
    forcing = {"light": light, "water_temperature": drawn(0, 30)[:, None].expand(-1, steps),
               "water_depth": drawn(0.05, 3)[:, None].expand(-1, steps),
               "pressure": drawn(600, 1050)[:, None].expand(-1, steps)}  # fmt: skip
    s = solve(model, forcing, p, [8.0], t, Solver("implicit_euler", step=1 / 48), "torch")
    assert not s.failed and float(s.states.min()) > -1e-9
    assert float(s.balance_error().max()) < 1e-9
