"""Report of what is missing or wrong in records of sites, by site and date."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
import pandas as pd
import xarray as xr

from pydiffgeo.data.checks import wrong_units
from pydiffgeo.data.form import (
    DAY,
    attribute_names,
    axis_of,
    observed_names,
    series_names,
    stamp,
    step_of,
    times_of,
    unit_of,
)
from pydiffgeo.data.lazy import SiteBySite
from pydiffgeo.data.network import DOWNSTREAM
from pydiffgeo.data.problems import (
    REMARKS,
    Problem,
    absent,
    attribute_problems,
    forcing_problems,
    observed_problems,
)
from pydiffgeo.data.unusual import unusual_problems
from pydiffgeo.errors import DataError, DataWarning, listed


@dataclass(frozen=True)
class SiteReport:
    """The problems found, and how much was observed.

    Attributes
    ----------
    sites : tuple of str
        All sites that were looked at.
    steps : int
        Steps of the record.
    problems : tuple of Problem
        Site by site.
    missing_observations : dict of str to dict of str to int
        Steps without any observation, by variable and site. Gaps of observations are no problem:
        they stay missing.
    """

    sites: tuple[str, ...]
    steps: int
    problems: tuple[Problem, ...] = ()
    missing_observations: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def serious(self) -> tuple[Problem, ...]:
        """The problems without mere remarks, such as a minimum above the maximum by a rounding."""
        return tuple(p for p in self.problems if p.kind not in REMARKS)

    def summary(self, first: int = 3) -> list[str]:
        """Return for each kind of problem how many there are and the `first` few, and a line per
        observed variable.
        """
        found: list[str] = []
        for kind in dict.fromkeys(
            p.kind for p in sorted(self.problems, key=lambda p: p.kind in REMARKS)
        ):
            those = [p for p in self.problems if p.kind == kind]
            sites = len({p.site for p in those})
            title = f"{kind} (a remark)" if kind in REMARKS else kind
            found.append(f"{title}: {len(those)} in {sites} of {len(self.sites)} sites")
            found += [f"  {p.message}" for p in those[:first]]
            if len(those) > first:
                found.append(f"  and {len(those) - first} more")
        return found + self._gaps(whole=False)

    def lines(self) -> list[str]:
        """Return one line per problem, and one per observed variable with the gaps counted."""
        return [f"{p.kind}: {p.message}" for p in self.problems] + self._gaps()

    def _gaps(self, whole: bool = True) -> list[str]:
        found = []
        for name, counts in self.missing_observations.items():
            seen = {site: count for site, count in counts.items() if count < self.steps}
            if not 0 < len(seen) < len(counts):
                seen, where = counts, ""
            else:  # as in rivers, where few sites have a gauge
                where = f"observed in {len(seen)} of {len(counts)} sites, where "
            total, most = sum(seen.values()), max(seen, key=lambda site: seen[site])
            if not total and not where and not whole:
                continue
            every = self.steps * len(seen)
            worst = f"; most in site {most} ({seen[most]} steps)" if total else ""
            found.append(
                f"{name}: {where}{total} of {every} steps are not observed "
                f"({total / max(1, every):.1%}){worst}"
            )
        return found

    def table(self) -> pd.DataFrame:
        """Return the problems as a table, one row each."""
        columns = list(Problem.__dataclass_fields__)
        return pd.DataFrame([asdict(problem) for problem in self.problems], columns=columns)

    def require(self, *kinds: str) -> None:
        """Raise if there is a problem (of one of `kinds`, if any are given).

        Raises
        ------
        DataError
            The first ten problems and the number of all.
        """
        bad = [p for p in self.problems if not kinds or p.kind in kinds]
        if bad:
            listed = "\n".join(f"  {p.kind}: {p.message}" for p in bad[:10])
            more = f"\n  and {len(bad) - 10} more; see `check_sites`" if len(bad) > 10 else ""
            touched = len({p.site for p in bad})
            raise DataError(
                f"{len(bad)} problems in {touched} of {len(self.sites)} sites:\n{listed}{more}"
            )


def check_sites(
    sites: xr.Dataset,
    forcing: Sequence[str] | None = None,
    observed: Sequence[str] | None = None,
    attributes: Sequence[str] = (),
) -> SiteReport:
    """Look through records of sites, one at a time, and report all that is missing or wrong.

    Parameters
    ----------
    sites : xarray.Dataset
        Site form (see `open_sites`).
    forcing : sequence of str, optional
        Variables that must be there at every time; by default all series of numbers that are not
        observed.
    observed : sequence of str, optional
        Variables whose gaps are counted only; by default those that the table of variables or
        ``attrs["role"]`` calls observed.
    attributes : sequence of str
        Attributes that every site must have.

    Returns
    -------
    SiteReport
        `SiteReport.require` makes it an error.

    Raises
    ------
    DataError
        A variable is not in the records, or they have not the site form.
    """
    times = times_of(sites)
    step_of(times)
    seen = list(observed_names(sites) if observed is None else observed)
    needed = [n for n in series_names(sites) if n not in seen] if forcing is None else list(forcing)
    for name in [*needed, *seen, *attributes]:
        if name not in sites:
            raise DataError(
                f"no variable {name!r} in the records; they have {listed(sites.data_vars)}."
            )
    ids = [str(site) for site in sites.site.values]
    problems = list(_units(sites, [*needed, *seen]))
    problems += _attributes(sites, ids, attributes)
    counts: dict[str, dict[str, int]] = {name: {} for name in seen}
    axis, units = axis_of(sites), {name: unit_of(sites[name]) for name in seen}
    series = SiteBySite(sites, [*needed, *seen])
    river = DOWNSTREAM in sites.variables  # few of whose sites have a gauge
    for row, site in enumerate(ids):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", DataWarning)
            try:
                values = series(row)
            except DataError as error:
                problems.append(Problem("unreadable", site, "", "", "", 0, str(error)))
                continue
        problems += [
            Problem("text", site, "", "", "", 0, str(w.message))
            for w in caught
            if w.category is DataWarning
        ]
        weather = {name: values[name] for name in needed}
        if axis == "point":  # sites may have fewer points than others
            there = ~np.logical_and.reduce([np.isnan(array) for array in weather.values()] or [[]])
            last = int(np.flatnonzero(there)[-1]) + 1 if np.any(there) else 0
            weather = {name: array[:last] for name, array in weather.items()}
        problems += forcing_problems(weather, site, times)
        problems += unusual_problems(weather, site, times)
        judged = {n: values[n] for n in seen if not river or np.isfinite(values[n]).any()}
        problems += observed_problems(judged, site, times, units)
        for name in seen:
            missing = np.isnan(values[name]).reshape(len(times), -1)
            counts[name][site] = int(missing.all(1).sum())
    found = {name: gaps for name, gaps in counts.items() if gaps}
    return SiteReport(tuple(ids), len(times), tuple(problems), found)


def described(sites: xr.Dataset) -> list[str]:
    """Return in words what records have.

    Steps, series with their units, what is observed, attributes.
    """
    times, step = times_of(sites), step_of(times_of(sites))
    last = stamp(times[-1])
    length = (
        "points"
        if not step
        else "days"
        if step == DAY
        else f"steps of {step.total_seconds() / 60:g} min"
    )
    series = (
        f"{name} [{sites[name].attrs.get('units', 'no unit')}]" for name in series_names(sites)
    )
    seen = (
        f"{name} [{sites[name].attrs.get('units', 'no unit')}]" for name in observed_names(sites)
    )
    attributes = attribute_names(sites)
    return [
        f"{stamp(times[0])} to {last}, {length}",
        f"series: {', '.join(series) or 'none'}",
        f"observed: {', '.join(seen) or 'none'}",
        f"attributes: {len(attributes)}{f': {listed(attributes)}' if attributes else ''}",
    ]


def _units(records: xr.Dataset, names: Sequence[str]) -> Iterator[Problem]:
    for name, text in wrong_units(records, names).items():
        message = f"{text}; convert it and set attrs['units']."
        yield Problem("wrong unit", "", name, "", "", 0, message)


def _attributes(
    records: xr.Dataset, ids: Sequence[str], wanted: Sequence[str]
) -> Iterator[Problem]:
    static = [str(name) for name, v in records.data_vars.items() if v.dims == ("site",)]
    static = [name for name in static if name != DOWNSTREAM]  # an outlet has none
    values = {name: records[name].values for name in dict.fromkeys([*wanted, *static])}
    places = {
        str(name): c.values
        for name, c in records.coords.items()
        if c.dims == ("site",) and name != "site"
    }
    # which may come from elsewhere
    of_table = {name: known for name, known in values.items() if name != "area"}
    from_table = [absent(known) for known in (of_table or places or values).values()]
    if not from_table:
        yield Problem(
            "no table of attributes", "", "", "", "", 0, "the records have no attributes of sites."
        )
        return
    nothing = np.logical_and.reduce(from_table)
    there = [site for site, none in zip(ids, nothing, strict=True) if not none]
    every = {n: v[~nothing] for n, v in (values | places).items()}
    found = list(attribute_problems(every, there, wanted))
    for row in np.flatnonzero(nothing).tolist():
        text = f"site {ids[row]} is in no table of attributes; add it, or leave the site out."
        found.append(Problem("no attributes", ids[row], "", "", "", 0, text))
    order = {site: row for row, site in enumerate(ids)}
    yield from sorted(found, key=lambda problem: order[problem.site])
    if DOWNSTREAM in records.variables:
        yield from _without_fall(records, ids)


def _without_fall(records: xr.Dataset, ids: Sequence[str]) -> Iterator[Problem]:
    """Return reaches whose slope or length is not above 0, which no routing by them can use."""
    for name in ("slope", "length"):
        if name not in records or records[name].dims != ("site",):
            continue
        remedy = (
            "correct it, or let open_sites raise such (layout river: least_slope)"
            if name == "slope"
            else "correct it"
        )
        values = records[name].values
        for row in np.flatnonzero(values <= 0).tolist():
            text = f"{name} of reach {ids[row]} is {values[row]:g}, not above 0; {remedy}."
            yield Problem("no fall", ids[row], name, "", "", 0, text)
