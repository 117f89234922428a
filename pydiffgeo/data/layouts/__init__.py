"""Layouts of files that `open_basins` reads. Each gives a `Source`; a new one is a file here and an entry in `LOADERS`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from pydiffgeo.data.layouts import camels_us, caravan, generic, netcdf
from pydiffgeo.data.layouts.base import Column, Request, Source


class Loader(NamedTuple):
    """A layout of files.

    Attributes
    ----------
    title : str
        In words.
    recognises : callable
        Says whether a path has this layout.
    open_source : callable
        Returns the `Source` of a path.
    """

    title: str
    recognises: Callable[[Path], bool]
    open_source: Callable[[Path, Request], Source]


LOADERS: dict[str, Loader] = {
    "camels_us": Loader("CAMELS-US, original folders", camels_us.recognises, camels_us.open_source),
    "caravan": Loader("Caravan, netCDF or CSV", caravan.recognises, caravan.open_source),
    "generic": Loader("neuralhydrology's GenericDataset", generic.recognises, generic.open_source),
    "netcdf": Loader("one netCDF file", netcdf.recognises, netcdf.open_source),
}

__all__ = ["LOADERS", "Column", "Loader", "Request", "Source"]
