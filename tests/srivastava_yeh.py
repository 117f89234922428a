"""Infiltration into Gardner soils above a water table (Srivastava & Yeh 1991), solved twice,
independently.

With W = exp(alpha psi) and alpha = 1/cm, Richards' equation is linear in each layer: at depth z,
positive downward, (theta_s - theta_r) dW/dt = K_s (d2W/dz2 - dW/dz), flux q = K_s (W - dW/dz), W =
1 at the table. The surface flux jumps at time zero from BEFORE, whose steady state is the initial
one, to AFTER.

Srivastava, R., Yeh, T.-C. J. (1991), doi:10.1029/90WR02772.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.linalg import eig
from scipy.optimize import brentq

THETA_R, THETA_S, ALPHA = 0.06, 0.4, 1.0
BEFORE, AFTER = 0.1, 0.9  # cm/h
LAYER = 10.0  # thickness of each layer, cm
SPAN = THETA_S - THETA_R


def steady(depth: np.ndarray, K_s: Sequence[float], flux: float) -> np.ndarray:
    """W of the steady state.

    W - q / K_s decays as exp(-height) within each layer, and W is continuous.
    """
    W, base = np.empty_like(depth), 1.0
    for j in reversed(range(len(K_s))):
        q, bottom = flux / K_s[j], LAYER * (j + 1)
        here = (depth <= bottom) & (depth >= bottom - LAYER)
        W[here] = q + (base - q) * np.exp(depth[here] - bottom)
        base = q + (base - q) * np.exp(-LAYER)
    return W


def series(depth: np.ndarray, hours: np.ndarray) -> np.ndarray:
    """Heads `[time, depth]` (cm) of one layer with K_s = 1 cm/h, by separation of variables.

    W = steady + exp(-h/2 - T/4) sum a_n sin(k_n h) exp(-k_n^2 T), h the height, T = t / (theta_s -
    theta_r), and tan(10 k) = -2 k from the condition at the surface.
    """
    height, T = LAYER - depth, hours[:, None] / SPAN
    k = np.array(
        [
            brentq(
                lambda x: np.tan(LAYER * x) + 2 * x,
                (i - 0.5) * np.pi / LAYER + 1e-9,
                i * np.pi / LAYER,
            )
            for i in range(1, 120)
        ]
    )
    # a_n: projections of the initial departure from the new steady state, times exp(h/2)
    points, weights = np.polynomial.legendre.leggauss(1000)
    x, w = 0.5 * LAYER * (points + 1), 0.5 * LAYER * weights
    sines = np.sin(np.outer(k, x))
    a = (sines * 2 * (BEFORE - AFTER) * np.sinh(x / 2)) @ w / (sines**2 @ w)
    sums = np.exp(-(k**2) * T) @ (a * np.sin(np.outer(height, k))).T
    return np.log(steady(depth, (1.0,), AFTER) + np.exp(-height / 2 - T / 4) * sums)


def spectral(
    depth: np.ndarray,
    hours: np.ndarray,
    K_s: Sequence[float],
    degree: int = 48,
    before: float = BEFORE,
    after: float = AFTER,
) -> np.ndarray:
    """Heads `[time, depth]` (cm) of layers of 10 cm: Chebyshev collocation in space, exponential in
    time.
    """
    x, D = _chebyshev(degree)
    m, layers = degree + 1, len(K_s)
    size = m * layers
    nodes = np.concatenate([LAYER * (j + 0.5 * (1 - x)) for j in range(layers)])
    rate = np.zeros((size, size))
    W, flux = np.eye(size), np.zeros((size, size))
    for j, K in enumerate(K_s):
        own = slice(j * m, (j + 1) * m)
        rate[own, own] = K / SPAN * (D @ D - D)
        flux[own, own] = K * (np.eye(m) - D)
    # what vanishes for a departure from the new steady state: surface flux, jumps of W and q, W at
    # the table
    bounds = [flux[0]]
    for j in range(1, layers):
        bounds += [W[j * m - 1] - W[j * m], flux[j * m - 1] - flux[j * m]]
    C = np.array([*bounds, W[-1]])
    faces = np.array([i for j in range(layers) for i in (j * m, (j + 1) * m - 1)])
    inner = np.setdiff1d(np.arange(size), faces)
    lift = -np.linalg.solve(C[:, faces], C[:, inner])  # the faces from the inner nodes
    values, vectors = eig(rate[np.ix_(inner, inner)] + rate[np.ix_(inner, faces)] @ lift)
    start = np.linalg.solve(
        vectors, (steady(nodes, K_s, before) - steady(nodes, K_s, after))[inner]
    )
    departure = np.empty((len(hours), size))
    departure[:, inner] = ((np.exp(np.outer(hours, values)) * start) @ vectors.T).real
    departure[:, faces] = departure[:, inner] @ lift.T
    out = np.empty((len(hours), len(depth)))
    for j in range(layers):
        here = np.minimum((depth // LAYER).astype(int), layers - 1) == j
        at = 1 - 2 * (depth[here] / LAYER - j)
        out[:, here] = departure[:, j * m : (j + 1) * m] @ _interpolation(x, at).T
    return np.log(steady(depth, K_s, after) + out)


def _chebyshev(degree: int) -> tuple[np.ndarray, np.ndarray]:
    """Chebyshev points from 1 to -1 and the derivative in depth, which runs from 0 to LAYER."""
    i = np.arange(degree + 1)
    x = np.cos(np.pi * i / degree)
    c = np.where((i == 0) | (i == degree), 2.0, 1.0) * (-1.0) ** i
    D = np.outer(c, 1 / c) / (x[:, None] - x + np.eye(degree + 1))
    D -= np.diag(D.sum(1))
    return x, D * (-2 / LAYER)


def _interpolation(x: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Barycentric interpolation matrix from the Chebyshev points to others."""
    i = np.arange(len(x))
    w = np.where((i == 0) | (i == len(x) - 1), 0.5, 1.0) * (-1.0) ** i
    gap = at[:, None] - x
    hit = np.abs(gap) < 1e-12
    rows = np.where(hit.any(1, keepdims=True), hit.astype(float), w / np.where(hit, 1.0, gap))
    return rows / rows.sum(1, keepdims=True)
