"""Attributes that some sites lack."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import xarray as xr

from pydiffgeo.data.network import below
from pydiffgeo.errors import DataError, lookup, nearest

log = logging.getLogger("pydiffgeo")
WAYS = ("median", "river")
SHOWN = 5  # sites in a message


def add_filled(
    sites: xr.Dataset, attributes: str | Sequence[str], by: str = "median"
) -> xr.Dataset:
    """Return records in which some attributes are filled where they are missing.

    The log says how many sites were filled, and which.

    Parameters
    ----------
    sites : xarray.Dataset
        Site form.
    attributes : str or sequence of str
        Which ones; numbers.
    by : {"median", "river"}
        By what: the median of all sites that have it; or the mean of the sites next above and below
        that have it, and the median where none has.

    Raises
    ------
    UnknownName, DataError
        No such way, no such attribute, or one that no site has.
    """
    lookup(dict.fromkeys(WAYS, by), by, "way to fill an attribute")
    found = {}
    for name in [attributes] if isinstance(attributes, str) else attributes:
        if name not in sites or sites[name].dims != ("site",):
            raise DataError(
                f"filled: no attribute {name!r} in the records{nearest(name, map(str, sites))}"
            )
        if sites[name].dtype.kind not in "iuf":
            raise DataError(f"filled: the attribute {name!r} is no number; take others.")
        values = sites[name].values.astype(float)
        lacks = np.isnan(values)
        if lacks.all():
            raise DataError(f"filled: no site has the attribute {name!r}; leave it out.")
        if not lacks.any():
            continue
        filled = np.where(lacks, np.median(values[~lacks]), values)
        if by == "river":
            near = _neighbours(sites, values)
            filled = np.where(lacks & ~np.isnan(near), near, filled)
        names = sites.site.values[lacks]
        log.info(
            "%s is missing at %d of %d sites and filled by the %s: %s%s", name, len(names),
            len(lacks), by, ", ".join(map(str, names[:SHOWN])), " ..." * (len(names) > SHOWN),
        )  # fmt: skip
        found[name] = ("site", filled, sites[name].attrs)
    return sites.assign(found)


def _neighbours(sites: xr.Dataset, values: np.ndarray) -> np.ndarray:
    """Return the mean of what the sites next to each have, NaN where none has anything."""
    down = below(sites)
    total, count = np.zeros(len(values)), np.zeros(len(values))
    upper = np.flatnonzero(down >= 0)
    for here, there in ((upper, down[upper]), (down[upper], upper)):
        known = ~np.isnan(values[there])
        np.add.at(total, here[known], values[there[known]])
        np.add.at(count, here[known], 1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
