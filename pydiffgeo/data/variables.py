"""The one table of variables.

Names, units, CF attributes, what is observed, and the range of possible values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pydiffgeo.units import conversion, conversions


@dataclass(frozen=True)
class Variable:
    """A variable in time: unit, possible range, CF attributes, names in data sets."""

    unit: str
    lower: float
    upper: float
    long_name: str
    standard_name: str | None = None
    cell_methods: str | None = "time: mean"
    aliases: tuple[str, ...] = ()

    def attributes(self) -> dict[str, str]:
        """Return the CF attributes."""
        found = {
            "units": self.unit,
            "long_name": self.long_name,
            "standard_name": self.standard_name,
            "cell_methods": self.cell_methods,
        }
        return {key: value for key, value in found.items() if value is not None}


# Discharge as a depth has no CF standard name: those of discharge are volumes per time, those of
# runoff leave out the routing.
VARIABLES: dict[str, Variable] = {
    "precipitation": Variable(
        "mm d-1",
        0.0,
        2000.0,
        "precipitation",
        "lwe_precipitation_rate",
        aliases=(
            "prcp",
            "precip",
            "P",
            "pr",
            "total_precipitation_sum",
            "prcp(mm/day)",
            "PRCP(mm/day)",
        ),
    ),
    "tair_mean": Variable(
        "degC",
        -90.0,
        60.0,
        "mean air temperature",
        "air_temperature",
        aliases=("tmean", "tavg", "temperature", "temperature_2m_mean"),
    ),
    "tair_min": Variable(
        "degC",
        -90.0,
        60.0,
        "minimum air temperature",
        "air_temperature",
        "time: minimum",
        aliases=("tmin", "temperature_2m_min", "tmin(C)", "Tmin(C)"),
    ),
    "tair_max": Variable(
        "degC",
        -90.0,
        60.0,
        "maximum air temperature",
        "air_temperature",
        "time: maximum",
        aliases=("tmax", "temperature_2m_max", "tmax(C)", "Tmax(C)"),
    ),
    "shortwave_down": Variable(
        "MJ m-2 d-1",
        0.0,
        130.0,
        "global radiation",
        "surface_downwelling_shortwave_flux_in_air",
        aliases=("srad", "srad(W/m2)", "SRAD(W/m2)"),
    ),
    "vapour_pressure": Variable(
        "Pa",
        0.0,
        10000.0,
        "vapour pressure",
        "water_vapor_partial_pressure_in_air",
        aliases=("vp", "vp(Pa)", "Vp(Pa)"),
    ),
    "day_length": Variable(
        "s",
        0.0,
        86400.0,
        "time between sunrise and sunset",
        "duration_of_sunshine",
        None,
        aliases=("dayl", "dayl(s)", "Dayl(s)"),
    ),
    "snow_water_equivalent": Variable(
        "mm",
        0.0,
        20000.0,
        "snow water equivalent",
        "lwe_thickness_of_surface_snow_amount",
        aliases=("swe", "swe(mm)", "SWE(mm)", "snow_depth_water_equivalent_mean"),
    ),
    "potential_evapotranspiration": Variable(
        "mm d-1",
        0.0,
        30.0,
        "potential evapotranspiration",
        aliases=("pet", "PET", "potential_evaporation_sum_FAO_PENMAN_MONTEITH"),
    ),
    "discharge": Variable(
        "mm d-1",
        0.0,
        2000.0,
        "discharge per site area",
        aliases=("qobs", "q_obs", "streamflow", "QObs(mm/d)", "discharge_spec", "qobs_mm_per_day"),
    ),
    "lateral_inflow": Variable(
        "m3 s-1",
        -1e5,
        1e5,
        "inflow from the land along a reach",
        aliases=("qprime", "q_lateral", "q_ext", "q_lat", "qlat"),
    ),
    "rh_mean": Variable("percent", 0.0, 105.0, "mean relative humidity", "relative_humidity"),
    "rh_min": Variable(
        "percent", 0.0, 105.0, "minimum relative humidity", "relative_humidity", "time: minimum"
    ),
    "rh_max": Variable(
        "percent", 0.0, 105.0, "maximum relative humidity", "relative_humidity", "time: maximum"
    ),
    "cloud_cover": Variable("1", 0.0, 1.0, "cloud cover", "cloud_area_fraction"),
    "soil_temperature": Variable("degC", -60.0, 80.0, "soil temperature", "soil_temperature"),
    "water_temperature": Variable("degC", -5.0, 60.0, "water temperature", "water_temperature"),
    "light": Variable(
        "umol m-2 s-1",
        0.0,
        4000.0,
        "photosynthetically active radiation at a stream",
        "surface_downwelling_photosynthetic_photon_flux_in_air",
    ),
    "relative_discharge": Variable("1", 0.0, 1e4, "discharge in parts of its mean"),
    "water_depth": Variable("m", 0.0, 200.0, "mean depth of a stream"),
    "dissolved_oxygen": Variable("mg L-1", 0.0, 60.0, "dissolved oxygen"),
    "soil_moisture": Variable(
        "m3 m-3", 0.0, 1.0, "volumetric soil moisture", "volume_fraction_of_condensed_water_in_soil"
    ),
    "satellite_soil_moisture": Variable("m3 m-3", 0.0, 1.0, "soil moisture seen by a satellite"),
    "air_temperature": Variable("degC", -90.0, 60.0, "air temperature", "air_temperature"),
    "leaf_temperature": Variable("degC", -60.0, 70.0, "leaf temperature"),
    "par": Variable(
        "umol m-2 s-1",
        0.0,
        4000.0,
        "photosynthetically active radiation, photons",
        "surface_downwelling_photosynthetic_photon_flux_in_air",
    ),
    "co2": Variable(
        "umol mol-1", 0.0, 10000.0, "carbon dioxide", "mole_fraction_of_carbon_dioxide_in_air"
    ),
    "intercellular_co2": Variable(
        "umol mol-1", 0.0, 10000.0, "carbon dioxide in the spaces between the cells of a leaf"
    ),
    "pressure": Variable("Pa", 30000.0, 115000.0, "air pressure", "surface_air_pressure"),
    "vapour_pressure_deficit": Variable(
        "kPa", 0.0, 20.0, "vapour pressure deficit", "water_vapor_saturation_deficit_in_air"
    ),
    "relative_humidity": Variable("percent", 0.0, 105.0, "relative humidity", "relative_humidity"),
    "assimilation": Variable("umol m-2 s-1", -100.0, 200.0, "net assimilation of a leaf"),
    "stomatal_conductance": Variable(
        "mol m-2 s-1", 0.0, 10.0, "stomatal conductance of water vapour"
    ),
    "boundary_layer_conductance": Variable(
        "mol m-2 s-1", 0.0, 100.0, "conductance of the boundary layer of a leaf, of water vapour"
    ),
    "wind_speed": Variable("m s-1", 0.0, 100.0, "wind speed", "wind_speed"),
    "friction_velocity": Variable("m s-1", 0.0, 15.0, "friction velocity"),
    "leaf_area_index": Variable("m2 m-2", 0.0, 30.0, "leaf area index", "leaf_area_index"),
    "vegetation_height": Variable("m", 0.0, 150.0, "height of the vegetation"),
    "latent_heat": Variable(
        "W m-2", -500.0, 2000.0, "latent heat flux", "surface_upward_latent_heat_flux"
    ),
    "sensible_heat": Variable(
        "W m-2", -1000.0, 2000.0, "sensible heat flux", "surface_upward_sensible_heat_flux"
    ),
    "net_radiation": Variable(
        "W m-2", -500.0, 1500.0, "net radiation", "surface_net_downward_radiative_flux"
    ),
    "ground_heat_flux": Variable(
        "W m-2", -500.0, 1000.0, "heat flux into the soil", "downward_heat_flux_in_soil"
    ),
    "net_ecosystem_exchange": Variable(
        "umol m-2 s-1", -150.0, 150.0, "net ecosystem exchange, negative where carbon is taken up"
    ),
    "soil_respiration": Variable("umol m-2 s-1", 0.0, 100.0, "respiration of the soil"),
}
VOLUME = "m3 s-1"
# Variables that are another quantity where sites are reaches of a river, told by their unit
RIVER: dict[str, Variable] = {
    "discharge": Variable(VOLUME, 0.0, 1e6, "discharge", "water_volume_transport_in_river_channel"),
}
# Attributes: the range outside of which one is impossible. The beginnings of names come last and
# hold for what is not above.
ATTRIBUTES: dict[str, tuple[float, float]] = {
    "lat": (-90.0, 90.0),
    "gauge_lat": (-90.0, 90.0),
    "latitude": (-90.0, 90.0),
    "lon": (-180.0, 360.0),
    "gauge_lon": (-180.0, 360.0),
    "longitude": (-180.0, 360.0),
    "elevation": (-500.0, 9000.0),
    "elev_mean": (-500.0, 9000.0),
    "ele_mt_sav": (-500.0, 9000.0),
    "slope_mean": (0.0, 5000.0),
    "p_mean": (0.0, 100.0),
    "q_mean": (0.0, 100.0),
    "p_seasonality": (-10.0, 10.0),
    "frac_snow": (0.0, 1.0),
    "frac_forest": (0.0, 1.0),
    "soil_porosity": (0.0, 1.0),
    "theta_s": (0.0, 1.0),
    "theta_r": (0.0, 1.0),
    "saturated_water_content": (0.0, 1.0),
    "geol_porostiy": (0.0, 1.0),
    "soil_moisture_percent": (0.0, 1000.0),
    "soil_conductivity": (0.0, 10000.0),
    "max_water_content": (0.0, 1000.0),
    "carbonate_rocks_frac": (0.0, 1.0),
    "dom_land_cover_frac": (0.0, 1.0),
    "glim_1st_class_frac": (0.0, 1.0),
    "glim_2nd_class_frac": (0.0, 1.0),
    "sand_frac": (0.0, 100.0),
    "silt_frac": (0.0, 100.0),
    "clay_frac": (0.0, 100.0),
    "water_frac": (0.0, 100.0),
    "organic_frac": (0.0, 100.0),
    "other_frac": (0.0, 100.0),
    "runoff_ratio": (0.0, 100.0),
    "pet_mean": (0.0, 100.0),
    "aridity": (0.0, 10000.0),
    "area": (0.0, 1e8),
    "lai_": (0.0, 50.0),
    "gvf_": (0.0, 1.0),
    "soil_depth_": (0.0, 10000.0),
    "root_depth_": (0.0, 1000.0),
    "high_prec_freq": (0.0, 366.0),
    "low_prec_freq": (0.0, 366.0),
    "high_prec_dur": (0.0, 10000.0),
    "low_prec_dur": (0.0, 10000.0),
    "high_q_": (0.0, 10000.0),
    "low_q_": (0.0, 10000.0),
    "zero_q_freq": (0.0, 100.0),
}
# gaps of these are no fault of a record
OBSERVED = (
    "discharge",
    "soil_moisture",
    "satellite_soil_moisture",
    "soil_temperature",
    "water_temperature",
    "dissolved_oxygen",
    "assimilation",
    "latent_heat",
    "sensible_heat",
    "net_ecosystem_exchange",
)
# of variables and attributes that are in no table above: fill values such as 1e20 lie outside
FALLBACK = (-1e12, 1e12)
# numbers that stand for "missing" in files; where a variable has no range of its own, none of them
# is taken for a measurement
FILL_VALUES = (
    -999.0,
    -9999.0,
    -99999.0,
    -999999.0,
    -9999999.0,
    -999.9,
    -999.99,
    -9999.9,
    -32768.0,
    -2147483648.0,
)
ROUNDING = 1e-6  # by which numbers that were packed as integers may leave their range

_KNOWN = {
    alias: name for name, variable in VARIABLES.items() for alias in (name, *variable.aliases)
}


def canonical_name(name: str) -> str:
    """Return the name of the site form for a data set's `name`.

    Names that are not known stay as they are.
    """
    return _KNOWN.get(name, name)


def unit_changes(
    named: Mapping[str, str], units: Mapping[str, str | None], where: str, river: bool = False
) -> dict[str, tuple[float, float]]:
    """Return factor and offset that turn each variable of a file into the unit of the site form.

    Parameters
    ----------
    named : mapping of str to str
        Name in the file to name of the form; a variable that is not in `VARIABLES` keeps its unit.
    units : mapping of str to (str or None)
        By name in the file, as it spells it.
    where : str
        The file, for the message.
    river : bool
        Whether the sites are reaches, whose discharge may be a volume per time.

    Raises
    ------
    UnitError
        Units that are absent or do not convert; all such variables are named.
    """
    wanted = {
        native: (units[native], known.unit)
        for native, name in named.items()
        if (known := variable_of(name, units[native] or VOLUME if river else None)) is not None
    }
    changes = conversions(wanted, where, ", or pass units={name: ...}")
    return {native: changes.get(native, (1.0, 0.0)) for native in named}


def variable_of(name: str, unit: str | None = None) -> Variable | None:
    """Return a variable of the table, or None: that of a river, where the unit says so."""
    river = RIVER.get(name)
    if river is not None and unit is not None and conversion(unit, river.unit) is not None:
        return river
    return VARIABLES.get(name)


def limits(name: str, unit: str | None = None) -> tuple[float, float]:
    """Return the range outside of which a value of a variable or attribute is impossible.

    `FALLBACK` where none is known. A forcing product at the end of a name, as in
    ``precipitation_nldas``, changes nothing.
    """
    if name in ATTRIBUTES:
        return ATTRIBUTES[name]
    known = variable_of(name, unit) if name in RIVER else None
    if known is None:  # the longest name: a vapour pressure deficit is no vapour pressure
        found = [n for n in VARIABLES if name == n or name.startswith(n + "_")]
        known = VARIABLES[max(found, key=len)] if found else None
    if known is not None:
        return known.lower, known.upper
    return next(
        (range_ for n, range_ in ATTRIBUTES.items() if len(n) > 3 and name.startswith(n)), FALLBACK
    )


def find_impossible(name: str, values: NDArray, unit: str | None = None) -> NDArray:
    """Return where `values` of a variable or attribute are infinite or outside of `limits`, or a
    fill value; not where NaN.
    """
    lower, upper = limits(name, unit)
    bad = (values < lower - ROUNDING) | (values > upper * (1 + ROUNDING)) | np.isinf(values)
    if (lower, upper) == FALLBACK:
        for fill in FILL_VALUES:
            bad |= np.abs(values - fill) < 1e-6 * abs(fill)
    return bad


def convert(values: NDArray, factor: float, offset: float) -> NDArray:
    """Return `values` in float64 times `factor` plus `offset`."""
    values = np.asarray(values, dtype=float)
    return values if (factor, offset) == (1.0, 0.0) else values * factor + offset


def without_rounding(name: str, values: NDArray) -> NDArray:
    """Return values, those below the range of the variable by no more than `ROUNDING` at its end.

    No rain is -1e-9.
    """
    lower = limits(name)[0]
    below = (values < lower) & (values >= lower - ROUNDING)
    return np.where(below, values.dtype.type(lower), values) if below.any() else values


def daylight_mean(attributes: Mapping[str, object]) -> bool:
    """Return whether CF attributes say that a radiation is a mean over daylight.

    As Daymet's is, not over the day.
    """
    texts = (str(attributes.get(key, "")) for key in ("long_name", "cell_methods", "units", "unit"))
    return "daylight" in " ".join(texts).lower()
