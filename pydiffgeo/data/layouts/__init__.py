"""Layouts of files that `open_sites` reads.

Each gives a `Source`; a new one is a file here and an entry in `LAYOUTS`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from pydiffgeo.data.layouts import (
    camels_us,
    caravan,
    flux_tower,
    generic,
    netcdf,
    own_csv,
    points,
    river,
    streams,
    uscrn,
)
from pydiffgeo.data.layouts.source import Column, Request, Source


class Layout(NamedTuple):
    """A layout of files.

    Attributes
    ----------
    title : str
        In words.
    recognises : callable
        Says whether a path has this layout.
    open_source : callable
        Returns the `Source` of a path and a `Request`; further arguments are options of the
        layout, by name.
    """

    title: str
    recognises: Callable[[Path], bool]
    open_source: Callable[..., Source]


LAYOUTS: dict[str, Layout] = {
    "camels_us": Layout("CAMELS-US, original folders", camels_us.recognises, camels_us.open_source),
    "caravan": Layout("Caravan, netCDF or CSV", caravan.recognises, caravan.open_source),
    "generic": Layout("neuralhydrology's GenericDataset", generic.recognises, generic.open_source),
    "uscrn": Layout("USCRN, one netCDF file", uscrn.recognises, uscrn.open_source),
    "river": Layout("a river network, netCDF or tables", river.recognises, river.open_source),
    "netcdf": Layout("one netCDF file", netcdf.recognises, netcdf.open_source),
    "zarr": Layout("one zarr folder", netcdf.recognises_zarr, netcdf.open_zarr),
    "points": Layout("tables with a row per point", points.recognises, points.open_source),
    "flux_tower": Layout("flux towers, half-hours", flux_tower.recognises, flux_tower.open_source),
    "streams": Layout("stations of streams, one table", streams.recognises, streams.open_source),
    "csv": Layout("own CSV files", own_csv.recognises, own_csv.open_source),
}

__all__ = ["LAYOUTS", "Column", "Layout", "Request", "Source"]
