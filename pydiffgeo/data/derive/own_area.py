"""Rivers: means over whole basins turned into means over the land of each site alone."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import xarray as xr

from pydiffgeo.data.form import unit_of
from pydiffgeo.data.network import below
from pydiffgeo.errors import DataError, UnitError, nearest
from pydiffgeo.units import conversion

log = logging.getLogger("pydiffgeo")

ROUNDING = 0.01  # share of a series that may be negative, from rounded values of the records
WEATHER = ("precipitation", "potential_evapotranspiration")


def add_own_area(
    sites: xr.Dataset, series: Sequence[str] = WEATHER, area: str = "area"
) -> xr.Dataset:
    """Return records whose weather is that of the land between the sites of a river.

    Gauges that lie one below the other often come with means over their whole basins. The mean
    over the land of a site alone is what is left of mean times area when those of the sites that
    flow into it are taken away, over the area that is left, which becomes the attribute
    ``own_area`` (km2). What is negative, since the records are rounded, is set to zero, and it is
    said how much that is.

    Parameters
    ----------
    sites : xarray.Dataset
        Site form, with the attribute ``downstream``.
    series : sequence of str
        Means over whole basins, none of which can be negative.
    area : str
        Attribute: area of the whole basin, km2 or what converts.

    Raises
    ------
    DataError, UnitError
        A series or the area is absent, a basin is no larger than those in it, or more than 1 % of a
        series is negative: its values are no means over whole basins.
    """
    names = [series] if isinstance(series, str) else list(series)
    for name in (area, *names):
        if name not in sites:
            hint = nearest(name, map(str, sites.data_vars))
            raise DataError(f"own_area: the records have no {name!r}{hint}")
    factor = conversion(unit_of(sites[area]) or "km2", "km2")
    if factor is None:
        raise UnitError(
            f"own_area: {area!r} is given in {unit_of(sites[area])!r}, which is no area."
        )
    into, whole = below(sites), sites[area].values.astype(float) * factor[0]
    inner = np.flatnonzero(into >= 0)
    own = whole.copy()
    np.subtract.at(own, into[inner], whole[inner])
    ids = sites.site.values
    if not (own > 0).all():
        raise DataError(
            f"own_area: the basin of site {ids[int(np.argmin(own > 0))]} is no larger than those "
            f"that flow into it; correct {area!r}."
        )
    found = {}
    for name in names:
        values = sites[name].transpose("site", ...)
        weighted = values.values * whole[:, None]
        left = weighted.copy()
        np.subtract.at(left, into[inner], weighted[inner])
        left /= own[:, None]
        under = -np.nansum(left.clip(max=0.0), 1) / np.maximum(np.nansum(left, 1), 1e-300)
        if (under > ROUNDING).any():
            worst = int(np.argmax(under))
            raise DataError(
                f"own_area: {100 * under[worst]:.1f} % of {name!r} of the land of site "
                f"{ids[worst]} alone is negative: it is no mean over whole basins; leave it out."
            )
        if under.max() > 0:
            log.warning(
                "own_area: negative %s of the land between sites counts as zero, at most %.2g %% "
                "of a series", name, 100 * under.max(),
            )  # fmt: skip
        found[name] = values.copy(data=left.clip(min=0.0))
    told = {"units": "km2", "long_name": "area of the land of the site alone"}
    return sites.assign(found | {"own_area": ("site", own, told)})
