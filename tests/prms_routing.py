"""Routing of PRMS, `muskingum_mann`, as a reference: its conventions, in files of our own.

Source: Markstrom et al. (2015), PRMS-IV, USGS Techniques and Methods 6-B7, doi:10.3133/tm6B7, and
its form in PRMS 5.2.1, of which pywatershed's PRMSChannel is an implementation.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

HOURS = 24
BLOCKS = (1, 2, 3, 4, 6, 8, 12, 24)  # h: steps of a segment


def travel_times(length: NDArray, slope: NDArray, depth: NDArray, n: NDArray) -> NDArray:
    """Return K in h, from Manning's velocity at bankfull depth: within 0.01 and 24 h."""
    velocity = np.sqrt(slope) / n * depth ** (2 / 3)
    return np.clip(length / (3600 * velocity), 0.01, 24.0)


def step_of(K: float) -> int:
    """Return the step of a segment in h, at most K; 0 where the water passes within an hour."""
    return max((block for block in BLOCKS if block <= K), default=0)


def coefficients(K: float, x: float, step: float) -> tuple[float, float, float]:
    """Return the weights of inflow, inflow before, and outflow before."""
    whole = K - K * x + step / 2
    c = [step / 2 - K * x, step / 2 + K * x, K - K * x - step / 2]
    for k in (2, 0):  # what would be negative is taken from the inflow before
        c[1] += min(c[k], 0.0)
        c[k] = max(c[k], 0.0)
    return c[0] / whole, c[1] / whole, c[2] / whole


def route_one(inflow: NDArray, K: float, x: float, reset: bool = True) -> NDArray:
    """Return hourly outflow of a segment from hourly inflow [hour], both from zero.

    Within a step the outflow is that of the step before; its inflow is the mean over the step. At
    midnight the previous inflow is replaced by the mean of the day before (`reset`).
    """
    step = step_of(K)
    if step == 0:
        return inflow.copy()
    mean = inflow.reshape(-1, step).mean(1)
    before = np.concatenate([[0.0], mean[:-1]])
    if reset:
        before[HOURS // step :: HOURS // step] = inflow.reshape(-1, HOURS).mean(1)[:-1]
    c0, c1, c2 = coefficients(K, x, step)
    ends = lfilter([1.0], [1.0, -c2], c0 * mean + c1 * before)
    # a step is routed in its last hour
    return np.concatenate([np.zeros(step - 1), np.repeat(ends, step)])[: len(inflow)]


def route(
    lateral: NDArray, below: NDArray, K: NDArray, x: NDArray, reset: bool = True
) -> tuple[NDArray, NDArray]:
    """Return hourly inflow and outflow [hour, segment] from daily lateral inflow [day, segment].

    Segments are in the order of the flow; `below` is the position of the next one, or negative.
    """
    inflow = np.repeat(lateral.astype(float), HOURS, 0)
    outflow = np.zeros_like(inflow)
    for i in range(len(below)):
        outflow[:, i] = route_one(inflow[:, i], K[i], x[i], reset)
        if below[i] >= 0:
            inflow[:, below[i]] += outflow[:, i]
    return inflow, outflow
