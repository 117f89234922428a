"""CO2 inside a leaf by least cost, and the constants of Rubisco in it."""

from __future__ import annotations

import pytest
import torch

from pydiffgeo import optimal_chi
from pydiffgeo.errors import DataError, UnknownName
from pydiffgeo.models.leaves.configuration import Form
from pydiffgeo.models.leaves.temperature import distance
from pydiffgeo.models.leaves.traits import compensation_point, michaelis
from pydiffgeo.models.spec_files import load_spec

F64 = torch.float64
# pyrealm has its constants in Pa, and 209.476 mmol mol-1 of oxygen where this package has 209
PYREALM = {
    "K_c25": 39.97 / 0.101325,
    "K_o25": 27480 / 101.325 * 209 / 209.476,
    "Gamma_star25": 4.332 / 0.101325,
}
# degC: compensation point and Michaelis constant (Pa), and chi, of pyrealm's P-model at 101325 Pa,
# a deficit of 1 kPa and 400 umol mol-1
POINTS = {
    10.0: (1.93016, 19.62422, 0.558633),
    20.0: (3.33925, 46.09928, 0.694352),
    30.0: (5.57184, 108.91437, 0.804642),
}


@pytest.mark.parametrize("temperature", POINTS)
def test_pyrealm(temperature: float) -> None:
    t, pressure = (torch.tensor(x, dtype=F64) for x in (temperature, 101325.0))
    spec = load_spec("photosynthesis").parameters
    p = {k: torch.tensor(PYREALM.get(k, s.default), dtype=F64) for k, s in spec.items()}
    point, half, chi = POINTS[temperature]
    air, pascal = {"pressure": pressure}, 0.101325
    assert float(compensation_point(distance(t), air, p, Form())) * pascal == pytest.approx(
        point, rel=2e-5
    )
    assert float(michaelis(distance(t), air, p, Form())) * pascal == pytest.approx(half, rel=2e-5)
    found = optimal_chi(
        t, torch.tensor(1.0, dtype=F64), torch.tensor(400.0, dtype=F64), pressure,
        parameters=PYREALM,
    )  # fmt: skip
    assert float(found) == pytest.approx(chi, abs=1e-5)


def test_dry_air_and_high_mountains_lower_chi() -> None:
    t, vpd, co2, pressure = (
        torch.tensor(x, dtype=F64, requires_grad=True) for x in (20.0, 1.0, 400.0, 9e4)
    )
    chi = optimal_chi(t, vpd, co2, pressure)
    by = torch.autograd.grad(chi, [t, vpd, pressure])
    assert by[0] > 0 and by[1] < 0 and by[2] > 0 and 0 < chi < 1
    with pytest.raises(UnknownName, match="K_c25"):
        optimal_chi(t, vpd, co2, pressure, parameters={"Kc25": 400.0})


@pytest.mark.parametrize(
    ("weather", "message"),
    [((20.0, 1.0, 400.0, 101.3), "pressure is 101.3 Pa"), ((20.0, -0.1, 400.0, 1e5), "-0.1 kPa"),
     ((20.0, 1000.0, 400.0, 1e5), "1000 kPa"), ((293.0, 1.0, 400.0, 1e5), "293 degC")],
)  # fmt: skip
def test_weather_in_other_units_is_refused(weather: tuple[float, ...], message: str) -> None:
    with pytest.raises(DataError, match=message):
        optimal_chi(*(torch.tensor([x], dtype=F64) for x in weather))
