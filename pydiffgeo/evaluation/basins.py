"""Scores basin by basin: a table to keep, and medians over the basins with confidence intervals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from pydiffgeo.errors import DataError, lookup
from pydiffgeo.evaluation.hydrology import HYDROLOGICAL
from pydiffgeo.files import write_file, write_netcdf

UNITS = {"fhv": "percent", "fms": "percent", "flv": "percent", "peak_mape": "percent", "peak_timing": "day", "mse": "mm2 day-2",
         "rmse": "mm day-1", "bias": "mm day-1"}  # fmt: skip


def score_basins(
    simulated: ArrayLike,
    observed: ArrayLike,
    basins: Sequence[str],
    names: Iterable[str] = HYDROLOGICAL,
    mask: ArrayLike | None = None,
) -> xr.Dataset:
    """Return measures of discharge for each basin.

    Parameters
    ----------
    simulated, observed : array_like, [basin, time]
        Daily discharge, mm day-1; NaN where missing.
    basins : sequence of str, [basin]
        Identifiers.
    names : iterable of str
        Names of `HYDROLOGICAL`.
    mask : array_like of bool, [time] or [basin, time], optional
        Days that are judged.

    Returns
    -------
    xarray.Dataset
        Each measure [basin], NaN where it is undefined or the basin has fewer than two days to compare, and ``days``, the days
        compared, [basin].

    Raises
    ------
    DataError
        The shapes do not fit.
    UnknownName
        No such measure.
    """
    s, o = np.asarray(simulated, float), np.asarray(observed, float)
    if s.shape != o.shape or s.ndim != 2 or len(s) != len(basins):
        raise DataError(
            f"simulated {s.shape} and observed {o.shape} must both be [basin, time] for {len(basins)} basins."
        )
    judged = (
        np.ones(s.shape, bool) if mask is None else np.broadcast_to(np.asarray(mask, bool), s.shape)
    )
    days = (np.isfinite(s) & np.isfinite(o) & judged).sum(1)
    found: dict[str, tuple[str, np.ndarray, dict[str, str]]] = {}
    for name in names:
        measure = lookup(HYDROLOGICAL, name, "measure of discharge")
        values = [measure(s[i], o[i], judged[i]) if days[i] > 1 else np.nan for i in range(len(s))]
        found[name] = ("basin", np.array(values, float), {"units": UNITS.get(name, "1")})
    found["days"] = ("basin", days, {"long_name": "days compared"})
    return xr.Dataset(found, {"basin": np.array([str(basin) for basin in basins])})


def write_scores(scores: xr.Dataset, path: str | Path) -> list[Path]:
    """Write scores of `score_basins` as `path`.csv, one row per basin, and `path`.nc, and return both paths."""
    stem = Path(path)
    return [
        write_file(
            stem.with_name(stem.name + ".csv"), scores.to_dataframe().to_csv(float_format="%.6g")
        ),
        write_netcdf(scores, stem.with_name(stem.name + ".nc")),
    ]


def median_scores(
    scores: xr.Dataset, confidence: float = 0.95, draws: int = 2000, seed: int = 0
) -> list[dict[str, str | float | int]]:
    """Return the median of each measure over the basins with a bootstrap confidence interval, one row per measure.

    Basins are drawn with replacement `draws` times, the same draws for all measures; the interval is that of the percentiles
    (Efron 1979, doi:10.1214/aos/1176344552). It tells how much the median depends on which basins were judged, not on which
    years.

    Parameters
    ----------
    scores : xarray.Dataset
        From `score_basins`.
    confidence : float
        Between 0 and 1.
    draws : int
        Resamples.
    seed : int
        The same seed gives the same interval.

    Returns
    -------
    list of dict
        ``measure``, ``median``, ``lower``, ``upper``, ``mean``, ``basins`` (where the measure is defined) and ``undefined``.

    Raises
    ------
    DataError
        `confidence` or `draws` make no sense.
    """
    if not 0 < confidence < 1 or draws < 1:
        raise DataError(
            f"confidence {confidence} must be between 0 and 1, draws {draws} at least 1."
        )
    count = scores.sizes["basin"]
    drawn = np.random.default_rng(seed).integers(count, size=(draws, count))
    rows: list[dict[str, str | float | int]] = []
    for name in (str(name) for name in scores.data_vars if name != "days"):
        values = scores[name].values
        known = np.isfinite(values)
        row: dict[str, str | float | int] = {
            "measure": name,
            "median": np.nan,
            "lower": np.nan,
            "upper": np.nan,
            "mean": np.nan,
        }
        if known.any():
            medians = _medians(values[drawn])
            lower, upper = np.nanquantile(medians, [(1 - confidence) / 2, (1 + confidence) / 2])
            row |= {"median": float(np.median(values[known])), "lower": float(lower), "upper": float(upper),
                    "mean": float(values[known].mean())}  # fmt: skip
        rows.append(row | {"basins": int(known.sum()), "undefined": int((~known).sum())})
    return rows


def _medians(values: np.ndarray) -> np.ndarray:
    """Return the medians of rows, NaN left out; NaN for a row of nothing else."""
    some = np.isfinite(values).any(1)
    medians = np.full(len(values), np.nan)
    medians[some] = np.nanmedian(values[some], axis=1)
    return medians
