"""Tables of attributes, a row per site."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from pydiffgeo.data.layouts.text import COMMA, PLAIN, read_rows, separator_of
from pydiffgeo.errors import DataError, listed, nearest


def given_attributes(
    given: Mapping[str, Mapping[str, Any]] | None, sites: Collection[str]
) -> pd.DataFrame:
    """Return attributes that the caller gives, by site, as a table.

    They may be those of more sites than the files have. DataError for another site where a site of
    the files has none: its name is misspelt.
    """
    if not isinstance(given or {}, Mapping):
        raise DataError(
            f"options.attributes is {given!r}; give attributes by site: "
            "{US-Me2: {lat: 44.45, lon: -121.56}}.",
            ("data", "options", "attributes"),
        )
    table = pd.DataFrame.from_dict({s: dict(v) for s, v in (given or {}).items()}, "index")
    table.index = table.index.astype(str)
    other = [str(site) for site in table.index if site not in sites]
    if other and (alone := [site for site in sites if site not in table.index]):
        raise DataError(
            f"options.attributes: no site {other[0]!r}{nearest(other[0], alone)} The files have "
            f"{listed(sites)}.",
            ("data", "options", "attributes", other[0]),
        )
    return table.drop(index=other)


def read_table(path: Path, sites: Collection[str], separator: str = ",") -> pd.DataFrame:
    """Return a table of attributes whose first column holds the sites.

    Semicolons or tabs part columns where the header has no `separator`. An identifier that has lost
    its leading zeros, as spreadsheets do, is that of the one site in `sites` which has them.

    Raises
    ------
    DataError
        The file cannot be read, lists a site twice, or has numbers with commas.
    """
    separator = separator_of(path, separator)
    what = "the table of attributes"
    first = str(read_rows(path, what, sep=separator, nrows=0).columns[0])
    table = read_rows(path, what, sep=separator, dtype={first: str}, skipinitialspace=True)
    table = table[table[first].notna()]
    table = table.set_index(_with_zeros(table[first].str.strip(), sites))
    table = table.drop(columns=first)
    if table.index.has_duplicates:
        twice = table.index[table.index.duplicated()][0]
        raise DataError(f"{path} has site {twice!r} twice; keep one row per site.")
    for name in table.select_dtypes(object):
        table[name] = table[name].map(
            lambda value: value.strip() if isinstance(value, str) else value
        )
        text = table[name].dropna().astype(str)
        comma = text.str.fullmatch(COMMA)
        if comma.any() and (comma | pd.to_numeric(text, errors="coerce").notna()).all():
            site = text.index[comma][0]
            given = f"attribute {name!r} of site {site} is {text[site]!r}"
            raise DataError(f"{given}, a number with a comma, in {path}; {PLAIN}")
    return table


def _with_zeros(found: pd.Series, sites: Collection[str]) -> pd.Series:
    """Return identifiers of a table with the leading zeros of the sites that are meant, where there
    is one such site.
    """
    known, there = set(sites), set(found)
    bare: dict[str, list[str]] = {}
    for site in known - there:
        bare.setdefault(site.lstrip("0"), []).append(site)
    meant = found.str.removesuffix(".0").str.lstrip("0")
    counts = meant.value_counts()

    def full(given: str, stripped: str) -> str:
        candidates = bare.get(stripped, [])
        return (
            candidates[0]
            if given not in known and len(candidates) == 1 and counts[stripped] == 1
            else given
        )

    return pd.Series(
        [full(a, b) for a, b in zip(found, meant, strict=True)], found.index, dtype=object
    )


def join_tables(tables: Sequence[pd.DataFrame], what: str) -> pd.DataFrame:
    """Return tables of the same sites side by side.

    Raises
    ------
    DataError
        Two tables have an attribute of one name.
    """
    if not tables:
        return pd.DataFrame(index=pd.Index([], dtype=str))
    joined = pd.concat(tables, axis=1)
    if joined.columns.has_duplicates:
        twice = joined.columns[joined.columns.duplicated()][0]
        raise DataError(f"the attribute {twice!r} stands in two files of {what}; keep one.")
    return joined
