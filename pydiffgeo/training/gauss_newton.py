"""Calibration of all sites at once by Gauss-Newton steps, for models that store nothing.

What such a model gives at a point depends on the parameters at this point alone. So one gradient of
the sum over points is the whole Jacobian, and the least squares of all sites are one batch.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from pydiffgeo.data.batch import Batch
from pydiffgeo.errors import DataError, SettingsError, listed
from pydiffgeo.hybrid import Hybrid
from pydiffgeo.networks.bounds import Bounds
from pydiffgeo.stages.base import stages_of
from pydiffgeo.stages.process import Process

log = logging.getLogger("pydiffgeo")

DAMPING = 1e-2  # at the beginning, in parts of the diagonal
LEAST, MOST = 1e-9, 1e9  # damping: a site whose damping is the most has no better neighbour
SETTLED = 1e-9  # relative gain of a step at which a site has converged
ON_BOUND = 9.0  # on the unbounded scale: within 1e-4 of the interval from a bound
SMALL = 1e-8  # step on the unbounded scale at which a site has converged
APART = 1.0  # standard deviation of further starts around the first, on the unbounded scale


@dataclass(frozen=True)
class LeastSquares:
    """The least squares of each site.

    Attributes
    ----------
    parameters, errors : dict of str to ndarray, [site]
        Parameters, and their standard errors: the square roots of the diagonal of s^2 (J'J)^-1,
        with s^2 the sum of squares over observations less parameters (Laplace's approximation
        without a prior). NaN where there are no more observations than parameters, and of a
        parameter that lies on one of its bounds; the errors of the others take it as known.
    correlation : ndarray, [site, parameter, parameter]
        Of the errors.
    rmse : ndarray, [site]
        Root mean squared error of the observations.
    points : ndarray of int, [site]
        Observations.
    converged : ndarray of bool, [site]
        Whether no step is better.
    steps : int
        Gauss-Newton steps taken.
    """

    parameters: dict[str, NDArray]
    errors: dict[str, NDArray]
    correlation: NDArray
    rmse: NDArray
    points: NDArray
    converged: NDArray
    steps: int


def least_squares(
    model: Hybrid, batch: Batch, observed: str, steps: int = 100, starts: int = 4, seed: int = 0
) -> LeastSquares:
    """Fit the parameters of each site to its observations by damped Gauss-Newton steps.

    The steps are taken on the unbounded scale of `Bounds`, each site with its own damping
    (Levenberg 1944; Marquardt 1963, doi:10.1137/0111030), from several starts: where the stage
    begins, and others drawn around it. The best is kept.

    Parameters
    ----------
    model : Hybrid
        Prepared, in float64; its processes store nothing, and its network is not used.
    batch : Batch
        The sites, each once.
    observed : str
        Series.
    steps, starts, seed : int
        Most steps; starts of each site; seed of the starts.

    Raises
    ------
    SettingsError
        The hybrid has a process that stores something.
    DataError
        A site has no observation.
    """
    require_stationary(model)
    assert model.learned is not None
    bounds = model.learns
    first = torch.stack([model.learned.learned.raw_start(name) for name in bounds])
    random = torch.Generator().manual_seed(seed)
    apart = torch.randn(starts, len(first), generator=random, dtype=torch.float64) * APART
    apart[0] = 0.0
    count = len(batch)
    z = (first + apart).repeat_interleave(count, 0)  # [start x site, parameter]
    wide = batch.tiled(starts)
    target = wide.observed[observed].double()
    known = torch.isfinite(target)
    if not bool(known.any(1).all()):
        site = batch.names[int((~known.any(1)).nonzero()[0, 0] % count)]
        raise DataError(f"site {site} has no observation of {observed!r}; leave it out.")
    damping = torch.full((len(z),), DAMPING, dtype=torch.float64)
    squares, left, slopes = _residual(model, wide, bounds, z, target, observed)
    settled = torch.zeros(len(z), dtype=torch.bool)
    taken = 0
    for _ in range(steps):
        step = _step(left, slopes, damping)
        new = z + torch.where(settled[:, None], 0.0, step)
        found = _residual(model, wide, bounds, new, target, observed)
        better = (found[0] < squares) & ~settled
        gain = (squares - found[0]) / squares.clamp_min(1e-300)
        settled |= (better & (gain < SETTLED)) | (step.abs().amax(1) < SMALL)
        z = torch.where(better[:, None], new, z)
        squares = torch.where(better, found[0], squares)
        left = torch.where(better[:, None], found[1], left)
        slopes = torch.where(better[:, None, None], found[2], slopes)
        damping = torch.where(better, damping / 5, damping * 4).clamp(LEAST, MOST)
        settled |= damping >= MOST
        taken += 1
        if bool(settled.all()):
            break
    best = squares.reshape(starts, count).argmin(0) * count + torch.arange(count)
    return _found(bounds, z[best], squares[best], slopes[best], known[best], settled[best], taken)


def require_stationary(model: Hybrid) -> None:
    """Raise SettingsError where a process of a hybrid stores something."""
    for process in stages_of(model, Process):
        if not process.model.spec.stationary:
            raise SettingsError(
                f"Gauss-Newton needs models that store nothing, and {process.model.spec.name} has "
                "states that do; take SCE-UA (--method sce_ua)."
            )


def fitted_rows(batch: Batch, found: LeastSquares, observed: str, seconds: float) -> pd.DataFrame:
    """Return a row per site: errors, parameters and, as NAME_error, their standard errors."""
    target = batch.observed[observed].double()
    variance = [float(np.nanvar(row)) for row in target.numpy()]
    table: dict[str, object] = {
        "site": batch.names,
        "rmse": found.rmse,
        "nse": [
            1 - e**2 / v if v > 0 else math.nan for e, v in zip(found.rmse, variance, strict=True)
        ],
        "points": found.points,
        "converged": found.converged,
        "cpu_seconds": seconds / len(batch),
    }
    table |= found.parameters
    return pd.DataFrame(table | {f"{name}_error": v for name, v in found.errors.items()})


def fit_all(
    model: Hybrid, batch: Batch, observed: str, steps: int, seed: int = 0
) -> tuple[pd.DataFrame, LeastSquares]:
    """Return `least_squares` of a batch as a table, with the time it took."""
    start = time.process_time()
    found = least_squares(model, batch, observed, steps, seed=seed)
    few = [
        batch.sites[int(batch.site[k])] for k in np.flatnonzero(found.points <= len(found.errors))
    ]
    if few:
        log.warning(
            "%d of %d sites have no more observations of %s than the %d parameters that are fitted "
            "(%s): what was found there is one of many, and has no errors: %s.",
            len(few), len(batch), observed, len(found.errors), listed(found.errors), listed(few, 5),
        )  # fmt: skip
    return fitted_rows(batch, found, observed, time.process_time() - start), found


def _residual(
    model: Hybrid, batch: Batch, bounds: Mapping[str, Bounds], z: Tensor, target: Tensor, name: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the sum of squares [row], errors [row, point] and their slopes [row, point, z]."""
    free = z[:, None].expand(-1, target.shape[1], -1).clone().requires_grad_()
    given = {
        name: own.to_physical(free[..., k])[:, None] for k, (name, own) in enumerate(bounds.items())
    }
    simulated = model.run(batch, given)[name].double()
    known = torch.isfinite(target)
    (slopes,) = torch.autograd.grad(torch.where(known, simulated, 0.0).sum(), free)
    error = torch.where(known, simulated.detach() - target, 0.0)
    squares = error.square().sum(1)
    return torch.where(torch.isfinite(squares), squares, torch.inf), error, slopes


def _step(left: Tensor, slopes: Tensor, damping: Tensor) -> Tensor:
    """Return the damped step of each row."""
    normal = slopes.transpose(1, 2) @ slopes
    scale = normal.diagonal(dim1=1, dim2=2)
    scale = scale + 1e-12 * scale.amax(1, keepdim=True) + 1e-30
    right = -(slopes.transpose(1, 2) @ left[..., None])
    return torch.linalg.solve(normal + torch.diag_embed(damping[:, None] * scale), right)[..., 0]


def _found(
    bounds: Mapping[str, Bounds], z: Tensor, squares: Tensor, slopes: Tensor, known: Tensor,
    settled: Tensor, steps: int,
) -> LeastSquares:  # fmt: skip
    """Return parameters and their errors in their units."""
    points = known.sum(1)
    free = points - len(bounds)
    variance = torch.where(free > 0, squares / free.clamp_min(1), torch.nan)
    inverse = torch.linalg.pinv(slopes.transpose(1, 2) @ slopes, hermitian=True)
    spread = inverse.diagonal(dim1=1, dim2=2).clamp_min(0.0).sqrt()
    correlation = inverse / (spread[:, :, None] * spread[:, None] + 1e-300)
    values, errors = {}, {}
    for k, (name, own) in enumerate(bounds.items()):
        x = z[:, k].clone().requires_grad_()
        value = own.to_physical(x)
        (slope,) = torch.autograd.grad(value.sum(), x)
        values[name] = value.detach().numpy()
        error = slope.abs() * spread[:, k] * variance.sqrt()
        errors[name] = torch.where(x.detach().abs() > ON_BOUND, torch.nan, error).numpy()
    return LeastSquares(
        values, errors, correlation.numpy(), (squares / points).sqrt().numpy(), points.numpy(),
        settled.numpy(), steps,
    )  # fmt: skip
