"""Measures of agreement between simulated and observed series.

All take arrays of one shape and compare the pairs in which both are finite (and `mask`, where given, is
True); all raise DataError when fewer than two pairs are left, and return NaN where the measure is undefined
(a constant series has no correlation).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pydiffgeo.errors import DataError, lookup


def both_known(simulated: NDArray, observed: NDArray, mask: ArrayLike | None = None) -> NDArray:
    """Return where both are finite and `mask` is True, in the shape of the series."""
    both = np.isfinite(simulated) & np.isfinite(observed)
    return (
        both if mask is None else both & np.broadcast_to(np.asarray(mask, dtype=bool), both.shape)
    )


def pairs(
    simulated: ArrayLike, observed: ArrayLike, mask: ArrayLike | None
) -> tuple[NDArray, NDArray]:
    """Return the values that can be compared, [pair]; raise DataError where there are fewer than two."""
    s, o = np.asarray(simulated, dtype=float), np.asarray(observed, dtype=float)
    if s.shape != o.shape:
        raise DataError(f"simulated has shape {s.shape}, observed {o.shape}; align them first.")
    both = both_known(s, o, mask)
    if both.sum() < 2:
        raise DataError(
            f"only {int(both.sum())} of {both.size} pairs can be compared; check the period and the mask."
        )
    return s[both], o[both]


def rmse(simulated: ArrayLike, observed: ArrayLike, mask: ArrayLike | None = None) -> float:
    """Return the root mean squared error, sqrt(mean((s - o)^2)), in the unit of the series."""
    s, o = pairs(simulated, observed, mask)
    return float(np.sqrt(np.mean((s - o) ** 2)))


def bias(simulated: ArrayLike, observed: ArrayLike, mask: ArrayLike | None = None) -> float:
    """Return the mean error, mean(s) - mean(o), in the unit of the series."""
    s, o = pairs(simulated, observed, mask)
    return float(s.mean() - o.mean())


def ubrmse(simulated: ArrayLike, observed: ArrayLike, mask: ArrayLike | None = None) -> float:
    """Return the RMSE after removal of the mean error, sqrt(RMSE^2 - bias^2).

    Entekhabi et al. (2010), doi:10.1175/2010JHM1223.1, eq. 5.
    """
    s, o = pairs(simulated, observed, mask)
    return float(np.std(s - o))


def correlation(simulated: ArrayLike, observed: ArrayLike, mask: ArrayLike | None = None) -> float:
    """Return Pearson's correlation; NaN where a series is constant."""
    s, o = pairs(simulated, observed, mask)
    # a series that is constant up to rounding has no correlation, only noise of the last digit
    if min(np.std(s) / (np.abs(s).max() or 1.0), np.std(o) / (np.abs(o).max() or 1.0)) < 1e-12:
        return float("nan")
    return float(np.corrcoef(s, o)[0, 1])


def kge(simulated: ArrayLike, observed: ArrayLike, mask: ArrayLike | None = None) -> float:
    """Return the Kling-Gupta efficiency, 1 - sqrt((r - 1)^2 + (sd_s/sd_o - 1)^2 + (mean_s/mean_o - 1)^2).

    Gupta et al. (2009), doi:10.1016/j.jhydrol.2009.08.003, eq. 9. 1 is perfect, 1 - sqrt(2) that of the
    observed mean. A constant simulation has no correlation: r counts as 0, as is usual for the mean benchmark
    (Knoben et al. 2019, doi:10.5194/hess-23-4323-2019). NaN where the observed series is constant or has mean
    zero.
    """
    s, o = pairs(simulated, observed, mask)
    if np.std(o) == 0 or o.mean() == 0:
        return float("nan")
    r = correlation(s, o)
    terms = ((0.0 if np.isnan(r) else r) - 1, np.std(s) / np.std(o) - 1, s.mean() / o.mean() - 1)
    return float(1 - np.sqrt(sum(t**2 for t in terms)))


def nse(simulated: ArrayLike, observed: ArrayLike, mask: ArrayLike | None = None) -> float:
    """Return the Nash-Sutcliffe efficiency, 1 - sum((s - o)^2) / sum((o - mean(o))^2); NaN for constant o.

    Nash & Sutcliffe (1970), doi:10.1016/0022-1694(70)90255-6, eq. 3.
    """
    s, o = pairs(simulated, observed, mask)
    spread = np.sum((o - o.mean()) ** 2)
    return float(1 - np.sum((s - o) ** 2) / spread) if spread > 0 else float("nan")


METRICS: dict[str, Callable[..., float]] = {
    "rmse": rmse,
    "ubrmse": ubrmse,
    "bias": bias,
    "correlation": correlation,
    "kge": kge,
    "nse": nse,
}


def score(
    simulated: ArrayLike,
    observed: ArrayLike,
    names: Iterable[str] = METRICS,
    mask: ArrayLike | None = None,
) -> dict[str, float]:
    """Return several measures of one pair of series by name.

    Raises
    ------
    UnknownName
        A name that `METRICS` does not have.
    """
    return {name: lookup(METRICS, name, "metric")(simulated, observed, mask) for name in names}
