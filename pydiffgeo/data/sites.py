"""`open_sites`: records of many sites, whatever the layout of their files, in the one form of `pydiffgeo.data.variables`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from pydiffgeo.data.layouts import LAYOUTS, Request, Source
from pydiffgeo.data.layouts.text import Day, parse_day
from pydiffgeo.data.lazy import Reader
from pydiffgeo.data.problems import absent
from pydiffgeo.errors import DataError, lookup, nearest

EAGER_BYTES = 2**30  # what is read at once, unless the caller says otherwise
# where attributes name the place of a site, by coordinate of the form: name, unit, names in data sets
PLACES: dict[str, tuple[str, tuple[str, ...]]] = {
    "lat": ("degrees_north", ("lat", "gauge_lat", "latitude")),
    "lon": ("degrees_east", ("lon", "gauge_lon", "longitude")),
    "elevation": ("m", ("elevation", "elev_mean", "ele_mt_sav")),
}


def open_sites(
    path: str | Path,
    layout: str = "auto",
    sites: Sequence[str] | None = None,
    variables: Sequence[str] | None = None,
    start: Day = None,
    end: Day = None,
    *,
    product: str | Sequence[str] | None = None,
    names: Mapping[str, str] | None = None,
    units: Mapping[str, str] | None = None,
    lazy: bool | None = None,
) -> xr.Dataset:
    """Open records of sites in any layout of `LAYOUTS`, in the site form (`pydiffgeo.data.variables`).

    Days that a file does not have are missing values (NaN), as are observations that the data set marks as missing; nothing is
    filled and no site is left out. `check_sites` lists what is missing.

    Parameters
    ----------
    path : str or Path
        A folder or file.
    layout : str
        A name of `LAYOUTS`, or "auto" to find out.
    sites : sequence of str, optional
        Identifiers, in the wanted order; all by default.
    variables : sequence of str, optional
        Variables in time, by name of the form or of the data set; all by default. Static attributes are always there.
    start, end : date or str, optional
        First and last day; by default those of the longest record.
    product : str or sequence of str, optional
        CAMELS-US: forcing products (daymet, maurer, maurer_extended, nldas), daymet by default; with several, variables are
        named ``precipitation_daymet`` and so on. Caravan: data sets, such as camels or hysets, all by default.
    names : mapping of str to str, optional
        Names in the files to names of the form, where they are not known.
    units : mapping of str to str, optional
        Units of variables, where the files state none or a wrong one.
    lazy : bool, optional
        True: values are read from the files when they are used, site by site, and not kept. False: all is read now. By
        default up to 1 GiB is read now.

    Returns
    -------
    xarray.Dataset
        Dimensions site and time; variables with CF units; coordinates lat, lon, elevation; attributes [site].

    Raises
    ------
    DataError
        No such path, site or variable, or files that cannot be read; the message names site, date and file.
    UnitError
        A variable of the form is in a unit that does not convert, or in none.
    UnknownName
        No such layout or product.
    """
    path = Path(path)
    source = _source(path, layout, Request(
        None if sites is None else tuple(str(b) for b in sites),
        (product,) if isinstance(product, str) else tuple(product or ()), dict(names or {}), dict(units or {}),
    ))  # fmt: skip
    kept = _variables(source, variables, dict(names or {}), path)
    days = _days(source, start, end)
    shape = (len(source.sites), len(days))
    size = sum(np.dtype(source.columns[name].dtype).itemsize for name in kept) * shape[1]

    wanted = frozenset(kept)

    def read(row: int) -> dict[str, NDArray]:
        frame = source.read(source.sites[row], wanted)
        if not frame.index.equals(days):
            frame = frame.reindex(days)
        found = {}
        for name in kept:
            column = source.columns[name]
            values = frame[name].to_numpy(float) if name in frame else np.full(len(days), np.nan)
            if column.dtype != "float64":
                values = np.where(np.isnan(values), column.fill, values).astype(column.dtype)
            found[name] = values
        return found

    reader = Reader(read, size)
    if lazy if lazy is not None else size * shape[0] > EAGER_BYTES:
        arrays = {name: reader.variable(name, shape, source.columns[name].dtype) for name in kept}
    else:
        arrays = {
            name: xr.Variable(("site", "time"), np.empty(shape, source.columns[name].dtype))
            for name in kept
        }
        for row in range(shape[0]):
            for name, values in read(row).items():
                arrays[name].values[row] = values
    for name in kept:
        arrays[name].attrs.update(source.columns[name].attributes)
    coords = {
        "site": ("site", np.array(source.sites, dtype=str), {"cf_role": "timeseries_id"}),
        "time": days,
    }
    opened = xr.Dataset(
        arrays | _static(source), coords, {**source.attrs, "featureType": "timeSeries"}
    )
    return opened.set_coords([name for name in PLACES if name in opened])


def _source(path: Path, layout: str, request: Request) -> Source:
    if not path.exists():
        raise DataError(
            f"no file or folder {str(path)!r} (looked from {Path.cwd()}); `pydiffgeo data fetch` downloads some."
        )
    if layout != "auto":
        return lookup(LAYOUTS, layout, "layout").open_source(path, request)
    for known in LAYOUTS.values():
        if known.recognises(path):
            return known.open_source(path, request)
    raise DataError(
        f"{path} has none of the known layouts ({', '.join(f'{k}: {v.title}' for k, v in LAYOUTS.items())}); name one with "
        "`layout` to be told what is missing."
    )


def _variables(
    source: Source, wanted: Sequence[str] | None, names: Mapping[str, str], path: Path
) -> list[str]:
    if wanted is None:
        return list(source.columns)
    request, kept = Request(names=names), []
    for given in wanted:
        name = given if given in source.columns else request.name(given)
        if name not in source.columns:
            raise DataError(
                f"no variable {given!r} in {path}{nearest(given, source.columns)} It has {', '.join(source.columns)}."
            )
        kept.append(name)
    return list(dict.fromkeys(kept))


def _days(source: Source, start: Day, end: Day) -> pd.DatetimeIndex:
    first, last = (
        parse_day(day, name) for day, name in ((start, "start"), (end, "end"))
    )  # NaT where not given
    if first is pd.NaT or last is pd.NaT:
        spans = _spans(source)
        first = min(a for a, _ in spans) if first is pd.NaT else first
        last = max(b for _, b in spans) if last is pd.NaT else last
    if last < first:
        raise DataError(
            f"the record would end on {last:%Y-%m-%d}, before its start on {first:%Y-%m-%d}; change start or end."
        )
    return pd.date_range(first.normalize(), last.normalize(), name="time")


def _spans(source: Source) -> list[tuple[pd.Timestamp, pd.Timestamp]]:
    """Return first and last day of each site whose file tells them; the others say what is wrong when they are read."""
    spans, errors = [], []
    for site in source.sites:
        try:
            spans.append(source.span(site))
        except DataError as error:
            errors.append(error)
    if not spans:
        raise errors[0]
    return spans


def _static(source: Source) -> dict[str, xr.Variable]:
    """Return attributes [site] in the order of the sites, and the coordinates of their places."""
    table = source.attributes.reindex(list(source.sites))
    found: dict[str, xr.Variable] = {}
    for name in map(str, table.columns):
        values = table[name].to_numpy()
        if table[name].isna().all():
            values = np.full(len(table), np.nan)
        elif table[name].dtype == object:
            values = table[name].fillna("").astype(str).to_numpy(dtype=str)
        unit = source.attribute_units.get(name)
        found[name] = xr.Variable("site", values, {} if unit is None else {"units": unit})
    for name, (unit, natives) in PLACES.items():
        native = next((n for n in natives if n in found), None)
        if native is not None:
            numbers = pd.to_numeric(pd.Series(found[native].values), errors="coerce").to_numpy(
                float
            )
            words = np.isnan(numbers) & ~absent(found[native].values)
            if words.any():
                row = int(words.argmax())
                text = str(found[native].values[row])
                raise DataError(
                    f"attribute {native!r} of site {source.sites[row]} is {text!r}, no number; correct it."
                )
            found[name] = xr.Variable("site", numbers, {"units": unit})
    return found
