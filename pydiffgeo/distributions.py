"""Distributions of a series around its simulation, from parameters that a hybrid gives.

A hybrid that tells how sure it is gives, beside a series "discharge", the parameters of its
distribution as "discharge_gaussian", "discharge_laplace" or "discharge_cmal", [..., parameter]:
location and scale, or location, scale, asymmetry and weight of each component.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.distributions import Laplace, Normal
from torch.nn.functional import softplus

from pydiffgeo.errors import DataError, lookup

LEVELS = (
    0.01, 0.025, *(k / 20 for k in range(1, 20)), 0.975, 0.99
)  # fmt: skip
"""Quantiles that are kept: the ends of central intervals of 50, 90, 95 and 98 %, and between."""
Number = float | Tensor
LEAST = 1e-3  # of a scale, in standard deviations of the observations
HALVINGS = 40  # of the bracket of a quantile


class AsymmetricLaplace:
    """The asymmetric Laplacian: location m, scale b > 0, asymmetry t between 0 and 1.

    p(y) = t (1 - t) / b exp(-(y - m) (t - [y < m]) / b), whose t-quantile is m. Tensors of one
    shape. Source: Yu & Zhang (2005), doi:10.1080/03610920500199018.
    """

    def __init__(self, location: Tensor, scale: Tensor, asymmetry: Tensor):
        self.location, self.scale, self.asymmetry = location, scale, asymmetry

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the logarithm of the density."""
        t, u = self.asymmetry, (value - self.location) / self.scale
        rise = torch.where(u < 0, u * (t - 1), u * t)
        return torch.log(t) + torch.log1p(-t) - torch.log(self.scale) - rise

    def cdf(self, value: Tensor) -> Tensor:
        """Return the probability of at most a value."""
        t, u = self.asymmetry, (value - self.location) / self.scale
        below = t * torch.exp((1 - t) * u.clamp_max(0.0))
        return torch.where(u < 0, below, 1 - (1 - t) * torch.exp(-t * u.clamp_min(0.0)))

    def icdf(self, level: Tensor) -> Tensor:
        """Return the quantile of a level."""
        t = self.asymmetry
        below = torch.log(level / t) / (1 - t)
        above = -torch.log((1 - level) / (1 - t)) / t
        return self.location + self.scale * torch.where(level < t, below, above)

    @property
    def mean(self) -> Tensor:
        """The mean, m + b (1 - 2 t) / (t (1 - t))."""
        t = self.asymmetry
        return self.location + self.scale * (1 - 2 * t) / (t * (1 - t))


class Mixture:
    """A mixture of distributions along the last dimension of their parameters, with weights."""

    def __init__(self, parts: Distribution, weights: Tensor):
        self.parts, self.weights = parts, weights

    @property
    def _log_weights(self) -> Tensor:
        return torch.log(self.weights.clamp_min(torch.finfo(self.weights.dtype).tiny))

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the logarithm of the density."""
        return torch.logsumexp(self.parts.log_prob(value[..., None]) + self._log_weights, -1)

    def cdf(self, value: Tensor) -> Tensor:
        """Return the probability of at most a value."""
        return (self.parts.cdf(value[..., None]) * self.weights).sum(-1)

    def icdf(self, level: Tensor) -> Tensor:
        """Return the quantile of a level, by halving the interval between those of the parts."""
        each = self.parts.icdf(level[..., None])
        low, high = each.amin(-1), each.amax(-1)
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            under = self.cdf(middle) < level
            low, high = torch.where(under, middle, low), torch.where(under, high, middle)
        return (low + high) / 2

    @property
    def mean(self) -> Tensor:
        """The mean."""
        return (self.parts.mean * self.weights).sum(-1)


Distribution = AsymmetricLaplace | Mixture | Normal | Laplace
KINDS = {"gaussian": 2, "laplace": 2, "cmal": 4}  # parameters of a component


def outputs(kind: str, components: int) -> int:
    """Return the number of parameters; UnknownName for an unknown kind."""
    return lookup(KINDS, kind, "distribution") * (components if kind == "cmal" else 1)


def natural(kind: str, raw: Tensor) -> Tensor:
    """Return parameters from unbounded outputs of a network, [..., parameter].

    Scales are positive, asymmetries between 0.01 and 0.99, and weights sum to one.
    """
    location, scale, *rest = raw.unflatten(-1, (KINDS[kind], -1)).unbind(-2)
    return torch.cat([location, softplus(scale) + LEAST, *shares(*rest)], -1)


def shares(asymmetry: Tensor | None = None, weight: Tensor | None = None) -> list[Tensor]:
    """Return asymmetries and weights from unbounded outputs, where there are such."""
    if asymmetry is None or weight is None:
        return []
    return [0.01 + 0.98 * torch.sigmoid(asymmetry), torch.softmax(weight, -1)]


def of_kind(kind: str, parameters: Tensor) -> Distribution:
    """Return the distribution of parameters [..., parameter]."""
    if kind == "cmal":
        location, scale, asymmetry, weight = parameters.unflatten(-1, (4, -1)).unbind(-2)
        return Mixture(AsymmetricLaplace(location, scale, asymmetry), weight)
    location, scale = parameters.unbind(-1)
    made = Normal if kind == "gaussian" else Laplace
    return made(location, scale, validate_args=False)


def kind_in(series: Mapping[str, Tensor], name: str) -> str | None:
    """Return the kind of distribution that is given of a series, or None where there is none."""
    return next((kind for kind in KINDS if f"{name}_{kind}" in series), None)


def required_kind(series: Mapping[str, Tensor], name: str) -> str:
    """Return the kind of distribution that is given of a series, or raise DataError."""
    kind = kind_in(series, name)
    if kind is None:
        raise DataError(
            f"nobody gives a distribution of {name!r}: add stages.ErrorModel({name!r}) after the "
            "stage that gives it, or take Sequence(..., distribution=...)."
        )
    return kind


def rescaled(kind: str, parameters: Tensor, change: tuple[Number, Number]) -> Tensor:
    """Return parameters of a series times a positive factor plus an offset."""
    factor, offset = change
    parts = list(parameters.unflatten(-1, (KINDS[kind], -1)).unbind(-2))
    parts[:2] = [parts[0] * factor + offset, parts[1] * factor]
    return torch.cat(parts, -1)


def over_members(kind: str, parameters: Tensor) -> Distribution:
    """Return the mixture, each with the same weight, over members [member, ..., parameter]."""
    if len(parameters) == 1:
        return of_kind(kind, parameters[0])
    apart = parameters.unflatten(-1, (KINDS[kind], -1)).movedim(0, -2)  # [..., 4, member, part]
    if kind == "cmal":
        location, scale, asymmetry, weight = apart.flatten(-2).unbind(-2)
        parts: Distribution = AsymmetricLaplace(location, scale, asymmetry)
        return Mixture(parts, weight / len(parameters))
    parts = of_kind(kind, apart[..., 0].transpose(-1, -2))
    return Mixture(parts, torch.full_like(apart[..., 0, :, 0], 1 / len(parameters)))


def quantiles(distribution: Distribution, levels: Sequence[float]) -> Tensor:
    """Return the quantiles [..., level] of a distribution, level by level to save memory."""
    like = distribution.mean
    return torch.stack([distribution.icdf(torch.full_like(like, p)) for p in levels], -1)
