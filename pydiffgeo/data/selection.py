"""Selection of the sites that an experiment can use, with a reason for each that it cannot."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from pydiffgeo.data.form import Day, axis_of, positions, stamp, times_of, unit_of
from pydiffgeo.data.lazy import Rows, SiteBySite, mapped
from pydiffgeo.data.left_out import OBSERVATION, left_or_refused, left_out_lines, reason
from pydiffgeo.data.network import DOWNSTREAM
from pydiffgeo.data.problems import Problem, attribute_problems, gap_problems, impossible_problems
from pydiffgeo.data.unusual import unusual_problems
from pydiffgeo.data.variables import find_impossible
from pydiffgeo.errors import DataError


@dataclass(frozen=True)
class Span:
    """Days with which something is done, and what a site must have in them.

    Attributes
    ----------
    name : str
        For messages: "training", "test" ...
    start, end : str or date
        First and last day that is fitted or judged.
    warm_up : int
        Days before `start` whose forcing is used too, as far as the record reaches.
    gaps : {"none", "windows", "any"}
        Whether forcing must be there on all days; or, where missing forcing may be skipped, in one
        window at least; or is no matter here, since it is filled.
    window : tuple of int or None
        Days of a window before and after its warm-up is over, for "windows": (warm-up, days that
        count). None for one, of the whole span.
    varied : tuple of str
        Observed series of which each site needs two different values.
    judged : tuple of str
        Observed series, each of which at least one site needs two different values of.
    least : int
        Observations that each site needs of each observed series, at each of its depths.
    """

    name: str
    start: Day
    end: Day
    warm_up: int = 0
    gaps: Literal["none", "windows", "any"] = "none"
    window: tuple[int, int] | None = None
    varied: tuple[str, ...] = ()
    judged: tuple[str, ...] = ()
    least: int = 0


@dataclass(frozen=True)
class Selection:
    """The sites that can be used, and why the others cannot.

    Attributes
    ----------
    kept : tuple of str
        In the order of the records.
    left_out : dict of str to dict of str to str
        Reason by site, for ``"all"`` and for each span by name: a site whose forcing has a gap in a
        span that is judged as a whole is left out of this alone.
    problems : tuple of Problem
        All that was found, those of sites that are kept as well.
    remarks : tuple of (str, str)
        Site, and what was put up with there: gaps that windows avoid, values that count as missing,
        nothing to judge by, series that are hardly in their unit.
    masked : tuple of (str, str)
        Site of a river and observed series that count as not observed there.
    """

    kept: tuple[str, ...]
    left_out: dict[str, dict[str, str]]
    problems: tuple[Problem, ...] = ()
    remarks: tuple[tuple[str, str], ...] = ()
    masked: tuple[tuple[str, str], ...] = ()


def select_sites(
    records: xr.Dataset,
    spans: Sequence[Span],
    forcing: Sequence[str],
    observed: Sequence[str] = (),
    attributes: Sequence[str] = (),
    *,
    missing: Literal["error", "skip"] = "error",
    impossible: Literal["error", "missing"] = "error",
    optional: Sequence[str] = (),
    alone: bool = True,
) -> Selection:
    """Look at the days of all spans, site by site, and return which sites can be used.

    Of rivers (attribute ``downstream``) no site is left out, since water flows through it: one that
    lacks forcing is an error. Sites without observations are kept; a series that is observed and
    has too little of it is an error, or is `masked`.

    What no span touches does not matter. Records are only read: see `without_impossible` for values
    that count as missing.

    Parameters
    ----------
    records : xarray.Dataset
        Site or site form; lazy records are read some sites at a time.
    spans : sequence of Span
        Periods, and what they need.
    forcing, observed : sequence of str
        Series that are used.
    attributes : sequence of str
        Attributes and coordinates that every site must have.
    missing : {"error", "skip"}
        What a site is that lacks something: an error, or left out, of all or of the judgement in
        one span.
    impossible : {"error", "missing"}
        What a value outside of `variables.limits` is: an error, or missing.
    optional : sequence of str
        Forcing that may be missing, which is only remarked.
    alone : bool
        Whether there are no other sites, of which some can be judged: see `require_judged`.

    Raises
    ------
    DataError
        A span that the record does not cover; a site that lacks something, or has an impossible
        value, where that is an error: all are listed by site and date; no site left; no site that
        can be judged in a span.
    """
    days = times_of(records)
    sites = [str(site) for site in records.site.values]
    at = {span: _positions(span, days) for span in spans}
    static = {name: records[name].values for name in attributes}
    read = tuple(dict.fromkeys((*forcing, *optional, *observed)))
    units = {name: unit_of(records[name]) for name in read if name in records}
    found: dict[str, list[Problem]] = {}
    unjudged: dict[str, dict[str, str]] = {span.name: {} for span in spans if span.gaps == "none"}
    remarks: list[tuple[str, str]] = []
    unfit: list[tuple[str, str]] = []
    river = DOWNSTREAM in records.variables
    judged = {(span, name): False for span in spans for name in span.judged}
    series = SiteBySite(records, read)
    for row, site in enumerate(sites):
        problems = list(
            attribute_problems(
                {name: v[row : row + 1] for name, v in static.items()}, [site], attributes
            )
        )
        try:
            values = series(row)
        except DataError as error:
            found[site] = [*problems, Problem("unreadable", site, "", "", "", 0, str(error))]
            continue
        erase = impossible == "missing"
        problems += _impossible(values, units, at.values(), site, days, erase)
        if impossible == "missing":
            problems = [p if p.days else replace(p, kind="missing attribute") for p in problems]
            masked = [p.message.rsplit(";", 1)[0] for p in problems if p.kind == "impossible value"]
            remarks += [(site, f"{text}: counts as missing.") for text in masked]
            problems = [p for p in problems if p.kind != "impossible value"]
        weather = {name: values[name] for name in forcing}
        ends = [(begin, last) for begin, _, last in at.values()] or [(0, 0)]
        used = slice(min(ends)[0], max(last for _, last in ends))
        within = {name: array[used] for name, array in weather.items()}
        remarks += [(site, p.message) for p in unusual_problems(within, site, days[used])]
        remarks += [
            (site, _without(name, values[name], site, days, at.values())) for name in optional
        ]
        # a site of points may have fewer of them than others
        own_end = _last_row(values) if axis_of(records) == "point" else len(days)
        if missing == "skip":
            windows = (span for span in at if span.gaps == "windows")
            remarks += [
                (site, _avoided(span, weather, site, days, _until(at[span], own_end)))
                for span in windows
            ]
        seen = {name: values[name] for name in observed}
        for span, whole in at.items():
            begin, first, last = _until(whole, own_end)
            steps = (begin, first, last)
            if river:
                own = {n: v for n, v in seen.items() if np.isfinite(v[first:last]).any()}
                lacks = list(_lacks(span, weather, own, site, days, steps, missing, river=True))
                few = [p for p in lacks if missing == "skip" and p.kind in OBSERVATION]
                for p in few:
                    seen[p.variable][:] = np.nan
                    remarks.append((site, f"{p.message.rstrip('.')}: counts as not observed."))
                unfit += [(site, p.variable) for p in few]
                problems += [p for p in lacks if p not in few]
                continue
            lacks = list(_lacks(span, weather, seen, site, days, steps, missing))
            if lacks and missing == "skip" and span.name in unjudged:
                unjudged[span.name][site] = reason(lacks)
                continue
            problems += lacks
            if span.name in unjudged:
                remarks += [
                    (site, _unscored(span, name, seen[name][first:last], site)) for name in observed
                ]
        for span, name in judged:
            _, first, last = at[span]
            out = site in unjudged.get(span.name, ())
            judged[span, name] |= not (problems or out) and _varied(seen[name][first:last])
        if problems:
            found[site] = problems
    kept = tuple(site for site in sites if site not in found)
    problems = [p for those in found.values() for p in those]
    left_out = {"all": left_or_refused(found, len(sites), missing, river)} | unjudged
    if alone:
        require_judged(unjudged, kept)
    for (span, name), some in judged.items():
        if not some:
            raise DataError(
                f"no site has two different observations of {name} in the {span.name} period, "
                f"{span.start} to {span.end}, which is judged by them; choose another period."
            )
    remarks = [remark for remark in remarks if remark[1]]
    return Selection(kept, left_out, tuple(problems), tuple(remarks), tuple(dict.fromkeys(unfit)))


def require_judged(left_out: Mapping[str, Mapping[str, str]], kept: Iterable[str]) -> None:
    """Raise DataError where all of the sites are left out of the judgement in a period."""
    for name, reasons in left_out.items():
        if name != "all" and set(reasons) >= set(kept):
            lines = left_out_lines({name: dict(reasons)})
            raise DataError("\n".join([f"no site can be judged in the {name} period.", *lines]))


def without_impossible(records: xr.Dataset, names: Iterable[str]) -> xr.Dataset:
    """Return records in which impossible values of some names are missing (NaN).

    Lazy records stay lazy.
    """

    def without(name: str, unit: str | None) -> Callable[[Rows, NDArray], NDArray]:
        return lambda _, values: np.where(find_impossible(name, values, unit), np.nan, values)

    given = {name: records[name] for name in names}
    return records.assign({n: mapped(v, without(n, unit_of(v))) for n, v in given.items()})


def _positions(span: Span, days: pd.Index) -> tuple[int, int, int]:
    """Return positions: of the first step of the warm-up, of the first step that counts, and of the
    step after the last.
    """
    first, last = positions(days, span.start, span.end, f"the {span.name} period")
    return max(0, first - span.warm_up), first, last


def _last_row(values: Mapping[str, NDArray]) -> int:
    """Return the number of rows up to the last one that has any number."""
    there = [np.isfinite(v).reshape(len(v), -1).any(1) for v in values.values()]
    rows = np.flatnonzero(np.logical_or.reduce(there)) if there else np.zeros(0, int)
    return int(rows[-1]) + 1 if len(rows) else 1


def _until(steps: tuple[int, int, int], end: int) -> tuple[int, int, int]:
    begin, first, last = steps
    return begin, first, min(last, end)


def _impossible(
    values: Mapping[str, NDArray],
    units: Mapping[str, str | None],
    positions: Iterable[tuple[int, int, int]],
    site: str,
    days: pd.Index,
    erase: bool,
) -> Iterator[Problem]:
    """Return one problem per series for impossible values on days that some span touches.

    `erase` makes them NaN in place.
    """
    touched = np.zeros(len(days), bool)
    for begin, _, last in positions:
        touched[begin:last] = True
    for name, array in values.items():
        bad = find_impossible(name, array, units[name])
        bad[~touched] = False
        if bad.any():
            wrong = np.where(bad, array, np.nan)
            once = next(impossible_problems(name, wrong, site, days, units[name]))
            count = int(bad.reshape(len(bad), -1).any(1).sum())
            more = f", and on {count - once.days} days after it" if count > once.days else ""
            text, remedy = once.message.rsplit(";", 1)
            yield replace(once, days=count, message=f"{text}{more};{remedy}")
            if erase:
                array[bad] = np.nan


def _lacks(
    span: Span,
    weather: Mapping[str, NDArray],
    seen: Mapping[str, NDArray],
    site: str,
    days: pd.Index,
    positions: tuple[int, int, int],
    missing: str,
    river: bool = False,
) -> Iterator[Problem]:
    """Return what a site lacks in a span; of those of a `river` a window needs no observation."""
    begin, first, last = positions

    def period() -> str:
        return f"in the {span.name} period, {stamp(days[first])} to {stamp(days[last - 1])}"

    if span.gaps == "none" or (span.gaps == "windows" and missing == "error"):
        part = {name: array[begin:last] for name, array in weather.items()}
        for problem in gap_problems(part, site, days[begin:last]):
            yield replace(problem, message=f"{span.name} period: {problem.message}")
    observed = {} if river else seen
    if span.gaps == "windows" and not _has_window(span, weather, observed, positions):
        length = (
            "of all days" if span.window is None else f"of {span.window[0]} + {span.window[1]} days"
        )
        what = f"no window {length} with complete forcing and an observation"
        text = f"site {site} has {what} {period()}."
        yield Problem("no window", site, "", "", "", 0, text)
    for name in (n for n in span.varied if n in seen or not river):
        if not _varied(seen[name][first:last]):
            text = f"site {site} has fewer than two different observations of {name} {period()}."
            yield Problem("no variance", site, name, "", "", 0, text)
    for name, values in seen.items() if span.least else ():
        counts = np.isfinite(values[first:last]).reshape(last - first, -1).sum(0)
        if (counts < span.least).any():
            level = int((counts < span.least).argmax())
            where = f" in level {level + 1} of {len(counts)}" if len(counts) > 1 else ""
            text = (
                f"site {site} has {counts[level]} observations of {name}{where} {period()}, "
                f"{span.least} are needed."
            )
            yield Problem("no observation", site, name, "", "", 0, text)


def _avoided(
    span: Span,
    weather: Mapping[str, NDArray],
    site: str,
    days: pd.Index,
    positions: tuple[int, int, int],
) -> str:
    """Return on how many days of a span windows will miss forcing, in words; "" where on none."""
    begin, _, last = positions
    gap = np.logical_or.reduce([np.isnan(array[begin:last]) for array in weather.values()])
    if not gap.any():
        return ""
    day = days[begin + int(gap.argmax())]
    return (
        f"site {site} lacks forcing on {int(gap.sum())} days, first on {stamp(day)}: no "
        f"{span.name} window touches them."
    )


def _without(
    name: str,
    values: NDArray,
    site: str,
    days: pd.Index,
    positions: Iterable[tuple[int, int, int]],
) -> str:
    """Return on how many days of all spans an optional series is missing, in words; "" on none."""
    gap = np.zeros(len(days), bool)
    for begin, _, last in positions:
        gap[begin:last] = np.isnan(values[begin:last])
    if not gap.any():
        return ""
    day = stamp(days[int(gap.argmax())])
    return (
        f"site {site} lacks {name} on {int(gap.sum())} days, first on {day}: other products take "
        "its weight there."
    )


def _unscored(span: Span, name: str, values: NDArray, site: str) -> str:
    """Return that no NSE can be told in a span that is judged, in words; "" where one can."""
    some = bool(np.isfinite(values).any())
    if _varied(values) or (some and span.start is None):  # points are judged together
        return ""
    few = "fewer than two different observations" if some else "no observation"
    when = "" if span.start is None else f" in the {span.name} period, {span.start} to {span.end}"
    return f"site {site} has {few} of {name}{when}: it gets no NSE there."


def _varied(values: NDArray) -> bool:
    known = values[np.isfinite(values)]
    return known.size > 1 and bool(known.min() < known.max())


def _has_window(
    span: Span,
    weather: Mapping[str, NDArray],
    seen: Mapping[str, NDArray],
    positions: tuple[int, int, int],
) -> bool:
    """Return whether a window fits.

    All forcing from its first day, an observation after its warm-up where any series is `seen`.
    """
    begin, first, last = positions
    warm_up, length = span.window or (first - begin, last - first)
    begin = max(begin, first - warm_up)
    starts = np.arange(begin, last - warm_up - length + 1)
    none = [np.zeros(last, bool)]  # where nothing is read, as by a persistence
    gap = np.logical_or.reduce([np.isnan(array) for array in weather.values()] or none)
    flat = (np.isfinite(array).reshape(len(array), -1).any(1) for array in seen.values())
    known = np.logical_or.reduce([*flat] or [np.ones_like(gap)])
    gaps, observed = (np.concatenate(([0], np.cumsum(flags))) for flags in (gap, known))
    end = starts + warm_up + length
    return bool(((gaps[end] == gaps[starts]) & (observed[end] > observed[starts + warm_up])).any())
