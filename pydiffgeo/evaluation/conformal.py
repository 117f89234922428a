"""Split-conformal intervals: as wide as the errors of each site were in days kept for this."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pydiffgeo.distributions import LEVELS
from pydiffgeo.errors import DataError, listed
from pydiffgeo.evaluation.evaluate import Evaluation
from pydiffgeo.evaluation.probabilistic import NLL, QUANTILE, require_levels
from pydiffgeo.evaluation.simulate import OBSERVED

log = logging.getLogger("pydiffgeo")


def conformal(
    calibration: Evaluation,
    judged: Evaluation,
    levels: Sequence[float] = LEVELS,
    relative: float | None = None,
) -> Evaluation:
    """Return an evaluation with intervals that errors in other days make as wide as they must be.

    For each site (and depth), and each central interval of a share p, the half width is the
    ceil((n + 1) p)-th smallest of the n errors |observed - simulated| of the calibration. Where
    days are exchangeable the interval has at least this coverage, whatever the model (Lei et al.
    2018, doi:10.1080/01621459.2017.1307116, theorem 2.2); a record in time is that only roughly.
    Where both evaluations have a distribution, its intervals are widened, or narrowed, by how far
    observations lie outside (Romano et al. 2019, arXiv:1905.03222, theorem 1).

    Parameters
    ----------
    calibration : Evaluation
        Of days, and the same sites, that were not trained on and are not judged.
    judged : Evaluation
        What gets the intervals.
    levels : sequence of float
        Levels of the quantiles, which must be symmetric about 0.5; those of the distribution where
        there is one.
    relative : float, optional
        Errors are counted over `relative` + |simulated|, in the unit of the series, so that
        intervals are wider for larger flows; for what has no distribution.

    Returns
    -------
    Evaluation
        With ``NAME_quantile`` of each series that the calibration observes. A site gets none where
        the calibration has fewer than p / (1 - p) observations, p being the widest share; it is
        named in a warning.

    Raises
    ------
    DataError
        No series is in both evaluations, or levels are not symmetric.
    """
    names = [name for name in calibration.observed if name in judged.data]
    if not names:
        raise DataError(
            f"the calibration observes {listed(calibration.observed)}, and judged are "
            f"{listed(judged.data.data_vars)}: give evaluations of the same series."
        )
    if relative is not None and not relative > 0:
        raise DataError(f"relative={relative:g} must be above zero, in the unit of the series.")
    data = judged.data.copy()
    place = {str(site): row for row, site in enumerate(calibration.data["site"].values)}
    rows = [place.get(str(site)) for site in data["site"].values]
    for name in names:
        past, own = calibration.judged, name + QUANTILE
        both = own in past and own in data
        used = past["quantile"].values if both else np.asarray(levels, float)
        _require_symmetric(used)
        if both and not np.array_equal(used, data["quantile"].values):
            raise DataError(
                f"quantiles of {name!r} in the calibration have other levels than those judged; "
                "evaluate both with the same `quantiles`."
            )
        if past[name].dims != data[name].dims or any(
            not np.array_equal(past[name][d], data[name][d]) for d in past[name].dims[2:]
        ):
            raise DataError(f"{name!r} is at other depths in the calibration than judged.")
        kind, seen = own if both else name, past[name + OBSERVED].values
        quantiles = np.full((*data[name].shape, len(used)), np.nan)
        for row, k in enumerate(rows):
            for deep in np.ndindex(data[name].shape[2:]) if k is not None else ():
                at = (slice(None), *deep)
                given = past[kind].values[k][at], data[kind].values[row][at], seen[k][at]
                quantiles[row][at] = _quantiles(*given, used, relative)
        lacking = ~np.isfinite(quantiles).reshape(len(rows), -1).all(1)
        if lacking.any():
            log.warning(
                "%s lacks conformal intervals at %s: the site is not in the calibration, or has "
                "fewer than %d observations there, which the widest interval needs.", name,
                listed(data["site"].values[lacking].astype(str), 5), _least(used),
            )  # fmt: skip
        if name == "discharge":  # what lies below zero is no flow
            quantiles = np.maximum(quantiles, 0.0)
        data = data.drop_vars([own, name + NLL], errors="ignore")
        data[own] = (*data[name].dims, "quantile"), quantiles, dict(data[name].attrs)
        data.coords["quantile"] = "quantile", used, {"units": "1", "long_name": "level"}
    return replace(judged, data=data, all_scores={})


def _require_symmetric(levels: NDArray) -> None:
    require_levels(levels)
    if not len(levels) or not np.allclose(levels + levels[::-1], 1.0, atol=1e-6):
        raise DataError(
            f"levels {listed([f'{x:g}' for x in levels])} must be symmetric about 0.5, as "
            "(0.05, 0.5, 0.95)."
        )


def _least(levels: NDArray) -> int:
    """Return the observations that the widest interval needs."""
    share = levels[-1] - levels[0]
    return math.ceil(share / (1 - share) - 1e-9)


def _quantiles(
    past: NDArray, now: NDArray, seen: NDArray, levels: NDArray, relative: float | None
) -> NDArray | float:
    """Return quantiles [time, level] from simulations [time] or quantiles [time, level] of both."""
    whole = np.isfinite(past) if past.ndim == 1 else np.isfinite(past).all(1)
    known = np.isfinite(seen) & whole  # a step that was not simulated has no error
    n, last = int(known.sum()), len(levels) - 1
    found = np.full((len(now), last + 1), np.nan)
    inner: tuple[Any, Any] = (np.inf, -np.inf)
    if n < _least(levels):
        return np.nan
    before, unit = (1.0, 1.0) if relative is None else (relative + abs(x) for x in (past, now))
    for k in range(last // 2, -1, -1):  # from the median outwards, each around the one before
        ends = (past, past) if past.ndim == 1 else (past[:, k], past[:, last - k])
        low, high = (now, now) if now.ndim == 1 else (now[:, k], now[:, last - k])
        share, margin = levels[last - k] - levels[k], 0.0
        if share > 0:
            errors = np.sort((np.maximum(ends[0] - seen, seen - ends[1]) / before)[known])
            margin = errors[math.ceil((n + 1) * share - 1e-9) - 1]
        inner = (
            np.minimum(low - margin * unit, inner[0]),
            np.maximum(high + margin * unit, inner[1]),
        )
        found[:, k], found[:, last - k] = inner
    return found
