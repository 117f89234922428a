"""netCDF files, and what is wrong with them in words."""

from __future__ import annotations

from pathlib import Path

import xarray as xr
from numpy.typing import NDArray

from pydiffgeo.errors import DataError


def open_netcdf(path: Path) -> xr.Dataset:
    """Return an opened netCDF file, nothing read yet.

    Raises
    ------
    DataError
        The file is absent or cannot be read.
    """
    try:
        # lengths of time, such as a day length in seconds, stay numbers in their unit
        return xr.open_dataset(path, cache=False, decode_timedelta=False)
    except Exception as error:
        # besides OSError and ValueError: RuntimeError, OverflowError ... of netCDF4, cftime and
        # pandas
        why = _first_line(error)
        raise DataError(
            f"{str(path)!r} cannot be read as netCDF ({why}); check that the file is whole."
        ) from error


def values_of(series: xr.DataArray | xr.Variable, name: str, path: Path) -> NDArray:
    """Return the values of a variable of an opened netCDF file.

    Raises
    ------
    DataError
        The file ends before them, or is damaged there.
    """
    try:
        return series.values
    except Exception as error:  # netCDF4 raises RuntimeError, xarray and zlib others
        why = _first_line(error)
        raise DataError(
            f"{name!r} of {str(path)!r} cannot be read ({why}): the file is cut off or damaged; "
            "copy or download it again."
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
