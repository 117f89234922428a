"""Priors of parameters inside bounds, as densities of the unbounded numbers that are sampled.

An unbounded number z stands at the share Phi(z) of the interval of its parameter, where Phi is the
distribution function of a standard normal: of a uniform prior z is standard normal, so that
Laplace's approximation is exact of what a record tells nothing of.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.special import log_ndtr, ndtri

from pydiffgeo.errors import DataError, lookup
from pydiffgeo.networks.bounds import Bounds

TRIES = 1000  # of a draw of a prior that is inside the bounds


def logits(z: Tensor) -> Tensor:
    """Return the logit of the share of the interval, which `Bounds` take, of unbounded numbers."""
    return log_ndtr(z) - log_ndtr(-z)


def unbounded(x: Tensor) -> Tensor:
    """Return the unbounded numbers of logits."""
    return -torch.sign(x) * ndtri(torch.sigmoid(-x.abs()))


class BoundedPriors:
    """Priors of parameters, each by itself; uniform in their bounds where none is given.

    "Uniform" is so on the scale of the bounds: of a parameter with a logarithmic scale its
    logarithm. A prior that is given is cut off at the bounds.

    Parameters
    ----------
    bounds : mapping of str to Bounds
        Of all parameters.
    given : mapping of str to torch.distributions.Distribution, optional
        Prior densities of single parameters in their units.

    Raises
    ------
    UnknownName, DataError
        A prior of no parameter; one that is no distribution of a number.
    """

    def __init__(self, bounds: Mapping[str, Bounds], given: Mapping[str, Any] | None = None):
        self.bounds, self.given = dict(bounds), dict(given or {})
        for name, prior in self.given.items():
            lookup(self.bounds, name, "learned parameter with a prior")
            if not hasattr(prior, "log_prob") or tuple(getattr(prior, "batch_shape", ())):
                raise DataError(
                    f"the prior of {name!r} must be a distribution of one number, such as "
                    "torch.distributions.LogNormal(0.0, 0.5)."
                )

    def log_density(self, z: Tensor) -> Tensor:
        """Return the logarithm of each density [..., parameter] at unbounded numbers."""
        found = -0.5 * z.square()  # uniform on the scale of the bounds, less a constant
        if not self.given:
            return found
        columns = list(found.unbind(-1))
        for k, (name, own) in enumerate(self.bounds.items()):
            if name in self.given:
                value = own.to_physical(logits(z[..., k]))
                # dp/dz = dp/du du/dz, where u is the share of the interval
                slope = torch.log(value) if own.transform == "log" else 0.0
                columns[k] = self.given[name].log_prob(value) + slope + columns[k]
        return torch.stack(columns, -1)

    def curvature(self, z: Tensor) -> Tensor:
        """Return minus the second derivative of each logarithm; zero where it is negative."""
        with torch.enable_grad():
            x = z.detach().clone().requires_grad_()
            (slope,) = torch.autograd.grad(self.log_density(x).sum(), x, create_graph=True)
            (second,) = torch.autograd.grad(slope.sum(), x)
        return (-second).clamp_min(0.0)

    def bend(self, z: Tensor) -> Tensor:
        """Return what the scale adds to the curvature of the likelihood at a mode [..., z].

        The share of the interval u = Phi(z) has u'' = -z u'; where it is best inside a slope, as at
        a bound, the likelihood's slope in z is that of the priors. Zero where that is negative.
        """
        with torch.enable_grad():
            x = z.detach().clone().requires_grad_()
            (slope,) = torch.autograd.grad(self.log_density(x).sum(), x)
        return (-z * slope).clamp_min(0.0)

    def sample(self, shape: Sequence[int], random: torch.Generator) -> Tensor:
        """Return unbounded draws [*shape, parameter]."""
        z = torch.randn(*shape, len(self.bounds), generator=random, dtype=torch.float64)
        for k, (name, own) in enumerate(self.bounds.items()):
            if name in self.given:
                drawn = self._inside(name, own, shape, random)
                z[..., k] = unbounded(own.from_physical(drawn))
        return z

    def _inside(
        self, name: str, own: Bounds, shape: Sequence[int], random: torch.Generator
    ) -> Tensor:
        found = torch.full(tuple(shape), torch.nan, dtype=torch.float64)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(torch.randint(2**31, (1,), generator=random)))
            for _ in range(TRIES):
                drawn = self.given[name].sample(tuple(shape)).double()
                inside = (drawn > own.lower) & (drawn < own.upper) & torch.isnan(found)
                found = torch.where(inside, drawn, found)
                if not bool(torch.isnan(found).any()):
                    return found
        ends = f"[{own.lower:g}, {own.upper:g}]"
        raise DataError(f"hardly any draw of the prior of {name!r} is inside {ends}; widen either.")


class WeightPriors:
    """Independent normal priors of the weights of a network, around zero.

    Parameters
    ----------
    count : int
        Number of weights.
    spread : float
        Standard deviation.
    """

    def __init__(self, count: int, spread: float):
        self.count, self.spread = count, spread

    def log_density(self, z: Tensor) -> Tensor:
        """Return the logarithm of each density, less a constant."""
        return -0.5 * (z / self.spread).square()

    def curvature(self, z: Tensor) -> Tensor:
        """Return minus the second derivative of each logarithm."""
        return torch.full_like(z, self.spread**-2)

    def bend(self, z: Tensor) -> Tensor:
        """Return zeros: weights have no bounds."""
        return torch.zeros_like(z)

    def sample(self, shape: Sequence[int], random: torch.Generator) -> Tensor:
        """Return draws [*shape, weight]."""
        size = (*shape, self.count)
        return self.spread * torch.randn(*size, generator=random, dtype=torch.float64)
