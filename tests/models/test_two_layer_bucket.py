"""Two layers of soil: limits known by hand, a recession in closed form, water that is conserved,
and dry and wet extremes.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import pydiffgeo as pdg
from pydiffgeo import Solver, TwoLayerBucket, solve
from pydiffgeo.errors import ParameterError

F64 = torch.float64
MODEL = TwoLayerBucket()
DRY = {
    "precipitation": 0.0,
    "temperature": 15.0,
    "potential_evaporation": 0.0,
    "potential_transpiration": 0.0,
}
DAILY = Solver("implicit_euler", step=1.0)


def at(state: list[float], forcing: dict[str, float], **changes: float) -> dict[str, float]:
    """Rates by state and fluxes by name, mm d-1."""
    p = {k: changes.get(k, s.default) for k, s in MODEL.spec.parameters.items()}
    given, weather = ({k: torch.full((1, 1), v, dtype=F64) for k, v in x.items()}
                      for x in (p, {**DRY, **forcing}))  # fmt: skip
    e = MODEL.evaluate(torch.tensor([state], dtype=F64), weather, given, fluxes=True)
    names = [*MODEL.spec.states, *MODEL.spec.fluxes]
    return dict(zip(names, torch.cat([e.rates[0], e.fluxes[0]]).tolist(), strict=True))


def capacity(depth: float) -> float:
    return (0.45 - 0.05) * depth  # theta_s - theta_r, by default


def test_formulas_far_from_their_thresholds() -> None:
    half, low = capacity(50.0) / 2, capacity(500.0) / 4
    moist = at([0.0, half, low], {}, exchange=2.0, K_s=80.0, K_d=30.0, b=1.0, s_star=0.8)
    assert moist["surface_soil_moisture"] == pytest.approx(0.05 + 0.2)
    assert moist["root_zone_soil_moisture"] == pytest.approx(0.05 + 0.1)
    # thresholds are exact 45 % away from them
    assert moist["percolation"] == pytest.approx(80.0 * 0.5**5)
    assert moist["drainage"] == pytest.approx(30.0 * 0.25**5)
    assert moist["capillary_rise"] == pytest.approx(2.0 * (0.25 - 0.5))
    demand = {"potential_evaporation": 3.0, "potential_transpiration": 4.0}
    dry = at([0.0, half / 2, low], demand, s_evaporation=1.0, s_star=0.8, root_share=0.3)
    assert dry["evaporation"] == pytest.approx(3.0 * 0.25)
    assert dry["transpiration"] == pytest.approx(4.0 * 0.25 / 0.8)
    rain = at([0.0, 0.0, 2 * low], {"precipitation": 20.0}, BETA=2.0)
    assert rain["runoff"] == pytest.approx(20.0 * 0.5**2)


def test_snow_falls_and_melts() -> None:
    cold = at([100.0, 5.0, 50.0], {"precipitation": 6.0, "temperature": -15.0})
    assert cold["snow"] == pytest.approx(6.0, abs=1e-6)
    warm = at([1e5, 5.0, 50.0], {"temperature": 4.0}, CFMAX=2.5)
    assert warm["snow"] == pytest.approx(-2.5 * 4.0, rel=1e-3)
    assert warm["snow"] + warm["surface"] + warm["root_zone"] == pytest.approx(
        -warm["runoff"] - warm["drainage"]
    )


def test_drying_by_evaporation_is_exponential(engine: str) -> None:
    """W(t) = W(0) exp(-t E / (s_evaporation capacity)) far below the threshold."""
    p = {"K_s": 1e-9, "K_d": 1e-9, "exchange": 1e-9, "s_evaporation": 1.5}
    forcing = {**DRY, "potential_evaporation": 2.0}
    begin = torch.tensor([[0.0, 4.0, 10.0]], dtype=F64)
    solver = Solver("kvaerno3", rtol=1e-7)
    s = solve(TwoLayerBucket(), forcing, p, begin, range(31), solver, engine)
    true = 4.0 * np.exp(-2.0 / (1.5 * capacity(50.0)) * np.arange(1, 31))
    np.testing.assert_allclose(s.states[0, :, 1].numpy(), true, rtol=2e-6)
    np.testing.assert_allclose(s.states[0, :, 2].numpy(), 10.0, rtol=1e-6)


def test_layers_come_to_the_same_saturation(engine: str) -> None:
    """Without gravity and demand; and as fast as two stores with a linear exchange."""
    p = {"K_s": 1e-12, "K_d": 1e-12, "exchange": 3.0}
    upper, lower = capacity(50.0), capacity(500.0)
    begin = torch.tensor([[0.0, 0.0, 0.3 * lower]], dtype=F64)
    s = solve(TwoLayerBucket(), DRY, p, begin, range(41), Solver("kvaerno3", rtol=1e-6), engine)
    s1, s2 = s.states[0, :, 1] / upper, s.states[0, :, 2] / lower
    rate, end = 3.0 * (1 / upper + 1 / lower), 0.3 * lower / (upper + lower)
    assert float(s1[-1]) == pytest.approx(end, rel=2e-3) == pytest.approx(float(s2[-1]), rel=2e-3)
    day = torch.arange(1, 41, dtype=F64)
    np.testing.assert_allclose((s2 - s1).numpy(), 0.3 * torch.exp(-rate * day), atol=2e-4)


def test_years_of_storms_and_drought_conserve_water(engine: str) -> None:
    """Days of 300 mm on a full soil and a year without rain, anywhere within the bounds."""
    g = torch.Generator().manual_seed(0)
    columns, days = 50, 730
    spec = MODEL.spec.parameters
    p = {
        k: s.lower + (s.upper - s.lower) * torch.rand(columns, generator=g, dtype=F64)
        for k, s in spec.items()
    }
    rain = 20 * torch.rand(columns, days, generator=g, dtype=F64) ** 4
    rain[:, 100:103], rain[:, 365:] = 300.0, 0.0
    season = -torch.cos(torch.arange(days, dtype=F64) * 2 * math.pi / 365)
    forcing = {
        "precipitation": rain,
        "temperature": 5 + 20 * season,
        "potential_evaporation": 3 + 3 * season,
        "potential_transpiration": 3 + 3 * season,
    }
    s = solve(MODEL, forcing, p, MODEL.start(p), range(days + 1), DAILY, engine)
    assert not s.failed and float(s.balance_error().max()) < 1e-9
    assert float(s.states.min()) > -1e-9
    for layer in ("surface", "root_zone"):
        theta = s.fluxes[f"{layer}_soil_moisture"]
        assert bool((theta >= p["theta_r"][:, None] - 1e-9).all()), layer
    top = s.fluxes["surface_soil_moisture"]
    # a layer holds at most what spills at SPILL a day beside what it is given
    assert float((top - p["theta_s"][:, None]).amax()) < 300.0 / 2.0 / 20.0
    assert bool((s.fluxes["transpiration"] <= forcing["potential_transpiration"] + 1e-9).all())
    assert bool((s.fluxes["evaporation"] <= forcing["potential_evaporation"] + 1e-9).all())


def test_start_is_the_initial_saturation() -> None:
    begin = MODEL.start({"initial_saturation": torch.tensor([0.2, 0.7], dtype=F64)})
    torch.testing.assert_close(begin["surface"], torch.tensor([0.2, 0.7], dtype=F64) * 20.0)
    torch.testing.assert_close(begin["root_zone"], torch.tensor([0.2, 0.7], dtype=F64) * 200.0)


def test_wrong_order_of_water_contents_is_refused() -> None:
    begin = torch.zeros(1, 3, dtype=F64)
    with pytest.raises(ParameterError, match="'theta_s'.*must be above 'theta_r'"):
        solve(MODEL, DRY, {"theta_r": 0.5, "theta_s": 0.4}, begin, range(2), DAILY, "torch")


def test_probes_between_the_layers() -> None:
    """By hand: the middles are at 2.5 and 32.5 cm."""
    probes = pdg.stages.Probes(
        ("surface_soil_moisture", "root_zone_soil_moisture"), depths=[1.0, 2.5, 17.5, 50.0],
        middles=[2.5, 32.5],
    )  # fmt: skip
    known = pdg.stages.base.Known({}, np.timedelta64(1, "D"), [])  # type: ignore[arg-type]
    probes.bind(known)
    series = {k: torch.full((1, 2), v) for k, v in zip(probes.reads, (0.1, 0.3), strict=True)}
    found = probes(series, {}, None)["soil_moisture"]
    torch.testing.assert_close(found[0, 0], torch.tensor([0.1, 0.1, 0.2, 0.3]))
