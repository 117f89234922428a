"""A small weather generator, for demonstrations and tests where no measured record is at hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyet
import xarray as xr


def synthetic_weather(
    seed: int, sites: int = 5, start: str = "2020-01-01", end: str = "2020-12-31"
) -> xr.Dataset:
    """Return daily weather of made-up sites of the temperate zone, dry to humid, in the site form.

    Wet days follow a two-state Markov chain with gamma amounts (Richardson 1981,
    doi:10.1029/WR017i001p00182); temperature is a yearly wave with autocorrelated noise, lower and
    less spread on wet days; radiation is clear-sky radiation times a cloudiness; humidity follows
    wetness.

    Parameters
    ----------
    seed : int
        The same seed gives the same weather.
    sites : int
        Number of sites, named S01, S02, ...
    start, end : str
        First and last day.

    Returns
    -------
    xarray.Dataset
        The forcing variables of `pydiffgeo.data.checks.FORCING`, with units.
    """
    random = np.random.default_rng(seed)
    days = pd.date_range(start, end)
    latitude = np.linspace(31.0, 44.0, sites)
    fields: dict[str, list[np.ndarray]] = {}
    for lat, humid in zip(latitude, np.linspace(0.2, 1.0, sites), strict=True):
        for name, values in _one_site(random, days, float(lat), float(humid)).items():
            fields.setdefault(name, []).append(values)
    units = {"precipitation": "mm d-1", "shortwave_down": "MJ m-2 d-1"}
    variables = {
        name: (
            ("site", "time"),
            np.stack(rows),
            {"units": units.get(name, "degC" if name.startswith("tair") else "percent")},
        )
        for name, rows in fields.items()
    }
    coords = {
        "site": [f"S{i + 1:02d}" for i in range(sites)],
        "time": days,
        "lat": ("site", latitude, {"units": "degrees_north"}),
    }
    return xr.Dataset(variables, coords, attrs={"source": f"synthetic weather, seed {seed}"})


def _one_site(
    random: np.random.Generator, days: pd.DatetimeIndex, lat: float, humid: float
) -> dict[str, np.ndarray]:
    n = len(days)
    season = -np.cos(
        2 * np.pi * (days.dayofyear.to_numpy() - 20) / 365.25
    )  # -1 in late January, 1 in late July
    after_dry, after_wet = 0.08 + 0.22 * humid, 0.35 + 0.25 * humid
    wet = np.zeros(n, dtype=bool)
    for day in range(1, n):
        wet[day] = random.random() < (after_wet if wet[day - 1] else after_dry)
    rain = np.where(wet, random.gamma(0.75, 6.0 + 6.0 * humid, n), 0.0)
    noise = np.zeros(n)
    for day in range(1, n):
        noise[day] = 0.7 * noise[day - 1] + random.normal(0.0, 2.0)
    mean = 24.0 - 0.6 * (lat - 25.0) + 10.5 * season + noise - np.where(wet, 1.5, 0.0)
    spread = np.where(wet, 7.0, 15.0 - 4.0 * humid) * random.uniform(0.8, 1.2, n)
    outside = np.asarray(pyet.extraterrestrial_r(days, float(np.deg2rad(lat)))).ravel()
    share = np.where(wet, random.uniform(0.15, 0.5, n), random.uniform(0.5, 0.75, n))
    humidity = np.clip(
        np.where(wet, 85.0, 40.0 + 30.0 * humid) + random.normal(0.0, 5.0, n), 15.0, 98.0
    )
    return {
        "precipitation": rain,
        "tair_mean": mean,
        "tair_min": mean - spread / 2,
        "tair_max": mean + spread / 2,
        "shortwave_down": share * outside,
        "rh_mean": humidity,
        "rh_min": np.maximum(humidity - 20.0, 5.0),
        "rh_max": np.minimum(humidity + 20.0, 100.0),
    }
