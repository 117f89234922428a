"""Series of the reaches of a river: lateral inflow, and the discharge of gauges."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from pydiffgeo.data import network
from pydiffgeo.data.form import stamp
from pydiffgeo.data.layouts.netcdf import recognises as is_netcdf
from pydiffgeo.data.layouts.netcdf_files import open_netcdf, values_of
from pydiffgeo.data.layouts.reaches import Reaches
from pydiffgeo.data.layouts.regular_times import step_between
from pydiffgeo.data.layouts.series import TIMES, time_dimension
from pydiffgeo.data.layouts.source import Request
from pydiffgeo.data.layouts.text import (
    line_of,
    numbers_of,
    parse_stamps,
    read_rows,
    separator_of,
)
from pydiffgeo.data.network import SHOWN, identifiers
from pydiffgeo.errors import DataError, nearest

log = logging.getLogger("pydiffgeo")
EAGER_BYTES = 2**30  # of a file that is read at once: reach by reach takes long
GAUGE_SITES = ("gauge_site", "gauge_segment", "gauge_reach", "gauge_index", "gauge_comid")
AREAS = ("drainage_area", "gauge_area", "area", "da")


def with_series(sites: xr.Dataset, reaches: Reaches, request: Request, path: Path) -> xr.Dataset:
    """Return reaches with the series [site, time] of their own file.

    A line of the log names variables of other dimensions.
    """
    file = reaches.file
    if not set(TIMES) & set(file.dims):
        return sites
    moment = time_dimension(file, str(path))
    kept = [name for name, v in file.data_vars.items() if set(v.dims) == {"site", moment}]
    part = file[kept]
    if part.nbytes <= EAGER_BYTES:
        part = xr.Dataset(
            {name: (v.dims, values_of(v, str(name), path), v.attrs) for name, v in part.items()}
        )
    times = _times(file[moment], request, path)
    if moment in sites.dims:  # of a series of another file
        sites = sites.assign({n: _at_times(v, times) for n, v in sites.items() if moment in v.dims})
    return sites.assign(part.data_vars).assign_coords({moment: times})


def observed_of(
    sites: xr.Dataset, reaches: Reaches, gauge_site: str | None, request: Request, path: Path
) -> xr.Dataset:
    """Return reaches with the discharge of gauges, [site, time], and their identifiers.

    Of two gauges at one reach the one of the larger drainage area is kept, else the one observed
    longer; a line of the log says so.

    Raises
    ------
    DataError
        It is not told where a gauge is.
    """
    file = reaches.file
    others = [str(n) for n, v in file.data_vars.items() if "site" not in v.dims]
    name = next((n for n in others if request.name(n) == "discharge"), None)
    left = [n for n in others if n != name]
    if name is not None:
        values = file[name]
        moment = next((str(d) for d in values.dims if _has_dates(file, str(d))), None)
        gauges = [str(d) for d in values.dims if d != moment]
        if moment is None or len(gauges) > 1:
            raise DataError(
                f"{name!r} of {path} has the dimensions {', '.join(map(str, values.dims))}; one of "
                "times and maybe one of gauges are needed."
            )
        if gauges:
            left = [n for n in left if file[n].dims != (gauges[0],)]
            rows, kept, more = _gauges(sites, file, gauges[0], values, gauge_site, path)
            table = values_of(values.transpose(gauges[0], moment), name, path)[kept]
        else:
            rows, more = np.array([_only(sites, gauge_site, path)]), {}
            table = values_of(values, name, path)[None]
        whole = np.full((sites.sizes["site"], table.shape[1]), np.nan)
        whole[rows] = table
        found = xr.DataArray(whole, dims=("site", "time"), attrs=values.attrs)
        found["time"] = _times(file[moment], request, path)
        axis = next((n for n in TIMES if n in sites.dims), "time")
        if axis in sites.dims:
            found = _at_times(found, pd.DatetimeIndex(sites[axis].values))
        sites = sites.assign(more | {"discharge": found.rename(time=axis)})
    if left:
        log.info("left out, of other dimensions than reaches: %s of %s", ", ".join(left), path.name)
    return sites


def matrix(file: Path, name: str, sites: xr.Dataset, request: Request) -> xr.DataArray:
    """Return a series of all reaches from a file with a column or a row for each.

    Parameters
    ----------
    file : Path
        netCDF or CSV.
    name : str
        Of the series, "lateral_inflow" or "discharge"; reaches that a file of the second lacks are
        not observed.
    sites : xarray.Dataset
        Reaches, whose attribute ``gauge`` may stand for them.
    request : Request
        What the caller asks for.

    Raises
    ------
    DataError
        The file cannot be read, has no such series, or lacks reaches.
    """
    values, attrs = _read_matrix(file, name, sites, request)
    ids = [str(site) for site in sites.site.values]
    own = identifiers(np.array(values.columns, dtype=object), ids).tolist()
    if "gauge" in sites and name == "discharge":
        reach = {str(g): s for g, s in zip(sites.gauge.values, ids, strict=True) if str(g)}
        own = [reach.get(column, column) for column in own]
    values.columns = pd.Index(own)
    if values.columns.has_duplicates:
        twice = values.columns[values.columns.duplicated()][0]
        raise DataError(f"{file} has reach {twice!r} twice; keep one series.")
    there = set(own)
    lacking = [site for site in ids if site not in there]
    if len(lacking) == len(ids) or (lacking and name != "discharge"):
        more = " ..." if len(lacking) > SHOWN else ""
        raise DataError(
            f"{file} has no {name} of {len(lacking)} of {len(ids)} reaches: "
            f"{', '.join(lacking[:SHOWN])}{more}; add them (0 where nothing flows in)."
        )
    if extra := len(set(own) - set(ids)):
        log.info("%d columns of %s are of no reach and left out", extra, file.name)
    found = values.reindex(columns=ids).to_numpy(float).T
    times = pd.DatetimeIndex(values.index, name="time")  # whatever its column is called
    made = xr.DataArray(found, {"time": times}, ("site", "time"), attrs=attrs)
    axis = next((n for n in TIMES if n in sites.dims), None)
    return made if axis is None else _at_times(made, pd.DatetimeIndex(sites[axis].values))


def _read_matrix(
    file: Path, name: str, sites: xr.Dataset, request: Request
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return a table with a row for each time and a column for each reach, and attributes."""
    if is_netcdf(file):
        with open_netcdf(file) as opened:
            moment = time_dimension(opened, str(file))
            flat = [n for n, v in opened.data_vars.items() if len(v.dims) == 2 and moment in v.dims]
            fitting = [n for n in flat if request.name(str(n)) == name] or flat
            if len(fitting) != 1:
                raise DataError(
                    f"{file} has {len(fitting)} variables that could be {name}: "
                    f"{', '.join(map(str, fitting)) or 'none'}; tell which by names={{...}}."
                )
            values = opened[fitting[0]]
            label = next(str(d) for d in values.dims if d != moment)
            if label not in opened.variables:
                raise DataError(f"{label!r} of {file} has no identifiers; give it a coordinate.")
            table = values_of(values.transpose(moment, label), str(fitting[0]), file)
            columns = identifiers(opened[label].values).tolist()
            index = _times(opened[moment], request, file)
            return pd.DataFrame(table, index, columns), dict(values.attrs)
    what = f"the {name} in {file.name}"
    frame = read_rows(file, what, sep=separator_of(file), dtype={0: str}, skipinitialspace=True)
    first = str(frame.columns[0])
    frame[first] = frame[first].astype(str)
    ids = set(map(str, sites.site.values)) | set(map(str, sites.get("gauge", sites.site).values))
    across = ids & set(identifiers(np.array(frame.columns[1:], dtype=object), list(ids)).tolist())
    down = ids & set(identifiers(frame[first].to_numpy(), list(ids)).tolist())
    frame = frame.set_index(first)
    rows = len(down) > len(across)  # a row for each reach
    frame = frame.T if rows else frame
    times = parse_stamps(pd.Series(frame.index.astype(str)), what, zone=request.zone)
    return _numbers(frame.set_index(times), what, file, rows, name == "discharge"), {}


def _numbers(
    frame: pd.DataFrame, what: str, file: Path, rows: bool, observed: bool
) -> pd.DataFrame:
    """Return a table [time, reach] whose text is read as numbers; `rows` of the file are reaches.

    DataError for what is none, with its reach, line and date; a word for an observation is missing.
    """
    found = []
    for k, column in enumerate(frame.columns):
        if frame[column].dtype.kind in "fiu":
            found.append(frame[column].astype(float))
            continue

        def line(row: int, reach: int = k) -> int:
            return line_of(file, reach if rows else row, 1)

        one = f"reach {column}"
        part = frame[[column]].reset_index(drop=True).rename(columns={column: one})
        seen = (one,) if observed else ()
        found.append(numbers_of(part, frame.index, what, file, line, seen)[one])
    return pd.DataFrame(np.array(found).T, frame.index, frame.columns)


def _times(values: xr.DataArray, request: Request, path: Path) -> pd.DatetimeIndex:
    return parse_stamps(values.values, str(path), zone=request.zone)


def _has_dates(file: xr.Dataset, dim: str) -> bool:
    return dim in file.variables and file[dim].dtype.kind == "M" or dim in TIMES


def _at_times(values: xr.DataArray, times: pd.DatetimeIndex) -> xr.DataArray:
    """Return a series at other times: means of finer steps over those that end at the times."""
    axis = str(values.dims[-1])
    own = pd.DatetimeIndex(values[axis].values)
    if own.equals(times):
        return values
    if step_between(own) >= step_between(times):
        return values.reindex({axis: times})
    step = step_between(times)
    at = times.searchsorted(own)
    there = (at < len(times)) & (at >= 0)
    there &= own > times[np.minimum(at, len(times) - 1)] - step
    table = pd.DataFrame(values.values[:, there].T).groupby(at[there]).mean()
    whole = np.full((len(values), len(times)), np.nan)
    whole[:, table.index.to_numpy()] = table.to_numpy().T
    log.info(
        "%s from %s to %s is a mean over each step of %s", values.name or "a series",
        stamp(own[0]), stamp(own[-1]), step,
    )  # fmt: skip
    return xr.DataArray(whole, {axis: times}, values.dims, attrs=values.attrs)


def _only(sites: xr.Dataset, gauge_site: str | None, path: Path) -> int:
    """Return the position of the one gauge of a file: that which is named, or the outlet."""
    if gauge_site is None:
        return network.outlet(sites)
    names = [str(site) for site in sites.site.values]
    if gauge_site not in names:
        raise DataError(
            f"gauge_site: {path} has no reach {gauge_site!r}{nearest(gauge_site, names)}"
        )
    return names.index(gauge_site)


def _gauges(
    sites: xr.Dataset,
    file: xr.Dataset,
    label: str,
    values: xr.DataArray,
    gauge_site: str | None,
    path: Path,
) -> tuple[NDArray, NDArray, dict[str, Any]]:
    """Return positions of reaches, those of their gauges, and attributes of reaches with gauges."""
    own = [str(n) for n, v in file.variables.items() if v.dims == (label,) and n != label]
    known = [n for n in (gauge_site, *GAUGE_SITES) if n in own]
    if not known or (gauge_site is not None and gauge_site not in own):
        close = "." if gauge_site is None else nearest(gauge_site, own)
        raise DataError(
            f"{path} does not tell at which reach each gauge is{close} Name the variable by "
            f"options={{'gauge_site': ...}}; gauges have {', '.join(own) or 'none'}."
        )
    given, ids = values_of(file[known[0]], known[0], path), list(map(str, sites.site.values))
    text, at = identifiers(given, ids), {name: i for i, name in enumerate(ids)}
    if all(name in at for name in text) or given.dtype.kind not in "fiu":
        rows = np.array([at.get(name, -1) for name in text], dtype=np.int64)
    else:
        rows = np.nan_to_num(given.astype(float), nan=-1.0).astype(np.int64)
        rows[rows >= len(ids)] = -1
    names = identifiers(file[label].values if label in file.variables else np.arange(len(rows)))
    table = values_of(values.transpose(label, ...), str(values.name), path)
    number = np.isfinite(table).sum(1)
    area = next((values_of(file[n], n, path) for n in AREAS if n in own), np.zeros(len(rows)))
    order = np.lexsort((-number, -area))  # the first of a reach is kept
    first = np.unique(rows[order], return_index=True)[1]
    kept = np.sort(order[first[rows[order][first] >= 0]])
    if away := (rows < 0).sum():
        log.info("%d gauges of %s are at no reach and left out", away, path.name)
    lost = np.setdiff1d(np.flatnonzero(rows >= 0), kept).tolist()
    for i in lost:
        other = next(j for j in kept if rows[j] == rows[i])
        log.warning(
            "gauges %s and %s are both at reach %s: %s is left out, whose drainage area or record "
            "is smaller", names[other], names[i], ids[rows[i]], names[i],
        )  # fmt: skip
    more: dict[str, Any] = {"gauge": _spread(names[kept], rows[kept], len(ids), {})}
    for name in (n for n in own if n not in (known[0], "gauge_lat", "gauge_lon")):
        if name not in sites:
            more[name] = _spread(
                values_of(file[name], name, path)[kept], rows[kept], len(ids), file[name].attrs
            )
    return rows[kept], kept, more


def _spread(values: NDArray, rows: NDArray, count: int, attrs: dict[str, Any]) -> xr.Variable:
    """Return values of gauges as an attribute of all reaches: NaN or empty where there is none."""
    if values.dtype.kind in "fiu":
        whole = np.full(count, np.nan)
        whole[rows] = values
        return xr.Variable("site", whole, attrs)
    text = np.full(count, "", dtype=object)
    text[rows] = identifiers(values)
    return xr.Variable("site", text.astype(str), attrs)
