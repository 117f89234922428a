"""Small made-up archives in the layouts that `open_sites` reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

DAYS = pd.date_range("2001-01-01", periods=40)
AREAS = {"01010101": 5.0e8, "02020202": 1.0e9}


def records(
    sites: int = 3, days: int = 400, seed: int = 0, start: str = "1999-10-01"
) -> xr.Dataset:
    """The site form with weather, discharge with gaps, and attributes."""
    random = np.random.default_rng(seed)
    time = pd.date_range(start, periods=days)
    names = [f"b{i:04d}" for i in range(sites)]
    season = -np.cos(2 * np.pi * time.dayofyear.to_numpy() / 365.25)
    low = 5 + 10 * season + random.normal(0, 2, (sites, days))
    flow = random.gamma(0.7, 3.0, (sites, days))
    flow[:, 20:30] = np.nan
    dims = ("site", "time")
    return xr.Dataset(
        {
            "precipitation": (dims, random.gamma(0.5, 6.0, (sites, days)), {"units": "mm d-1"}),
            "tair_min": (dims, low, {"units": "degC"}),
            "tair_max": (dims, low + random.uniform(2, 12, (sites, days)), {"units": "degC"}),
            "discharge": (dims, flow, {"units": "mm d-1"}),
            "area": ("site", random.uniform(50, 2000, sites), {"units": "km2"}),
            "aridity": ("site", random.uniform(0.3, 3.0, sites), {"units": "1"}),
            "geology": ("site", np.array([f"rock {i % 3}" for i in range(sites)])),
        },
        {
            "site": names,
            "time": time,
            "lat": ("site", np.linspace(30, 48, sites), {"units": "degrees_north"}),
        },
    )


def camels_us(root: Path, days: pd.DatetimeIndex = DAYS) -> Path:
    """Two sites in the folders of CAMELS-US.

    Discharge of 1 cubic foot per second at first, a day missing, one estimated.
    """
    for site, area in AREAS.items():
        for product, tag in (("daymet", "cida"), ("nldas", "nldas")):
            folder = root / "basin_mean_forcing" / product / site[:2]
            folder.mkdir(parents=True, exist_ok=True)
            lines = [
                "  44.82",
                " 133.00",
                f" {area:.0f}",
                "Year Mnth Day Hr dayl(s) prcp(mm/day) srad(W/m2) swe(mm) tmax(C) tmin(C) vp(Pa)",
            ]
            for k, day in enumerate(days):
                i = k % 50  # no weather grows for ever
                lines.append(
                    f"{day:%Y %m %d} "
                    f"12\t36000.00\t{i:.2f}\t200.00\t0.00\t{i + 10}.00\t{i}.00\t700.00"
                )
            (folder / f"{site}_lump_{tag}_forcing_leap.txt").write_text("\n".join(lines) + "\n")
        # not the region of its number, as for some gauges of the archive
        folder = root / "usgs_streamflow" / "99"
        folder.mkdir(parents=True, exist_ok=True)
        flags = ["A:e" if i == 1 else "M" if i == 2 else "A" for i in range(len(days))]
        flows = [-999 if f == "M" else 1 + i // 4 % 7 for i, f in enumerate(flags)]
        rows = [
            f"{site} {d:%Y %m %d} {q:8.2f} {f}" for d, q, f in zip(days, flows, flags, strict=True)
        ]
        (folder / f"{site}_streamflow_qc.txt").write_text("\n".join(rows) + "\n")
    folder = root / "camels_attributes_v2.0"
    folder.mkdir()
    (folder / "camels_topo.txt").write_text(
        "gauge_id;gauge_lat;gauge_lon;elev_mean\n"
        + "".join(f"{b};44.8;-68.0;250.0\n" for b in AREAS)
    )
    (folder / "camels_clim.txt").write_text(
        "gauge_id;aridity;season\n01010101;0.8; son\n02020202;NA;mam\n"
    )
    return root


def caravan(root: Path, kind: str = "netcdf", days: pd.DatetimeIndex = DAYS) -> Path:
    """Three sites of two sub-datasets in the layout of Caravan."""
    for number, site in enumerate(("camels_01", "camels_02", "lamah_7")):
        source = site.split("_")[0]
        frame = pd.DataFrame(
            {
                "total_precipitation_sum": 1.0 + number,
                "temperature_2m_mean": 9.0,
                "temperature_2m_min": 4.0,
                "temperature_2m_max": 14.0,
                "potential_evaporation_sum": 3.0,
                "surface_pressure_mean": 98.0,
                "streamflow": np.where(
                    np.arange(len(days)) < 5, np.nan, 0.5 + np.arange(len(days)) % 3
                ),
            },
            index=pd.DatetimeIndex(days, name="date"),
        )
        folder = root / "timeseries" / kind / source
        folder.mkdir(parents=True, exist_ok=True)
        if kind == "csv":
            frame.to_csv(folder / f"{site}.csv")
        else:
            text = (
                "temperature_2m: 2m air temperature [°C]\n"
                "total_precipitation: Total precipitation [mm]\nstreamflow: Q [mm/d]\n"
            )
            frame.to_xarray().assign_attrs(Units=text).to_netcdf(folder / f"{site}.nc")
        tables = root / "attributes" / source
        tables.mkdir(parents=True, exist_ok=True)
        for table, columns, last in (
            ("other", "gauge_lat,gauge_lon,area", 321.0),
            ("caravan", "p_mean,aridity,frac_snow", 1),
        ):
            file = tables / f"attributes_{table}_{source}.csv"
            head = "" if file.exists() else f"gauge_id,{columns}\n"
            file.write_text(
                (file.read_text() if file.exists() else "")
                + head
                + f"{site},47.5,{number}.0,{last}\n"
            )
    return root


def generic(root: Path, units: bool = True, days: pd.DatetimeIndex = DAYS) -> Path:
    """Two sites in the layout of neuralhydrology's GenericDataset."""
    (root / "time_series").mkdir(parents=True)
    (root / "attributes").mkdir()
    for number, site in enumerate(("x1", "x2")):
        opened = xr.Dataset(
            {
                "prcp": ("date", np.full(len(days), 0.001 * (number + 1))),
                "tmean": ("date", np.full(len(days), 280.15)),
                "own_index": ("date", np.arange(len(days), dtype=float)),
            },
            {"date": days},
        )
        if units:
            opened.prcp.attrs["units"], opened.tmean.attrs["units"] = "m/day", "K"
        opened.to_netcdf(root / "time_series" / f"{site}.nc")
    (root / "attributes" / "a.csv").write_text("gauge_id,lat,slope\nx1,50.0,3.5\nx2,51.0,4.5\n")
    return root
