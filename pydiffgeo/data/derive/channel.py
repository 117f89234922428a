"""Channels: widths from drainage areas."""

from __future__ import annotations

import numpy as np
import xarray as xr

from pydiffgeo.data.form import unit_of
from pydiffgeo.errors import DataError, UnitError, nearest
from pydiffgeo.units import conversion

LOGARITHM = "log10_"


def add_width(
    sites: xr.Dataset, area: str = "uparea", coefficient: float = 2.70, exponent: float = 0.352
) -> xr.Dataset:
    """Return records with the attribute ``width``: bankfull width of the channel of each site, m.

    coefficient times area^exponent, by default the relation of the United States of Bieger et al.
    (2015), doi:10.1111/jawr.12282.

    Parameters
    ----------
    sites : xarray.Dataset
        Site form.
    area : str
        Attribute with the drainage area in km2 or what converts; its decimal logarithm (of km2)
        where the name begins with "log10_".
    coefficient : float
        Width at 1 km2, m.
    exponent : float
        Power of the area.

    Raises
    ------
    DataError, UnitError
        No such attribute, an area that is missing or not positive, or no area.
    """
    if area not in sites:
        raise DataError(
            f"width: no attribute {area!r} in the records{nearest(area, map(str, sites))}"
        )
    values = sites[area].values.astype(float)
    if area.startswith(LOGARITHM):
        values = 10.0**values
    else:
        unit = unit_of(sites[area]) or "km2"
        factor = conversion(unit, "km2")
        if factor is None:
            raise UnitError(
                f"width: {area!r} is given in {unit!r}, which is no area; name another."
            )
        values = values * factor[0]
    if not (values > 0).all():
        site = sites.site.values[int(np.argmin(values > 0))]
        raise DataError(f"width: the drainage area of site {site} is not positive; correct it.")
    told = {"units": "m", "long_name": "bankfull width, from the drainage area"}
    return sites.assign(width=("site", coefficient * values**exponent, told))
