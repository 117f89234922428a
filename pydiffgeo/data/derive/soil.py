"""Soils: how they hold water, from sand and clay."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pydiffgeo.data.form import unit_of
from pydiffgeo.errors import DataError, UnitError, nearest
from pydiffgeo.units import conversion

CLAPP_HORNBERGER = ("clapp_hornberger_b", "saturated_potential")


def add_clapp_hornberger(
    sites: xr.Dataset, sand: str = "sand_frac", clay: str = "clay_frac"
) -> xr.Dataset:
    """Return records with ``clapp_hornberger_b`` (1) and ``saturated_potential`` (mm) of the soil.

    The potential of soil whose pores are filled to a share s is saturated_potential s^-b:
    b = 2.91 + 0.159 clay and saturated_potential = -10 x 10^(1.88 - 0.0131 sand), both in percent,
    by Cosby et al. (1984), doi:10.1029/WR020i006p00682, as in CLM 4.5.

    Parameters
    ----------
    sites : xarray.Dataset
        Site form.
    sand, clay : str
        Attributes, in percent or what converts.

    Raises
    ------
    DataError, UnitError
        No such attribute, numbers that are no percent, or another unit.
    """
    percents = [_percent(sites, name) for name in (sand, clay)]
    both = percents[0] + percents[1]
    if (both > 100.0 + 1e-6).any():
        site = sites.site.values[int(np.argmax(both))]
        raise DataError(f"clapp_hornberger: sand and clay of site {site} are more than 100 %.")
    if both.max() <= 1:
        raise DataError(
            f"clapp_hornberger: {sand!r} and {clay!r} are at most {both.max():g} percent together; "
            "if they are shares, say so: units={...: '1'}."
        )
    b, potential = 2.91 + 0.159 * percents[1], -10.0 * 10 ** (1.88 - 0.0131 * percents[0])
    found = {"clapp_hornberger_b": (b, "1"), "saturated_potential": (potential, "mm")}
    return sites.assign({n: ("site", v, {"units": unit}) for n, (v, unit) in found.items()})


def _percent(sites: xr.Dataset, name: str) -> NDArray:
    """Return an attribute in percent."""
    if name not in sites:
        hint = nearest(name, map(str, sites))
        raise DataError(f"clapp_hornberger: no attribute {name!r} in the records{hint}")
    unit = unit_of(sites[name]) or "percent"
    factor = conversion(unit, "percent")
    if factor is None:
        raise UnitError(f"clapp_hornberger: {name!r} is given in {unit!r}, and not in percent.")
    values = sites[name].values.astype(float) * factor[0]
    if not ((values >= 0) & (values <= 100)).all():
        bad = ~((values >= 0) & (values <= 100))
        site, value = sites.site.values[int(bad.argmax())], values[bad][0]
        raise DataError(f"clapp_hornberger: {name!r} of site {site} is {value:g} percent; correct.")
    return values
