"""US Climate Reference Network, daily soil moisture and weather (Bell et al. 2013,
doi:10.1175/JHM-D-12-0146.1).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import xarray as xr

from pydiffgeo.data.checks import check_form
from pydiffgeo.data.layouts.source import open_netcdf, values_of
from pydiffgeo.errors import DataError, nearest

FILE = "soil_moisture/uscrn_2020_daily_profiles.nc"


def find_uscrn(path: str | Path | None = None) -> Path | None:
    """Return the path of the USCRN file, or None where there is none.

    Parameters
    ----------
    path : str or Path, optional
        A file, which must exist. Without it the file is looked for in the folder named by the environment
        variable PYDIFFGEO_DATA, then in ../shared/data.

    Raises
    ------
    DataError
        `path` is given and is not a file.
    """
    if path is not None:
        if not Path(path).is_file():
            raise DataError(
                f"no file {str(path)!r}; correct the path, or leave it out to use PYDIFFGEO_DATA."
            )
        return Path(path)
    folders = (
        [os.environ["PYDIFFGEO_DATA"]] if os.environ.get("PYDIFFGEO_DATA") else ["../shared/data"]
    )
    return next(
        (Path(folder) / FILE for folder in folders if (Path(folder) / FILE).is_file()), None
    )


def load_uscrn(path: str | Path, sites: Sequence[str] | None = None) -> xr.Dataset:
    """Return the daily records of USCRN sites in the site form, gaps left as NaN.

    Parameters
    ----------
    path : str or Path
        A netCDF file in the layout of ``uscrn_2020_daily_profiles.nc``.
    sites : sequence of str, optional
        WBAN numbers to keep, in this order; all by default.

    Returns
    -------
    xarray.Dataset
        Dimensions site, time, depth (m): soil moisture (m3 m-3), precipitation (mm day-1), temperature
        (degC), radiation (MJ m-2 day-1), relative humidity (percent).

    Raises
    ------
    DataError
        The file cannot be read, a site is unknown, or the records fail `check_form`; `check_sites` looks at
        the values.
    UnitError
        A variable is in another unit.
    """
    with open_netcdf(Path(path)) as file:
        read = {
            name: (v.dims, values_of(v, str(name), Path(path)), v.attrs)
            for name, v in file.data_vars.items()
        }
        records = file.assign(read).load().rename(station="site")
    if sites is not None:
        known = [str(name) for name in records.site.values]
        for name in sites:
            if name not in known:
                raise DataError(
                    f"no site {name!r} in the file{nearest(name, known)} It has {', '.join(known)}."
                )
        records = records.sel(site=list(sites))
    return check_form(records)
