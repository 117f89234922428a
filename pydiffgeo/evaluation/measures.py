"""Measures of agreement between simulated and observed series: `MEASURES`.

All take arrays of one shape and compare the pairs in which both are finite and `mask`, where given,
is True (DataError for fewer than two); they return NaN where they are undefined. Those of discharge
agree with neuralhydrology 1.13 to rounding, so that results compare with published ones; only the
KGE of a constant simulation is a number here, and `nrmse_high` and `bias` are not among its
measures. Those of peaks look at neighbouring steps: they need whole series, gaps as NaN. Sources:
Gupta et al. (2009), doi:10.1016/j.jhydrol.2009.08.003; Yilmaz et al. (2008),
doi:10.1029/2007WR006716; others at the measure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.signal import find_peaks

from pydiffgeo.errors import DataError, lookup

SMALL = 1e-6  # takes the place of zero in logarithms
Mask = ArrayLike | None


def pairs(simulated: ArrayLike, observed: ArrayLike, mask: Mask) -> tuple[NDArray, ...]:
    """Return the values that can be compared, [pair], and the positions of their steps."""
    s, o = np.asarray(simulated, dtype=float), np.asarray(observed, dtype=float)
    if s.shape != o.shape:
        raise DataError(f"simulated has shape {s.shape}, observed {o.shape}; align them first.")
    both = np.isfinite(s) & np.isfinite(o) & np.asarray(True if mask is None else mask, bool)
    if both.sum() < 2:
        raise DataError(
            f"only {int(both.sum())} of {both.size} pairs can be compared; check the period and "
            "the mask."
        )
    return s[both], o[both], np.flatnonzero(both)


def rmse(simulated: ArrayLike, observed: ArrayLike, mask: Mask = None) -> float:
    """Return the root mean squared error, sqrt(mean((s - o)^2)), in the unit of the series."""
    return float(np.sqrt(mse(simulated, observed, mask)))


def bias(simulated: ArrayLike, observed: ArrayLike, mask: Mask = None) -> float:
    """Return the mean error, mean(s) - mean(o), in the unit of the series."""
    s, o, _ = pairs(simulated, observed, mask)
    return float(s.mean() - o.mean())


def ubrmse(simulated: ArrayLike, observed: ArrayLike, mask: Mask = None) -> float:
    """Return the RMSE less the mean error, sqrt(RMSE^2 - bias^2): doi:10.1175/2010JHM1223.1."""
    s, o, _ = pairs(simulated, observed, mask)
    return float(np.std(s - o))


def correlation(simulated: ArrayLike, observed: ArrayLike, mask: Mask = None) -> float:
    """Return Pearson's correlation; NaN where a series is constant."""
    s, o, _ = pairs(simulated, observed, mask)
    # a series that is constant up to rounding has no correlation, only noise of the last digit
    if min(np.std(x) / (np.abs(x).max() or 1.0) for x in (s, o)) < 1e-12:
        return float("nan")
    return float(np.corrcoef(s, o)[0, 1])


def kge(simulated: ArrayLike, observed: ArrayLike, mask: Mask = None) -> float:
    """Return the Kling-Gupta efficiency: Gupta et al. (2009), eq. 9.

    1 - sqrt((r - 1)^2 + (sd_s/sd_o - 1)^2 + (mean_s/mean_o - 1)^2): 1 - sqrt(2) for the observed
    mean. A constant simulation has no correlation: r counts as 0 (Knoben et al. 2019,
    doi:10.5194/hess-23-4323-2019). NaN where the observed series is constant or has mean zero.
    """
    s, o, _ = pairs(simulated, observed, mask)
    terms = np.nan_to_num(correlation(s, o)), alpha_nse(s, o), beta_kge(s, o)
    return float(1 - np.sqrt(sum((term - 1) ** 2 for term in terms)))


def nse(simulated: ArrayLike, observed: ArrayLike, mask: Mask = None) -> float:
    """Return the Nash-Sutcliffe efficiency, 1 - sum((s - o)^2) / sum((o - mean(o))^2).

    NaN for constant o. Nash & Sutcliffe (1970), doi:10.1016/0022-1694(70)90255-6, eq. 3.
    """
    s, o, _ = pairs(simulated, observed, mask)
    return 1 - _ratio(np.sum((s - o) ** 2), np.sum((o - o.mean()) ** 2))


def mse(simulated: ArrayLike, observed: ArrayLike, mask: Mask = None) -> float:
    """Return the mean squared error, mean((s - o)^2), in the squared unit of the series."""
    s, o, _ = pairs(simulated, observed, mask)
    return float(np.mean((s - o) ** 2))


def alpha_nse(simulated: ArrayLike, observed: ArrayLike, mask: Mask = None) -> float:
    """Return the ratio of standard deviations, sd_s / sd_o; 1 is right. Gupta et al., eq. 4."""
    s, o, _ = pairs(simulated, observed, mask)
    return _ratio(np.std(s), np.std(o))


def beta_nse(simulated: ArrayLike, observed: ArrayLike, mask: Mask = None) -> float:
    """Return the error of the mean, (mean_s - mean_o) / sd_o; 0 is right. Gupta et al., eq. 4."""
    s, o, _ = pairs(simulated, observed, mask)
    return _ratio(s.mean() - o.mean(), np.std(o))


def beta_kge(simulated: ArrayLike, observed: ArrayLike, mask: Mask = None) -> float:
    """Return the ratio of means, mean_s / mean_o; 1 is right. Gupta et al. (2009), eq. 9."""
    s, o, _ = pairs(simulated, observed, mask)
    return _ratio(s.mean(), o.mean())


def fhv(simulated: ArrayLike, observed: ArrayLike, mask: Mask = None, share: float = 0.02) -> float:
    """Return the bias of the highest flows, percent; 0 is right. Yilmaz et al. (2008), eq. A3.

    Of the sum of the upper `share` of the flow duration curve; NaN where there are none, or all 0.
    """
    s, o = _duration_curves(simulated, observed, mask)
    n = _count(share, o)
    return 100 * _ratio((s[:n] - o[:n]).sum(), o[:n].sum())


def nrmse_high(
    simulated: ArrayLike, observed: ArrayLike, mask: Mask = None, share: float = 0.02
) -> float:
    """Return the RMSE over the mean flow on the days of highest observed flow; 0 is right.

    Days at or above the quantile 1 - `share`. Unlike FHV, which compares flow duration curves, it
    asks for the right height on the right day, and no error cancels another. NaN where all are 0.
    """
    s, o, _ = pairs(simulated, observed, mask)
    _count(share, o)  # refuses what is no share
    high = o >= np.quantile(o, 1 - share)
    return _ratio(np.sqrt(np.mean((s - o)[high] ** 2)), o[high].mean())


def fms(
    simulated: ArrayLike, observed: ArrayLike, mask: Mask = None, lower: float = 0.2,
    upper: float = 0.7,
) -> float:  # fmt: skip
    """Return the bias of the slope of the flow duration curve, percent; 0 is right.

    Between `lower` and `upper`: Yilmaz et al. (2008), eq. A2. Flows of zero count as 1e-6.
    """
    if not 0 < lower < upper < 1:
        raise DataError(f"lower {lower} and upper {upper} must be in order and between 0 and 1.")
    s, o = np.log(_duration_curves(simulated, observed, mask, SMALL))
    a, b = _count(lower, o), min(_count(upper, o), len(o) - 1)
    slope = o[a] - o[b]
    return float((s[a] - s[b] - slope) / (slope + SMALL) * 100)


def flv(simulated: ArrayLike, observed: ArrayLike, mask: Mask = None, share: float = 0.3) -> float:
    """Return the bias of the lowest flows, percent; 0 is right. Yilmaz et al. (2008), eq. A4.

    Of the lower `share` of the flow duration curve in logarithms, where zero counts as 1e-6, in the
    unit of the series. NaN where the series is too short for such flows.
    """
    curves = np.log(_duration_curves(simulated, observed, mask, SMALL))
    n = _count(share, curves[0])
    s, o = (curves[:, -n:] - curves[:, -1:]).sum(1)
    return float((o - s) / (o + SMALL) * 100) if n else float("nan")


def peak_timing(simulated: ArrayLike, observed: ArrayLike, mask: Mask = None) -> float:
    """Return the mean absolute error of the day of peaks, days; 0 is right, NaN without peaks.

    Peaks are those of the observed series with a prominence of at least its standard deviation, at
    least 100 days apart; the simulated peak is the highest day within 3 days. Kratzert et al.
    (2021), doi:10.5194/hess-25-2685-2021.
    """
    s, o, days = pairs(simulated, observed, mask)
    errors = [
        0 if s[k] > max(s[k - 1], s[k + 1]) else abs(int(s[k - 3 : k + 4].argmax()) - 3)
        for k in find_peaks(o, distance=100, prominence=np.std(o))[0]
        if _uninterrupted(days, k, 3)
    ]
    return float(np.mean(errors)) if errors else float("nan")


def missed_peaks(simulated: ArrayLike, observed: ArrayLike, mask: Mask = None) -> float:
    """Return the share of observed peaks with no simulated one within a day; 0 is right.

    Peaks are above the 80th percentile of their series and at least 30 days apart; those at gaps
    count as found.
    """
    s, o, days = pairs(simulated, observed, mask)
    found, peaks = (find_peaks(x, distance=30, height=np.percentile(x, 80))[0] for x in (s, o))
    judged = (k for k in peaks if _uninterrupted(days, k, 1))
    missed = sum(not (np.abs(found - k) <= 1).any() for k in judged)
    return float(missed / max(len(peaks), 1))


def peak_mape(simulated: ArrayLike, observed: ArrayLike, mask: Mask = None) -> float:
    """Return the mean absolute error at the peaks of `peak_timing`, percent; NaN without peaks."""
    s, o, _ = pairs(simulated, observed, mask)
    k, _ = find_peaks(o, distance=100, prominence=np.std(o))
    return float(np.mean(np.abs((s[k] - o[k]) / o[k])) * 100) if len(k) else float("nan")


MEASURES: dict[str, Callable[..., float]] = {
    "nse": nse, "kge": kge, "alpha_nse": alpha_nse, "beta_nse": beta_nse, "beta_kge": beta_kge,
    "pearson_r": correlation, "fhv": fhv, "nrmse_high": nrmse_high, "fms": fms, "flv": flv,
    "peak_timing": peak_timing, "missed_peaks": missed_peaks, "peak_mape": peak_mape, "mse": mse,
    "rmse": rmse, "bias": bias, "ubrmse": ubrmse, "correlation": correlation,
}  # fmt: skip
# those of discharge, and those of any other series
DISCHARGE = tuple(name for name in MEASURES if name not in ("ubrmse", "correlation"))
GENERAL = ("rmse", "ubrmse", "bias", "correlation", "kge", "nse")


def score(
    simulated: ArrayLike, observed: ArrayLike, names: Iterable[str] = GENERAL, mask: Mask = None
) -> dict[str, float]:
    """Return measures of one pair of series by name; UnknownName for one not in `MEASURES`."""
    return {name: lookup(MEASURES, name, "measure")(simulated, observed, mask) for name in names}


def _ratio(upper: float, lower: float) -> float:
    """Return a ratio, NaN for one of zero."""
    return float(upper / lower) if lower != 0 else float("nan")


def _duration_curves(
    simulated: ArrayLike, observed: ArrayLike, mask: Mask, zero: float = 0.0
) -> NDArray:
    """Return both series from the largest value down, [2, pair]; `zero` takes the place of none."""
    s, o, _ = pairs(simulated, observed, mask)
    curves = np.sort([s, o])[:, ::-1]
    return np.where(curves <= 0, zero, curves) if zero else curves


def _count(share: float, flow: NDArray) -> int:
    """Return the number of values that are a share of a series; DataError where it is none."""
    if not 0 < share < 1:
        raise DataError(f"the share of flows {share} must be between 0 and 1.")
    return int(np.round(share * len(flow)))


def _uninterrupted(days: NDArray, peak: int, window: int) -> bool:
    """Return whether all days around a peak were compared."""
    first, last = peak - window, peak + window
    return first >= 0 and last < len(days) and days[last] - days[first] == 2 * window
