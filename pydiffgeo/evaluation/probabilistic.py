"""Scores of predicted distributions, from their quantiles: coverage, width, CRPS, PIT.

Quantiles are [..., level], what was observed is [...]; NaN of what was not observed count for
nothing. No kept library scores quantiles of uneven levels; the CRPS here is tested against its
closed form.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm

from pydiffgeo.errors import DataError, listed

log = logging.getLogger("pydiffgeo")

QUANTILE = "_quantile"  # behind the name of a series: quantiles of its distribution
NLL = "_nll"  # minus the logarithm of the density at what was observed
SHARES = (0.5, 0.9, 0.95)  # of central intervals
BINS = 20  # of the histogram of the PIT
CAPTURED = 0.98  # least share of the CRPS of a Gaussian that levels must give


def require_levels(levels: ArrayLike) -> None:
    """Raise DataError where levels of quantiles do not rise, or are not between 0 and 1."""
    known = np.asarray(levels, float)
    if known.size and not (np.diff(known, prepend=0.0, append=1.0) > 0).all():
        raise DataError(
            f"quantiles {listed([f'{x:g}' for x in known], 30)} must rise and lie between 0 and 1, "
            "without both, as (0.05, 0.5, 0.95)."
        )


def captured(levels: ArrayLike) -> float:
    """Return the share of the CRPS that `crps` finds by these levels for a Gaussian that is right.

    Its quantile score at a level p is the density at the p-quantile, whose integral is 1 / (2
    sqrt(pi)).
    """
    known = np.asarray(levels, float)
    each = np.pad(norm.pdf(norm.ppf(known)), 1)
    return float(2 * np.sqrt(np.pi) * np.trapezoid(each, np.array([0.0, *known, 1.0])))


def interval(quantiles: ArrayLike, levels: ArrayLike, share: float) -> tuple[NDArray, NDArray]:
    """Return the ends of the central interval of a share; DataError where a level is missing."""
    q, known = np.asarray(quantiles, float), np.asarray(levels, float)
    ends = []
    for level in ((1 - share) / 2, (1 + share) / 2):
        near = np.flatnonzero(np.isclose(known, level, rtol=0, atol=1e-6))
        if not len(near):
            raise DataError(
                f"the interval of {share:g} needs the quantile {level:g}, and there are "
                f"{', '.join(f'{x:g}' for x in known)}; add it to `quantiles`."
            )
        ends.append(q[..., near[0]])
    return ends[0], ends[1]


def coverage(
    quantiles: ArrayLike, levels: ArrayLike, observed: ArrayLike, share: float = 0.9
) -> float:
    """Return the share of what was observed that lies in the central interval of a share."""
    low, high = interval(quantiles, levels, share)
    o = np.asarray(observed, float)
    seen = np.isfinite(o)
    return _mean(((o >= low) & (o <= high))[seen])


def width(
    quantiles: ArrayLike, levels: ArrayLike, observed: ArrayLike, share: float = 0.9
) -> float:
    """Return the mean width of the central interval on the steps that were observed."""
    low, high = interval(quantiles, levels, share)
    return _mean((high - low)[np.isfinite(np.asarray(observed, float))])


def crps(quantiles: ArrayLike, levels: ArrayLike, observed: ArrayLike) -> float:
    """Return the mean continuous ranked probability score, in the unit of the series.

    Twice the integral of the quantile score over levels (Laio & Tamea 2007,
    doi:10.5194/hess-11-1267-2007), by trapezoids between the levels, with zero at 0 and 1. With
    the levels that are kept by default it is .3 % too small for a Gaussian that is right, and .5 %
    for one whose spread is a third of what it should be; see `captured` for others.
    """
    o, levels = np.asarray(observed, float), np.asarray(levels, float)
    seen = np.isfinite(o)
    error = o[seen][:, None] - np.asarray(quantiles, float)[seen]
    each = (
        np.maximum(levels * error, (levels - 1) * error).mean(0) if seen.any() else levels * np.nan
    )
    return float(2 * np.trapezoid(np.pad(each, 1), np.array([0.0, *levels, 1.0])))


def pit(quantiles: ArrayLike, levels: ArrayLike, observed: ArrayLike) -> tuple[NDArray, NDArray]:
    """Return the probability integral transform of what was observed, [observation], as its ends.

    Both ends are the predicted probability of at most the observation, linear between quantiles;
    beyond the last ones it lies anywhere between their level and 0 or 1, and where quantiles are
    equal (no flow) anywhere between their levels. Steps without quantiles count for nothing.
    """
    q, o = np.asarray(quantiles, float), np.asarray(observed, float)
    seen = np.isfinite(o) & np.isfinite(q).all(-1)
    q, o = q[seen], o[seen][:, None]
    ends = np.array([0.0, *np.asarray(levels, float), 1.0])
    under, upto = (q < o).sum(1), (q <= o).sum(1)
    low, high = ends[under], ends[upto + 1]
    inside = (under == upto) & (under > 0) & (under < q.shape[1])
    rows = np.flatnonzero(inside)
    left, right = q[rows, under[rows] - 1], q[rows, under[rows]]
    share = (o[rows, 0] - left) / (right - left)
    low[rows] += share * (high - low)[rows]
    high[rows] = low[rows]
    equal = upto > under  # on a quantile, or several
    low[equal], high[equal] = ends[under + 1][equal], ends[upto][equal]
    return low, high


def pit_histogram(low: ArrayLike, high: ArrayLike, bins: int = BINS) -> NDArray:
    """Return the share of the PIT in each of `bins` bins: 1 / bins each where a forecast is right.

    A PIT between two ends is spread evenly (Czado et al. 2009,
    doi:10.1111/j.1541-0420.2009.01191.x).
    """
    a, b = (np.asarray(x, float)[:, None] for x in (low, high))
    edges = np.linspace(0, 1, bins + 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(b > a, (edges - a) / (b - a), edges > a)
    share = np.clip(share, 0, 1)
    share[:, -1] = 1.0
    return np.diff(share, axis=1).mean(0)


def score_distribution(
    quantiles: xr.DataArray, observed: xr.DataArray, nll: xr.DataArray | None = None
) -> xr.Dataset:
    """Return scores of a predicted distribution for each site, and each depth where there are such.

    Parameters
    ----------
    quantiles : xarray.DataArray, [site, time, ..., quantile]
        With the levels as the coordinate ``quantile``.
    observed : xarray.DataArray, [site, time, ...]
        In the same unit; NaN where missing.
    nll : xarray.DataArray, [site, time, ...], optional
        Minus the logarithm of the density at what was observed.

    Returns
    -------
    xarray.Dataset
        ``crps``, ``coverage_50``, ``coverage_90``, ``coverage_95``, ``width_90`` and, where it is
        known, ``nll``, which are means over the steps that were observed; NaN where nothing was.
        ``crps`` is left out where the levels are so few that it would be 2 % too small.
    """
    step, levels = str(observed.dims[1]), quantiles["quantile"].values
    unit, there = str(observed.attrs.get("units", "1")), shares_of(levels)
    measures: dict[str, Callable[..., float]] = {"crps": crps}
    if captured(levels) < CAPTURED:
        log.warning(
            "crps is left out: %d quantiles are too few for it (%.0f %% of that of a Gaussian); "
            "take more, also towards 0 and 1.", len(levels), 100 * captured(levels),
        )  # fmt: skip
        measures = {}
    measures |= {f"coverage_{100 * p:g}": partial(coverage, share=p) for p in there}
    measures |= {"width_90": width} if 0.9 in there else {}
    units = {"crps": unit, "width_90": unit}
    given = xr.DataArray(quantiles.values, dims=(*observed.dims, "quantile"))
    seen = xr.DataArray(observed.values, dims=observed.dims)
    core: dict[str, Any] = {"input_core_dims": [[step, "quantile"], [step]], "vectorize": True}
    scores = xr.Dataset()
    for name, measure in measures.items():
        one = partial(_where_known, measure, levels)
        found = xr.apply_ufunc(one, given, seen, output_dtypes=[float], **core)
        scores[name] = found.assign_attrs(units=units.get(name, "1"))
    if nll is not None:
        known = xr.DataArray(nll.values, dims=observed.dims).where(np.isfinite(seen))
        scores["nll"] = known.mean(step).assign_attrs(units="1")
    return scores.assign_coords({n: c for n, c in observed.coords.items() if step not in c.dims})


def _where_known(
    measure: Callable[..., float], levels: NDArray, quantiles: NDArray, observed: NDArray
) -> float:
    """Return a measure, NaN where the distribution is not known on a step that was observed."""
    seen = np.isfinite(observed)
    whole = seen.any() and bool(np.isfinite(quantiles[seen]).all())
    return measure(quantiles, levels, observed) if whole else float("nan")


def shares_of(levels: ArrayLike) -> list[float]:
    """Return the shares whose intervals the levels have."""
    known = np.asarray(levels, float)

    def there(level: float) -> bool:
        return bool(np.isclose(known, level, rtol=0, atol=1e-6).any())

    return [p for p in SHARES if there((1 - p) / 2) and there((1 + p) / 2)]


def _mean(values: NDArray) -> float:
    return float(values.mean()) if values.size else float("nan")
