"""What windows of sites lack, in words: forcing, and observations that differ."""

from __future__ import annotations

from typing import NoReturn

import numpy as np

from pydiffgeo.data.form import stamp
from pydiffgeo.data.tensors import SiteTensors
from pydiffgeo.errors import DataError


def longest_gap(tensors: SiteTensors, site: str | None = None, first: int = 0) -> str:
    """Return the longest gap of forcing that ends at position `first` or later, as a sentence.

    Of a site, or of all.
    """
    kinds, day = ("missing time", "missing forcing"), stamp(tensors.times[first])
    gaps = [p for p in tensors.report.problems if p.kind in kinds and p.end >= day]
    gaps = [p for p in gaps if site in (None, p.site)]
    longest = max(gaps, key=lambda p: p.days, default=None)
    return "" if longest is None else f" The longest gap: {longest.message}"


def refuse_gap(tensors: SiteTensors, first: int, last: int) -> NoReturn:
    """Raise DataError for the first gap of forcing between two positions."""
    absent = ~tensors.complete()[:, first:last]
    row, step = np.argwhere(absent)[0]
    site = tensors.names[row]
    raise DataError(
        f"forcing is missing in site {site} on {stamp(tensors.times[first + int(step)])}, and in "
        f"{int(absent.any(1).sum())} sites of the period in all; fill it, or leave these sites out."
        f"{longest_gap(tensors, site, first)}"
    )


def require_variance(tensors: SiteTensors, first: int, last: int, river: bool) -> None:
    """Raise DataError where a site has no two different observations.

    Parameters
    ----------
    tensors : SiteTensors
        The records.
    first, last : int
        Positions of the first step of the period and of the step after its last one.
    river : bool
        Whether sites may have no observation at all.
    """
    flat = [
        f"{tensors.names[i]} ({name})"
        for name, spread in tensors.spread.items()
        for i in np.flatnonzero(~(spread.cpu().numpy() > 0).reshape(len(spread), -1).all(1))
        if not (river and tensors.never_seen[name][i])
    ]
    if flat and not river and tensors.below is not None and (tensors.below >= 0).any():
        advice = 'take Windows(..., closed="upstream"), in which reaches need no gauge'
    else:
        advice = "leave them out, or choose another period or loss"
    if flat:
        raise DataError(
            f"{len(flat)} sites have fewer than two different observations from "
            f"{stamp(tensors.times[first])} to {stamp(tensors.times[last - 1])}: "
            f"{', '.join(flat[:10])}; {advice}."
        )
