"""Samples of a posterior by the No-U-Turn sampler of pyro, through the gradient of the solver."""

from __future__ import annotations

import logging
import math
import warnings

import torch
from torch import Tensor

from pydiffgeo.errors import EngineUnavailable, SolveFailed
from pydiffgeo.training.laplace import Mode
from pydiffgeo.training.likelihood import Errors, Likelihood
from pydiffgeo.training.priors import BoundedPriors, WeightPriors

log = logging.getLogger("pydiffgeo")

DEPTH = 8  # most doublings of a trajectory
ADAPTED = 100  # steps of warm-up from which the scales of the numbers are adapted, too


def require_pyro() -> None:
    """Raise EngineUnavailable where pyro is not installed."""
    try:
        import pyro  # noqa: F401
    except ImportError:
        raise EngineUnavailable(
            "pyro is not installed: pip install 'pydiffgeo[posterior]' brings it, or take "
            "method='laplace'."
        ) from None


def sample(
    likelihood: Likelihood, priors: BoundedPriors | WeightPriors, mode: Mode, samples: int = 500,
    warm_up: int = 200, chains: int = 2, seed: int = 0,
) -> Tensor:  # fmt: skip
    """Sample the posterior of each row, and return z [chain, draw, row, z].

    NUTS (Hoffman & Gelman 2014, JMLR 15:1593-1623) in numbers that Laplace's approximation makes
    independent; chains begin at draws of it that are twice as far apart. The chains of a row are
    one batch of the solver: NUTS samples the product of their posteriors, in which they are
    independent, with steps and trajectories of one length for all.
    """
    require_pyro()
    rows = range(likelihood.rows)
    each = [_chains(likelihood.only(k), priors, mode, k, samples, warm_up, chains, seed)
            for k in rows]  # fmt: skip
    return torch.stack(each, 2)


def _chains(
    likelihood: Likelihood, priors: BoundedPriors | WeightPriors, mode: Mode, row: int,
    samples: int, warm_up: int, chains: int, seed: int,
) -> Tensor:  # fmt: skip
    """Return the chains [chain, draw, z] of one row."""
    from pyro.infer import MCMC, NUTS

    centre, root, errors = mode.z[row], mode.root[row], mode.errors
    if errors is not None:
        errors = Errors(errors.sd[row : row + 1], errors.rho[row : row + 1])

    def potential(given: dict[str, Tensor]) -> Tensor:
        z = centre + given["u"] @ root.T
        try:
            misfit = likelihood.misfit(likelihood.simulated(z[:, None]), errors).sum()
        except SolveFailed:
            return given["u"].square().sum() * math.inf  # no such parameters: the trajectory ends
        return misfit - priors.log_density(z).sum()

    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pyro, about what it does with torch
        torch.manual_seed(seed)
        begin = torch.randn(chains, len(centre), dtype=torch.float64) * 2.0
        kernel = NUTS(
            potential_fn=potential, max_tree_depth=DEPTH, adapt_mass_matrix=warm_up >= ADAPTED
        )
        run = MCMC(kernel, samples, warm_up, initial_params={"u": begin}, disable_progbar=True)
        run.run()
    return centre + run.get_samples()["u"].transpose(0, 1) @ root.T


def split_r_hat(draws: Tensor) -> Tensor:
    """Return the split R-hat of draws [chain, draw, ...]: 1 where chains agree.

    Gelman et al. (2013), Bayesian Data Analysis, section 11.4, by pyro.
    """
    from pyro.ops.stats import split_gelman_rubin

    found: Tensor = split_gelman_rubin(draws, chain_dim=0, sample_dim=1)
    return found


def effective_size(draws: Tensor) -> Tensor:
    """Return the effective number of independent draws of [chain, draw, ...], by pyro."""
    from pyro.ops.stats import effective_sample_size

    found: Tensor = effective_sample_size(draws, chain_dim=0, sample_dim=1)
    return found
