"""Likelihood of what was observed: of the parameters of each site, or of the weights of a network.

Errors are those of the hybrid's own `ErrorModel`; else Gaussian, independent or a first-order
autoregression, whose spread and correlation are fitted where they are not given.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils import parameters_to_vector

from pydiffgeo.data.batch import Batch
from pydiffgeo.distributions import KINDS, of_kind
from pydiffgeo.errors import SettingsError
from pydiffgeo.hybrid import Hybrid
from pydiffgeo.stages.base import Series
from pydiffgeo.training.priors import logits, unbounded

ROWS = 4096  # that are solved at once
STEP = 1e-4  # of differences, on the unbounded scale
# of location and scale, times the squared scale: Fisher's
INFORMATION = {"gaussian": (1.0, 2.0), "laplace": (1.0, 1.0)}


@dataclass
class Errors:
    """Errors of each row: standard deviation of what is new in a step, and their correlation."""

    sd: Tensor  # [row]
    rho: Tensor  # [row]

    @property
    def whole(self) -> Tensor:
        """Standard deviation of an error when those before are not known, [row]."""
        return self.sd / torch.sqrt(1 - self.rho.square())


class Likelihood:
    """What a hybrid simulates for unbounded numbers z, and how likely it makes the observations.

    A row is what has a posterior by itself: a site with its parameters, or all sites with the
    weights that they share.

    Parameters
    ----------
    model : Hybrid
        Prepared; with `weights` its network is used, else its parameters are z.
    batch : Batch
        Each site once.
    observed : str
        Series.
    weights : bool
        Whether z are the weights.
    """

    def __init__(self, model: Hybrid, batch: Batch, observed: str, weights: bool = False):
        self.model, self.batch, self.observed, self.weights = model, batch, observed, weights
        self.kind = next((k for k in KINDS if f"{observed}_{k}" in model.gives), None)
        self.name = observed if self.kind is None else f"{observed}_{self.kind}"
        self.rows = 1 if weights else len(batch)
        self.seen = self._by_row(batch.observed[observed].double())
        self.known = torch.isfinite(self.seen)

    def _by_row(self, values: Tensor) -> Tensor:
        """Return series [batch, time(, depth)] after the warm-up as [row, series, time]."""
        values = values[:, self.batch.warm_up :]
        values = values[:, None] if values.ndim == 2 else values.transpose(1, 2)
        return values.flatten(0, 1)[None] if self.weights else values

    @property
    def size(self) -> int:
        """Numbers of a row."""
        if self.weights:
            return sum(w.numel() for w in self.model.parameters())
        return len(self.model.learns)

    def start(self) -> Tensor:
        """Return where the search begins, [row, z]."""
        if self.weights:
            return parameters_to_vector(self.model.parameters()).detach().double()[None]
        assert self.model.learned is not None
        first = [self.model.learned.learned.raw_start(name) for name in self.model.learns]
        return unbounded(torch.stack(first)).expand(self.rows, -1).clone()

    def only(self, row: int) -> Likelihood:
        """Return the likelihood of one row."""
        if self.weights:
            return self
        index = torch.tensor([row])
        return Likelihood(self.model, self.batch.only(index), self.observed)

    def tiled(self, count: int) -> Likelihood:
        """Return the likelihood of all rows `count` times, one time after the other."""
        return Likelihood(self.model, self.batch.tiled(count), self.observed)

    def physical(self, z: Tensor) -> dict[str, Tensor]:
        """Return parameters in their units [...] from z [..., parameter]."""
        own = enumerate(self.model.learns.items())
        return {name: bounds.to_physical(logits(z[..., k])) for k, (name, bounds) in own}

    def simulated(self, z: Tensor) -> Tensor:
        """Return the series, or the parameters of its distribution, for z [set, row, z].

        [set, row, series, time, number] after the warm-up.
        """
        if self.weights:
            return torch.stack([self._of(self._with_weights(one[0])) for one in z])
        parts, most = [], max(1, ROWS // self.rows)
        for some in z.split(most):
            wide = self.batch.tiled(len(some))
            assert self.model.learned is not None
            given = self.model.learned.learned.shaped(self.physical(some.flatten(0, 1)))
            parts.append(self._of(self.model.run(wide, given)).unflatten(0, (len(some), -1)))
        return torch.cat(parts)

    def _of(self, series: Series) -> Tensor:
        """Return [row, series, time, number]."""
        found = series[self.name].double()
        if self.kind is None:
            return self._by_row(found)[..., None]
        return torch.stack([self._by_row(x) for x in found.unbind(-1)], -1)

    def _with_weights(self, z: Tensor) -> Series:
        named, first = {}, 0
        for name, weight in self.model.named_parameters():
            part = z[first : first + weight.numel()]
            named[name], first = part.view_as(weight).to(weight), first + weight.numel()
        found: Series = torch.func.functional_call(self.model, named, (self.batch,))
        return found

    def misfit(self, simulated: Tensor, errors: Errors | None) -> Tensor:
        """Return minus the log-likelihood [set, row], less a constant, of what was simulated."""
        if self.kind is not None:
            given = torch.where(self.known[..., None], simulated, 0.5)
            each = -of_kind(self.kind, given).log_prob(torch.where(self.known, self.seen, 0.5))
            return torch.where(self.known, each, 0.0).sum((-2, -1))
        assert errors is not None
        error = torch.where(self.known, simulated[..., 0] - self.seen, 0.0)
        squares = self.innovations(error, errors.rho).square().sum((-2, -1))
        return 0.5 * squares / errors.sd.square()

    def innovations(self, error: Tensor, rho: Tensor) -> Tensor:
        """Return what is new in errors [..., row, series, time], which are zero where not known.

        After a step without an observation that is the error itself, as much as its spread is
        larger than that of what is new.
        """
        rho = rho[:, None, None]
        before = torch.zeros_like(error)
        before[..., 1:] = error[..., :-1]
        follows = torch.zeros_like(self.known)
        follows[..., 1:] = self.known[..., :-1]
        return (
            torch.where(follows, error - rho * before, error * torch.sqrt(1 - rho.square()))
            * self.known
        )

    def count(self) -> Tensor:
        """Return the observations of each row."""
        return self.known.sum((1, 2))

    def fitted(self, simulated: Tensor, correlated: bool, noise: float | None) -> Errors:
        """Return the spread of the errors of a simulation [row, ...], and their correlation."""
        error = torch.where(self.known, simulated[..., 0] - self.seen, 0.0)
        rho = torch.zeros(self.rows, dtype=torch.float64)
        if correlated:
            both = (self.known[..., :-1] & self.known[..., 1:]).double()
            products = (error[..., 1:] * error[..., :-1] * both).sum((1, 2))
            squares = (error[..., :-1].square() * both).sum((1, 2))
            rho = (products / squares.clamp_min(1e-300)).clamp(0.0, 0.999)
        if noise is not None:
            return Errors(torch.full_like(rho, noise), rho)
        mean = self.innovations(error, rho).square().sum((1, 2)) / self.count().clamp_min(1)
        return Errors(mean.clamp_min(1e-300).sqrt(), rho)

    def curvature(self, slopes: Tensor, simulated: Tensor, errors: Errors | None) -> Tensor:
        """Return the generalised Gauss-Newton matrix [row, z, z] for slopes [z, row, ...].

        Slopes' F slopes, with the Fisher information F of the distribution of each observation.
        """
        slopes = torch.where(self.known[..., None], slopes, 0.0)
        if self.kind is None:
            assert errors is not None
            scaled = self.innovations(slopes[..., 0], errors.rho) / errors.sd[:, None, None]
        elif self.kind in INFORMATION:
            weight = torch.tensor(INFORMATION[self.kind], dtype=torch.float64).sqrt()
            scaled = slopes * weight / simulated[..., 1:2]
        else:
            raise SettingsError(
                "Laplace's approximation needs an ErrorModel whose distribution is gaussian or "
                f"laplace, and this one is {self.kind!r}; take method='ensemble'."
            )
        flat = scaled.flatten(2)
        return torch.einsum("krn,lrn->rkl", flat, flat)

    @torch.no_grad()
    def slopes(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return the simulation at z [row, z], and its slopes [z, row, ...] by central differences.

        Their error is some 1e-8 of a slope: the solution is smooth for given steps.
        """
        apart = STEP * torch.eye(z.shape[-1], dtype=torch.float64)[:, None]
        both = self.simulated(torch.cat([z + apart, z - apart, z[None]]))
        count = z.shape[-1]
        return both[-1], (both[:count] - both[count:-1]) / (2 * STEP)
