"""Several files in one record: another product beside the first, or more sites."""

from __future__ import annotations

import warnings

import pandas as pd
import xarray as xr

from pydiffgeo.data.form import axis_of, is_observed, series_names, step_of, times_of
from pydiffgeo.errors import DataError, DataWarning, UnitError, listed, repeated
from pydiffgeo.units import same_unit


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
        Records of another step, without any of the sites or times, with a site twice, or a name
        that is there already.
    """
    found = sites
    names, step = _site_names(sites, "join: the records"), step_of(times_of(sites))
    for ending, other in products.items():
        own_step = step_of(times_of(other))
        if axis_of(other) == "point" or axis_of(sites) == "point" or own_step != step:
            raise DataError(
                f"join: records of {ending} have steps of {own_step or 'points'}, the others of "
                f"{step or 'points'}; records of one step are joined: resample them first."
            )
        theirs = _site_names(other, f"join: {ending}")
        lost = [site for site in names if site not in theirs]
        if len(lost) == len(names):
            raise DataError(
                f"join: {ending} has none of the sites; it has {listed(sorted(theirs), 3)}, they "
                f"are {listed(names, 3)}. Rename its sites (.assign_coords(site=...))."
            )
        if not times_of(other).isin(times_of(sites)).any():
            own, its = (" to ".join(str(o.time.values[k])[:16] for k in (0, -1))
                        for o in (sites, other))  # fmt: skip
            raise DataError(
                f"join: {ending} has no step in common with the records: it has {its}, they have "
                f"{own}. Steps that begin at another hour do not fit: shift its times, or resample."
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
        part = part.assign_coords(site=theirs, time=times_of(other)).reindex(
            site=names, time=sites.time
        )
        found = found.assign(part.assign_coords(site=sites.site).data_vars)
    return found


def append_sites(sites: xr.Dataset, *others: xr.Dataset) -> xr.Dataset:
    """Return records with the sites of other records after theirs, such as stations after pixels.

    Parameters
    ----------
    sites, *others : xarray.Dataset
        Site form, in days or steps of one length; their times may differ. A series or attribute
        that some of them lack is missing (NaN) at their sites, as is all of a site at times that it
        does not have. Depths are those of all.

    Raises
    ------
    DataError
        A site that is there twice, records of another step or without dates, or a series that is
        observed in one of them and forcing in another.
    UnitError
        A variable that two of them have in different units, or one without.
    """
    whole, step = [sites, *others], step_of(times_of(sites))
    seen: set[str] = set()
    for one in whole:
        if axis_of(one) == "point" or step_of(times_of(one)) != step:
            raise DataError("append: the records have other steps, or no dates; resample them.")
        names = set(_site_names(one, "append: one of the records"))
        if twice := sorted(seen & names):
            raise DataError(
                f"append: {listed(twice, 3)} are in two of the records; rename the sites of one "
                "(.assign_coords(site=...))."
            )
        seen |= names
        for name, values in one.data_vars.items():
            first = next(other[name] for other in whole if name in other)
            here, unit = (v.attrs.get("units", "no unit") for v in (first, values))
            if values.dtype.kind == "f" and not same_unit(here, unit):
                raise UnitError(f"append: {name!r} is in {here!r} and in {unit!r}; convert one.")
            if (first.dtype.kind in "OUST") != (values.dtype.kind in "OUST"):
                raise DataError(
                    f"append: {name!r} is text in one of the records and a number in another, and "
                    "1 is not '1'; convert one (.astype(str))."
                )
            if is_observed(first) != is_observed(values):
                raise DataError(
                    f"append: {name!r} is observed in one of the records and forcing in another; "
                    "rename it in one, or set its attrs['role']."
                )
    first, last = min(o.time.values[0] for o in whole), max(o.time.values[-1] for o in whole)
    times = pd.date_range(first, last, freq=step, name="time")
    if not all(pd.DatetimeIndex(one.time.values).isin(times).all() for one in whole):
        raise DataError("append: the steps of the records begin at other hours; resample them.")
    found = xr.concat(
        [one.reindex(time=times) for one in whole], "site", data_vars="all", coords="different",
        compat="equals", join="outer", combine_attrs="drop_conflicts",
    )  # fmt: skip
    for name, values in found.data_vars.items():
        source = next(one[name] for one in whole if name in one)
        values.attrs = dict(source.attrs)
    return found


def _site_names(records: xr.Dataset, who: str) -> list[str]:
    """Return the names of sites as text; DataError where one is there twice."""
    names = [str(site) for site in records.site.values]
    if twice := repeated(names):
        raise DataError(f"{who} have {listed(twice, 3)} twice; rename or drop one.")
    return names
