"""The rates of the package's HBV for any array library, and the weather of the benchmark.

The peers' environment has no pydiffgeo: what they integrate is written once more here.
`tests/stages/test_explicit_hbv.py` compares it with the package.
"""

from __future__ import annotations

from typing import Any

import numpy as np

# names, in the order of the package's specification, with the bounds of each
BOUNDS = {
    "BETA": (1.0, 6.0),
    "FC": (50.0, 1000.0),
    "K0": (0.05, 0.9),
    "K1": (0.01, 0.5),
    "K2": (0.001, 0.2),
    "LP": (0.2, 1.0),
    "PERC": (0.0, 10.0),
    "UZL": (0.0, 100.0),
    "TT": (-2.5, 2.5),
    "CFMAX": (0.5, 10.0),
    "CFR": (0.0, 0.1),
    "CWH": (0.0, 0.2),
    "BETAET": (0.3, 5.0),
}
INITIAL = np.array([20.0, 1.0, 150.0, 10.0, 30.0])  # mm
FORCING = ("precipitation", "temperature", "potential_evapotranspiration")


def weather(basins: int, days: int, seed: int = 1) -> dict[str, np.ndarray]:
    """Synthetic weather `[basin, day]`."""
    random = np.random.default_rng(seed)
    season = np.cos(2 * np.pi * (np.arange(days) - 20) / 365)
    amount = random.gamma(0.8, 9.0, (basins, days)) * (random.random((basins, days)) < 0.35)
    warmth = random.uniform(-3, 3, (basins, 1))
    temperature = 8 - 10 * season + warmth + random.normal(0, 3, (basins, days))
    potential = np.maximum(0.2, 2.2 - 2 * season) * np.ones((basins, 1))
    return dict(zip(FORCING, (amount, temperature, potential), strict=True))


def parameters(basins: int, seed: int = 2) -> dict[str, np.ndarray]:
    """Parameters `[basin]` within the middle half of their bounds."""
    random = np.random.default_rng(seed)
    return {
        k: low + (high - low) * random.uniform(0.25, 0.75, basins)
        for k, (low, high) in BOUNDS.items()
    }


def rates(state: Any, forcing: Any, p: Any, xp: Any) -> tuple[list[Any], Any]:
    """Rates of the five stores, mm d-1, and the discharge.

    Parameters
    ----------
    state : sequence of the five stores
    forcing : precipitation, temperature, potential evapotranspiration
    p : mapping of the parameters
    xp : torch, or jax.numpy
    """
    snow, melt_water, soil, upper, lower = state
    precipitation, temperature, potential = forcing

    def within(x: Any, width: float) -> Any:
        return xp.clip(x / (6 * width) + 0.5, 0, 1)

    def positive(x: Any, width: float) -> Any:
        s = within(x, width)
        return 3 * width * s**3 * (2 - s) + xp.clip(x - 3 * width, 0, None)

    def available(store: Any) -> Any:
        return store / (abs(store) + 1.0)

    above = temperature - p["TT"]
    warmth = positive(above, 0.5)
    s = within(above, 0.5)
    rain = precipitation * s * s * (3 - 2 * s)
    melt = p["CFMAX"] * warmth * available(snow)
    refreezing = p["CFR"] * p["CFMAX"] * (warmth - above) * available(melt_water)
    released = 2 * positive(melt_water - p["CWH"] * snow, 0.5) * available(melt_water)
    infiltration = rain + released
    wetness = soil / p["FC"]
    log_wetness = xp.log(xp.clip(soil, 1e-6, None) / p["FC"])
    recharge = (
        infiltration * xp.exp(p["BETA"] * log_wetness) + 2 * positive(soil - p["FC"], 1.0) * wetness
    )
    log_share = -positive(xp.log(p["LP"]) - log_wetness, 0.15)
    evapotranspiration = potential * xp.exp(p["BETAET"] * log_share) * available(soil)
    percolation = p["PERC"] * available(upper)
    above_limit = upper - p["UZL"]
    brim = (above_limit + xp.sqrt(above_limit**2 + 1)) / 2
    quick = p["K0"] * brim * available(upper)
    fast, slow = quick + p["K1"] * upper, p["K2"] * lower
    changes = [
        precipitation - rain - melt + refreezing,
        melt - refreezing - released,
        infiltration - recharge - evapotranspiration,
        recharge - percolation - fast,
        percolation - slow,
    ]
    return changes, fast + slow
