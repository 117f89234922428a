"""Scores of each site, and of each depth of profiles; what they come to over the sites of a group."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from pydiffgeo.errors import DataError, lookup
from pydiffgeo.evaluation.measures import DISCHARGE, GENERAL, MEASURES
from pydiffgeo.files import write_file, write_netcdf

PERCENT = ("fhv", "fms", "flv", "peak_mape")
IN_UNITS = ("rmse", "ubrmse", "bias")  # of the series
COUNT = "count"  # of the steps compared: the one variable of scores that is no measure
# over the series of a profile: errors by their mean square, others by their mean; KGE by its median, since it has no lower end
GATHERED = {"rmse": "square", "ubrmse": "square", "bias": "mean", "correlation": "mean"}


def score_sites(
    simulated: xr.DataArray, observed: xr.DataArray, measures: Iterable[str] | None = None
) -> xr.Dataset:
    """Return measures of agreement for each site, and each depth where there are depths.

    Parameters
    ----------
    simulated, observed : xarray.DataArray, [site, time] or [site, time, depth]
        In one unit; NaN where missing.
    measures : iterable of str, optional
        Names of `MEASURES`; by default `DISCHARGE` for the discharge, `GENERAL` for any other series.

    Returns
    -------
    xarray.Dataset
        Each measure [site] or [site, depth], NaN where it is undefined or there are fewer than two steps to compare, and
        ``count``, the steps compared.

    Raises
    ------
    DataError
        The dimensions do not fit.
    UnknownName
        No such measure.
    """
    if simulated.dims != observed.dims or simulated.shape != observed.shape or simulated.ndim < 2:
        raise DataError(
            f"simulated {simulated.name!r} {dict(simulated.sizes)} and observed {dict(observed.sizes)} must have the same "
            "dimensions, [site, time] or [site, time, depth]."
        )
    if measures is None:
        measures = DISCHARGE if simulated.name == "discharge" and simulated.ndim == 2 else GENERAL
    dims = (simulated.dims[0], *simulated.dims[2:])
    series = [np.moveaxis(np.asarray(x, float), 1, -1) for x in (simulated, observed)]
    shape = series[0].shape[:-1]
    s, o = (x.reshape(-1, x.shape[-1]) for x in series)
    count = (np.isfinite(s) & np.isfinite(o)).sum(1)
    units = str(observed.attrs.get("units", "1"))
    scores = xr.Dataset(coords={k: v for k, v in observed.coords.items() if set(v.dims) <= {*dims}})
    for name in measures:
        measure = lookup(MEASURES, name, "measure")
        values = [measure(a, b) if n > 1 else np.nan for a, b, n in zip(s, o, count, strict=True)]
        scores[name] = dims, np.array(values, float).reshape(shape), {"units": _unit(name, units)}
    scores[COUNT] = dims, count.reshape(shape), {"units": "1", "long_name": "steps compared"}
    return scores


def _unit(measure: str, units: str) -> str:
    if measure in IN_UNITS:
        return units
    if measure == "peak_timing":
        return "d"
    return f"({units})2" if measure == "mse" else "percent" if measure in PERCENT else "1"


def write_scores(scores: xr.Dataset, path: str | Path) -> list[Path]:
    """Write scores as `path`.csv, one row per site (and depth), and `path`.nc, and return both paths."""
    stem = Path(path)
    # coordinates of the sites that are not judged by, such as their places, stay out of the table
    table = scores.drop_vars([k for k in scores.coords if k not in (*scores.dims, "group")])
    return [
        write_file(
            stem.with_name(stem.name + ".csv"), table.to_dataframe().to_csv(float_format="%.6g")
        ),
        write_netcdf(scores, stem.with_name(stem.name + ".nc")),
    ]


def parts(scores: xr.Dataset) -> Iterator[tuple[dict[str, str], xr.Dataset]]:
    """Yield the scores of each group of sites and each depth, and of all depths ("all"), with the labels of their rows."""
    groups = pd.unique(scores["group"].values) if "group" in scores.coords else [None]
    for group in groups:
        label = {} if group is None else {"group": str(group)}
        some = scores if group is None else scores.isel(site=np.flatnonzero(scores.group == group))
        if "depth" not in scores.dims:
            yield label, some
            continue
        for k, depth in enumerate(scores["depth"].values):
            yield {**label, "depth": f"{100 * float(depth):g} cm"}, some.isel(depth=k)
        yield {**label, "depth": "all"}, some


def summary_table(scores: xr.Dataset) -> pd.DataFrame:
    """Return one row per group of sites: medians over the sites; with depths, a row per depth, and one over all ("all").

    In profiles the errors are gathered by the root of their mean square over the series (sites and depths), bias and
    correlation by their mean, the others by their median. ``sites`` counts the sites that could be scored.
    """
    rows = []
    for label, part in parts(scores):
        measures = [str(name) for name in part.data_vars if name != COUNT]
        how = GATHERED if "depth" in label else {}
        values = {name: _gather(part[name].values, how.get(name, "median")) for name in measures}
        scored = (part[COUNT] > 1).values.reshape(part.sizes["site"], -1).all(1)
        rows.append({**label, **values, "sites": int(scored.sum())})
    return pd.DataFrame(rows)


def _gather(values: NDArray, how: str) -> float:
    known = values[np.isfinite(values)]
    if not known.size:
        return float("nan")
    if how == "square":
        return float(np.sqrt(np.mean(known**2)))
    return float(np.mean(known) if how == "mean" else np.median(known))


def median_scores(
    scores: xr.Dataset, confidence: float = 0.95, draws: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """Return the median of each measure over the sites with a bootstrap confidence interval, one row per measure.

    Sites are drawn with replacement `draws` times, the same draws for all measures, and each with all its depths; the interval
    is that of the percentiles (Efron 1979, doi:10.1214/aos/1176344552). It tells how much the median depends on which sites
    were judged, not on which years.

    Parameters
    ----------
    scores : xarray.Dataset
        From `score_sites`; the coordinate ``group`` [site], if there is one, tells groups apart.
    confidence : float
        Between 0 and 1.
    draws : int
        Resamples.
    seed : int
        The same seed gives the same interval.

    Returns
    -------
    pandas.DataFrame
        ``group`` and ``depth`` where there are such, ``measure``, ``median``, ``lower``, ``upper``, ``mean``, ``sites`` (where
        the measure is defined) and ``undefined``.

    Raises
    ------
    DataError
        `confidence` or `draws` make no sense.
    """
    if not 0 < confidence < 1 or draws < 1:
        raise DataError(
            f"confidence {confidence} must be between 0 and 1, draws {draws} at least 1."
        )
    edges = [(1 - confidence) / 2, (1 + confidence) / 2]
    rows = []
    for label, part in parts(scores):
        count = part.sizes["site"]
        drawn = np.random.default_rng(seed).integers(count, size=(draws, count))
        for name in (str(name) for name in part.data_vars if name != COUNT):
            values = part[name].values.reshape(count, -1)
            known = np.isfinite(values)
            median = mean = lower = upper = float("nan")
            if known.any():
                medians = _medians(values[drawn].reshape(draws, -1))
                lower, upper = map(float, np.nanquantile(medians, edges))
                median, mean = float(np.median(values[known])), float(values[known].mean())
            row = {"measure": name, "median": median, "lower": lower, "upper": upper, "mean": mean}
            sites = int(known.any(1).sum())
            rows.append({**label, **row, "sites": sites, "undefined": count - sites})
    return pd.DataFrame(rows)


def _medians(values: NDArray) -> NDArray:
    """Return the medians of rows, NaN left out; NaN for a row of nothing else."""
    some = np.isfinite(values).any(1)
    medians = np.full(len(values), np.nan)
    medians[some] = np.nanmedian(values[some], axis=1)
    return medians
