"""`Source`, the contract between a layout of files and `open_sites`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pydiffgeo.data.form import DAY
from pydiffgeo.data.layouts.regular_times import regular_index, step_between
from pydiffgeo.data.layouts.text import Line, several_a_day
from pydiffgeo.data.lazy import Rows
from pydiffgeo.data.variables import canonical_name, variable_of
from pydiffgeo.errors import DataError, nearest, repeated
from pydiffgeo.units import same_unit

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Request:
    """What the caller of `open_sites` asks for, as far as layouts have to know it.

    Attributes
    ----------
    sites : tuple of str or None
        Sites to keep, in this order; None for all.
    product : tuple of str
        Forcing products, where a layout has several.
    names : dict of str to str
        Name in the files to name of the site form, beyond the known ones.
    units : dict of str to str
        Units that hold where the files have none or a wrong one, by either name.
    zone : str or None
        Time zone of times that state none; UTC by default.
    stamps : {"end", "start"}
        Which end of its step a time is, where there are several on a day.
    river : bool
        Whether the sites are reaches of a river, whose discharge may be a volume per time.
    seen : set of str
        Names in the files that were looked at, so that one of `names` that is in none is noticed.
    """

    sites: tuple[str, ...] | None = None
    product: tuple[str, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    zone: str | None = None
    stamps: str = "end"
    river: bool = False
    seen: set[str] = field(default_factory=set, compare=False)

    def name(self, native: str) -> str:
        """Return the name of the site form.

        "soil_moisture@0.05" is a column of a profile, at a depth of 0.05 m.
        """
        self.seen.add(native)
        return self.names.get(native, canonical_name(native))

    def unit(self, native: str, found: str | None) -> str | None:
        """Return the unit that holds for a variable.

        The caller's, else the one found in the file.
        """
        name = self.name(native)
        return self.units.get(native, self.units.get(name, self.units.get(base_of(name), found)))

    def index(
        self, times: pd.DatetimeIndex, what: str, line: Line | None = None
    ) -> pd.DatetimeIndex:
        """Return the times of a record as `regular_index` does, each at the end of its step."""
        index = regular_index(times, what, line)
        if self.stamps == "end" or not several_a_day(index):
            return index
        return index + step_between(index)


@dataclass(frozen=True)
class Column:
    """A variable that a layout offers.

    Attributes
    ----------
    attributes : dict
        CF attributes, in the unit that `read` returns.
    dtype : str
        Integers are for flags and need `fill`.
    fill : float
        Value of days without record.
    """

    attributes: Mapping[str, object]
    dtype: str = "float64"
    fill: float = float("nan")

    def typed(self, values: NDArray) -> NDArray:
        """Return values in this type; the fill stands for missing integers."""
        if self.dtype == "float64":
            return values
        return np.where(np.isnan(values), self.fill, values).astype(self.dtype)


@dataclass(frozen=True)
class Source:
    """Sites in some layout of files.

    Columns, also those of attributes, that are called "soil_moisture@0.05" are the levels of a
    profile, at this depth (m).

    Attributes
    ----------
    sites : tuple of str
        Identifiers, in the order of the data set.
    columns : dict of str to Column
        Variables by name of the site form.
    read : callable
        Takes a site and the names of columns that are wanted, and returns those on an index of
        times, as in its files; on one of numbers where it has no dates.
    span : callable
        Takes a site and returns its first and last time, without reading all.
    attributes : pandas.DataFrame
        Static attributes, indexed by site; rows of other sites are ignored, missing rows become
        missing values.
    attribute_units : dict of str to str
        Units, where they are known.
    attrs : dict of str to str
        Title, source, licence.
    step : Timedelta
        From one time to the next; zero for points without dates.
    block : callable, optional
        Takes positions of sites, times and the names of columns that are wanted, and returns these
        columns by name, [site, time]: quicker than site by site, where one file has all. None where
        it lacks a time.
    """

    sites: tuple[str, ...]
    columns: Mapping[str, Column]
    read: Callable[[str, Collection[str]], pd.DataFrame]
    span: Callable[[str], tuple[pd.Timestamp, pd.Timestamp]]
    attributes: pd.DataFrame
    attribute_units: Mapping[str, str]
    attrs: Mapping[str, str]
    step: pd.Timedelta = DAY
    block: Callable[[Rows, pd.Index, Collection[str]], dict[str, NDArray] | None] | None = None


def base_of(name: str) -> str:
    """Return the name of a variable without the depth of a column of a profile."""
    return name.partition("@")[0]


def depth_of(name: str) -> float | None:
    """Return the depth of a column of a profile, m; None for any other.

    Raises
    ------
    DataError
        What follows the @ is no number.
    """
    _, mark, depth = name.partition("@")
    try:
        return float(depth) if mark else None
    except ValueError:
        raise DataError(
            f"the name {name!r} has no depth behind the @; write it in metres: "
            f"{base_of(name)}@0.05."
        ) from None


def column(name: str, unit: str | None = None) -> Column:
    """Return the column of a variable of the site form, or of another one in its own unit.

    Converted ones say from which.
    """
    known = base_of(name)
    variable = variable_of(known, unit)
    if variable is None:
        return Column({} if unit is None else {"units": unit})
    attributes: dict[str, object] = dict(variable.attributes())
    if unit is not None and not same_unit(unit, variable.unit):
        attributes["converted_from"] = unit
    return Column(attributes)


def names_of(natives: Sequence[str], request: Request, where: Path) -> dict[str, str]:
    """Return the name of the site form of each variable of a file.

    Raises
    ------
    DataError
        Two variables would have one name.
    """
    names = {native: request.name(native) for native in natives}
    for name in names.values():
        same = [native for native, other in names.items() if other == name]
        if len(same) > 1:
            raise DataError(
                f"two variables of {where} are {name!r}: {', '.join(same)}; tell them apart with "
                "names={...}."
            )
    return names


def nested(path: Path, *folders: str) -> Path | None:
    """Return `path`, or the folder in it, that has one of `folders`.

    Archives pack their data one level down.
    """
    inside = sorted(p for p in path.iterdir() if p.is_dir()) if path.is_dir() else []
    return next(
        (p for p in (path, *inside) if any((p / folder).is_dir() for folder in folders)), None
    )


def wanted_sites(
    known: Sequence[str], wanted: Sequence[str] | None, where: Path
) -> tuple[str, ...]:
    """Return the wanted sites, or all that are known.

    Raises
    ------
    DataError
        A site is unknown, wanted twice, or there is none.
    """
    if not known:
        raise DataError(
            f"no sites in {where}; check that the path is the folder that the layout starts with."
        )
    if wanted is None:
        return tuple(known)
    listed, present = list(wanted), set(known)
    for site in listed:
        if site not in present:
            raise DataError(
                f"no site {site!r} in {where}{nearest(site, known)} It has {len(known)} sites, "
                f"from {known[0]!r} to {known[-1]!r}; identifiers are text, with leading zeros."
            )
    if twice := repeated(listed):
        raise DataError(f"site {twice[0]!r} is asked for twice; keep one.")
    return tuple(listed)


def first_readable(items: Sequence[T], read: Callable[[T], R]) -> tuple[T, R]:
    """Return the first item that can be read, with what it gives.

    One damaged file does not hide the others.

    Raises
    ------
    DataError
        None can be: that of the first.
    """
    errors = []
    for item in items:
        try:
            return item, read(item)
        except DataError as error:
            errors.append(error)
    raise errors[0]
