"""Which sites are trained on, choose the epoch, and are held out: whole groups stay together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from pydiffgeo.data.usable import choose_sites
from pydiffgeo.errors import DataError, listed, nearest

Chosen = int | Sequence[str] | Mapping[str, Any] | None


def sites_where(
    sites: xr.Dataset, wanted: Mapping[str, Any], place: tuple[str, ...] = ("data", "select")
) -> list[str]:
    """Return the sites whose attributes have given values.

    Parameters
    ----------
    sites : xarray.Dataset
        Site form.
    wanted : mapping of str to (value or list of values)
        Attributes, all of which must have one of their values: {"pathway": "C3"}.
    place : tuple of str
        Where it stands in settings, for errors.

    Raises
    ------
    DataError
        No such attribute, or a value that no site has.
    """
    kept = np.ones(sites.sizes["site"], bool)
    for name, values in wanted.items():
        known = [str(n) for n, v in sites.variables.items() if v.dims == ("site",)]
        if name not in known:
            told = f"no attribute {name!r} in the records{nearest(name, known)}"
            raise DataError(f"{'.'.join(place)}: {told}", (*place, name))
        there = sites[name].values
        several = list(values) if isinstance(values, list | tuple) else [values]
        if there.dtype.kind in "UO":
            several = [str(value) for value in several]
        for value in several:
            if value not in there:
                have = list(map(str, np.unique(there)))
                said = (
                    f"{'.'.join(place)}: no site whose {name!r} is {value!r}"
                    f"{nearest(str(value), have)} The records have {listed(have, 5)}: change the "
                    "settings, or name sites by --site."
                )
                raise DataError(said, (*place, name))
        kept &= np.isin(there, several)
    found = [str(site) for site in sites.site.values[kept]]
    if not found:
        raise DataError(f"{'.'.join(place)}: no site has all of {dict(wanted)}.", place)
    return found


def groups_by(sites: xr.Dataset, names: Sequence[str]) -> dict[str, str]:
    """Return the group of each site: values of text attributes, such as "Quercus robur".

    DataError: no such attribute, or a site without it. Without `names` a site is its own group.
    """
    ids = [str(site) for site in sites.site.values]
    if not names:
        return dict(zip(ids, ids, strict=True))
    columns = []
    for k, name in enumerate(names):
        known = [str(n) for n, v in sites.variables.items() if v.dims == ("site",)]
        if name not in known or name == "site":
            hint = nearest(name, known)
            raise DataError(
                f"data.split_by: no attribute {name!r} in the records{hint}",
                ("data", "split_by", k),
            )
        column = [str(value) for value in sites[name].values]
        if "" in column:
            raise DataError(
                f"data.split_by: {name!r} of site {ids[column.index('')]} is missing; add it, or "
                "leave the site out by data.exclude.",
                ("data", "split_by", k),
            )
        columns.append(column)
    return {site: " ".join(parts) for site, *parts in zip(ids, *columns, strict=True)}


def split_sites(
    sites: xr.Dataset,
    known: Sequence[str],
    wanted: Chosen = None,
    validation: Chosen = 0,
    held_out: Chosen = 0,
    exclude: Sequence[str] = (),
    split_by: Sequence[str] = (),
    split_seed: int = 0,
) -> tuple[list[str], list[str], list[str]]:
    """Return the sites trained on, those that choose the epoch, and those held out.

    A number means as many at random, a mapping the sites whose attributes have these values, a list
    identifiers. Those held out are drawn first, so that they depend on nothing but their number and
    the seed.

    Parameters
    ----------
    sites : xarray.Dataset
        Site form.
    known : sequence of str
        Sites that may be taken.
    wanted, validation, held_out : int, sequence of str, or mapping of str to value
        What each part has.
    exclude : sequence of str
        Sites in no part.
    split_by : sequence of str
        Attributes of text: sites that share all of their values, such as genus and species, are one
        group, which is in one part alone. Numbers and lists are then those of groups.
    split_seed : int
        Of what is drawn.

    Raises
    ------
    DataError
        Names, attributes or values that are not there, one in two parts, or fewer than asked for.
    """
    group = groups_by(sites, split_by)
    for k, site in enumerate(exclude):
        if site not in group:
            close = nearest(site, list(group))
            told = f"data.exclude: no site {site!r} in the records{close}"
            raise DataError(told, ("data", "exclude", k))
    gone = set(exclude) if split_by else set()
    left = [site for site in known if site not in gone]
    names = list(dict.fromkeys(group[site] for site in left))

    def named(what: str, given: Chosen) -> Any:
        if not isinstance(given, Mapping):
            return given
        return list(dict.fromkeys(group[s] for s in sites_where(sites, given, ("data", what))))

    apart = named("held_out", held_out)
    judging = named("validation_sites", validation)
    asked = named("sites", wanted)
    without = () if split_by else exclude
    trained, held = choose_sites(names, asked, apart, without, split_seed)
    judges: list[str] = []
    if judging:
        taken = {*held, *without}
        rest = [name for name in names if name not in taken]
        if isinstance(judging, int):
            free = trained if asked is None or isinstance(asked, Mapping) else rest
            if judging < len(free):
                _, judges = choose_sites(free, None, judging, (), split_seed + 1)
            else:
                judges = free
        else:
            others = set(rest)
            for name in judging:
                if name not in others:
                    raise DataError(
                        f"data.validation_sites: {name!r} is held out or not in the records; the "
                        f"others are {listed(rest)}.",
                        ("data", "validation_sites"),
                    )
            judges = list(judging)
        judged = set(judges)
        trained = [name for name in trained if name not in judged]
        if not trained:
            raise DataError(
                "data.validation_sites leaves none to train on; take fewer.",
                ("data", "validation_sites"),
            )
    parts = (set(trained), set(judges), set(held))
    first, second, third = ([s for s in left if group[s] in part] for part in parts)
    return first, second, third
