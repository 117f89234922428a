"""The layout of neuralhydrology's GenericDataset.

``time_series/BASIN.nc`` and ``attributes/*.csv``.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pandas as pd

from pydiffgeo.data.form import unit_of
from pydiffgeo.data.layouts.netcdf_files import open_netcdf
from pydiffgeo.data.layouts.regular_times import step_between
from pydiffgeo.data.layouts.series import columns_of, read_series
from pydiffgeo.data.layouts.source import (
    Request,
    Source,
    column,
    first_readable,
    names_of,
    wanted_sites,
)
from pydiffgeo.data.layouts.tables_of_sites import join_tables, read_table
from pydiffgeo.data.variables import convert, unit_changes
from pydiffgeo.errors import DataError


def recognises(path: Path) -> bool:
    """Return whether the folder has a folder ``time_series``."""
    return (path / "time_series").is_dir()


def open_source(path: Path, request: Request) -> Source:
    """Return a folder of netCDF files, one per site, as a source.

    Variables and units are those of the first site's file. Files without units need `units`: a unit
    that is guessed is wrong by a factor sooner or later.

    Raises
    ------
    DataError
        A file cannot be read, or lacks a variable that the first has; site and file are named.
    UnitError
        A known variable has no unit, or one that does not convert.
    """
    folder = path / "time_series"
    found = sorted(
        (file for file in folder.glob("*.nc*") if file.suffix in (".nc", ".nc4")),
        key=lambda file: file.stem,
    )
    files: dict[str, Path] = {}
    for file in found:
        if file.stem in files:
            raise DataError(
                f"site {file.stem!r} has two files in {folder}, .nc and .nc4; keep one."
            )
        files[file.stem] = file
    sites = wanted_sites(list(files), request.sites, folder)
    site, natives = first_readable(sites, lambda site: columns_of(files[site], site))
    first = files[site]
    with open_netcdf(first) as opened:
        units = {native: request.unit(native, unit_of(opened[native])) for native in natives}
    names = names_of(natives, request, first)
    factors = unit_changes(names, units, first.name)

    def read(site: str, wanted: Collection[str]) -> pd.DataFrame:
        chosen = [native for native in natives if names[native] in wanted]
        frame = read_series(files[site], site, chosen, request=request)
        for native in chosen:
            if native not in frame:
                raise DataError(
                    f"site {site} has no variable {native!r}, which {first.name} has: "
                    f"{files[site]}; add it, filled with NaN where it is unknown."
                )
            frame[native] = convert(frame[native].to_numpy(), *factors[native])
        return frame[chosen].rename(columns=names)

    def span(site: str) -> tuple[pd.Timestamp, pd.Timestamp]:
        times = read_series(files[site], site, (), request=request).index
        return times[0], times[-1]

    tables = [read_table(file, files) for file in sorted((path / "attributes").glob("*.csv"))]
    columns = {names[native]: column(names[native], units[native]) for native in natives}
    attrs = {"title": f"sites of {path.name}"}
    times = read_series(first, site, (), request=request).index
    step, joined = step_between(times), join_tables(tables, "attributes/")
    return Source(sites, columns, read, span, joined, {}, attrs, step)
