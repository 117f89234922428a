"""Tables of points: a row per point, such as the gas exchange of leaves, without dates."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from pydiffgeo.data.form import DAY
from pydiffgeo.data.layouts.series import has_numbers
from pydiffgeo.data.layouts.source import Request, Source, base_of, column, names_of, wanted_sites
from pydiffgeo.data.layouts.suffixes import PLACES, factor_of, name_of, parted, unit_for
from pydiffgeo.data.layouts.tables_of_sites import read_table
from pydiffgeo.data.layouts.text import line_of, numbers_of, read_csv
from pydiffgeo.data.variables import OBSERVED, VARIABLES, convert, unit_changes
from pydiffgeo.errors import DataError, listed, nearest

log = logging.getLogger("pydiffgeo")

SITES = ("curve_id", "curveid", "curve", "leaf_id", "site", "site_id")
TIMES = ("time", "datetime", "timestamp", "time_end")  # a date may stand beside each point
CI = "intercellular_co2"  # of which leaves have curves
LEAF = {"leaf_temperature", "par"}  # a table with both has points of leaves
NUMBERS = ("point", "obs")  # columns that count the rows of a site
QUALITY = "qc_flag"
# Table with a row per site of a table of points that is published in two files
TABLES = {"lce_aci_curves.csv": "lce_leaf_traits.csv"}


class _Rows(NamedTuple):
    """The rows of a site: file, its lines, and the values as they stand there."""

    file: Path
    lines: Sequence[int]
    values: pd.DataFrame


def recognises(path: Path) -> bool:
    """Return whether a CSV file, or one of a folder, has points of leaves: their temperature and
    light, no times.
    """
    files = path.glob("*.csv") if path.is_dir() else [path] if path.suffix == ".csv" else []
    return any(_of_leaves(file) for file in files)


def open_source(
    path: Path,
    request: Request,
    site: str | None = None,
    attributes: str | None = None,
    series: Sequence[str] = (),
    per_site: Sequence[str] = (),
    quality: str | Mapping[str, Any] | None = None,
) -> Source:
    """Return tables with a row per point as a source; points of a site stand in their order.

    Units stand behind names ("A_umol_m2_s", "A [umol m-2 s-1]"), in `units`, or are those of the
    instrument whose names they are (LI-COR). Columns of text, such as species and pft, become
    attributes where they are the same in all rows of a site.

    Parameters
    ----------
    path : Path
        A CSV file, or a folder with one table of points and tables with a row per site.
    request : Request
        What the caller of `open_sites` asks for.
    site : str, optional
        Column that tells the site, such as a curve; by default that which `names` calls "site", or
        one called curve_id, CurveID, site ...; without one each row is a site.
    attributes : str, optional
        File beside it with a row per site, whose first column has the sites.
    series : sequence of str
        Columns that are series; by default all numbers, and of sites with one row the known
        variables (`variables.VARIABLES`) and those that `names` names.
    per_site : sequence of str
        Columns that are attributes: the first value of a site counts.
    quality : str or mapping of str to (value or list of values), optional
        Column of flags, of which 0 is good, or a column and its good values; other points are left
        out, and it is said how many. By default "qc_flag", where there is one; "" keeps all.

    Raises
    ------
    DataError
        A file that cannot be read, a word in place of a number, a column that is not there; file,
        column and line are named.
    UnitError
        Known variables have no unit, or one that does not convert.
    """
    file = _table_in(path)
    if site is None:
        site = next((name for name, own in request.names.items() if own == "site"), None)
    frame = read_csv(file, f"the points in {file.name}", _text(file, site))
    columns = [str(name) for name in frame]
    request.seen.update(columns, (parted(name)[0] for name in columns))
    label = _site_column(columns, site, file)
    for name in (*series, *per_site):
        _require(name, columns, file)
    keys = _keys(frame, label, file)
    good = _good(frame, quality, file)
    flags = () if quality is None else (quality,) if isinstance(quality, str) else tuple(quality)
    others = [n for n in columns if n not in (label, QUALITY, *NUMBERS, *flags)]
    alone = not keys.duplicated().any()
    numbers = [n for n in others if has_numbers(frame[n])]
    natives = [n for n in numbers if n not in per_site and (n in series or not series)]
    if alone and not series:
        natives = [n for n in natives if _known(n, request) or n in request.names]
    names = names_of(natives, Request(names={n: name_of(n, request.names) for n in natives}), file)
    if label is None and site is None and CI in names.values() and len(frame) > 1:
        _tell_of_rows(file, frame, [n for n in others if n not in numbers])
    units = {n: unit_for(n, names[n], request) for n in natives}
    factors = unit_changes({n: base_of(names[n]) for n in natives}, units, file.name)
    rows = {
        str(key): _Rows(file, part.index.to_list(), part.reset_index(drop=True))
        for key, part in frame[good].groupby(keys[good], sort=False)
    }
    sites = wanted_sites(list(rows), request.sites, path)
    free = [n for n in others if n not in natives]
    of_rows = _first_values(frame[good], keys[good], free, numbers, alone or set(per_site))
    table, stated = _attributes(path, file, attributes, list(rows))
    table = of_rows.reindex(list(rows)).join(table, how="left", rsuffix="_of_table")
    repeated = [n for n in table if str(n).endswith("_of_table")]
    table = table.drop(columns=repeated)
    table = table.rename(columns={n: request.names.get(n, PLACES.get(n, n)) for n in table})
    stated |= {n: unit for n in of_rows if (unit := unit_for(str(n), str(n), request)) is not None}
    stated = {request.names.get(n, PLACES.get(n, n)): unit for n, unit in stated.items()}
    if "site" in table or "site" in names.values():
        raise DataError(
            f"{file.name} has a column 'site' beside {label!r}, which tells the sites: give it "
            "another name, names={'site': 'place'}."
        )

    def read(name: str, wanted: Collection[str]) -> pd.DataFrame:
        found = rows[name]
        index = pd.RangeIndex(len(found.values))

        def line(row: int) -> int:
            return line_of(found.file, int(found.lines[row]), 1)

        chosen = [n for n in natives if names[n] in wanted]
        seen = [n for n in chosen if base_of(names[n]) in OBSERVED]
        values = numbers_of(found.values[chosen], index, f"site {name}", found.file, line, seen)
        changed = {
            n: convert(values[n].to_numpy(float) * factor_of(n), *factors[n]) for n in chosen
        }
        return values.assign(**changed).set_index(index).rename(columns=names)

    @cache
    def span(name: str) -> tuple[Any, Any]:
        return 0, len(rows[name].values) - 1

    made = {names[n]: column(names[n], units[n]) for n in natives}
    attrs = {"title": file.stem}
    return Source(sites, made, read, span, table, stated, attrs, DAY * 0)


def _of_leaves(file: Path) -> bool:
    """Return whether a table has points of leaves."""
    try:
        columns = list(map(str, read_csv(file, "the points", (), nrows=1).columns))
    except DataError:
        return False
    names = {name_of(name, {}) for name in columns}
    return names >= LEAF and not any(name.lower() in TIMES for name in columns)


def _table_in(path: Path) -> Path:
    """Return the table of points of a path."""
    if path.is_file():
        return path
    found = [file for file in sorted(path.glob("*.csv")) if _of_leaves(file)]
    if len(found) != 1:
        raise DataError(
            f"{path} has {len(found)} tables of points ({listed([f.name for f in found])}); name "
            "one file."
        )
    return found[0]


def _text(file: Path, site: str | None) -> list[str]:
    """Return the columns that are read as text: that of the sites."""
    columns = list(map(str, read_csv(file, "the points", (), nrows=1).columns))
    found = _site_column(columns, site, file)
    return [] if found is None else [found]


def _site_column(columns: Sequence[str], told: str | None, file: Path) -> str | None:
    """Return the column that tells the site, or None where each row is one."""
    if told:
        return _require(told, columns, file)
    known = {name.lower(): name for name in reversed(columns)}
    return None if told == "" else next((known[n] for n in SITES if n in known), None)


def _tell_of_rows(file: Path, frame: pd.DataFrame, text: Sequence[str]) -> None:
    """Warn of a table of curves in which no column is known to tell the curve."""
    again = [n for n in text if frame[n].nunique() < len(frame)]
    remedy = f"If {again[0]!r} does" if again else "Add one, such as curve_id; if another one does"
    log.warning(
        "%s: no column tells the curve, so that each of its %d rows is a site of one point. %s, "
        "name it: options={'site': %r} ('' for rows).",
        file.name, len(frame), remedy, again[0] if again else "column",
    )  # fmt: skip


def _require(name: str, columns: Sequence[str], file: Path) -> str:
    if name not in columns:
        raise DataError(
            f"{file} has no column {name!r}{nearest(name, columns)} It has {listed(columns)}."
        )
    return name


def _known(native: str, request: Request) -> bool:
    return name_of(native, request.names) in VARIABLES or parted(native)[0] in request.names


def _keys(frame: pd.DataFrame, label: str | None, file: Path) -> pd.Series:
    """Return the site of each row."""
    if label is None:
        width = len(str(len(frame)))
        return pd.Series([f"{k + 1:0{width}d}" for k in range(len(frame))], frame.index)
    if frame[label].isna().any():
        row = int(frame[label].isna().argmax())
        raise DataError(
            f"{file} has no {label} in line {line_of(file, row, 1)}; write it, or delete the line."
        )
    return frame[label].str.strip()


def _good(frame: pd.DataFrame, quality: Any, file: Path) -> pd.Series:
    """Return which rows are kept, and say how many are not."""
    if quality is None:
        quality = QUALITY if QUALITY in frame else ""
    wanted = quality if isinstance(quality, Mapping) else {quality: 0} if quality else {}
    kept = pd.Series(True, frame.index)
    for name, values in wanted.items():
        _require(str(name), list(map(str, frame)), file)
        several = values if isinstance(values, list | tuple) else [values]
        kept &= frame[name].isin(several)
    if not kept.all():
        flags = ", ".join(map(str, wanted))
        log.warning(
            "%s: %d of %d points are left out by their flag (%s).",
            file.name, int((~kept).sum()), len(kept), flags,
        )  # fmt: skip
    if not kept.any():
        raise DataError(f"{file} has no point that its flags call good; give other good values.")
    return kept


def _first_values(
    frame: pd.DataFrame,
    keys: pd.Series,
    names: Sequence[str],
    numbers: Collection[str],
    wanted: bool | set[str],
) -> pd.DataFrame:
    """Return columns that are attributes, by site: text that does not vary within it, and numbers
    where they are `wanted`.
    """
    found = {}
    for name in names:
        groups = frame[name].groupby(keys, sort=False)
        if name in numbers and (wanted is True or name in wanted):  # type: ignore[operator]
            found[name] = pd.to_numeric(groups.first(), errors="coerce")
        elif name not in numbers and (groups.nunique() <= 1).all():
            found[name] = groups.first()
    return pd.DataFrame(found, index=pd.unique(keys))


def _attributes(
    path: Path, file: Path, given: str | None, sites: Collection[str]
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Return the attributes that stand in other files, and their units."""
    files = []
    if given:
        files = [place for place in (file.parent / given, Path(given)) if place.is_file()][:1]
        if not files:
            raise DataError(
                f"no file {given!r} beside {file}; correct the option `attributes`.",
                ("data", "options", "attributes"),
            )
    elif given is None and (known := file.parent / TABLES.get(file.name, "")).is_file():
        files = [known]
    elif given is None and path.is_dir():
        files = [other for other in sorted(path.glob("*.csv")) if other != file]
    found = pd.DataFrame(index=pd.Index([], dtype=str))
    for other in files:
        table = read_table(other, sites)
        found = found.join(table.drop(columns=[n for n in table if n in found]), how="outer")
    units = {str(n): unit for n in found if (unit := parted(str(n))[1]) is not None}
    return found.replace({"": np.nan}), units
