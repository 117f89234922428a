"""Measures of simulated discharge, defined as neuralhydrology defines them, so that results compare with published ones.

All take simulated and observed daily series, compare the days on which both are finite (and `mask`, where given, is True),
raise DataError when fewer than two are left, and return NaN where the measure is undefined. They agree with neuralhydrology
1.13 to rounding on the series of ``tests/neuralhydrology_metrics.py``; only the KGE of a constant simulation is a number here.
`nrmse_high` and `bias` are not among its measures.

The measures of peaks look at neighbouring days, and so need whole daily series: gaps as NaN, not cut out.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.signal import find_peaks

from pydiffgeo.errors import DataError
from pydiffgeo.evaluation.metrics import bias, both_known, correlation, kge, nse, pairs, rmse

SMALL = 1e-6  # takes the place of zero in logarithms


def mse(simulated: ArrayLike, observed: ArrayLike, mask: ArrayLike | None = None) -> float:
    """Return the mean squared error, mean((s - o)^2), in the squared unit of the series."""
    s, o = pairs(simulated, observed, mask)
    return float(np.mean((s - o) ** 2))


def alpha_nse(simulated: ArrayLike, observed: ArrayLike, mask: ArrayLike | None = None) -> float:
    """Return the ratio of standard deviations, sd_s / sd_o; 1 is right. NaN where the observed series is constant.

    Gupta et al. (2009), doi:10.1016/j.jhydrol.2009.08.003, eq. 4.
    """
    s, o = pairs(simulated, observed, mask)
    return float(np.std(s) / np.std(o)) if np.std(o) > 0 else float("nan")


def beta_nse(simulated: ArrayLike, observed: ArrayLike, mask: ArrayLike | None = None) -> float:
    """Return the error of the mean in standard deviations, (mean_s - mean_o) / sd_o; 0 is right. NaN for constant observations.

    Gupta et al. (2009), doi:10.1016/j.jhydrol.2009.08.003, eq. 4.
    """
    s, o = pairs(simulated, observed, mask)
    return float((s.mean() - o.mean()) / np.std(o)) if np.std(o) > 0 else float("nan")


def beta_kge(simulated: ArrayLike, observed: ArrayLike, mask: ArrayLike | None = None) -> float:
    """Return the ratio of means, mean_s / mean_o; 1 is right. NaN where the observed mean is zero.

    Gupta et al. (2009), doi:10.1016/j.jhydrol.2009.08.003, eq. 9.
    """
    s, o = pairs(simulated, observed, mask)
    return float(s.mean() / o.mean()) if o.mean() != 0 else float("nan")


def fhv(
    simulated: ArrayLike, observed: ArrayLike, mask: ArrayLike | None = None, share: float = 0.02
) -> float:
    """Return the bias of the highest flows, percent: of the sum of the upper `share` of the flow duration curve; 0 is right.

    NaN where the series is too short for such flows or they are all zero. Yilmaz et al. (2008), doi:10.1029/2007WR006716,
    eq. A3.
    """
    s, o = (_descending(x) for x in pairs(simulated, observed, mask))
    number = _count(share, len(o))
    total = o[:number].sum()
    return (
        float((s[:number] - o[:number]).sum() / total * 100)
        if number and total != 0
        else float("nan")
    )


def nrmse_high(
    simulated: ArrayLike, observed: ArrayLike, mask: ArrayLike | None = None, share: float = 0.02
) -> float:
    """Return the relative error on the days of highest flow: their RMSE over their mean observed flow; 0 is right.

    Days are those on which the observed flow is at or above its quantile 1 - `share`. Unlike FHV, which compares flow duration
    curves, it asks for the right height on the right day: errors of timing and of either sign count, and none cancels another.
    NaN where all flows are zero.
    """
    s, o = pairs(simulated, observed, mask)
    high = o >= np.quantile(o, 1 - _valid(share))
    mean = o[high].mean()
    return float(np.sqrt(np.mean((s[high] - o[high]) ** 2)) / mean) if mean > 0 else float("nan")


def fms(
    simulated: ArrayLike,
    observed: ArrayLike,
    mask: ArrayLike | None = None,
    lower: float = 0.2,
    upper: float = 0.7,
) -> float:
    """Return the bias of the slope of the flow duration curve between `lower` and `upper`, percent; 0 is right.

    Yilmaz et al. (2008), doi:10.1029/2007WR006716, eq. A2. Flows of zero count as 1e-6, in the unit of the series.
    """
    if not 0 < lower < upper < 1:
        raise DataError(f"lower {lower} and upper {upper} must be in order and between 0 and 1.")
    s, o = (_descending(x) for x in pairs(simulated, observed, mask))
    s, o = np.where(s <= 0, SMALL, s), np.where(o == 0, SMALL, o)
    a, b = _count(lower, len(o)), min(_count(upper, len(o)), len(o) - 1)
    simulated_slope, observed_slope = np.log(s[a]) - np.log(s[b]), np.log(o[a]) - np.log(o[b])
    return float((simulated_slope - observed_slope) / (observed_slope + SMALL) * 100)


def flv(
    simulated: ArrayLike, observed: ArrayLike, mask: ArrayLike | None = None, share: float = 0.3
) -> float:
    """Return the bias of the lowest flows, percent: of the lower `share` of the flow duration curve in logarithms; 0 is right.

    Yilmaz et al. (2008), doi:10.1029/2007WR006716, eq. A4. Flows of zero count as 1e-6, in the unit of the series. NaN where
    the series is too short for such flows.
    """
    s, o = (_descending(x) for x in pairs(simulated, observed, mask))
    number = _count(share, len(o))
    if not number:
        return float("nan")
    s, o = (
        np.log(np.where(s <= 0, SMALL, s)[-number:]),
        np.log(np.where(o == 0, SMALL, o)[-number:]),
    )
    simulated_sum, observed_sum = (s - s.min()).sum(), (o - o.min()).sum()
    return float(-(simulated_sum - observed_sum) / (observed_sum + SMALL) * 100)


def peak_timing(
    simulated: ArrayLike, observed: ArrayLike, mask: ArrayLike | None = None, window: int = 3
) -> float:
    """Return the mean absolute error of the day of peaks, days; 0 is right. NaN where there is no peak to judge.

    Peaks are those of the observed series with a prominence of at least its standard deviation, at least 100 days apart; the
    simulated peak is the highest day within `window` days. Kratzert et al. (2021), doi:10.5194/hess-25-2685-2021.
    """
    s, o, days = _with_days(simulated, observed, mask)
    errors = []
    for peak in _prominent(o):
        if not _uninterrupted(days, peak, window):
            continue
        if s[peak] > s[peak - 1] and s[peak] > s[peak + 1]:
            errors.append(0)
        else:
            errors.append(abs(int(np.argmax(s[peak - window : peak + window + 1])) - window))
    return float(np.mean(errors)) if errors else float("nan")


def missed_peaks(
    simulated: ArrayLike,
    observed: ArrayLike,
    mask: ArrayLike | None = None,
    window: int = 1,
    percentile: float = 80.0,
) -> float:
    """Return the share of observed peaks with no simulated peak within `window` days; 0 is right, also where there is no peak.

    Peaks are above the `percentile` of their series and at least 30 days apart; those at gaps count as found.
    """
    s, o, days = _with_days(simulated, observed, mask)
    peaks, _ = find_peaks(o, distance=30, height=np.percentile(o, percentile))
    found, _ = find_peaks(s, distance=30, height=np.percentile(s, percentile))
    judged = (peak for peak in peaks if _uninterrupted(days, peak, window))
    missed = sum(not (np.abs(found - peak) <= window).any() for peak in judged)
    return float(missed / len(peaks)) if len(peaks) else 0.0


def peak_mape(simulated: ArrayLike, observed: ArrayLike, mask: ArrayLike | None = None) -> float:
    """Return the mean absolute error of flow on the days of observed peaks, percent of it; NaN where there is no peak.

    Peaks as in `peak_timing`.
    """
    s, o, _ = _with_days(simulated, observed, mask)
    peaks = _prominent(o)
    return (
        float(np.mean(np.abs((s[peaks] - o[peaks]) / o[peaks])) * 100)
        if len(peaks)
        else float("nan")
    )


HYDROLOGICAL: dict[str, Callable[..., float]] = {
    "nse": nse,
    "kge": kge,
    "alpha_nse": alpha_nse,
    "beta_nse": beta_nse,
    "beta_kge": beta_kge,
    "pearson_r": correlation,
    "fhv": fhv,
    "nrmse_high": nrmse_high,
    "fms": fms,
    "flv": flv,
    "peak_timing": peak_timing,
    "missed_peaks": missed_peaks,
    "peak_mape": peak_mape,
    "mse": mse,
    "rmse": rmse,
    "bias": bias,
}


def _descending(values: NDArray) -> NDArray:
    return np.sort(values)[::-1]


def _valid(share: float) -> float:
    if not 0 < share < 1:
        raise DataError(f"the share of flows {share} must be between 0 and 1.")
    return share


def _count(share: float, length: int) -> int:
    return int(np.round(_valid(share) * length))


def _prominent(observed: NDArray) -> NDArray:
    return find_peaks(observed, distance=100, prominence=np.std(observed))[0]


def _with_days(
    simulated: ArrayLike, observed: ArrayLike, mask: ArrayLike | None
) -> tuple[NDArray, NDArray, NDArray]:
    """Return the compared values and the number of their day."""
    s, o = pairs(simulated, observed, mask)
    return (
        s,
        o,
        np.flatnonzero(both_known(np.asarray(simulated, float), np.asarray(observed, float), mask)),
    )


def _uninterrupted(days: NDArray, peak: int, window: int) -> bool:
    """Return whether all days around a peak were compared."""
    return (
        window <= peak < len(days) - window
        and days[peak + window] - days[peak - window] == 2 * window
    )
