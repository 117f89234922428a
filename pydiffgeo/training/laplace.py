"""Laplace's approximation: where a posterior is largest, and a normal distribution around it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pydiffgeo.errors import DataError, SolveFailed
from pydiffgeo.training.likelihood import Errors, Likelihood
from pydiffgeo.training.priors import BoundedPriors, WeightPriors

STEPS = 60  # of each search
DAMPING, LEAST, MOST = 1e-2, 1e-9, 1e9  # at the beginning, and its limits
SETTLED = 1e-8  # gain of the logarithm of the posterior at which a search has converged
FARTHEST = 2.0  # step on the unbounded scale
APART = 1.0  # standard deviation of further starts around the first
FURTHER = 50  # steps of L-BFGS
ROUNDS = 3  # of a search with errors fitted anew, where they are correlated


@dataclass(frozen=True)
class Mode:
    """Where the posterior of each row is largest.

    Attributes
    ----------
    z : Tensor, [row, z]
        Unbounded numbers.
    root : Tensor, [row, z, z]
        Cholesky root of the covariance, the inverse of the generalised Gauss-Newton matrix with the
        curvatures of the priors and of their scale.
    errors : Errors or None
        None where the hybrid has an `ErrorModel`.
    converged : Tensor of bool, [row]
        Whether no step is better.
    """

    z: Tensor
    root: Tensor
    errors: Errors | None
    converged: Tensor

    def draws(self, count: int, random: torch.Generator) -> Tensor:
        """Return draws [draw, row, z] of the normal distribution."""
        noise = torch.randn(count, *self.z.shape, generator=random, dtype=torch.float64)
        return self.z + torch.einsum("rkl,drl->drk", self.root, noise)


def find_mode(
    likelihood: Likelihood, priors: BoundedPriors | WeightPriors, correlated: bool = False,
    noise: float | None = None, starts: int = 4, seed: int = 0,
) -> Mode:  # fmt: skip
    """Find where the posterior of each row is largest: damped Gauss-Newton steps, then L-BFGS.

    From several starts, as `least_squares`, of which the best is kept; of weights from those that
    the hybrid has. L-BFGS goes on where steps of Gauss-Newton end along a ridge.

    Raises
    ------
    DataError
        A row whose curvature is not positive.
    """
    starts = 1 if likelihood.weights else starts
    wide = likelihood if starts == 1 else likelihood.tiled(starts)
    z = wide.start()
    random = torch.Generator().manual_seed(seed)
    apart = torch.randn(starts, *likelihood.start().shape, generator=random, dtype=torch.float64)
    apart[0] = 0.0
    z = z if starts == 1 else z + APART * apart.flatten(0, 1)
    z, cost, settled = _search(wide, priors, z, None, noise)
    for _ in range(ROUNDS if correlated and likelihood.kind is None else 0):
        of_starts = _errors(wide, z, correlated, noise)
        assert of_starts is not None
        z, cost, settled = _search(wide, priors, z, of_starts.rho, noise)
    if starts > 1:
        best = cost.unflatten(0, (starts, -1)).argmin(0)
        rows = torch.arange(likelihood.rows)
        z = z.unflatten(0, (starts, -1))[best, rows]
        settled = settled.unflatten(0, (starts, -1))[best, rows]
    errors = _errors(likelihood, z, correlated, noise)
    z = _ahead(likelihood, priors, z, _root(likelihood, priors, z, errors), errors)
    errors = _errors(likelihood, z, correlated, noise)
    return Mode(z, _root(likelihood, priors, z, errors), errors, settled)


def _root(
    likelihood: Likelihood, priors: BoundedPriors | WeightPriors, z: Tensor, errors: Errors | None
) -> Tensor:
    """Return the Cholesky root of the covariance [row, z, z] that the curvature at z tells."""
    simulated, slopes = likelihood.slopes(z)
    matrix = likelihood.curvature(slopes, simulated, errors)
    matrix = matrix + torch.diag_embed(priors.curvature(z) + priors.bend(z))
    factor, info = torch.linalg.cholesky_ex(matrix)
    if bool((info != 0).any()):
        raise DataError(
            f"the posterior of row {int(info.nonzero()[0])} has no positive curvature: parameters "
            "that nothing tells apart, or bounds of a prior that is flat beyond them."
        )
    return torch.linalg.cholesky(torch.cholesky_inverse(factor))


def _ahead(
    likelihood: Likelihood, priors: BoundedPriors | WeightPriors, z: Tensor, root: Tensor,
    errors: Errors | None,
) -> Tensor:  # fmt: skip
    """Return z after steps of L-BFGS in numbers that the curvature makes independent."""
    u = torch.zeros_like(z).requires_grad_()
    search = torch.optim.LBFGS([u], max_iter=FURTHER, line_search_fn="strong_wolfe")

    def moved() -> Tensor:
        return z + torch.einsum("rkl,rl->rk", root, u)

    def closure() -> Tensor:
        search.zero_grad()
        here = moved()
        misfit = likelihood.misfit(likelihood.simulated(here[None]), errors)[0]
        value = (misfit - priors.log_density(here).sum(-1)).sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value.detach()

    try:
        with torch.enable_grad():
            search.step(closure)  # type: ignore[no-untyped-call]
    except SolveFailed:  # a step too far
        return z
    found = moved().detach()
    return found if bool(torch.isfinite(found).all()) else z


@torch.no_grad()
def _errors(
    likelihood: Likelihood, z: Tensor, correlated: bool, noise: float | None
) -> Errors | None:
    if likelihood.kind is not None:
        return None
    return likelihood.fitted(likelihood.simulated(z[None])[0], correlated, noise)


def _search(
    likelihood: Likelihood, priors: BoundedPriors | WeightPriors, z: Tensor, rho: Tensor | None,
    noise: float | None,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Return z, minus the logarithm of the posterior, and whether no step is better, by row.

    Where the spread of errors is not given it is the one that fits best, at every z.
    """
    count, size = likelihood.rows, z.shape[-1]
    rho = torch.zeros(count, dtype=torch.float64) if rho is None else rho
    flat = torch.ones(count, dtype=torch.float64)

    def cost(simulated: Tensor, z: Tensor) -> tuple[Tensor, Errors | None]:
        prior = priors.log_density(z).sum(-1)
        if likelihood.kind is not None:
            return likelihood.misfit(simulated[None], None)[0] - prior, None
        squares = 2 * likelihood.misfit(simulated[None], Errors(flat, rho))[0]
        if noise is not None:
            return 0.5 * squares / noise**2 - prior, Errors(flat * noise, rho)
        n = likelihood.count()
        mean = (squares / n).clamp_min(1e-300)
        return 0.5 * n * mean.log() - prior, Errors(mean.sqrt(), rho)

    damping = torch.full((count,), DAMPING, dtype=torch.float64)
    settled = torch.zeros(count, dtype=torch.bool)
    simulated, slopes = likelihood.slopes(z)
    now, errors = cost(simulated, z)
    for _ in range(STEPS):
        outer = simulated.clone().requires_grad_()
        misfit = likelihood.misfit(outer[None], errors)[0]
        (pull,) = torch.autograd.grad(misfit.sum(), outer)
        inner = z.clone().requires_grad_()
        (push,) = torch.autograd.grad(-priors.log_density(inner).sum(), inner)
        down = torch.einsum("krstn,rstn->rk", slopes, pull) + push
        matrix = likelihood.curvature(slopes, simulated, errors)
        matrix = matrix + torch.diag_embed(priors.curvature(z))
        scale = matrix.diagonal(dim1=1, dim2=2)
        scale = scale + 1e-12 * scale.amax(1, keepdim=True) + 1e-30
        damped = matrix + torch.diag_embed(damping[:, None] * scale)
        step = -torch.linalg.solve(damped, down[..., None])[..., 0]
        step = step * (FARTHEST / step.abs().amax(1, keepdim=True).clamp_min(FARTHEST))
        new = torch.where(settled[:, None], z, z + step)
        made, ahead = likelihood.slopes(new)
        then, _ = cost(made, new)
        better = (then < now) & ~settled
        settled |= better & (now - then < SETTLED * (1 + now.abs()))
        z = torch.where(better[:, None], new, z)
        keep = better[:, None, None, None]
        simulated = torch.where(keep, made, simulated)
        slopes = torch.where(keep, ahead, slopes)
        damping = torch.where(better, damping / 5, damping * 4).clamp(LEAST, MOST)
        settled |= damping >= MOST
        now, errors = cost(simulated, z)
        if bool(settled.all()):
            break
    del size
    return z, now, settled
