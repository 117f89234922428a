"""A small weather generator, for demonstrations and tests where no measured record is at hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyet
import xarray as xr

from pydiffgeo.data.derive.sun import sun_elevation
from pydiffgeo.errors import DataError


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


def tower_weather(weather: xr.Dataset, hours: float, ahead_of_utc: float = -8.0) -> xr.Dataset:
    """Return daily weather in steps of some hours, with what else a flux tower measures.

    Radiation follows the sun, temperature the time of day; wind is by day; leaves and soil follow
    the season.

    Parameters
    ----------
    weather : xarray.Dataset
        As `synthetic_weather` returns it, with ``vapour_pressure``.
    hours : float
        Length of a step, such as 0.5; a day has a whole number of them.
    ahead_of_utc : float
        Hours by which the times are ahead of UTC: those of the middle of a time zone.

    Raises
    ------
    DataError
        A day is no whole number of steps.
    """
    count = round(24 / hours)
    if hours <= 0 or abs(count * hours - 24) > 1e-9 or count < 2:
        raise DataError(f"steps of {hours} hours do not divide a day; give 0.5, 1 or 3.")
    step, days = pd.Timedelta(hours=hours), pd.DatetimeIndex(weather.time.values)
    times = pd.date_range(days[0] + step, periods=len(days) * count, freq=step)
    longitude = np.full(weather.sizes["site"], 15.0 * ahead_of_utc)
    middle = times - step / 2
    utc = middle - pd.Timedelta(hours=ahead_of_utc)
    sine = np.sin(np.deg2rad(sun_elevation(utc, weather.lat.values, longitude))).clip(0.0)
    by_day = sine.reshape(len(longitude), -1, count)
    shape = (by_day / by_day.mean(-1, keepdims=True)).reshape(sine.shape)
    clock = middle.hour.to_numpy() + middle.minute.to_numpy() / 60
    warm = np.cos(2 * np.pi * (clock - 14) / 24)
    season = -np.cos(2 * np.pi * (times.dayofyear.to_numpy() - 20) / 365.25)
    daily = {str(k): np.repeat(v.values, count, 1) for k, v in weather.data_vars.items()}
    units = {str(k): v.attrs["units"] for k, v in weather.data_vars.items()}
    wind = 2.5 + 1.5 * warm + 0 * sine
    found = {
        "shortwave_down": (daily["shortwave_down"] * shape, units["shortwave_down"]),
        "precipitation": (daily["precipitation"], "mm d-1"),
        "air_temperature": (
            daily["tair_mean"] + 0.5 * (daily["tair_max"] - daily["tair_min"]) * warm,
            "degC",
        ),
        "vapour_pressure": (daily["vapour_pressure"], units["vapour_pressure"]),
        "wind_speed": (wind, "m s-1"),
        "friction_velocity": (0.12 * wind, "m s-1"),
        "co2": (410.0 - 15 * warm + 0 * sine, "umol mol-1"),
        "pressure": (1e5 + 600 * np.sin(np.arange(len(times)) * hours / 20) + 0 * sine, "Pa"),
        "leaf_area_index": (2.0 + 1.2 * season + 0 * sine, "m2 m-2"),
        "soil_temperature": (12.0 + 9.0 * season + 0 * sine, "degC"),
        "soil_moisture": (0.22 - 0.1 * season + 0 * sine, "1"),
    }
    variables = {  # what may be observed drives a canopy here
        k: (("site", "time"), v, {"units": unit, "role": "forcing"})
        for k, (v, unit) in found.items()
    }
    coords = {"site": weather.site, "time": times, "lat": weather.lat, "lon": ("site", longitude)}
    return xr.Dataset(variables, coords, attrs=weather.attrs)


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
