"""What is missing or wrong in records of basins, by basin and date: a report that the caller sees, or an error."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from pydiffgeo.data.checks import check_unit, runs
from pydiffgeo.data.lazy import blocks
from pydiffgeo.data.variables import VARIABLES
from pydiffgeo.errors import DataError

OBSERVED = ("discharge",)


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with one basin.

    Attributes
    ----------
    kind : str
        "unreadable", "wrong unit", "missing day", "missing forcing", "impossible value", "no observation",
        "no temperature range", "minimum above maximum", "no attributes", "missing attribute".
    basin : str
        Identifier; "" for all.
    variable : str
        Name; "" for all.
    start, end : str
        First and last day; "" where it is not a matter of days.
    days : int
        Days, both included.
    message : str
        What is wrong and what to do.
    """

    kind: str
    basin: str
    variable: str
    start: str
    end: str
    days: int
    message: str


@dataclass(frozen=True)
class BasinReport:
    """The problems found, and how much was observed.

    Attributes
    ----------
    basins : tuple of str
        All basins that were looked at.
    days : int
        Days of the record.
    problems : tuple of Problem
        Basin by basin.
    missing_observations : dict of str to dict of str to int
        Days without observation, by variable and basin. Gaps of observations are no problem: they stay missing.
    """

    basins: tuple[str, ...]
    days: int
    problems: tuple[Problem, ...] = ()
    missing_observations: dict[str, dict[str, int]] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """Return one line per problem, and one per observed variable with the gaps counted."""
        found = [f"{p.kind}: {p.message}" for p in self.problems]
        for name, counts in self.missing_observations.items():
            total, most = sum(counts.values()), max(counts, key=lambda basin: counts[basin])
            share = total / max(1, self.days * len(counts))
            found.append(
                f"{name}: {total} of {self.days * len(counts)} days are not observed ({share:.1%}); most in basin {most} "
                f"({counts[most]} days)"
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
            more = f"\n  and {len(bad) - 10} more; see `check_basins`" if len(bad) > 10 else ""
            touched = len({p.basin for p in bad})
            raise DataError(f"{len(bad)} problems in {touched} of {len(self.basins)} basins:\n{listed}{more}")


def check_basins(
    records: xr.Dataset,
    forcing: Sequence[str] | None = None,
    observed: Sequence[str] = OBSERVED,
    attributes: Sequence[str] = (),
) -> BasinReport:
    """Look through records of basins, some basins at a time, and report all that is missing or wrong.

    Parameters
    ----------
    records : xarray.Dataset
        Basin form (see `open_basins`).
    forcing : sequence of str, optional
        Variables that must be there on every day; by default all floating-point ones that are not observed.
    observed : sequence of str
        Variables whose gaps are counted only.
    attributes : sequence of str
        Attributes that every basin must have.

    Returns
    -------
    BasinReport
        `BasinReport.require` makes it an error.

    Raises
    ------
    DataError
        A variable is not in the records.
    """
    in_time = [str(n) for n, v in records.data_vars.items() if set(v.dims) == {"basin", "time"} and v.dtype.kind == "f"]
    observed = [name for name in observed if name in in_time]
    needed = [name for name in in_time if name not in observed] if forcing is None else list(forcing)
    for name in [*needed, *attributes]:
        if name not in records:
            raise DataError(f"no variable {name!r} in the records; they have {', '.join(map(str, records.data_vars))}.")
    ids = [str(basin) for basin in records.basin.values]
    days = pd.DatetimeIndex(records.time.values)
    problems = list(_units(records, [*needed, *observed]))
    problems += _attributes(records, ids, attributes)
    counts: dict[str, dict[str, int]] = {name: {} for name in observed}
    for part in blocks(len(ids)):
        for row in range(part.start, part.stop):
            try:
                values = {name: records[name].isel(basin=row).values for name in [*needed, *observed]}
            except DataError as error:
                problems.append(Problem("unreadable", ids[row], "", "", "", 0, str(error)))
                continue
            problems += forcing_problems({name: values[name] for name in needed}, ids[row], days)
            problems += _observed_problems({name: values[name] for name in observed}, ids[row], days)
            for name in observed:
                counts[name][ids[row]] = int(np.isnan(values[name]).sum())
    return BasinReport(tuple(ids), len(days), tuple(problems), {name: found for name, found in counts.items() if found})


def forcing_problems(values: dict[str, NDArray], basin: str, days: pd.DatetimeIndex) -> Iterator[Problem]:
    """Return what is missing or impossible in the forcing of one basin, [time] by variable, run by run of days."""
    gaps = {name: np.isnan(array) for name, array in values.items()}
    whole = np.logical_and.reduce(list(gaps.values())) if gaps else np.zeros(len(days), bool)
    for first, last in runs(whole):
        yield _days("missing day", basin, "", days, first, last, "no record of any forcing")
    for name, gap in gaps.items():
        for first, last in runs(gap & ~whole):
            yield _days("missing forcing", basin, name, days, first, last, f"{name} is missing")
    for name, array in values.items():
        yield from _impossible(name, array, basin, days)
    low, high = values.get("tair_min"), values.get("tair_max")
    if low is not None and high is not None:
        for first, last in runs(low > high):
            what = f"tair_min is {low[first]:g}, above tair_max, {high[first]:g} degC"
            yield _days("minimum above maximum", basin, "tair_min", days, first, last, what)
    if low is not None and high is not None and (known := np.isfinite(low) & np.isfinite(high)).any():
        if np.array_equal(low[known], high[known]):
            yield Problem("no temperature range", basin, "tair_min", "", "", 0,
                          f"tair_min equals tair_max on every day in basin {basin} (NLDAS in CAMELS-US); methods that need the "
                          "daily range, such as hargreaves, cannot be used.")  # fmt: skip


def _observed_problems(values: dict[str, NDArray], basin: str, days: pd.DatetimeIndex) -> Iterator[Problem]:
    for name, array in values.items():
        if np.isnan(array).all():
            yield _days("no observation", basin, name, days, 0, len(days) - 1, f"{name} is never observed")
        yield from _impossible(name, array, basin, days)


def _impossible(name: str, array: NDArray, basin: str, days: pd.DatetimeIndex) -> Iterator[Problem]:
    known = VARIABLES.get(name)
    low, high = (known.lower, known.upper) if known else (-np.inf, np.inf)
    for first, last in runs((array < low) | (array > high) | np.isinf(array)):
        unit = f" {known.unit}" if known else ""
        what = f"{name} is {array[first]:g}{unit}, outside [{low:g}, {high:g}]"
        yield _days("impossible value", basin, name, days, first, last, what)


def _days(
    kind: str, basin: str, name: str, days: pd.DatetimeIndex, first: int, last: int, what: str
) -> Problem:  # fmt: skip
    start, end, number = f"{days[first]:%Y-%m-%d}", f"{days[last]:%Y-%m-%d}", last - first + 1
    when = f"on {start}" if number == 1 else f"from {start} to {end} ({number} days)"
    remedy = {
        "no observation": "leave the basin out of training, or choose another period",
        "impossible value": "correct it, or set it to NaN",
        "minimum above maximum": "exchange them, or leave them where the daily range does not matter",
    }.get(kind, "fill it yourself, choose another period, or leave the basin out")
    return Problem(kind, basin, name, start, end, number, f"{what} in basin {basin} {when}; {remedy}.")


def _units(records: xr.Dataset, names: Sequence[str]) -> Iterator[Problem]:
    for name in names:
        if name in VARIABLES:
            try:
                check_unit(records[name], VARIABLES[name].unit)
            except DataError as error:
                yield Problem("wrong unit", "", name, "", "", 0, str(error))


def _attributes(records: xr.Dataset, ids: Sequence[str], wanted: Sequence[str]) -> Iterator[Problem]:
    static = [str(name) for name, values in records.data_vars.items() if values.dims == ("basin",)]
    names = list(dict.fromkeys([*wanted, *static]))
    missing = {name: absent(records[name].values) for name in names}
    from_table = [name for name in names if name != "area"]  # the area may come from elsewhere
    for row, basin in enumerate(ids):
        if not from_table or all(missing[name][row] for name in from_table):
            yield Problem("no attributes", basin, "", "", "", 0,
                          f"basin {basin} is in no table of attributes; add it, or leave the basin out.")  # fmt: skip
            continue
        for name in wanted:
            if missing[name][row]:
                yield Problem("missing attribute", basin, name, "", "", 0,
                              f"attribute {name!r} of basin {basin} is missing; fill it, or leave the basin or the attribute "
                              "out.")  # fmt: skip


def absent(values: NDArray) -> NDArray:
    """Return where attributes are missing: NaN, or empty text."""
    return np.isnan(values) if values.dtype.kind == "f" else (values == "" if values.dtype.kind in "UO" else values != values)
