"""Reaches of a river from netCDF files, and from tables: CSV, parquet and GeoPackage."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from pydiffgeo.data.form import unit_of
from pydiffgeo.data.layouts.netcdf_files import open_netcdf, values_of
from pydiffgeo.data.layouts.reaches import (
    NONE,
    OTHER_IDS,
    TEXT,
    Reaches,
    attribute_of,
    known_columns,
)
from pydiffgeo.data.layouts.source import Request
from pydiffgeo.data.layouts.text import read_rows, separator_of
from pydiffgeo.data.network import identifiers
from pydiffgeo.errors import DataError, nearest


def reaches_of_netcdf(
    path: Path, request: Request, site: str | None, downstream: str | None
) -> Reaches:
    """Return the reaches of a netCDF file; the arguments are those of the layout.

    Raises
    ------
    DataError
        The file cannot be read, has no variable with the reach below, or not the one named.
    """
    file = open_netcdf(path)
    lines = [str(name) for name, values in file.variables.items() if len(values.dims) == 1]
    below = _named(downstream, lines, "downstream", path) or known_columns(lines, netcdf=True)[1]
    if below is None:
        raise DataError(
            f"{path} has no variable that tells the reach below each; name it by "
            f"options={{'downstream': ...}}. It has {', '.join(lines)}."
        )
    label = str(file[below].dims[0])
    own = [name for name in lines if file[name].dims == (label,) and name != below]
    given = _named(site, own, "site", path)
    given = given or (label if label in own else known_columns(own, netcdf=True)[0])
    count = file.sizes[label]
    ids = identifiers(np.arange(count) if given is None else values_of(file[given], given, path))
    values = values_of(file[below], below, path)
    down = identifiers(values, ids.tolist())
    if below.lower().endswith("index"):
        down = _at_positions(values, ids, below, path)
    attributes = {
        name: (values_of(file[name], name, path), unit_of(file[name]))
        for name in own
        if name not in (given, label)
    }
    file = file.drop_vars([below, *own])
    file = file.rename_dims({label: "site"} if label in file.dims else {})
    return Reaches(ids.tolist(), down.tolist(), _attributes(attributes, request, path), file)


def reaches_of_table(
    path: Path, request: Request, site: str | None, downstream: str | None
) -> Reaches:
    """Return the reaches of a table; the arguments are those of the layout.

    Raises
    ------
    DataError
        The table cannot be read, or has no column with identifiers or with the reach below.
    """
    columns = table_header(path)
    known = known_columns(columns)
    given = _named(site, columns, "site", path) or known[0]
    below = _named(downstream, columns, "downstream", path) or known[1]
    for name, what in ((given, "site"), (below, "downstream")):
        if name is None:
            raise DataError(
                f"{path} has no column that is known as {what!r}; name it by "
                f"options={{{what!r}: ...}}. It has {', '.join(columns)}."
            )
    text = [name for name in columns if name.lower() in TEXT]
    request.seen.update((str(given), str(below)))
    table = _table(path, [str(given), str(below), *text])
    ids = identifiers(table[given].to_numpy())
    down = identifiers(table[below].to_numpy(), ids.tolist())
    if str(below).lower().endswith("index"):
        down = _at_positions(table[below].to_numpy(float), ids, str(below), path)
    attributes: dict[str, tuple[NDArray, str | None]] = {
        name: (table[name].to_numpy(), None) for name in columns if name not in (given, below)
    }
    return Reaches(
        ids.tolist(), down.tolist(), _attributes(attributes, request, path), xr.Dataset()
    )


def table_header(path: Path) -> list[str]:
    """Return the columns of a table.

    Raises
    ------
    DataError
        It cannot be read.
    """
    if path.suffix == ".csv":
        frame = read_rows(path, "the table of reaches", sep=separator_of(path), nrows=0)
        return list(map(str, frame.columns))
    return list(map(str, _table(path, ()).columns))


def _table(path: Path, text: Any) -> pd.DataFrame:
    """Return a table of reaches; some columns as text."""
    if path.suffix == ".csv":
        separator, types = separator_of(path), dict.fromkeys(text, str)
        return read_rows(
            path, "the table of reaches", sep=separator, dtype=types, skipinitialspace=True
        )
    if path.suffix == ".parquet":
        try:
            return pd.read_parquet(path)
        except ImportError as error:
            raise DataError(
                f"{path} is a parquet file, which needs the package pyarrow (`pip install "
                "pyarrow`); install it, or convert the table to CSV."
            ) from error
        except (OSError, ValueError) as error:
            raise DataError(f"{path} cannot be read as parquet ({error}); get it again.") from error
    return _geopackage(path)


def _geopackage(path: Path) -> pd.DataFrame:
    """Return the attributes of the one layer of a GeoPackage that tells the reach below."""
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as base:
            rows = base.execute("SELECT table_name FROM gpkg_contents").fetchall()
            layers = {str(name): _columns(base, str(name)) for (name,) in rows}
            fitting = [name for name, own in layers.items() if None not in known_columns(own)]
            if len(fitting) != 1:
                raise DataError(
                    f"{path} has {len(fitting)} layers that tell the reach below each, one is "
                    f"needed; it has {', '.join(layers)}. Write the table as CSV."
                )
            kept = [name for name in layers[fitting[0]] if not OTHER_IDS.fullmatch(name.lower())]
            quoted = ", ".join(_quoted(name) for name in kept)
            return pd.read_sql_query(f"SELECT {quoted} FROM {_quoted(fitting[0])}", base)
    except sqlite3.Error as error:
        raise DataError(
            f"{path} cannot be read as a GeoPackage ({error}); get it again."
        ) from error


def _columns(base: sqlite3.Connection, table: str) -> list[str]:
    return [str(row[1]) for row in base.execute(f"PRAGMA table_info({_quoted(table)})")]


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _named(given: str | None, known: list[str], option: str, path: Path) -> str | None:
    """Return a name that an option tells; DataError where there is none."""
    if given is not None and given not in known:
        raise DataError(
            f"{option}: {path} has no {given!r}{nearest(given, known)} It has {', '.join(known)}."
        )
    return given


def _at_positions(values: NDArray, ids: NDArray, name: str, path: Path) -> NDArray:
    """Return the identifiers at positions; none for those below 0."""
    number = np.nan_to_num(np.asarray(values, float), nan=-1.0).astype(np.int64)
    if len(number) and number.max() >= len(ids):
        row = int(number.argmax())
        raise DataError(
            f"{name} of reach {ids[row]!r} in {path} is {number[row]}, and there are {len(ids)} "
            "reaches, counted from 0; correct it."
        )
    return np.where(number < 0, "", ids[number])


def _attributes(
    given: dict[str, tuple[NDArray, str | None]], request: Request, path: Path
) -> xr.Dataset:
    """Return attributes under the names of the site form, lengths in m."""
    found: dict[str, xr.Variable] = {}
    for native, (values, unit) in given.items():
        if OTHER_IDS.fullmatch(native.lower()):
            continue
        if native.lower() in TEXT:
            text = identifiers(values)
            text = np.where(np.isin(text, NONE), "", text).astype(str)
            found[TEXT[native.lower()]] = xr.Variable("site", text)
            continue
        name, unit, factor = attribute_of(native, unit, request)
        if name in found:
            raise DataError(
                f"two attributes of {path} are {name!r}, {native!r} is the second; tell them apart "
                "with names={...}."
            )
        if values.dtype.kind in "fiu":
            values = values if factor == 1.0 else values * factor
        else:
            values = identifiers(values).astype(str)
        found[name] = xr.Variable("site", values, {} if unit is None else {"units": unit})
    return xr.Dataset(found)
