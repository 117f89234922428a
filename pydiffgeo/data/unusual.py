"""Series whose values are possible, and yet hardly what they say: mostly they have another unit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pydiffgeo.data.form import stamp
from pydiffgeo.data.problems import Problem
from pydiffgeo.data.variables import VARIABLES

# by name: the range of the median of a site, and what a series beyond it often is
USUAL: dict[str, tuple[float, float, str]] = {
    "co2": (150.0, 1500.0, "Pa"),
    "vapour_pressure_deficit": (0.0, 6.0, "hPa"),
    "vapour_pressure": (20.0, 5000.0, "hPa or kPa"),
    "rh_mean": (2.0, 105.0, "parts of one"),
    "relative_humidity": (2.0, 105.0, "parts of one"),
    "tair_mean": (-60.0, 45.0, "degF"),
    "air_temperature": (-60.0, 45.0, "degF"),
}
PHOTONS = 4.57  # umol per J of photosynthetically active radiation, McCree (1972)
WATT = 1e6 / 86400.0  # W m-2 of a MJ m-2 d-1
# of two sensors; light in twilight is seen by one of them alone
SENSOR_SHARE, SENSOR_WATT = 1.2, 50.0


def unusual_problems(
    values: Mapping[str, NDArray], site: str, times: pd.Index
) -> Iterator[Problem]:
    """Return what is unusual in the forcing of one site, [time] by variable.

    A median out of `USUAL`, and light (``par``) that is more than its radiation
    (``shortwave_down``) holds.
    """
    for name, (low, high, other) in USUAL.items():
        known = values[name][np.isfinite(values[name])] if name in values else np.empty(0)
        if known.size and not low <= (middle := float(np.median(known))) <= high:
            text = (
                f"{name} of site {site} is {middle:g} {VARIABLES[name].unit} in the median, where "
                f"{low:g} to {high:g} are usual; convert it if it is in {other}."
            )
            yield Problem("unusual", site, name, "", "", 0, text)
    if "par" in values and "shortwave_down" in values:
        light, watts = values["par"], values["shortwave_down"] * WATT
        more = light > PHOTONS * (SENSOR_SHARE * watts + SENSOR_WATT)
        if more.any():
            first = int(more.argmax())
            text = (
                f"par of site {site} is more than its shortwave_down holds in {int(more.sum())} of "
                f"{len(times)} steps, first on {stamp(times[first])}: {light[first]:g} umol m-2 "
                f"s-1 beside {watts[first]:g} W m-2; correct one of them, or their units."
            )
            yield Problem("unusual", site, "par", "", "", 0, text)
