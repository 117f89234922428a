"""Caravan, netCDF or CSV, and extensions in its layout.

Kratzert et al. (2023), doi:10.1038/s41597-023-01975-w.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path

import pandas as pd

from pydiffgeo.data.form import unit_of
from pydiffgeo.data.layouts.netcdf_files import open_netcdf
from pydiffgeo.data.layouts.series import columns_of, ends_of_csv, read_series
from pydiffgeo.data.layouts.source import (
    Request,
    Source,
    column,
    first_readable,
    names_of,
    nested,
    wanted_sites,
)
from pydiffgeo.data.layouts.tables_of_sites import join_tables, read_table
from pydiffgeo.data.variables import OBSERVED, convert, unit_changes
from pydiffgeo.errors import DataError, UnitError
from pydiffgeo.units import same_unit

# Units by the beginning of the name (Caravan's own table); the files state them only as text in an
# attribute.
UNITS = {
    "total_precipitation": "mm d-1",
    "potential_evaporation": "mm d-1",
    "streamflow": "mm d-1",
    "temperature_2m": "degC",
    "dewpoint_temperature_2m": "degC",
    "snow_depth_water_equivalent": "mm",
    "surface_net_solar_radiation": "W m-2",
    "surface_net_thermal_radiation": "W m-2",
    "surface_pressure": "kPa",
    "u_component_of_wind_10m": "m s-1",
    "v_component_of_wind_10m": "m s-1",
    "volumetric_soil_water_layer": "m3 m-3",
}
ATTRIBUTE_UNITS = {
    "gauge_lat": "degrees_north",
    "gauge_lon": "degrees_east",
    "area": "km2",
    "p_mean": "mm d-1",
    "pet_mean": "mm d-1",
    "pet_mean_ERA5_LAND": "mm d-1",
    "pet_mean_FAO_PM": "mm d-1",
    "ele_mt_sav": "m",
    "aridity": "1",
    "frac_snow": "1",
    "aridity_ERA5_LAND": "1",
    "aridity_FAO_PM": "1",
    "seasonality": "1",
    "moisture_index": "1",
}
KINDS = {"netcdf": ".nc", "csv": ".csv"}


def recognises(path: Path) -> bool:
    """Return whether the folder has time series in the layout of Caravan."""
    return nested(path, *(f"timeseries/{kind}" for kind in KINDS)) is not None


def open_source(path: Path, request: Request) -> Source:
    """Return Caravan as a source.

    netCDF is taken where both kinds are there, since CSV is much slower.

    Variables get the names of the site form where they are the same quantity, others keep
    Caravan's. The potential evaporation of ERA5-Land keeps its own name and is not the form's
    ``potential_evapotranspiration``: it is far too high in many sites (Clerc-Schwarzenbach et al.
    2024, doi:10.5194/hess-28-4219-2024). That by FAO Penman-Monteith, from version 1.5 on, is.

    Raises
    ------
    DataError
        No time series, or a file that cannot be read; site and file are named.
    """
    root = nested(path, *(f"timeseries/{kind}" for kind in KINDS))
    if root is None:
        raise DataError(
            f"no folder timeseries/netcdf or timeseries/csv in {path}; give the folder of the "
            "unpacked archive."
        )
    kind = next(kind for kind in KINDS if (root / "timeseries" / kind).is_dir())
    folder = root / "timeseries" / kind
    wanted = set(request.product)
    files = {
        file.stem: file
        for file in sorted(folder.glob(f"*/*{KINDS[kind]}"))
        if not wanted or file.parent.name in wanted
    }
    sites = wanted_sites(sorted(files), request.sites, folder)
    first, natives = first_readable(sites, lambda site: columns_of(files[site], site))
    names = names_of(natives, request, files[first])
    units = {native: request.unit(native, _unit(native)) for native in natives}
    factors = unit_changes(names, units, "Caravan")

    def read(site: str, wanted: Collection[str]) -> pd.DataFrame:
        chosen = [native for native in natives if names[native] in wanted]
        frame = read_series(
            files[site], site, chosen, [native for native in chosen if names[native] in OBSERVED]
        )
        for native in chosen:  # an extension may lack a variable, which then is missing
            frame[native] = (
                convert(frame[native].to_numpy(), *factors[native])
                if native in frame
                else float("nan")
            )
        return frame[chosen].rename(columns=names)

    @cache
    def span(site: str) -> tuple[pd.Timestamp, pd.Timestamp]:
        if kind == "csv":
            return ends_of_csv(files[site])
        days = read_series(files[site], site, ()).index
        return days[0], days[-1]

    if kind == "netcdf":
        told = {
            native: unit for native, unit in units.items() if request.unit(native, None) is None
        }
        _check_units(files[first], told)
    tables = []
    for source in sorted({files[site].parent.name for site in sites}):
        parts = sorted((root / "attributes" / source).glob("*.csv"))
        tables.append(
            join_tables([read_table(part, files) for part in parts], f"attributes/{source}")
        )
    columns = {names[native]: column(names[native], units[native]) for native in natives}
    attrs = {
        "title": "Caravan",
        "source": "Kratzert et al. 2023 (doi:10.1038/s41597-023-01975-w)",
        "license": "CC-BY-4.0",
    }
    return Source(sites, columns, read, span, pd.concat(tables), ATTRIBUTE_UNITS, attrs)


def _unit(native: str) -> str | None:
    return next((unit for beginning, unit in UNITS.items() if native.startswith(beginning)), None)


def _check_units(file: Path, units: Mapping[str, str | None]) -> None:
    """Refuse a file that states another unit than Caravan's, in a variable's attribute or in the
    text that all files have.
    """
    with open_netcdf(file) as opened:
        text = dict(re.findall(r"^(\w+):.*\[([^\]]*)\]", str(opened.attrs.get("Units", "")), re.M))
        for native, unit in units.items():
            named = next(
                (found for beginning, found in text.items() if native.startswith(beginning)), None
            )
            stated = unit_of(opened[native]) or named
            if stated is None or unit is None or same_unit(stated, unit):
                continue
            if stated == "mm" and unit == "mm d-1":  # the sum of a day
                continue
            raise UnitError(
                f"{native!r} of {file} is in {stated!r}, Caravan's is in {unit!r}; correct the "
                f"attribute, or tell the unit with units={{{native!r}: ...}}."
            )
