"""`open_sites`: records of many sites in one form, whatever the layout of their files."""

from __future__ import annotations

import inspect
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from pydiffgeo.data.derive import derived
from pydiffgeo.data.form import DAY, Day, moments, stamp
from pydiffgeo.data.layouts import LAYOUTS, Request, Source
from pydiffgeo.data.layouts.source import base_of, depth_of
from pydiffgeo.data.lazy import Reader, Rows
from pydiffgeo.data.network import DOWNSTREAM, within
from pydiffgeo.data.problems import absent
from pydiffgeo.errors import DataError, listed, lookup, nearest
from pydiffgeo.recorded import object_of

EAGER_BYTES = 2**30  # what is read at once, unless the caller says otherwise
# where attributes name the place of a site, by coordinate of the form: name, unit, names in data
# sets
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
    derive: Mapping[str, Any] | None = None,
    zone: str | None = None,
    stamps: Literal["end", "start"] = "end",
    options: Mapping[str, Any] | None = None,
    lazy: bool | None = None,
    unknown_names: Literal["error", "ignore"] = "error",
) -> xr.Dataset:
    """Open records of sites in any layout of `LAYOUTS`, in the site form (`pydiffgeo.data.form`).

    Times that a file does not have are missing values (NaN), as are observations that the data set
    marks as missing; nothing is filled and no site is left out. `check_sites` lists what is
    missing. Units that convert into those of `variables.VARIABLES` are converted, which
    ``attrs["converted_from"]`` says.

    Parameters
    ----------
    path : str or Path
        A folder or file; also looked for in the folder that the environment variable PYDIFFGEO_DATA
        names, or ../shared/data.
    layout : str
        A name of `LAYOUTS`, "auto" to find out, or "my_package.my_module:my_function" for a layout
        of one's own: the function `open_source(path, request)` of docs/how_to_add/layout.md.
    sites : sequence of str, optional
        Identifiers, in the wanted order; all by default.
    variables : sequence of str, optional
        Variables in time, by name of the form or of the data set; all by default. Static attributes
        are always there.
    start, end : date or str, optional
        First and last day; by default those of the longest record. Of records in hours, a day has
        the steps that end after its first midnight, up to its second.
    product : str or sequence of str, optional
        CAMELS-US: forcing products (daymet, maurer, maurer_extended, nldas), daymet by default;
        with several, variables are named ``precipitation_daymet`` and so on. Caravan: data sets,
        such as camels or hysets, all by default.
    names : mapping of str to str, optional
        Names in the files to names of the form, where they are not known; "soil_moisture@0.05" is a
        level of a profile, at a depth of 0.05 m.
    units : mapping of str to str, optional
        Units of variables, where the files state none or a wrong one.
    derive : mapping of str to str or mapping, optional
        What is computed from the records, by name of `derive.DERIVED`:
        ``{"potential_evapotranspiration": "oudin"}``.
    zone : str, optional
        Time zone of times that state none, such as "America/Denver" or "-07:00"; they become UTC.
        Days stay those of the file.
    stamps : {"end", "start"}
        Which end of its step a time is in the files, where there are several on a day; it becomes
        the end.
    options : mapping of str to object, optional
        Of the layout: the arguments of its `open_source`, by name; those of "river" are `site`,
        `downstream`, `inflow`, `observed`, `gauge_site`, `series`, `outside` and `least_slope`.
    lazy : bool, optional
        True: values are read from the files when they are used, site by site, and not kept. False:
        all is read now. By default up to 1 GiB is read now.
    unknown_names : {"error", "ignore"}
        What one of `names` or `units` is that the files do not have, or one of `options` that the
        layout does not have: an error, or no matter, such as that of the discharge where there is
        only weather.

    Returns
    -------
    xarray.Dataset
        Dimensions site, time (or point) and maybe depth; variables with CF units; coordinates lat,
        lon, elevation; attributes [site] or [site, depth].

    Raises
    ------
    DataError
        No such path, site, variable or name, or files that cannot be read; the message names site,
        date and file.
    UnitError
        Variables of the form are in a unit that does not convert, or in none; all are named.
    UnknownName
        No such layout, product or derived variable.
    """
    path = find_data(path)
    if stamps not in ("end", "start"):
        raise DataError(f"stamps={stamps!r} is neither 'end' nor 'start'.")
    request = Request(
        None if sites is None else tuple(str(site) for site in sites),
        (product,) if isinstance(product, str) else tuple(product or ()),
        dict(names or {}),
        dict(units or {}),
        zone,
        stamps,
    )
    source = _source(path, layout, request, options or {}, unknown_names == "ignore")
    if unknown_names == "error":
        _require_seen(source, request, path)
    kept = _variables(source, variables, dict(names or {}), path)
    times = _times(source, start, end)
    depths = sorted(
        {
            d
            for name in (*kept, *map(str, source.attributes.columns))
            if (d := depth_of(name)) is not None
        }
    )
    profiles = {base_of(name) for name in kept if depth_of(name) is not None}
    dtypes = {base_of(name): source.columns[name].dtype for name in kept}
    size = sum(np.dtype(source.columns[name].dtype).itemsize for name in kept) * len(times)
    axis = "time" if isinstance(times, pd.DatetimeIndex) else "point"
    shapes = {
        name: {"site": len(source.sites), axis: len(times)}
        | ({"depth": len(depths)} if name in profiles else {})
        for name in dtypes
    }
    wanted = frozenset(kept)

    def read(row: int) -> dict[str, NDArray]:
        frame = _on_times(source.read(source.sites[row], wanted), times, source.sites[row])
        found = {name: np.full(tuple(shapes[name].values())[1:], np.nan) for name in profiles}
        for name in kept:
            column, depth = source.columns[name], depth_of(name)
            values = frame[name].to_numpy(float) if name in frame else np.full(len(times), np.nan)
            if depth is not None:
                found[base_of(name)][:, depths.index(depth)] = values
                continue
            found[name] = column.typed(values)
        return found

    def block(rows: Rows, names: Collection[str]) -> dict[str, NDArray] | None:
        found = None if source.block is None else source.block(rows, times, names)
        return found and {name: source.columns[name].typed(v) for name, v in found.items()}

    if lazy if lazy is not None else size * len(source.sites) > EAGER_BYTES:
        reader = Reader(read, size, None if source.block is None else block)
        arrays = {name: reader.variable(name, shapes[name], dtypes[name]) for name in dtypes}
    else:
        arrays = {
            name: xr.Variable(tuple(shape), np.empty(tuple(shape.values()), dtypes[name]))
            for name, shape in shapes.items()
        }
        at_once = block(np.arange(len(source.sites)), wanted)
        if at_once is not None:
            for name, values in at_once.items():
                arrays[name].values[:] = values
        else:
            for row in range(len(source.sites)):
                for name, values in read(row).items():
                    arrays[name].values[row] = values
    for name in kept:
        arrays[base_of(name)].attrs.update(source.columns[name].attributes)
    coords: dict[str, Any] = {
        "site": ("site", np.array(source.sites, dtype=str), {"cf_role": "timeseries_id"})
    }
    if axis == "time":
        coords["time"] = times
    if depths:
        coords["depth"] = ("depth", depths, {"units": "m", "positive": "down"})
    attrs = {**source.attrs, "featureType": "timeSeries"}
    opened = xr.Dataset(arrays | _static(source, depths), coords, attrs)
    opened = opened.set_coords([name for name in PLACES if name in opened])
    return derived(opened, derive or {})


def find_data(path: str | Path, search: Sequence[str] = ()) -> Path:
    """Return a path as given, or below the folder of PYDIFFGEO_DATA, or in ../shared/data.

    `search` are further folders, such as those where a run was trained.

    Raises
    ------
    DataError
        It is in none of these.
    """
    path = Path(path).expanduser()
    folders = [Path(), Path(os.environ.get("PYDIFFGEO_DATA") or "../shared/data")]
    folders += map(Path, search)
    for folder in folders:
        if (folder / path).exists():
            return folder / path
    raise DataError(
        f"no file or folder {str(path)!r} in {' or '.join(str(f.resolve()) for f in folders)}; "
        "correct it, set PYDIFFGEO_DATA to the folder that has it, or see `pydiffgeo data fetch`.",
        ("data", "path"),
    )


def _source(
    path: Path, layout: str, request: Request, options: Mapping[str, Any], ignore: bool
) -> Source:
    if ":" in layout:
        found = _opened(object_of(layout), layout, path, request, options, ignore)
        if not isinstance(found, Source):
            raise DataError(
                f"the layout {layout!r} returns {type(found).__name__}; let it return a "
                "pydiffgeo.data.layouts.Source."
            )
        return found
    if layout != "auto":
        known = lookup(LAYOUTS, layout, "layout")
        return _opened(known.open_source, layout, path, request, options, ignore)
    for name, known in LAYOUTS.items():
        if known.recognises(path):
            return _opened(known.open_source, name, path, request, options, ignore)
    raise DataError(
        f"{path} has none of the known layouts "
        f"({', '.join(f'{k}: {v.title}' for k, v in LAYOUTS.items())}); name one with `layout` to "
        "be told what is missing, or a function of your own, 'my_module:open_source'."
    )


def _opened(
    open_source: Any,
    layout: str,
    path: Path,
    request: Request,
    options: Mapping[str, Any],
    ignore: bool,
) -> Any:
    """Return what a layout opens; DataError for an option that it does not have, or no matter."""
    known = list(inspect.signature(open_source).parameters)[2:]
    if ignore:
        options = {name: value for name, value in options.items() if name in known}
    for name in options:
        if name not in known:
            raise DataError(
                f"the layout {layout!r} has no option {name!r}{nearest(name, known)} It has "
                f"{', '.join(known) or 'none'}.{_having(name)}",
                ("data", "options", name),
            )
    return open_source(path, request, **options)


def _having(option: str) -> str:
    """Return which layouts have an option, as a sentence."""
    found = [
        name
        for name, known in LAYOUTS.items()
        if option in list(inspect.signature(known.open_source).parameters)[2:]
    ]
    return f" Name a layout that has it by `layout`: {', '.join(found)}." if found else ""


def _require_seen(source: Source, request: Request, path: Path) -> None:
    """Raise DataError for one of `names` or `units` that a layout that asks did not find."""
    there = request.seen
    units = {*there, *source.columns, *map(str, source.attributes.columns)}
    units |= {base_of(name) for name in units}
    for key, given, known in (("names", request.names, there), ("units", request.units, units)):
        for name, told in given.items() if there else ():
            if name not in known and told not in ("site", "time"):  # which file names may tell
                raise DataError(
                    f"{key}: no column {name!r} in {path}{nearest(name, sorted(known))} It has "
                    f"{listed(sorted(there))}.",
                    ("data", key, name),
                )


def _variables(
    source: Source, wanted: Sequence[str] | None, names: Mapping[str, str], path: Path
) -> list[str]:
    if wanted is None:
        return list(source.columns)
    request, kept = Request(names=names), []
    known = dict.fromkeys(base_of(name) for name in source.columns)
    for given in wanted:
        name = given if given in known or given in source.columns else request.name(given)
        found = [column for column in source.columns if name in (column, base_of(column))]
        if not found:
            raise DataError(
                f"no variable {given!r} in {path}{nearest(given, known)} It has {listed(known)}."
            )
        kept += found
    return list(dict.fromkeys(kept))


def _times(source: Source, start: Day, end: Day) -> pd.Index:
    first, last = moments(start, end, source.step)
    if not source.step:
        if start is not None or end is not None:
            raise DataError("the records are points without dates; leave start and end out.")
        return pd.RangeIndex(max(int(b) for _, b in _spans(source)) + 1, name="point")  # type: ignore[arg-type]
    if first is pd.NaT or last is pd.NaT or source.step != DAY:
        spans = _spans(source)
        begin = min(a for a, _ in spans)
        if source.step != DAY and first is not pd.NaT:
            # the steps of a record in hours stay where they are
            first = begin + -(-(first - begin) // source.step) * source.step
        first = begin if first is pd.NaT else first
        last = max(b for _, b in spans) if last is pd.NaT else last
    if last < first:
        raise DataError(
            f"the record would end on {stamp(last.floor('s'))}, before its start on "
            f"{stamp(first)}; change start or end."
        )
    if source.step == DAY:
        first, last = first.normalize(), last.normalize()
    return pd.date_range(first, last, freq=source.step, name="time")


def _on_times(frame: pd.DataFrame, times: pd.Index, site: str) -> pd.DataFrame:
    """Return the rows of a site at the times of the record, NaN where it has none."""
    if frame.index.equals(times):
        return frame
    inside = frame.index[(frame.index >= times[0]) & (frame.index <= times[-1])]
    off = ~inside.isin(times)
    if off.any():
        raise DataError(
            f"site {site} has the time {stamp(inside[off][0])}, which is not one of the regular "
            f"steps of the records, {stamp(times[0])}, {stamp(times[min(1, len(times) - 1)])} ...; "
            "resample it to the step of the others."
        )
    return frame.reindex(times)


def _spans(source: Source) -> list[tuple[pd.Timestamp, pd.Timestamp]]:
    """Return first and last day of each site whose file tells them.

    The others say what is wrong when they are read.
    """
    spans, errors = [], []
    for site in source.sites:
        try:
            spans.append(source.span(site))
        except DataError as error:
            errors.append(error)
    if not spans:
        raise errors[0]
    return spans


def _static(source: Source, depths: Sequence[float]) -> dict[str, xr.Variable]:
    """Return attributes [site] or [site, depth] in the order of the sites, and the coordinates of
    their places.
    """
    table = source.attributes.reindex(list(source.sites))
    found: dict[str, xr.Variable] = {}
    for name in map(str, table.columns):
        values = table[name].to_numpy()
        if name == DOWNSTREAM:
            whole = source.attributes[name].to_numpy()
            values = within(map(str, source.attributes.index), whole, source.sites, values)
        elif table[name].isna().all():
            values = np.full(len(table), np.nan)
        elif table[name].dtype == object:
            values = table[name].fillna("").astype(str).to_numpy(dtype=str)
        unit = source.attribute_units.get(name, source.attribute_units.get(base_of(name)))
        attrs = {} if unit is None else {"units": unit}
        depth = depth_of(name)
        if depth is None:
            found[name] = xr.Variable("site", values, attrs)
            continue
        shape = (len(table), len(depths))
        level = found.setdefault(
            base_of(name), xr.Variable(("site", "depth"), np.full(shape, np.nan), attrs)
        )
        level.values[:, depths.index(depth)] = values
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
                    f"attribute {native!r} of site {source.sites[row]} is {text!r}, no number; "
                    "correct it."
                )
            found[name] = xr.Variable("site", numbers, {"units": unit})
    return found
