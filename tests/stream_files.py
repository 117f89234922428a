"""Small tables of streams, in the forms that the layout `streams` knows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd


def days(root: Path, stations: tuple[str, ...] = ("UP_1", "LOW_2"), count: int = 60) -> Path:
    """Days of stations, the first half of them for calibration."""
    parts = []
    for k, station in enumerate(stations):
        dates = pd.date_range("2001-01-01", periods=count)
        t = np.arange(count)
        water = 6 + k + np.sin(t / 5)
        water[3] = np.nan
        parts.append(
            pd.DataFrame(
                {
                    "station": station,
                    "date": dates.strftime("%Y-%m-%d"),
                    "air_temp_degC": np.round(5 + 4 * np.sin(t / 7), 3),
                    "water_temp_degC": np.round(water, 3),
                    "discharge_m3s": np.round(2 + k + np.cos(t / 9), 3),
                    "part": np.where(t < count // 2, "calibration", "validation"),
                }
            )
        )
    path = root / "rivers.csv"
    pd.concat(parts).to_csv(path, index=False)
    return path


def sondes(root: Path) -> Path:
    """Five minutes of two sondes one after the other; the second writes noon twice."""
    path = root / "creek.csv"
    path.write_text(
        "station,siteno,sonde,date,time,temp,oxy\n"
        "low,3,A,8/31/2012,23:50:00,14.21,7.41\n"
        "low,3,A,8/31/2012,23:55:00,14.13,\n"
        "low,3,A,9/1/2012,0:00:00,14.03,7.36\n"
        "low,3,B,9/1/2012,11:55:00,13.07,8.24\n"
        "low,3,B,9/1/2012,12:00:00,13.10,8.25\n"
        "low,3,B,9/1/2012,12:00:00,13.10,8.25\n"
        "low,3,B,9/1/2012,12:05:00,13.12,8.30\n"
    )
    return path


def metabolism(root: Path, month: str = "may", days: int = 4) -> Path:
    """Half-hours of oxygen, temperature, depth and light, in the form of streamMetabolizer."""
    times = pd.date_range("2012-05-01 00:27:37", periods=48 * days, freq="30min")
    t = np.arange(len(times)) / 48
    table = pd.DataFrame(
        {
            "solar_time": times.strftime("%Y-%m-%d %H:%M:%S"),
            "DO_obs": 10 + np.sin(2 * np.pi * (t - 0.3)),
            "DO_sat": 10.5,
            "depth": 0.4,
            "temp_water": 13 + 2 * np.sin(2 * np.pi * (t - 0.4)),
            "light": 1000 * np.maximum(np.sin(2 * np.pi * (t - 0.25)), 0),
            "discharge": 1.4,
        }
    )
    path = root / f"brook_{month}.csv"
    table.round(4).to_csv(path, index=False)
    return path


def segments(root: Path, days: int = 30) -> Path:
    """Two segments as river-dl has them."""
    random, dates = np.random.default_rng(0), pd.date_range("2004-01-01", periods=days)
    frames = []
    for segment in (7, 9):
        values = random.uniform(1.0, 9.0, (6, days)).round(2)
        names = (
            "water_temp_obs_degC", "discharge_obs_m3_s", "air_temp_degC", "precip_mm_day",
            "discharge_prms_m3_s", "water_temp_sntemp_degC",
        )  # fmt: skip
        frame = pd.DataFrame(dict(zip(names, values, strict=True)))
        frame.insert(0, "seg_id_nat", segment)
        frame.insert(1, "date", dates.strftime("%Y-%m-%d"))
        frames.append(frame)
    pd.concat(frames).to_csv(root / "segments.csv", index=False)
    return root / "segments.csv"
