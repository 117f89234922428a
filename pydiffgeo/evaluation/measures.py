"""Measures of agreement between simulated and observed series: `MEASURES`.

All take arrays of one shape and compare the pairs in which both are finite (and `mask`, where given, is True); all raise
DataError when fewer than two pairs are left, and return NaN where the measure is undefined (a constant series has no
correlation). Those of discharge are defined as neuralhydrology defines them, so that results compare with published ones: they
agree with neuralhydrology 1.13 to rounding; only the KGE of a constant simulation is a number here, and `nrmse_high` and `bias`
are not among its measures. The measures of peaks look at neighbouring steps: they need whole series, gaps as NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.signal import find_peaks

from pydiffgeo.errors import DataError, lookup

SMALL = 1e-6  # takes the place of zero in logarithms


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


MEASURES: dict[str, Callable[..., float]] = {
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
    "ubrmse": ubrmse,
    "correlation": correlation,
}
# those of discharge, and those of any other series
DISCHARGE = tuple(name for name in MEASURES if name not in ("ubrmse", "correlation"))
GENERAL = ("rmse", "ubrmse", "bias", "correlation", "kge", "nse")


def score(
    simulated: ArrayLike,
    observed: ArrayLike,
    names: Iterable[str] = GENERAL,
    mask: ArrayLike | None = None,
) -> dict[str, float]:
    """Return several measures of one pair of series by name.

    Raises
    ------
    UnknownName
        A name that `MEASURES` does not have.
    """
    return {name: lookup(MEASURES, name, "measure")(simulated, observed, mask) for name in names}


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
