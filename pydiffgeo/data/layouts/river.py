"""River networks: one netCDF file, or a table of reaches with their series in other files.

netCDF with any name of the dimension of reaches; tables (CSV, parquet, GeoPackage) of NHD and
t-route, MERIT-Basins, HydroRIVERS and the like.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import xarray as xr

from pydiffgeo.data import network
from pydiffgeo.data.divide import divide_reaches
from pydiffgeo.data.form import PLACES
from pydiffgeo.data.layouts import netcdf, own_csv
from pydiffgeo.data.layouts.netcdf_files import open_netcdf
from pydiffgeo.data.layouts.reaches import NONE, Reaches, known_columns
from pydiffgeo.data.layouts.river_series import matrix, observed_of, with_series
from pydiffgeo.data.layouts.river_tables import reaches_of_netcdf, reaches_of_table, table_header
from pydiffgeo.data.layouts.source import Request, Source
from pydiffgeo.errors import DataError, nearest, repeated

log = logging.getLogger("pydiffgeo")
TABLES = (".csv", ".parquet", ".gpkg")


def recognises(path: Path) -> bool:
    """Return whether a file tells of each reach the one below it.

    Files in the site form are left to the layout of netCDF.
    """
    if netcdf.recognises(path):
        try:
            with open_netcdf(path) as file:
                own = [str(name) for name, v in file.variables.items() if len(v.dims) == 1]
                written = network.DOWNSTREAM in file and file[network.DOWNSTREAM].dims == ("site",)
        except DataError:
            return False
        return not written and known_columns(own, netcdf=True)[1] is not None
    if not path.is_file() or path.suffix not in TABLES:
        return False
    try:
        return None not in known_columns(table_header(path))
    except DataError:
        return False


def open_source(
    path: Path,
    request: Request,
    *,
    site: str | None = None,
    downstream: str | None = None,
    inflow: str | None = None,
    observed: str | None = None,
    gauge_site: str | None = None,
    series: str | None = None,
    outside: Literal["error", "outlet"] = "error",
    least_slope: float | None = None,
    longest: float | None = None,
) -> Source:
    """Return the reaches of a river as a source.

    Lateral inflow becomes ``lateral_inflow`` (m3 s-1), what was observed ``discharge`` (m3 s-1, NaN
    at reaches without a gauge); lengths in km become ``length`` in m; ``slope``, ``width``, ``n``
    and other numbers per reach keep their values. ``n_upstream`` counts the reaches above and the
    reach itself.

    Parameters
    ----------
    path : Path
        The file or table of reaches.
    request : Request
        What the caller of `open_sites` asks for.
    site : str, optional
        Variable or column with the identifiers; by default the coordinate of the reaches, or one
        called COMID, link, featureid, HYRIV_ID, rivid ...
    downstream : str, optional
        Variable or column with the identifier of the reach below, or with its position where the
        name ends in "index"; by default one called down_index, down_id, to, NextDownID, NEXT_DOWN
        ... 0, -1 and empty mean none.
    inflow : str, optional
        Variable of the lateral inflow, or a file with it beside the table: a row for each time and
        a column for each reach, or the other way round, or netCDF with these dimensions.
    observed : str, optional
        Variable of the observed discharge, or a file with it, alike, for reaches or gauges.
    gauge_site : str, optional
        Variable with the position or the identifier of the reach of each gauge; by default one
        called gauge_segment, gauge_reach ... A series of time alone belongs to the outlet, or to
        the reach that this names.
    series : str, optional
        File of series beside the table, as the layouts csv and netcdf read it: a row for each reach
        and time.
    outside : {"error", "outlet"}
        What a reach is whose reach below is not in the file: an error, or an outlet, as in a part
        of a larger network.
    least_slope : float, optional
        Smaller slopes are raised to it, and it is said how many.
    longest : float, optional
        Longer reaches are divided into parts of at most this length (m); see
        `pydiffgeo.data.divide_reaches`. Not with `series`.

    Raises
    ------
    DataError
        No reaches, no reach below, no series, an unknown option, or a river that is none.
    UnitError
        Known variables have no unit, or one that does not convert.
    """
    if outside not in ("error", "outlet"):
        raise DataError(f"outside={outside!r} is neither 'error' nor 'outlet'.")
    if least_slope is not None and not least_slope > 0:
        raise DataError(f"least_slope={least_slope} is not above 0; give one such as 1e-4.")
    read: Callable[..., Reaches] = reaches_of_table
    if netcdf.recognises(path):
        read = reaches_of_netcdf
    reaches = read(path, request, site, downstream)
    sites = _on_network(reaches, path, outside)
    sites, said = _least_slope(sites, least_slope)
    if series is not None:
        if longest is not None:
            raise DataError("longest is not for files of series; leave it out.")
        return _joined(sites, _beside(path, series), request, said)
    for name, given in (("lateral_inflow", inflow), ("discharge", observed)):
        file = None if given is None or given in reaches.file.variables else _beside(path, given)
        if file is not None:
            reaches.file = reaches.file.drop_vars(
                [n for n in reaches.file.data_vars if request.name(str(n)) == name]
            )
            sites[name] = matrix(file, name, sites, request)
        elif given is not None:
            reaches.file = reaches.file.rename({given: name})
    sites = with_series(sites, reaches, request, path)
    sites = observed_of(sites, reaches, gauge_site, request, path)
    if not {"time", "date"} & set(sites.dims):
        raise DataError(
            f"{path} has no series; name a file of lateral inflow by options={{'inflow': ...}}, or "
            "of series by options={'series': ...} (--option inflow=FILE of `pydiffgeo data`)."
        )
    if longest is not None:
        known = {n: request.name(str(n)) for n in sites.data_vars}
        known = {n: k for n, k in known.items() if k in ("lateral_inflow", "discharge") and n != k}
        divided = divide_reaches(sites.rename(known), longest)
        sites = divided.rename({k: n for n, k in known.items()})
    request.seen.update(map(str, reaches.file.variables))
    source = netcdf.source_of(sites, path, replace(request, river=True))
    return replace(source, attrs={**source.attrs, **said})


def _on_network(reaches: Reaches, path: Path, outside: str) -> xr.Dataset:
    """Return attributes with the reach below each, checked, and the number of reaches above."""
    ids = np.array(reaches.ids, dtype=object)
    if twice := repeated(reaches.ids):
        raise DataError(f"reach {twice[0]!r} occurs twice in {path}; keep one row per reach.")
    known, below = set(reaches.ids), np.array(reaches.below, dtype=object)
    below = np.array(["" if b in NONE and b not in known else b for b in below], dtype=object)
    lost = np.array([b != "" and b not in known for b in below], dtype=bool)
    if lost.any() and outside == "outlet":
        log.info("%d reaches of %s flow out of it: they are outlets", lost.sum(), path.name)
        below[lost] = ""
    elif lost.any():
        row = int(lost.argmax())
        raise DataError(
            f"the reach below {ids[row]!r} is {below[row]!r}, which {path} does not have"
            f"{nearest(below[row], reaches.ids)} So it is with {int(lost.sum())} reaches; correct "
            "it, or let them be outlets: options={'outside': 'outlet'}."
        )
    sites = reaches.attributes.assign_coords(site=ids.astype(str))
    sites[network.DOWNSTREAM] = "site", below.astype(str)
    number = network.accumulated(network.below(sites), np.ones(len(ids)))
    sites["n_upstream"] = "site", number, {"units": "1"}
    if "uparea" in sites and "log10_uparea" not in sites and bool((sites.uparea > 0).all()):
        sites["log10_uparea"] = np.log10(sites.uparea).assign_attrs(units="1")
    return sites


def _least_slope(sites: xr.Dataset, least: float | None) -> tuple[xr.Dataset, dict[str, str]]:
    """Return reaches whose slopes are at least this, and what was done, for their attributes."""
    if least is None:
        return sites, {}
    if "slope" not in sites:
        raise DataError("least_slope: the reaches have no slope; leave it out, or name one.")
    low = sites.slope < least
    text = f"{int(low.sum())} of {low.size} slopes were raised to {least:g}"
    log.warning("%s", text)
    changed = sites.slope.where(~low, least).assign_attrs(sites.slope.attrs)
    return sites.assign(slope=changed), {"least_slope": text}


def _joined(sites: xr.Dataset, file: Path, request: Request, said: dict[str, str]) -> Source:
    """Return series of a file of their own, with the reaches as attributes."""
    layout = netcdf if netcdf.recognises(file) else own_csv
    source = layout.open_source(file, replace(request, river=True))
    known = set(map(str, sites.site.values))
    kept = tuple(name for name in source.sites if name in known)
    if len(kept) < len(source.sites):
        other = next(name for name in source.sites if name not in known)
        raise DataError(
            f"{file} has series of {other!r}, which is no reach of the table"
            f"{nearest(other, known)} Add it to the table, or leave its series out."
        )
    if request.sites is None and len(kept) < len(known):
        other = sorted(known - set(kept))[0]
        raise DataError(
            f"{file} has no series of reach {other!r}; add them: each reach needs some."
        )
    table = sites.drop_vars([n for n in PLACES if n in source.attributes]).to_dataframe()
    units = {str(n): str(v.attrs["units"]) for n, v in sites.items() if "units" in v.attrs}
    attrs = {"title": file.stem, **source.attrs, **said}
    return replace(source, attributes=table, attribute_units=units, attrs=attrs)


def _beside(path: Path, name: str) -> Path:
    """Return a file by its path, or beside another one."""
    for file in (path.parent / name, Path(name).expanduser()):
        if file.is_file():
            return file
    raise DataError(
        f"{name!r} is no variable of {path}, and no file beside it or here; correct its name."
    )
