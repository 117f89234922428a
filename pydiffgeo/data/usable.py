"""Choice of the sites that are trained on and held out, and filling of their gaps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import xarray as xr

from pydiffgeo.data.form import positions, times_of
from pydiffgeo.data.gaps import Fill, GapRules, fill_forcing
from pydiffgeo.data.lazy import seen_at
from pydiffgeo.data.left_out import left_or_refused
from pydiffgeo.data.network import DOWNSTREAM
from pydiffgeo.data.problems import Problem
from pydiffgeo.data.selection import (
    Selection,
    Span,
    select_sites,
    without_impossible,
)
from pydiffgeo.errors import DataError, nearest


@dataclass(frozen=True)
class Usable:
    """Records of the sites that can be used.

    Attributes
    ----------
    sites : xarray.Dataset
        Site form, filled as the rules allow; impossible values are missing where they may be.
    selection : Selection
        What is left out, and why; what was put up with.
    fills : tuple of Fill
        What was filled.
    """

    sites: xr.Dataset
    selection: Selection
    fills: tuple[Fill, ...] = ()


def choose_sites(
    known: Sequence[str],
    wanted: int | Sequence[str] | None = None,
    held_out: int | Sequence[str] = (),
    exclude: Sequence[str] = (),
    split_seed: int = 0,
    section: tuple[str, ...] = ("data",),
) -> tuple[list[str], list[str]]:
    """Return the sites trained on and those held out, in the order of `known`.

    A number means that many of one random order, the held-out ones first: the same sites are held
    out whatever number is trained on, and the sites of a smaller number are among those of a larger
    one. Sites of `exclude` are in none.

    Parameters
    ----------
    known : sequence of str
        All sites of the records.
    wanted : int or sequence of str, optional
        How many are trained on, or which; by default all others.
    held_out : int or sequence of str
        How many are held out, or which.
    exclude : sequence of str
        Sites that are not used.
    split_seed : int
        Of the random order.
    section : tuple of str
        Where these are in settings, for the place of an error.

    Raises
    ------
    DataError
        An unknown site, one in both groups, or fewer sites than asked for.
    """
    order = [known[i] for i in np.random.default_rng(split_seed).permutation(len(known))]
    left = set(exclude)
    order = [site for site in order if site not in left]
    named = set() if wanted is None or isinstance(wanted, int) else set(wanted)
    # a number of held-out ones leaves those alone
    free = [site for site in order if site not in named]
    held = free[:held_out] if isinstance(held_out, int) else list(held_out)
    apart, there = set(held), set(known)
    rest = [site for site in order if site not in apart]
    chosen = rest if wanted is None else rest[:wanted] if isinstance(wanted, int) else list(wanted)
    place = ".".join(section)
    for which, given in (("sites", chosen), ("held_out", held), ("exclude", list(exclude))):
        for k, site in enumerate(given):
            if site not in there:
                hint = f"{nearest(site, known)} They have {len(known)} sites, such as {known[0]!r}."
                raise DataError(
                    f"{place}.{which}: no site {site!r} in the records{hint}", (*section, which, k)
                )
    if both := sorted(apart & set(chosen)):
        raise DataError(
            f"site {both[0]} is in {place}.sites and in {place}.held_out; take it out of one."
        )
    asked = ((wanted, chosen), (held_out, held))
    if not chosen or any(isinstance(n, int) and len(found) < n for n, found in asked):
        count = wanted if wanted is None or isinstance(wanted, int) else len(wanted)
        how_many = held_out if isinstance(held_out, int) else len(held_out)
        fewer = f", of which {place}.exclude leaves {len(order)}" if exclude else ""
        most = max((n for n in (wanted, held_out) if isinstance(n, int)), default=0)
        quotes = " Identifiers stand in quotes, in a list: ['01078000']." if most > 9999 else ""
        asks = f"{place}.sites asks for {count} sites and {place}.held_out for {how_many}"
        if wanted is None:
            asks = f"{place}.held_out asks for {how_many} sites, which leaves none to train on"
        raise DataError(
            f"{asks}; the records have {len(known)}{fewer}. "
            f"Ask for fewer{', or exclude fewer' if exclude else ''}.{quotes}",
            (*section, "sites" if wanted is not None else "exclude" if exclude else "held_out"),
        )
    train, judged = set(chosen) - left, apart - left
    return [s for s in known if s in train], [s for s in known if s in judged]


def usable_sites(
    sites: xr.Dataset,
    spans: Sequence[Span],
    series: Sequence[str],
    observed: Sequence[str] = (),
    attributes: Sequence[str] = (),
    *,
    missing: Literal["error", "skip"] = "error",
    impossible: Literal["error", "missing"] = "error",
    gaps: GapRules | None = None,
    optional: Sequence[str] = (),
    alone: bool = True,
) -> Usable:
    """Return the sites that can be used in all spans, gaps filled; say why others cannot.

    Parameters
    ----------
    sites : xarray.Dataset
        Site form; lazy records are read some sites at a time.
    spans : sequence of Span
        Periods, and what they need.
    series, observed, attributes : sequence of str
        What is used.
    missing : {"error", "skip"}
        What a site is that lacks something: an error, or left out.
    impossible : {"error", "missing"}
        What a value outside of `variables.limits` is: an error, or missing.
    gaps : GapRules, optional
        How missing forcing is filled; None fills nothing.
    optional : sequence of str
        Series that may be missing, which is only remarked; they are not filled.
    alone : bool
        As for `select_sites`.

    Raises
    ------
    DataError
        As `select_sites`; also a gap that the rules do not allow to fill, where `missing` is an
        error.
    """
    if gaps is not None:  # whether a gap may be filled is looked at below
        spans = [replace(span, gaps="any") for span in spans]
    selection = select_sites(
        sites, spans, series, observed, attributes, missing=missing, impossible=impossible,
        optional=optional, alone=alone,
    )  # fmt: skip
    kept = sites.sel(site=list(selection.kept))
    for name in dict.fromkeys(name for _, name in selection.masked):
        out = [site for site, masked in selection.masked if masked == name]
        kept = kept.assign({name: seen_at(kept[name], ~kept.site.isin(out).values)})
    if impossible == "missing" or gaps is not None:
        # what is impossible on other days must not reach a neighbour that is filled
        kept = without_impossible(kept, dict.fromkeys((*series, *optional, *observed)))
    if gaps is None:
        return Usable(kept, selection)
    times = times_of(kept)
    at = [positions(times, span.start, span.end) for span in spans]
    first = min(max(0, a - span.warm_up) for (a, _), span in zip(at, spans, strict=True))
    period = times[first], times[max(b for _, b in at) - 1]
    found: dict[str, list[Problem]] = {}
    for site in selection.kept:
        try:
            fill_forcing(kept.sel(site=[site]), gaps, period, series)
        except DataError as error:
            found[site] = [Problem("missing forcing", site, "", "", "", 0, str(error))]
    river = DOWNSTREAM in sites.variables
    reasons = left_or_refused(found, sites.sizes["site"], missing, river)
    left_out: Mapping[str, dict[str, str]] = selection.left_out
    left_out = {**left_out, "all": left_out.get("all", {}) | reasons}
    names = tuple(site for site in selection.kept if site not in reasons)
    if not names:
        raise DataError("no site can be used: none has gaps that may be filled; see `gaps`.")
    filled, fills = fill_forcing(kept.sel(site=list(names)), gaps, period, series)
    problems = (*selection.problems, *(p for those in found.values() for p in those))
    selection = replace(selection, kept=names, left_out=dict(left_out), problems=problems)
    return Usable(filled, selection, tuple(fills))
