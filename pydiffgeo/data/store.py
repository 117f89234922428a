"""Writing records of sites as one netCDF file in chunks of a site, block by block.

The fast form to train from.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import netCDF4
import numpy as np
import pandas as pd
import xarray as xr
from tqdm import tqdm

from pydiffgeo.data.form import DAY, axis_of, step_of, times_of
from pydiffgeo.data.lazy import blocks
from pydiffgeo.errors import DataError, listed
from pydiffgeo.files import replacing

EPOCH = pd.Timestamp("1900-01-01")


def write_sites(
    sites: xr.Dataset,
    path: str | Path,
    variables: Sequence[str] | None = None,
    dtype: str = "float32",
    progress: bool = False,
) -> Path:
    """Write records of sites into a netCDF-4 file that `open_sites` reads.

    Memory holds some sites at a time.

    Text archives such as CAMELS-US or Caravan's CSV take tens of milliseconds per site to read,
    this file less than one.

    Parameters
    ----------
    sites : xarray.Dataset
        Site form, lazy or not.
    path : str or Path
        File to write, ending in .nc; an interruption leaves no half-written file under this name.
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
        The file.

    Raises
    ------
    DataError
        The name does not end in .nc, a variable is absent, or a site cannot be read.
    """
    path, axis = Path(path), axis_of(sites)
    if path.suffix != ".nc":
        raise DataError(f"{str(path)!r} must end in .nc, since it becomes a netCDF file.")
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
            daily = step_of(times) == DAY
            time = file.createVariable("time", "i4" if daily else "i8", ("time",))
            time.setncatts(
                {
                    "units": f"{'days' if daily else 'seconds'} since {EPOCH:%Y-%m-%d}",
                    "calendar": "standard",
                    "standard_name": "time",
                }
            )
            time[:] = ((times - EPOCH) // pd.Timedelta(1, "D" if daily else "s")).to_numpy()
        places = " ".join(
            str(c) for c in sites.coords if sites[c].dims == ("site",) and c != "site"
        )
        for name in kept:
            given = sites[name].transpose("site", axis, ...)
            kind = given.dtype if given.dtype.kind == "i" else np.dtype(dtype)
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
            variable.setncatts(given.attrs | ({"coordinates": places} if places else {}))
        for rows in tqdm(
            list(blocks(sites.sizes["site"])), desc="sites", unit="block", disable=not progress
        ):
            for name in kept:
                values = sites[name].isel(site=rows).transpose("site", axis, ...).values
                file[name][rows] = values
