"""Writing records of sites as one netCDF file in chunks of a site, block by block: the fast form to train from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import netCDF4
import numpy as np
import pandas as pd
import xarray as xr
from tqdm import tqdm

from pydiffgeo.data.lazy import blocks
from pydiffgeo.errors import DataError
from pydiffgeo.files import replacing

EPOCH = pd.Timestamp("1900-01-01")


def write_sites(
    records: xr.Dataset,
    path: str | Path,
    variables: Sequence[str] | None = None,
    dtype: str = "float32",
    progress: bool = False,
) -> Path:
    """Write records of sites into a netCDF-4 file that `open_sites` reads; memory holds some sites at a time.

    Text archives such as CAMELS-US or Caravan's CSV take tens of milliseconds per site to read, this file less than one.

    Parameters
    ----------
    records : xarray.Dataset
        Site form, lazy or not.
    path : str or Path
        File to write, ending in .nc; an interruption leaves no half-written file under this name.
    variables : sequence of str, optional
        Variables in time to write; all by default. Static attributes and coordinates are always written.
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
    path = Path(path)
    if path.suffix != ".nc":
        raise DataError(f"{str(path)!r} must end in .nc, since it becomes a netCDF file.")
    in_time = [
        str(name)
        for name, values in records.data_vars.items()
        if set(values.dims) == {"site", "time"}
    ]
    kept = in_time if variables is None else list(variables)
    for name in kept:
        if name not in in_time:
            raise DataError(
                f"no variable {name!r} of dimensions site and time; there are {', '.join(in_time)}."
            )
    static = records.drop_vars([name for name in in_time]).drop_vars("time")
    static.attrs["Conventions"] = "CF-1.11"
    with replacing(path) as part:
        static.to_netcdf(part, mode="w", format="NETCDF4", engine="netcdf4")
        _append(part, records, kept, dtype, progress)
    return path


def _append(
    part: Path, records: xr.Dataset, kept: Sequence[str], dtype: str, progress: bool
) -> None:
    with netCDF4.Dataset(part, "a") as file:
        days = (pd.DatetimeIndex(records.time.values) - EPOCH).days.to_numpy()
        file.createDimension("time", len(days))
        time = file.createVariable("time", "i4", ("time",))
        time.setncatts(
            {
                "units": f"days since {EPOCH:%Y-%m-%d}",
                "calendar": "standard",
                "standard_name": "time",
            }
        )
        time[:] = days
        for name in kept:
            given = records[name]
            kind = given.dtype if given.dtype.kind == "i" else np.dtype(dtype)
            fill = None if kind.kind == "i" else np.nan
            variable = file.createVariable(name, kind, ("site", "time"), zlib=True, complevel=1, shuffle=True,
                                           chunksizes=(1, len(days)), fill_value=fill)  # fmt: skip
            places = " ".join(
                str(c) for c in records.coords if records[c].dims == ("site",) and c != "site"
            )
            variable.setncatts(given.attrs | ({"coordinates": places} if places else {}))
        for rows in tqdm(
            list(blocks(records.sizes["site"])), desc="sites", unit="block", disable=not progress
        ):
            for name in kept:
                values = records[name].isel(site=rows).transpose("site", "time").values
                file[name][rows] = values
