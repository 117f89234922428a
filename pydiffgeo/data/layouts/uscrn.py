"""US Climate Reference Network: daily soil moisture, soil temperature and weather.

One netCDF file with the dimensions station, time and depth; Bell et al. (2013),
doi:10.1175/JHM-D-12-0146.1.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pydiffgeo.data.layouts import netcdf
from pydiffgeo.data.layouts.netcdf_files import open_netcdf
from pydiffgeo.data.layouts.source import Request, Source

CITED = {
    "title": "US Climate Reference Network, daily",
    "source": "Bell et al. 2013 (doi:10.1175/JHM-D-12-0146.1), NOAA",
}


def recognises(path: Path) -> bool:
    """Return whether the path is a netCDF file of the network: its name or title says so."""
    return netcdf.recognises(path) and "uscrn" in path.name.lower()


def open_source(path: Path, request: Request) -> Source:
    """Return stations as a source; soil moisture and soil temperature are profiles, observed.

    Raises
    ------
    DataError
        The file cannot be read or has no dimensions for stations and times.
    UnitError
        Known variables have no unit, or one that does not convert.
    """
    source = netcdf.source_of(open_netcdf(path), path, request)
    return replace(source, attrs=CITED | dict(source.attrs))
