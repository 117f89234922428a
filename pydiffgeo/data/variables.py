"""The one xarray form of basin records: names, units and CF attributes of what varies in time.

Dimensions ``basin`` (text) and ``time`` (daily, without gaps in the calendar); coordinates ``lat``, ``lon`` (degrees) and
``elevation`` (m) per basin where they are known; static attributes are variables of dimension ``basin`` under the names of
the data set. The names are those of the station form (`pydiffgeo.data.checks`), so that both go through the same code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pydiffgeo.data.checks import SPELLINGS, Variable
from pydiffgeo.errors import UnitError

DIMS = ("basin", "time")


@dataclass(frozen=True)
class BasinVariable(Variable):
    """A variable of the basin form, with what CF asks for and the names that data sets give it."""

    long_name: str
    standard_name: str | None = None
    cell_methods: str | None = "time: mean"
    aliases: tuple[str, ...] = ()

    def attributes(self) -> dict[str, str]:
        """Return the CF attributes."""
        found = {"units": self.unit, "long_name": self.long_name, "standard_name": self.standard_name,
                 "cell_methods": self.cell_methods}  # fmt: skip
        return {key: value for key, value in found.items() if value is not None}


# Discharge as a depth has no CF standard name: those of discharge are volumes per time, those of runoff leave out the routing.
VARIABLES: dict[str, BasinVariable] = {
    "precipitation": BasinVariable(
        DIMS, "mm day-1", 0.0, 2000.0, "precipitation", "lwe_precipitation_rate",
        aliases=("prcp", "precip", "P", "pr", "total_precipitation_sum", "prcp(mm/day)", "PRCP(mm/day)"),
    ),
    "tair_mean": BasinVariable(
        DIMS, "degC", -90.0, 60.0, "daily mean air temperature", "air_temperature",
        aliases=("tmean", "tavg", "temperature", "temperature_2m_mean"),
    ),
    "tair_min": BasinVariable(
        DIMS, "degC", -90.0, 60.0, "daily minimum air temperature", "air_temperature", "time: minimum",
        aliases=("tmin", "temperature_2m_min", "tmin(C)", "Tmin(C)"),
    ),
    "tair_max": BasinVariable(
        DIMS, "degC", -90.0, 60.0, "daily maximum air temperature", "air_temperature", "time: maximum",
        aliases=("tmax", "temperature_2m_max", "tmax(C)", "Tmax(C)"),
    ),
    "shortwave_down": BasinVariable(
        DIMS, "MJ m-2 day-1", 0.0, 50.0, "global radiation", "surface_downwelling_shortwave_flux_in_air",
        aliases=("srad", "srad(W/m2)", "SRAD(W/m2)"),
    ),
    "vapour_pressure": BasinVariable(
        DIMS, "Pa", 0.0, 10000.0, "vapour pressure", "water_vapor_partial_pressure_in_air",
        aliases=("vp", "vp(Pa)", "Vp(Pa)"),
    ),
    "day_length": BasinVariable(
        DIMS, "s", 0.0, 86400.0, "time between sunrise and sunset", "duration_of_sunshine", None,
        aliases=("dayl", "dayl(s)", "Dayl(s)"),
    ),
    "snow_water_equivalent": BasinVariable(
        DIMS, "mm", 0.0, 20000.0, "snow water equivalent", "lwe_thickness_of_surface_snow_amount",
        aliases=("swe", "swe(mm)", "SWE(mm)", "snow_depth_water_equivalent_mean"),
    ),
    "potential_evapotranspiration": BasinVariable(
        DIMS, "mm day-1", 0.0, 30.0, "potential evapotranspiration",
        aliases=("pet", "PET", "potential_evaporation_sum_FAO_PENMAN_MONTEITH"),
    ),
    "discharge": BasinVariable(
        DIMS, "mm day-1", 0.0, 2000.0, "discharge per basin area",
        aliases=("qobs", "streamflow", "QObs(mm/d)", "discharge_spec", "qobs_mm_per_day"),
    ),
}  # fmt: skip

# known unit -> unit of the form: (factor, offset)
CONVERSIONS: dict[tuple[str, str], tuple[float, float]] = {
    ("W m-2", "MJ m-2 day-1"): (0.0864, 0.0),  # a mean over the whole day; over daylight: see `daylight_mean`
    ("kPa", "Pa"): (1000.0, 0.0),
    ("hPa", "Pa"): (100.0, 0.0),
    ("K", "degC"): (1.0, -273.15),
    ("degF", "degC"): (5.0 / 9.0, -160.0 / 9.0),
    ("kg m-2 s-1", "mm day-1"): (86400.0, 0.0),
    ("m day-1", "mm day-1"): (1000.0, 0.0),
    ("mm h-1", "mm day-1"): (24.0, 0.0),
    ("inch day-1", "mm day-1"): (25.4, 0.0),
    ("m", "mm"): (1000.0, 0.0),
    ("h", "s"): (3600.0, 0.0),
}
_SPELLED = {spelling: unit for unit, spellings in SPELLINGS.items() for spelling in spellings}
_KNOWN = {alias: name for name, variable in VARIABLES.items() for alias in (name, *variable.aliases)}


def canonical_name(name: str) -> str:
    """Return the name of the basin form for a data set's `name`; names that are not known stay as they are."""
    return _KNOWN.get(name, name)


def conversion(name: str, unit: str | None, where: str) -> tuple[float, float]:
    """Return factor and offset from `unit` to that of the variable `name` of the basin form.

    Parameters
    ----------
    name : str
        A name of `VARIABLES`; any other variable keeps its unit.
    unit : str or None
        As the data set spells it.
    where : str
        The variable and its file, for the message.

    Raises
    ------
    UnitError
        The unit is absent or no conversion is known.
    """
    if name not in VARIABLES:
        return 1.0, 0.0
    wanted = VARIABLES[name].unit
    if unit is None:
        raise UnitError(
            f"{where} has no unit, expected {wanted!r} or one that converts to it; set attrs['units'] in the file, "
            f"or pass units={{{name!r}: ...}}."
        )
    known = spelled(unit)
    if known == wanted:
        return 1.0, 0.0
    if known is not None and (known, wanted) in CONVERSIONS:
        return CONVERSIONS[known, wanted]
    known_units = sorted({wanted, *(a for a, b in CONVERSIONS if b == wanted)})
    raise UnitError(
        f"{where} has unit {unit!r}, which does not convert to {wanted!r}; known units are {', '.join(known_units)}. Convert "
        f"it yourself, or correct a wrong attribute with units={{{name!r}: ...}}."
    )


def spelled(unit: str) -> str | None:
    """Return the one spelling of a unit, or None where it is not known."""
    return _SPELLED.get(unit.strip())


def convert(values: NDArray, factor: float, offset: float) -> NDArray:
    """Return `values` in float64 times `factor` plus `offset`."""
    values = np.asarray(values, dtype=float)
    return values if (factor, offset) == (1.0, 0.0) else values * factor + offset


def daylight_mean(attributes: Mapping[str, object]) -> bool:
    """Return whether CF attributes say that a radiation is a mean over daylight, as Daymet's is, not over the day."""
    return "daylight" in f"{attributes.get('long_name', '')} {attributes.get('cell_methods', '')}".lower()
