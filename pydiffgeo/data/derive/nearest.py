"""Attributes of the nearest site of other records, such as soil from a map."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pydiffgeo.errors import DataError, listed, nearest

log = logging.getLogger("pydiffgeo")

EARTH = 6371.0  # km, radius


def nearest_names(attributes: str | Sequence[str]) -> list[str]:
    """Return the attributes that `add_nearest` gives."""
    return [attributes] if isinstance(attributes, str) else list(attributes)


def add_nearest(sites: xr.Dataset, attributes: str | Sequence[str], of: str | Path) -> xr.Dataset:
    """Return records in which sites that lack some attributes have those of the nearest site.

    The log says how many sites, and how far the nearest one is at most.

    Parameters
    ----------
    sites : xarray.Dataset
        Site form, with the coordinates ``lat`` and ``lon`` (degrees).
    attributes : str or sequence of str
        Numbers. What a site has stays as it is.
    of : str or Path
        Records with these attributes and coordinates, as `open_sites` finds them.

    Raises
    ------
    DataError
        No such file, attribute or coordinate there.
    """
    names = nearest_names(attributes)
    lacks = {
        name: ~np.isfinite(sites[name].values.astype(float))
        if name in sites
        else np.ones(sites.sizes["site"], bool)
        for name in names
    }
    lost = np.any(list(lacks.values()), 0)
    if not lost.any():
        return sites
    from pydiffgeo.data.sites import open_sites  # which derives, too

    others = open_sites(of)
    for name in names:
        if name not in others or others[name].dims != ("site",):
            known = [str(n) for n, v in others.data_vars.items() if v.dims == ("site",)]
            told = f"nearest: no attribute {name!r} in {of}{nearest(name, known)}"
            raise DataError(f"{told} It has {listed(known)}.")
    places = [
        _vectors(records, who) for records, who in ((sites, "the records"), (others, str(of)))
    ]
    angle = np.arccos(np.clip(places[0] @ places[1].T, -1.0, 1.0))
    at = angle.argmin(1)
    far = EARTH * float(angle.min(1)[lost].max())
    log.info(
        "%s of %d sites are those of the nearest site of %s, at most %.0f km away",
        ", ".join(names), int(lost.sum()), of, far,
    )  # fmt: skip
    found = {}
    for name in names:
        theirs = others[name].values.astype(float)[at]
        own = sites[name].values.astype(float) if name in sites else theirs
        found[name] = ("site", np.where(lacks[name], theirs, own), others[name].attrs)
    return sites.assign(found)


def _vectors(records: xr.Dataset, who: str) -> NDArray[np.float64]:
    """Return unit vectors to the sites, [site, 3]."""
    for name in ("lat", "lon"):
        if name not in records.variables or records[name].isnull().any():
            raise DataError(f"nearest: {who} have sites without {name!r}; add it.")
    lat, lon = (np.radians(records[name].values.astype(float)) for name in ("lat", "lon"))
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], -1)
