"""Several files of the same sites in one record: another forcing product beside the first."""

from __future__ import annotations

import warnings

import xarray as xr

from pydiffgeo.data.form import axis_of, series_names, step_of, times_of
from pydiffgeo.errors import DataError, DataWarning, listed


def join_sites(sites: xr.Dataset, **products: xr.Dataset) -> xr.Dataset:
    """Return records with the forcing of other records of the same sites and times beside theirs.

    Parameters
    ----------
    sites : xarray.Dataset
        Site form; its sites and times are kept, and with them its observations and attributes.
    **products : xarray.Dataset
        Site form, by the ending that the names of its forcing get: ``era5=records`` adds
        "precipitation_era5" and so on, in the unit that it has there. Sites and times that it does
        not have are missing (NaN), which a DataWarning says of sites.

    Raises
    ------
    DataError
        Records of another step, without any of the sites, or a name that is there already.
    """
    found = sites
    names, step = [str(site) for site in sites.site.values], step_of(times_of(sites))
    for ending, other in products.items():
        own_step = step_of(times_of(other))
        if axis_of(other) == "point" or axis_of(sites) == "point" or own_step != step:
            raise DataError(
                f"join: records of {ending} have steps of {own_step or 'points'}, the others of "
                f"{step or 'points'}; records of one step are joined: resample them first."
            )
        theirs = {str(site) for site in other.site.values}
        lost = [site for site in names if site not in theirs]
        if len(lost) == len(names):
            raise DataError(
                f"join: {ending} has none of the sites; it has {listed(sorted(theirs), 3)}, they "
                f"are {listed(names, 3)}. Rename its sites (.assign_coords(site=...))."
            )
        added = {name: f"{name}_{ending}" for name in series_names(other)}
        for name in added.values():
            if name in found.variables:
                raise DataError(f"join: the records have {name!r} already; take another ending.")
        if lost:
            warnings.warn(
                f"{len(lost)} of {len(names)} sites are not in {ending}, whose "
                f"{listed(added.values())} are missing there: {listed(lost, 5)}",
                DataWarning,
                stacklevel=2,
            )
        part = (
            other[list(added)]
            .rename(added)
            .drop_vars([k for k in other.coords if k not in ("site", "time")])
        )
        found = found.assign(part.reindex(site=sites.site, time=sites.time).data_vars)
    return found
