"""Places of sites, which what follows the sun or the height needs."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pydiffgeo.data.variables import find_impossible, limits
from pydiffgeo.errors import DataError, listed

SHOWN = 10  # sites in a message


def places_of(sites: xr.Dataset, names: tuple[str, ...], what: str) -> list[NDArray[np.float64]]:
    """Return coordinates or attributes of sites, such as ``lat``, [site] each.

    Parameters
    ----------
    sites : xarray.Dataset
        Site form.
    names : tuple of str
        Which.
    what : str
        What needs them, for the message.

    Raises
    ------
    DataError
        A site has none, or one that no site on earth has: a fill value, or other units.
    """
    ids = sites.site.values.astype(str)
    found = []
    for name in names:
        there = name in sites.variables
        values = sites[name].values.astype(float) if there else np.full(len(ids), np.nan)
        unknown = ids[np.isnan(values)]
        if len(unknown):
            raise DataError(
                f"{len(unknown)} sites have no {name!r}: {listed(unknown, SHOWN)}; {what} needs "
                "it: add it to their attributes, or leave them out."
            )
        wrong = find_impossible(name, values)
        if wrong.any():
            low, high = limits(name)
            shown = [f"{site} ({value:g})" for site, value in zip(ids, values, strict=True)]
            raise DataError(
                f"{int(wrong.sum())} sites have a {name!r} outside of [{low:g}, {high:g}]: "
                f"{listed(np.array(shown)[wrong], SHOWN)}; {what} needs it: correct it, or leave "
                "them out."
            )
        found.append(values)
    return found
