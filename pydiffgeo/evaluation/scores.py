"""Scores of each site, and of each depth of profiles; what they come to over groups of sites."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from pydiffgeo.errors import DataError, listed, lookup
from pydiffgeo.evaluation.measures import DISCHARGE, GENERAL, MEASURES
from pydiffgeo.files import write_file, write_netcdf

log = logging.getLogger("pydiffgeo")

COUNT = "count"  # of the steps compared: the one variable of scores that is no measure
POOLED = ("correlation", "rmse", "bias", "nse")  # of all points together
# of measures; {} is the unit of the series, all others have none
UNITS = {
    "mse": "({})2", "rmse": "{}", "ubrmse": "{}", "bias": "{}", "peak_timing": "d",
    "fhv": "percent", "fms": "percent", "flv": "percent", "peak_mape": "percent",
}  # fmt: skip


def groups_of(data: xr.Dataset) -> NDArray:
    """Return the group of each site, [site]; "" where there are none."""
    sites = data["site"].astype(str)
    return data.coords.get("group", sites.where(False, "")).values


def score_sites(
    simulated: xr.DataArray, observed: xr.DataArray, measures: Iterable[str] | None = None
) -> xr.Dataset:
    """Return measures of agreement for each site, and each depth where there are depths.

    Parameters
    ----------
    simulated, observed : xarray.DataArray, [site, time] or [site, time, depth]
        In one unit; NaN where missing. DataError where the dimensions do not fit.
    measures : iterable of str, optional
        Of `MEASURES`, else UnknownName; by default `DISCHARGE` for the discharge, else `GENERAL`.

    Returns
    -------
    xarray.Dataset
        Each measure [site] or [site, depth], NaN where it is undefined, there are fewer than two
        steps to compare, or the simulation lacks a step that was observed: scores of the rest
        would flatter it. And ``count``, the steps compared.
    """
    if simulated.dims != observed.dims or simulated.shape != observed.shape or simulated.ndim < 2:
        raise DataError(
            f"simulated {simulated.name!r} {dict(simulated.sizes)} and observed "
            f"{dict(observed.sizes)} must have the same dimensions, [site, time] or "
            "[site, time, depth]."
        )
    if measures is None:
        measures = DISCHARGE if simulated.name == "discharge" and simulated.ndim == 2 else GENERAL
    unit, step = str(observed.attrs.get("units", "1")), str(simulated.dims[1])
    simulated = observed.copy(data=simulated.values)  # by position, whatever the coordinates
    core: dict[str, Any] = {"input_core_dims": [[step], [step]], "output_dtypes": [float]}
    scores = xr.Dataset()
    for name in measures:
        one = partial(_score, lookup(MEASURES, name, "measure"))
        scores[name] = xr.apply_ufunc(one, simulated, observed, vectorize=True, **core)
        scores[name].attrs = {"units": UNITS.get(name, "1").format(unit)}
    both = np.isfinite(simulated.values) & np.isfinite(observed.values)
    lacking = (np.isfinite(observed.values) & ~both).any(1).reshape(len(both), -1).any(1)
    if lacking.any():
        sites = simulated[simulated.dims[0]].values[lacking].astype(str)
        log.warning(
            "%s is simulated only in part at %s, which has no scores therefore.",
            observed.name, listed(sites, 5),
        )  # fmt: skip
    scores[COUNT] = observed.copy(data=both).sum(step)
    scores[COUNT].attrs = {"units": "1", "long_name": "steps compared"}
    return scores


def _score(measure: Callable[..., float], simulated: NDArray, observed: NDArray) -> float:
    known = np.isfinite(observed)
    whole = bool(np.isfinite(simulated[known]).all())
    return measure(simulated, observed) if whole and known.sum() > 1 else np.nan


def pooled_scores(
    simulated: ArrayLike, observed: ArrayLike, measures: Iterable[str] = POOLED
) -> dict[str, float]:
    """Return measures over all points of all sites at once, and ``points``, how many there are.

    The table of studies whose sites have few points each, such as leaves. Means are over points, so
    that a site with many counts for more. Arrays of one shape, in one unit; NaN where nothing was
    observed. Measures are NaN where fewer than two points were observed, or one of them is not
    simulated.
    """
    s, o = np.asarray(simulated, float).ravel(), np.asarray(observed, float).ravel()
    found = {name: _score(lookup(MEASURES, name, "measure"), s, o) for name in measures}
    return found | {"points": int(np.isfinite(o).sum())}


def write_scores(scores: xr.Dataset, path: str | Path) -> list[Path]:
    """Write scores as `path`.csv, a row per site (and depth), and `path`.nc; return both paths."""
    # coordinates of the sites that are not judged by, such as their places, stay out of the table
    table = scores.drop_vars([k for k in scores.coords if k not in (*scores.dims, "group")])
    text = table.to_dataframe().to_csv(float_format="%.6g")
    return [write_file(f"{path}.csv", text), write_netcdf(scores, f"{path}.nc")]


def parts(scores: xr.Dataset) -> Iterator[tuple[dict[str, str], xr.Dataset]]:
    """Yield the scores of each group and depth, and of all depths, with labels of their rows."""
    for group in pd.unique(scores["group"].values) if "group" in scores.coords else [None]:
        label = {} if group is None else {"group": str(group)}
        some = scores if group is None else scores.isel(site=np.flatnonzero(scores.group == group))
        if "depth" not in scores.dims:
            yield label, some
            continue
        for k, depth in enumerate(scores["depth"].values):
            yield {**label, "depth": f"{100 * float(depth):g} cm"}, some.isel(depth=k)
        yield {**label, "depth": "all"}, some


def summary_table(scores: xr.Dataset) -> pd.DataFrame:
    """Return medians over the sites, a row per group of sites, and per depth and over all ("all").

    In profiles the errors are gathered by the root of their mean square over sites and depths, bias
    and correlation by their mean. ``sites`` counts the sites that could be scored.
    """
    rows = []
    for label, part in parts(scores):
        values = part.drop_vars(COUNT).to_dataframe().drop(columns=[*part.coords], errors="ignore")
        row = values.median()
        if "depth" in label:  # the others, such as KGE, have no lower end
            for name in row.index.intersection(["rmse", "ubrmse"]):
                row[name] = np.sqrt((values[name] ** 2).mean())
            for name in row.index.intersection(["bias", "correlation"]):
                row[name] = values[name].mean()
        scored = (part[COUNT] > 1).values.reshape(part.sizes["site"], -1).all(1)
        rows.append({**label, **row, "sites": int(scored.sum())})
    return pd.DataFrame(rows)


def median_scores(
    scores: xr.Dataset, confidence: float = 0.95, draws: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """Return the median of each measure over the sites with a bootstrap confidence interval.

    Sites are drawn with replacement `draws` times, the same draws for all measures, and each with
    all its depths; the interval is that of the percentiles (Efron 1979,
    doi:10.1214/aos/1176344552). It tells how much the median depends on which sites were judged.

    Parameters
    ----------
    scores : xarray.Dataset
        From `score_sites`; the coordinate ``group`` [site], if there is one, tells groups apart.
    confidence, draws, seed : float, int, int
        Between 0 and 1; at least 1; the same seed gives the same interval. DataError for others.

    Returns
    -------
    pandas.DataFrame
        A row per measure: ``group`` and ``depth`` where there are such, ``measure``, ``median``,
        ``lower``, ``upper``, ``mean``, ``sites`` (where the measure is defined) and ``undefined``.
    """
    if not 0 < confidence < 1 or draws < 1:
        raise DataError(f"confidence {confidence} must be between 0 and 1, draws {draws} positive.")
    rows = []
    for label, part in parts(scores):
        count = part.sizes["site"]
        drawn = np.random.default_rng(seed).integers(count, size=(draws, count))
        for name in (name for name in part.data_vars if name != COUNT):
            values = part[name].values.reshape(count, -1)
            known = int(np.isfinite(values).any(1).sum())
            with warnings.catch_warnings(action="ignore", category=RuntimeWarning):  # all are NaN
                medians = np.nanmedian(values[drawn].reshape(draws, -1), axis=1)
                lower, upper = np.nanquantile(medians, [(1 - confidence) / 2, (1 + confidence) / 2])
                median, mean = np.nanmedian(values), np.nanmean(values)
            row = {"measure": name, "median": median, "lower": lower, "upper": upper, "mean": mean}
            rows.append({**label, **row, "sites": known, "undefined": count - known})
    return pd.DataFrame(rows)
