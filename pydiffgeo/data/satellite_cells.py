"""Cells of a grid as groups of sites: the attribute ``cell`` names the cell that a site lies in.

Such are the sites in a cell of a satellite, whose value is the mean of theirs. It is text or a
number; a site without ("" or NaN) is alone.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from pydiffgeo.errors import DataError, listed

CELL = "cell"


def has_cells(sites: xr.Dataset) -> bool:
    """Return whether the sites have the attribute ``cell``."""
    return CELL in sites.variables and sites[CELL].dims == ("site",)


def cells(sites: xr.Dataset) -> NDArray[np.int64]:
    """Return a number for the cell of each site, [site]: the position of its first site.

    DataError: the sites have no attribute ``cell``.
    """
    if not has_cells(sites):
        raise DataError(
            "the sites have no attribute 'cell'; give each the name of the cell of the satellite "
            "that it lies in."
        )
    named = pd.Series(sites[CELL].values).replace("", None)
    position = pd.Series(np.arange(len(named), dtype=np.int64))
    first = position.groupby(named.to_numpy()).transform("first")  # NaN for those of no cell
    return first.fillna(position).to_numpy(np.int64)


def members(cell: NDArray, rows: NDArray) -> tuple[NDArray, NDArray]:
    """Return the positions of all sites of some cells, and which of `rows` each belongs to.

    `rows` are first sites of cells; `cell` is as `cells` gives it.
    """
    order = np.argsort(cell, kind="stable")
    begin, end = (np.searchsorted(cell[order], rows, side) for side in ("left", "right"))
    parts = [order[a:b] for a, b in zip(begin, end, strict=True)]
    of = np.repeat(np.arange(len(rows)), end - begin)
    return np.concatenate([*parts, np.zeros(0, np.int64)]).astype(np.int64), of


def together(cell: NDArray, valid: NDArray, whole: NDArray) -> NDArray:
    """Return where windows of cells may begin, [site, choice]: true of first sites alone.

    One where any site of the cell has a window (`valid`), and all have their forcing (`whole`).
    """
    found = np.zeros_like(valid)
    for first in np.unique(cell):
        own, _ = members(cell, np.array([first]))
        found[first] = valid[own].any(0) & whole[own].all(0)
    return found


def require_whole_cells(sites: xr.Dataset, *groups: tuple[str, ...]) -> None:
    """Raise DataError where sites of a cell are in several groups, or some in none of them."""
    names, cell = [str(site) for site in sites.site.values], cells(sites)
    group = {site: k for k, own in enumerate(groups) for site in own}
    of = np.array([group.get(site, -1) for site in names])
    for first in np.unique(cell):
        own, _ = members(cell, np.array([first]))
        if len(set(of[own].tolist())) > 1:
            apart = listed([names[k] for k in own], 5)
            raise DataError(
                f"{apart} share a cell of a satellite, and some of them are left out or in another "
                "group: let data.split_by: [cell] keep them together, and leave out all of them.",
                ("data", "split_by"),
            )
