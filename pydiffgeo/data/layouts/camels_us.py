"""CAMELS-US in its original folders and text files.

Newman et al. (2015), doi:10.5194/hess-19-209-2015; attributes: Addor et al. (2017),
doi:10.5194/hess-21-5293-2017.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
import pandas as pd

from pydiffgeo.data.layouts.regular_times import regular_index
from pydiffgeo.data.layouts.source import (
    Column,
    Request,
    Source,
    column,
    first_readable,
    nested,
    wanted_sites,
)
from pydiffgeo.data.layouts.tables_of_sites import join_tables, read_table
from pydiffgeo.data.layouts.text import Line, line_of, numbers_of, read_rows
from pydiffgeo.data.variables import canonical_name
from pydiffgeo.errors import DataError, listed, lookup

FORCING, STREAMFLOW, ATTRIBUTES = "basin_mean_forcing", "usgs_streamflow", "camels_attributes_v2.0"
# the folders of the archive, and how it calls the product in file names
PRODUCTS = {"daymet": "cida", "maurer": "maurer", "maurer_extended": "maurer", "nldas": "nldas"}
CUBIC_FOOT = 0.3048**3  # m3
QUALITY = {"A": 0, "A:e": 1, "M": 2}
UNITS = {
    "gauge_lat": "degrees_north",
    "gauge_lon": "degrees_east",
    "elev_mean": "m",
    "slope_mean": "m km-1",
    "area": "km2",
    "area_gages2": "km2",
    "area_geospa_fabric": "km2",
    "p_mean": "mm d-1",
    "pet_mean": "mm d-1",
    "p_seasonality": "1",
    "frac_snow": "1",
    "aridity": "1",
    "high_prec_freq": "d yr-1",
    "high_prec_dur": "day",
    "low_prec_freq": "d yr-1",
    "low_prec_dur": "day",
    "soil_depth_pelletier": "m",
    "soil_depth_statsgo": "m",
    "soil_porosity": "1",
    "soil_conductivity": "cm h-1",
    "max_water_content": "m",
    "sand_frac": "percent",
    "silt_frac": "percent",
    "clay_frac": "percent",
    "water_frac": "percent",
    "organic_frac": "percent",
    "other_frac": "percent",
    "frac_forest": "1",
    "lai_max": "1",
    "lai_diff": "1",
    "gvf_max": "1",
    "gvf_diff": "1",
    "dom_land_cover_frac": "1",
    "root_depth_50": "m",
    "root_depth_99": "m",
    "glim_1st_class_frac": "1",
    "glim_2nd_class_frac": "1",
    "carbonate_rocks_frac": "1",
    "geol_porostiy": "1",
    "geol_permeability": "log10(m2)",
    "q_mean": "mm d-1",
    "q5": "mm d-1",
    "q95": "mm d-1",
}
FLAGS = Column(
    {
        "long_name": "quality of discharge",
        "standard_name": "quality_flag",
        "flag_values": np.array(list(QUALITY.values()), "int8"),
        "flag_meanings": "approved estimated missing",
    },
    "int8",
    QUALITY["M"],
)


def recognises(path: Path) -> bool:
    """Return whether the folder, or one folder in it, has the forcing of CAMELS-US."""
    return nested(path, FORCING) is not None


def open_source(path: Path, request: Request) -> Source:
    """Return CAMELS-US as a source.

    Discharge in cubic feet per second is divided by the site's area in the header of its forcing
    file; -999 is missing; the quality flags are the variable ``discharge_quality``. Radiation, a
    mean over daylight in all three products, becomes the sum of the day with the day length beside
    it. With several products the names of their variables end in ``_PRODUCT``.

    Raises
    ------
    DataError
        A folder or file is missing or cannot be read; path and site are named.
    UnknownName
        No such product.
    """
    root = nested(path, FORCING)
    if root is None:
        raise DataError(
            f"no folder {FORCING!r} in {path} or in a folder of it; give the folder of the "
            "unpacked archive."
        )
    products = request.product or ("daymet",)
    files = {product: _forcing_files(root / FORCING, product) for product in products}
    known = sorted(set.union(*(set(found) for found in files.values())))
    sites = wanted_sites(known, request.sites, root / FORCING)
    for product, found in files.items():
        if absent := [site for site in sites if site not in found]:
            raise DataError(
                f"{len(absent)} sites have no {product} forcing: {listed(absent, 10)}; "
                "download it, or leave them out."
            )
    flow = {
        file.name[:8]: file for file in sorted((root / STREAMFLOW).rglob("*_streamflow_qc.txt"))
    }
    attributes = _attributes(path, known)
    areas = {site: _area(files[products[0]][site]) for site in sites}
    attributes = attributes.reindex(attributes.index.union(list(sites)))
    attributes["area"] = pd.Series(areas) / 1e6

    def suffix(name: str, product: str) -> str:
        return name if len(products) == 1 else f"{name}_{product}"

    def read(site: str, wanted: Collection[str]) -> pd.DataFrame:
        frames = [
            read_forcing(files[product][site], site).rename(
                columns=lambda name, p=product: suffix(name, p)
            )
            for product in products
        ]
        if site in flow:
            frames.append(read_streamflow(flow[site], site, _header(files[products[0]][site])[2]))
        frame = pd.concat(frames, axis=1)
        return frame[[name for name in frame if name in wanted]]

    def span(site: str) -> tuple[pd.Timestamp, pd.Timestamp]:
        ends = [_ends(files[product][site], 4, 0) for product in products]
        if site in flow:
            ends.append(_ends(flow[site], 0, 1))
        return min(a for a, _ in ends), max(b for _, b in ends)

    _, natives = first_readable(sites, lambda site: _columns(files[products[0]][site]))
    names = [canonical_name(name) for name in natives]
    columns = {suffix(name, product): column(name) for product in products for name in names}
    columns |= {
        "tair_mean" if p == products[0] and len(products) == 1 else f"tair_mean_{p}": column(
            "tair_mean"
        )
        for p in products
    }
    columns |= {"discharge": column("discharge"), "discharge_quality": FLAGS}
    attrs = {
        "title": f"CAMELS-US, {', '.join(products)}",
        "source": "Newman et al. 2015 (doi:10.5194/hess-19-209-2015), Addor et al. 2017 "
        "(doi:10.5194/hess-21-5293-2017)",
    }
    return Source(sites, columns, read, span, attributes, UNITS, attrs)


def read_forcing(file: Path, site: str) -> pd.DataFrame:
    """Return the forcing of one file by day, in the units of the site form.

    Raises
    ------
    DataError
        The file is cut off, or a date occurs twice or out of order; site, date and file are named.
    """
    names = ["Year", "Mnth", "Day", "Hr", *_columns(file)]
    table = read_rows(
        file, f"the forcing of site {site}", sep=r"\s+", skiprows=4, header=None, names=names
    )
    what = f"the forcing of site {site} ({file.name})"
    if table.empty:
        raise DataError(f"{what} has a header and no days: {file}; download it again.")

    def line(row: int) -> int:
        return line_of(file, row, 4)

    days = _days(table, what, line)
    table = table.drop(columns=["Year", "Mnth", "Day", "Hr"]).rename(columns=canonical_name)
    frame = numbers_of(table, days, f"site {site}", file, line, ()).set_index(days)
    if frame.iloc[-1].isna().any():
        raise DataError(
            f"the forcing of site {site} ends within a line, on {days[-1]:%Y-%m-%d}: {file}; "
            "download it again."
        )
    frame["shortwave_down"] *= frame["day_length"] / 1e6
    frame["tair_mean"] = 0.5 * (frame["tair_min"] + frame["tair_max"])
    return frame


def read_streamflow(file: Path, site: str, area: float) -> pd.DataFrame:
    """Return discharge (mm d-1) and its quality by day; `area` in m2.

    Raises
    ------
    DataError
        The file cannot be read, has an unknown flag, or repeated or unordered dates.
    """
    what = f"the discharge of site {site} ({file.name})"
    names = ["site", "Year", "Mnth", "Day", "flow", "flag"]
    table = read_rows(file, f"the discharge of site {site}", sep=r"\s+", header=None, names=names)

    def line(row: int) -> int:
        return line_of(file, row, 0)

    days = _days(table, what, line)
    flow = numbers_of(
        table[["flow"]].rename(columns={"flow": "discharge"}),
        days,
        f"site {site}",
        file,
        line,
        ["discharge"],
    )
    flow = flow["discharge"]
    quality = table.flag.fillna("M").map(QUALITY)
    if quality.isna().any():
        row = int(np.flatnonzero(quality.isna())[0])
        raise DataError(
            f"discharge of site {site} has the unknown quality flag {table.flag[row]!r} on "
            f"{days[row]:%Y-%m-%d} (line {line(row)}); known: {', '.join(QUALITY)}. Correct "
            f"{file.name}."
        )
    depth = flow.where(flow >= 0) * CUBIC_FOOT * 86400.0 * 1000.0 / area
    frame = pd.DataFrame(
        {"discharge": depth, "discharge_quality": quality.where(flow >= 0, QUALITY["M"])}
    )
    return frame.set_index(days)


def _forcing_files(folder: Path, product: str) -> dict[str, Path]:
    lookup(PRODUCTS, product, "forcing product of CAMELS-US")
    if not (folder / product).is_dir():
        there = sorted(p.name for p in folder.iterdir() if p.is_dir())
        raise DataError(
            f"no forcing product {product!r} in {folder}; there are {', '.join(there)}."
        )
    # a gauge's file may lie in the folder of another region than its number says
    return {file.name[:8]: file for file in sorted((folder / product).rglob("*_forcing_leap.txt"))}


def _attributes(path: Path, sites: Collection[str]) -> pd.DataFrame:
    root = nested(path, ATTRIBUTES)
    files = sorted((root / ATTRIBUTES).glob("camels_*.txt")) if root is not None else []
    return join_tables([read_table(file, sites, ";") for file in files], ATTRIBUTES)


def _header(file: Path) -> tuple[float, float, float]:
    """Return latitude (degrees), elevation (m) and area (m2) of a forcing file."""
    try:
        with open(file, encoding="ascii") as lines:
            latitude, elevation, area = (float(lines.readline()) for _ in range(3))
    except (OSError, ValueError) as error:
        raise DataError(f"the header of {file} is damaged ({error}); download it again.") from error
    return latitude, elevation, area


def _area(file: Path) -> float:
    """Return the area (m2) in the header of a forcing file, NaN where it is damaged: reading the
    site says so.
    """
    try:
        return _header(file)[2]
    except DataError:
        return float("nan")


def _columns(file: Path) -> list[str]:
    try:
        with open(file, encoding="ascii") as lines:
            header = next((line for i, line in enumerate(lines) if i == 3), "")
    except (OSError, ValueError) as error:
        raise DataError(f"{file} cannot be read ({error}); download it again.") from error
    names = header.split()[4:]
    if len(names) != 7:
        raise DataError(
            f"the header of {file} is damaged: line 4 does not name seven variables; download it "
            "again."
        )
    return names


def _days(table: pd.DataFrame, what: str, line: Line) -> pd.DatetimeIndex:
    parts = (
        table[["Year", "Mnth", "Day"]]
        .set_axis(["year", "month", "day"], axis=1)
        .apply(pd.to_numeric, errors="coerce")
    )
    return regular_index(pd.DatetimeIndex(pd.to_datetime(parts, errors="coerce")), what, line)


def _ends(file: Path, header: int, first: int) -> tuple[pd.Timestamp, pd.Timestamp]:
    """Return the first and last date of a text file, from its first and last line."""
    try:
        with open(file, "rb") as stream:
            start = [stream.readline() for _ in range(header + 1)][-1]
            stream.seek(0, 2)
            stream.seek(max(0, stream.tell() - 400))
            end = (stream.read().strip().splitlines() or [b""])[-1]
        dates = [
            pd.Timestamp(*map(int, line.decode("ascii").split()[first : first + 3]))
            for line in (start, end)
        ]
    except (OSError, ValueError, TypeError) as error:
        raise DataError(
            f"{file} begins or ends without a date ({error}); download it again."
        ) from error
    return dates[0], dates[1]
