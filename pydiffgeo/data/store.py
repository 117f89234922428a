"""Writing records of sites as one netCDF file or zarr folder, block by block.

The fast forms to train from.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from tqdm import tqdm

from pydiffgeo.data.form import DAY, axis_of, step_of, times_of
from pydiffgeo.data.lazy import BLOCK, blocks
from pydiffgeo.errors import DataError, listed
from pydiffgeo.files import replacing

EPOCH = pd.Timestamp("1900-01-01")
SHARD, CHUNK = 256, 8  # sites of a file of a zarr folder, and sites that are packed together


def write_sites(
    sites: xr.Dataset,
    path: str | Path,
    variables: Sequence[str] | None = None,
    dtype: str = "float32",
    progress: bool = False,
) -> Path:
    """Write records of sites into a netCDF-4 file or a zarr folder that `open_sites` reads.

    Memory holds some sites at a time: 16, or the 256 that share a file of a zarr folder.

    Text archives such as CAMELS-US or Caravan's CSV take tens of milliseconds per site to read,
    this file less than one.

    Parameters
    ----------
    sites : xarray.Dataset
        Site form, lazy or not.
    path : str or Path
        File to write, ending in .nc, or folder, ending in .zarr (needs the package zarr), for more
        sites than a file should hold; an interruption leaves nothing half-written under this name.
    variables : sequence of str, optional
        Variables in time to write; all by default. Static attributes and coordinates are always
        written.
    dtype : {"float32", "float64"}
        Of variables in time; flags keep their integers.
    progress : bool
        Show a progress bar.

    Returns
    -------
    Path
        The file or folder.

    Raises
    ------
    DataError
        The name ends in neither .nc nor .zarr, zarr is not installed, a variable is absent, or a
        site cannot be read.
    """
    path, axis = Path(path), axis_of(sites)
    if path.suffix not in (".nc", ".zarr"):
        raise DataError(
            f"{str(path)!r} must end in .nc or .zarr, since it becomes a netCDF file or a zarr "
            "folder."
        )
    in_time = [
        str(name) for name, values in sites.data_vars.items() if {"site", axis} <= set(values.dims)
    ]
    kept = in_time if variables is None else list(variables)
    for name in kept:
        if name not in in_time:
            raise DataError(
                f"no variable {name!r} of dimensions site and {axis}; there are {listed(in_time)}."
            )
    static = sites.drop_vars(in_time).drop_vars("time", errors="ignore")
    static.attrs["Conventions"] = "CF-1.11"
    if path.suffix == ".zarr":
        _write_zarr(path, sites, static, kept, dtype, progress)
        return path
    with replacing(path) as part:
        static.to_netcdf(part, mode="w", format="NETCDF4", engine="netcdf4")
        _append(part, sites, kept, dtype, progress)
    return path


def _append(part: Path, sites: xr.Dataset, kept: Sequence[str], dtype: str, progress: bool) -> None:
    axis, times = axis_of(sites), times_of(sites)
    with netCDF4.Dataset(part, "a") as file:
        if axis not in file.dimensions:
            file.createDimension(axis, len(times))
        if isinstance(times, pd.DatetimeIndex):
            values, told = _numbered(times)
            time = file.createVariable("time", values.dtype, ("time",))
            time.setncatts(told)
            time[:] = values
        for name in kept:
            given, kind, told = _series(sites, name, dtype)
            dims = tuple(map(str, given.dims))
            for dim in dims:
                if dim not in file.dimensions:
                    file.createDimension(dim, given.sizes[dim])
            variable = file.createVariable(
                name,
                kind,
                dims,
                zlib=True,
                complevel=1,
                shuffle=True,
                chunksizes=(1, *given.shape[1:]),
                fill_value=None if kind.kind == "i" else np.nan,
            )
            variable.setncatts(told)
        _fill(file, sites, kept, BLOCK, progress)


def _write_zarr(
    path: Path, sites: xr.Dataset, static: xr.Dataset, kept: Sequence[str], dtype: str,
    progress: bool,
) -> None:  # fmt: skip
    try:
        import zarr
    except ImportError as error:
        raise DataError(
            f"{path} needs the package zarr (`pip install pydiffgeo[zarr]`); or write a file "
            "ending in .nc."
        ) from error
    times = times_of(sites)
    with _replacing_folder(path) as part:
        # text of any length, since zarr's format has no other
        texts = {n: v.astype(object) for n, v in static.variables.items() if v.dtype.kind == "U"}
        static.assign(texts).to_zarr(part, mode="w", zarr_format=3, consolidated=False)
        root = zarr.open_group(part, mode="a", use_consolidated=False)
        if isinstance(times, pd.DatetimeIndex):
            values, told = _numbered(times)
            root.create_array("time", data=values, attributes=told, dimension_names=("time",))
        for name in kept:
            given, kind, told = _series(sites, name, dtype)
            root.create_array(
                name, shape=given.shape, dtype=kind, chunks=(CHUNK, *given.shape[1:]),
                shards=(SHARD, *given.shape[1:]),
                fill_value=0 if kind.kind == "i" else np.nan,
                attributes=told, dimension_names=tuple(map(str, given.dims)),
            )  # fmt: skip
        _fill(root, sites, kept, SHARD, progress)


@contextmanager
def _replacing_folder(path: Path) -> Iterator[Path]:
    """Give the name of a folder to write, which takes the place of `path` at the end."""
    part = path.with_name(f".{path.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield part
        shutil.rmtree(path, ignore_errors=True)
        part.rename(path)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _fill(target: Any, sites: xr.Dataset, kept: Sequence[str], size: int, progress: bool) -> None:
    """Write the series of all sites, `size` at a time, into arrays that are there."""
    axis, parts = axis_of(sites), list(blocks(sites.sizes["site"], size))
    for rows in tqdm(parts, desc="sites", unit="block", disable=not progress):
        for name in kept:
            target[name][rows] = sites[name].isel(site=rows).transpose("site", axis, ...).values


def _numbered(times: pd.DatetimeIndex) -> tuple[NDArray, dict[str, Any]]:
    """Return times as numbers, with what tells of them."""
    daily = step_of(times) == DAY
    numbers = ((times - EPOCH) // pd.Timedelta(1, "D" if daily else "s")).to_numpy()
    told = {
        "units": f"{'days' if daily else 'seconds'} since {EPOCH:%Y-%m-%d}",
        "calendar": "standard",
        "standard_name": "time",
    }
    return numbers.astype("i4" if daily else "i8"), told


def _series(
    sites: xr.Dataset, name: str, dtype: str
) -> tuple[xr.DataArray, np.dtype, dict[str, Any]]:
    """Return a series with its dimensions in order, the type it is kept as, and its attributes."""
    given = sites[name].transpose("site", axis_of(sites), ...)
    kind = given.dtype if given.dtype.kind == "i" else np.dtype(dtype)
    places = " ".join(str(c) for c in sites.coords if sites[c].dims == ("site",) and c != "site")
    return given, kind, given.attrs | ({"coordinates": places} if places else {})
