"""Leaves on both engines: states, fluxes and gradients agree."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from engine_parity import Draw, engines_apart, parameters_of_leaves, stomata_network

from pydiffgeo import Photosynthesis

COLUMNS, INTERVALS = 21, 3
WEATHER = {
    "par": (0.0, 2000.0), "leaf_temperature": (-5.0, 50.0), "vapour_pressure_deficit": (0.01, 8.0),
    "co2": (20.0, 2000.0), "pressure": (6e4, 1.02e5), "boundary_layer_conductance": (0.1, 3.0),
    "soil_water_stress": (0.05, 1.0), "stomatal_conductance": (0.01, 0.5),
    "intercellular_co2": (20.0, 1500.0), "air_temperature": (-5.0, 45.0),
    "vapour_pressure": (200.0, 3000.0), "shortwave": (0.0, 600.0), "longwave": (200.0, 450.0),
}  # fmt: skip


FORMS: dict[str, Callable[[], Photosynthesis]] = {
    "c3": Photosynthesis,
    "two pathways, leuning, every resistance": lambda: Photosynthesis(
        "both", "leuning", mesophyll=True, product_limit=True
    ),
    "c4, humidity at the surface": lambda: Photosynthesis(
        "c4", humidity_at="surface", co2_at="surface", kinetics="mole_fraction"
    ),
    "energy balance": lambda: Photosynthesis(energy_balance=True, ratios=False, smoothing="clm5"),
    "network beside the formula": lambda: Photosynthesis(closures=stomata_network(True)),
    "ball_berry": lambda: Photosynthesis(stomata="ball_berry", mesophyll=True),
    "ball_berry at the surface": lambda: Photosynthesis(
        "both", "ball_berry", humidity_at="surface", energy_balance=True
    ),
    "leuning at the surface": lambda: Photosynthesis(
        stomata="leuning", humidity_at="surface", mesophyll=True
    ),
    "buckley_mott_farquhar": lambda: Photosynthesis(stomata="buckley_mott_farquhar"),
    "measured": lambda: Photosynthesis(stomata="measured", mesophyll=True),
    "measured Ci": lambda: Photosynthesis(stomata="measured_ci", mesophyll=True, ratios=False),
    "ball_berry with an energy balance": lambda: Photosynthesis(
        "both", "ball_berry", energy_balance=True, mesophyll=True
    ),
}


@pytest.mark.parametrize("name", FORMS)
def test_engines_agree(julia: Any, name: str) -> None:
    model, draw = FORMS[name](), Draw()
    forcing = {k: draw(*WEATHER[k], COLUMNS, INTERVALS) for k in model.spec.forcings}
    parameters = parameters_of_leaves(model, draw, COLUMNS, INTERVALS)
    assert not engines_apart(model, (forcing, parameters), 20.0)
