"""Long reaches divided into parts, so that a wave is followed through them."""

from __future__ import annotations

import numpy as np
import xarray as xr

from pydiffgeo.data.form import observed_names, unit_of
from pydiffgeo.data.network import DOWNSTREAM, below, identifiers
from pydiffgeo.errors import DataError, UnitError
from pydiffgeo.units import conversion

LATERAL, LENGTH = "lateral_inflow", "length"


def divide_reaches(sites: xr.Dataset, longest: float) -> xr.Dataset:
    """Return the records of a river whose reaches are at most so long.

    A longer reach becomes parts of equal length, one after the other, each with its share of the
    lateral inflow. The lowest part keeps the identifier, and what was observed at the lower end;
    those above it are called ID-1, ID-2 ... from the upper end. All other attributes and series are
    those of the reach.

    Parameters
    ----------
    sites : xarray.Dataset
        Site form, with the attributes ``downstream`` and ``length``.
    longest : float
        m.

    Raises
    ------
    DataError, UnitError
        As `below`; no lengths, one that is missing or not positive, a length that is none, or an
        identifier that is there already.
    """
    into = below(sites)
    if LENGTH not in sites:
        raise DataError(
            f"longest={longest:g} needs the attribute {LENGTH!r} of each reach; add it."
        )
    factor = conversion(unit_of(sites[LENGTH]) or "m", "m")
    if factor is None:
        raise UnitError(f"{LENGTH!r} is given in {unit_of(sites[LENGTH])!r}, which is no length.")
    length = sites[LENGTH].values.astype(float) * factor[0]
    names = identifiers(sites.site.values)
    if not longest > 0 or not (length > 0).all():
        row = int(np.argmin(length > 0))
        raise DataError(
            f"longest={longest:g} and all lengths must be positive; site {names[row]} has "
            f"{length[row]:g} m."
        )
    parts = np.ceil(length / longest * (1 - 1e-12)).astype(int)
    rows = np.repeat(np.arange(len(parts)), parts)
    first = np.cumsum(parts) - parts
    number = np.arange(len(rows)) - first[rows]
    last = number == parts[rows] - 1
    own = np.array(
        [
            str(names[row]) if end else f"{names[row]}-{k + 1}"
            for row, k, end in zip(rows.tolist(), number.tolist(), last.tolist(), strict=True)
        ],
        dtype=object,
    )
    if len(set(own)) < len(own):
        twice = next(name for name in own if (own == name).sum() > 1)
        raise DataError(f"a part of a reach would be called {twice!r}, as a site is; rename it.")
    lower = np.full(len(rows), "", dtype=object)
    lower[~last] = own[np.flatnonzero(~last) + 1]
    ends = np.flatnonzero(last & (into[rows] >= 0))
    lower[ends] = own[first[into[rows[ends]]]]
    found = sites.isel(site=rows).assign_coords(site=own.astype(str))
    share = xr.DataArray(1.0 / parts[rows], dims="site")
    changed = {DOWNSTREAM: ("site", lower.astype(str), sites[DOWNSTREAM].attrs)}
    with xr.set_options(keep_attrs=True):
        scaled = {name: found[name] * share for name in (LENGTH, LATERAL) if name in found}
        seen = {
            name: found[name].where(xr.DataArray(last, dims="site"))
            for name in observed_names(found)
        }
    return found.assign(changed | scaled | seen)
