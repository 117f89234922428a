"""Columns whose names end with their unit, and what instruments and towers call their variables."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pydiffgeo.data.layouts.source import Request, base_of
from pydiffgeo.data.variables import canonical_name

HEADER = re.compile(r"^(.*?)\s*[\[(]([^\])]*)[\])]$")
# endings of names, longest first, and the units that they stand for
SUFFIXES: dict[str, str] = {
    "_umol_m2_s": "umol m-2 s-1",
    "_mmol_m2_s": "mmol m-2 s-1",
    "_umol_mol": "umol mol-1",
    "_mol_m2_s": "mol m-2 s-1",
    "_mm_30min": "mm h-1",  # times `FACTORS`
    "_percent": "percent",
    "_m3_m3": "m3 m-3",
    "_m2_m2": "m2 m-2",
    "_W_m2": "W m-2",
    "_g_m2": "g m-2",
    "_degC": "degC",
    "_degN": "degrees_north",
    "_degE": "degrees_east",
    "_kPa": "kPa",
    "_hPa": "hPa",
    "_m_s": "m s-1",
    "_Pa": "Pa",
    "_cm2": "cm2",
    "_mm": "mm",
    "_g": "g",
    "_m": "m",
}
FACTORS = {"_mm_30min": 2.0}
# What variables are called by gas exchange systems (LI-6400, LI-6800), in tables of leaves and by
# flux towers: the name of the package, and the unit where the column states none.
KNOWN: dict[str, tuple[str, str | None]] = {
    "A": ("assimilation", "umol m-2 s-1"),
    "Photo": ("assimilation", "umol m-2 s-1"),
    "Ci": ("intercellular_co2", "umol mol-1"),
    "Ca": ("co2", "umol mol-1"),
    "CO2": ("co2", None),
    "CO2S": ("co2", "umol mol-1"),
    "PAR": ("par", None),
    "Qin": ("par", "umol m-2 s-1"),
    "PARi": ("par", "umol m-2 s-1"),
    "PARin": ("par", "umol m-2 s-1"),
    "PPFD": ("par", None),
    "Tleaf": ("leaf_temperature", "degC"),
    "Tair": ("air_temperature", "degC"),
    "gsw": ("stomatal_conductance", "mol m-2 s-1"),
    "Cond": ("stomatal_conductance", "mol m-2 s-1"),
    "gbw": ("boundary_layer_conductance", "mol m-2 s-1"),
    "BLCond": ("boundary_layer_conductance", "mol m-2 s-1"),
    "E": ("transpiration", "mol m-2 s-1"),
    "Trmmol": ("transpiration", "mmol m-2 s-1"),
    "VPDleaf": ("vapour_pressure_deficit", "kPa"),
    "VpdL": ("vapour_pressure_deficit", "kPa"),
    "VPD": ("vapour_pressure_deficit", "kPa"),
    "RH": ("relative_humidity", "percent"),
    "RHcham": ("relative_humidity", "percent"),
    "Pair": ("pressure", "kPa"),
    "Patm": ("pressure", "kPa"),
    "Pa": ("pressure", "kPa"),
    "Press": ("pressure", "kPa"),
    "SWin": ("shortwave_down", None),
    "eair": ("vapour_pressure", None),
    "wind": ("wind_speed", None),
    "ustar": ("friction_velocity", None),
    "Tsoil": ("soil_temperature", None),
    "SWC": ("soil_moisture", None),
    "veg_height": ("vegetation_height", None),
    "LAI": ("leaf_area_index", "m2 m-2"),
    "precip": ("precipitation", None),
    "LE": ("latent_heat", None),
    "H": ("sensible_heat", None),
    "Rnet": ("net_radiation", None),
    "G": ("ground_heat_flux", None),
    "NEE": ("net_ecosystem_exchange", None),
    "Rsoil": ("soil_respiration", None),
}
PLACES = {"lat_degN": "lat", "lon_degE": "lon"}


def parted(native: str) -> tuple[str, str | None]:
    """Return name and unit of a column, "Tleaf_degC" or "Tleaf [degC]"; None for no unit."""
    found = HEADER.match(native)
    if found:
        return found[1], found[2]
    ending = next((end for end in SUFFIXES if native.endswith(end) and native != end), None)
    return (native, None) if ending is None else (native.removesuffix(ending), SUFFIXES[ending])


def factor_of(native: str) -> float:
    """Return what turns values of a column into the unit that `parted` gives: 2 for "mm_30min"."""
    return next((value for end, value in FACTORS.items() if native.endswith(end)), 1.0)


def name_of(native: str, names: Mapping[str, str]) -> str:
    """Return the name of the site form: that of `names`, a known one, or that without its unit."""
    bare = parted(native)[0]
    known = KNOWN[bare][0] if bare in KNOWN else canonical_name(bare)
    return names.get(native, names.get(bare, known))


def unit_for(native: str, name: str, request: Request) -> str | None:
    """Return the unit of a column: the caller's, the one it states, or that of its instrument."""
    bare, stated = parted(native)
    told = (
        request.units[key] for key in (native, bare, name, base_of(name)) if key in request.units
    )
    return next(told, stated or KNOWN.get(bare, ("", None))[1])
