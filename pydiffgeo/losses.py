"""Losses on observed series.

All count the steps after the warm-up that are observed (finite). What is not counted gets a
gradient of exactly zero, whatever the simulation is there. A simulation that is not a number on a
step that counts makes the loss NaN: `Batch.not_finite` then names sites and windows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pydiffgeo.data.batch import Batch
from pydiffgeo.distributions import of_kind, required_kind
from pydiffgeo.errors import DataError, nearest
from pydiffgeo.recorded import Recorded, kind_of

Named = Mapping[str, Tensor]
LEAST = 10  # observations of a window that has a KGE
DRY = 1e-6  # added to flows below a root, in their unit
FLAT = 1e-4  # share of the observed spread below which a simulation counts as constant


class Loss(Recorded):
    """A loss on one observed series; a subclass defines `of`.

    Parameters
    ----------
    observed : str
        Observed series, and the series of the hybrid that it is compared with.
    weight : float
        Factor of this loss in a sum.
    """

    needs_spread = False

    def __init__(self, observed: str = "discharge", weight: float = 1.0):
        if not weight >= 0:
            raise DataError(f"the weight {weight} of a loss must not be negative; give a positive.")
        self.observed, self.weight = observed, weight

    @property
    def name(self) -> str:
        """Such as "nse of discharge"."""
        return f"{kind_of(type(self))} of {self.observed}"

    def of(self, simulated: Tensor, observed: Tensor, counts: Tensor, spread: Tensor) -> Tensor:
        """Return the loss of series without warm-up.

        `simulated` and `observed` [row, time] are zero where a step does not count, and `counts` is
        1 where it does, else 0; `spread` [row] is the standard deviation of each series in
        training, where `needs_spread`.
        """
        raise DataError(f"{type(self).__name__} lacks `of`: define it.")

    def __call__(self, series: Named, observed: Named, batch: Batch) -> Tensor:
        """Return the loss after the warm-up; each depth of a series is a series of its own.

        Both hold [batch, time] or [batch, time, depth] by name: `series` in the units of the
        observations, `observed` with NaN where there is none. DataError: a series that is not
        there, shapes that differ, nothing observed, no finite spread.
        """
        pair = (_named(values, self.observed, self.name) for values in (series, observed))
        s, o = (values[:, batch.warm_up :] for values in pair)
        if s.shape != o.shape or s.ndim not in (2, 3):
            raise DataError(
                f"simulated {tuple(s.shape)} and observed {tuple(o.shape)} {self.observed!r} must "
                "both be [batch, time] or [batch, time, depth]; align them first."
            )
        if s.ndim == 3:
            s, o = (x.transpose(1, 2).flatten(0, 1) for x in (s, o))
        counts = torch.isfinite(o)
        used = counts.any(1)
        if not bool(used.any()):
            raise DataError(f"no {self.observed!r} of the batch is observed; draw other windows.")
        spread = o.new_ones(len(o))
        if self.needs_spread:
            spread = _named(batch.spread, self.observed, self.name).flatten()
            if len(spread) != len(o) or not bool(torch.isfinite(spread[used]).all()):
                raise DataError(
                    f"the spread of {self.observed!r}, {list(spread.shape)}, must be finite in "
                    f"each of {len(o)} series; leave out sites with fewer than two observations in "
                    "training."
                )
            spread = torch.where(used, spread, 1.0)
        s, o = (torch.where(counts, x.to(o.dtype), 0.0) for x in (s, o))
        return self.of(s, o, counts.to(o.dtype), spread)


class MSE(Loss):
    """Mean squared error over all steps that count."""

    def of(self, simulated: Tensor, observed: Tensor, counts: Tensor, spread: Tensor) -> Tensor:
        return (simulated - observed).square().sum() / counts.sum()


class RMSE(MSE):
    """Root mean squared error over all steps that count."""

    def of(self, simulated: Tensor, observed: Tensor, counts: Tensor, spread: Tensor) -> Tensor:
        return _root(super().of(simulated, observed, counts, spread))


class LogRMSE(Loss):
    """Root mean squared error of log(sqrt(q + 1e-6) + offset), which weighs low flows.

    Negative simulations count as zero. The small number keeps the gradient of a flow of zero in
    bounds, where that of the root alone is infinite.

    Source: Feng et al. (2022), doi:10.1029/2022WR032404.

    Parameters
    ----------
    offset : float
        In the root of the unit.
    """

    def __init__(self, observed: str = "discharge", weight: float = 1.0, offset: float = 0.1):
        super().__init__(observed, weight)
        self.offset = offset

    def of(self, simulated: Tensor, observed: Tensor, counts: Tensor, spread: Tensor) -> Tensor:
        s, o = (
            torch.log(torch.sqrt(x.clamp(min=0.0) + DRY) + self.offset)
            for x in (simulated, observed)
        )
        return _root(((s - o).square() * counts).sum() / counts.sum())


class NSE(Loss):
    """Mean of ((s - o) / (spread + offset))^2: each site counts alike.

    The squared error in standard deviations of the site.

    Source: Kratzert et al. (2019), doi:10.5194/hess-23-5089-2019, eq. 1.

    Parameters
    ----------
    offset : float
        In the unit of the observations; it keeps dry sites from dominating.
    """

    needs_spread = True

    def __init__(self, observed: str = "discharge", weight: float = 1.0, offset: float = 0.1):
        super().__init__(observed, weight)
        self.offset = offset

    def of(self, simulated: Tensor, observed: Tensor, counts: Tensor, spread: Tensor) -> Tensor:
        error = (simulated - observed) / (spread[:, None] + self.offset)
        return error.square().sum() / counts.sum()


class NNSE(NSE):
    """1 - NNSE, mean over series, with NNSE = 1 / (2 - NSE) from 0 to 1.

    What `NSE` averages, bounded: a series that no model can follow, as below a dam, counts no more
    than another.

    Source: Nossent & Bauwens (2012), EGU General Assembly, 237, for the transformation.
    """

    def of(self, simulated: Tensor, observed: Tensor, counts: Tensor, spread: Tensor) -> Tensor:
        number = counts.sum(1)
        error = (simulated - observed).square().sum(1) / number.clamp_min(1)
        share = error / (spread + self.offset).square()
        used = number > 0
        return (share / (1 + share) * used).sum() / used.sum().clamp_min(1)


class KGE(Loss):
    """1 - KGE, mean over the windows with at least ten observations that differ.

    Take windows of a year or more.

    Source: Gupta et al. (2009), doi:10.1016/j.jhydrol.2009.08.003, eq. 9.
    """

    def of(self, simulated: Tensor, observed: Tensor, counts: Tensor, spread: Tensor) -> Tensor:
        number = counts.sum(1)
        n = number.clamp(min=1)
        mean_s, mean_o = simulated.sum(1) / n, observed.sum(1) / n
        ds, do = (simulated - mean_s[:, None]) * counts, (observed - mean_o[:, None]) * counts
        var_o = do.square().sum(1) / n
        usable = (number >= LEAST) & (var_o > 0) & (mean_o != 0)
        if not bool(usable.any()):
            raise DataError(
                f"no series of the batch has {LEAST} different observations for the KGE; take "
                "longer windows, or another loss."
            )
        ds, do, mean_s, mean_o, var_o, n = (x[usable] for x in (ds, do, mean_s, mean_o, var_o, n))
        sd_s, sd_o = _root(ds.square().sum(1) / n), _root(var_o)
        # a constant simulation has no correlation: 0, with a gradient in bounds
        r = (ds * do).sum(1) / n / (torch.maximum(sd_s, FLAT * sd_o) * sd_o)
        ratios = (sd_s / sd_o - 1).square() + (mean_s / mean_o - 1).square()
        return _root((r - 1).square() + ratios).mean()


class Profile(Loss):
    """Mean over series of `bias_weight` bias^2 + `anomaly_weight` var(error), over `scale`^2.

    With both weights 1 it is the mean squared error, each site and depth counting alike.

    Parameters
    ----------
    bias_weight : float
        Of the squared mean error of a series.
    anomaly_weight : float
        Of the variance of the error of a series.
    scale : float
        Typical error, so that losses and gradients are of order 1.
    """

    def __init__(
        self,
        observed: str = "soil_moisture",
        bias_weight: float = 1.0,
        anomaly_weight: float = 1.0,
        scale: float = 0.05,
        weight: float = 1.0,
    ):
        super().__init__(observed, weight)
        self.bias_weight, self.anomaly_weight, self.scale = bias_weight, anomaly_weight, scale

    def of(self, simulated: Tensor, observed: Tensor, counts: Tensor, spread: Tensor) -> Tensor:
        error, number = (simulated - observed) / self.scale, counts.sum(1)
        bias = error.sum(1) / number.clamp_min(1)
        variance = (error**2).sum(1) / number.clamp_min(1) - bias**2
        used = number > 0
        value = self.bias_weight * bias**2 + self.anomaly_weight * variance
        return (value * used).sum() / used.sum().clamp_min(1)


class NLL(Loss):
    """Mean negative log-likelihood: -log of the density that a hybrid gives what was observed.

    The density is that of `stages.ErrorModel`, or of `stages.Sequence` with a distribution, in the
    unit of the observations; it may be negative. Source: Klotz et al. (2022),
    doi:10.5194/hess-26-1673-2022, eq. 3.
    """

    def reads(self, series: Named) -> tuple[str, ...]:
        """Return the series that are needed: the observed one, and its distribution."""
        return (self.observed, f"{self.observed}_{required_kind(series, self.observed)}")

    def __call__(self, series: Named, observed: Named, batch: Batch) -> Tensor:
        """Return the loss after the warm-up; see `Loss`."""
        kind = required_kind(series, self.observed)
        seen = _named(observed, self.observed, self.name)[:, batch.warm_up :]
        given = series[f"{self.observed}_{kind}"][:, batch.warm_up :]
        counts = torch.isfinite(seen)
        if given.shape[:-1] != seen.shape:
            raise DataError(
                f"the distribution {tuple(given.shape[:-1])} of {self.observed!r} and what was "
                f"observed, {tuple(seen.shape)}, must have the same shape; align them first."
            )
        if not bool(counts.any()):
            raise DataError(f"no {self.observed!r} of the batch is observed; draw other windows.")
        given = torch.where(counts[..., None], given.to(seen.dtype), 0.5)  # allowed for all of them
        values = -of_kind(kind, given).log_prob(torch.where(counts, seen, 0.5))
        return torch.where(counts, values, 0.0).sum() / counts.sum()


class Sum(Recorded):
    """The weighted sum of losses; one whose series was not observed in a batch adds nothing.

    Parameters
    ----------
    *losses : Loss
        Or any callables of series, observed and batch that have an attribute `observed`, the name
        of a series; `weight` counts where they have it.
    """

    def __init__(self, *losses: Any):
        for loss in losses:
            if not callable(loss) or not hasattr(loss, "observed"):
                raise DataError(
                    f"{loss!r} is no loss: it needs to be callable, and an attribute `observed`, "
                    "the name of a series."
                )
        if not losses:
            raise DataError("a sum of losses needs at least one; give one.")
        self.losses = losses
        self.observed = tuple(dict.fromkeys(loss.observed for loss in losses))
        self.needs_spread = any(getattr(loss, "needs_spread", False) for loss in losses)

    def reads(self, series: Named) -> tuple[str, ...]:
        """Return the series of a hybrid that the losses need."""
        each = (loss.reads(series) if hasattr(loss, "reads") else (loss.observed,)
                for loss in self.losses)  # fmt: skip
        return tuple(dict.fromkeys(name for names in each for name in names))

    def __call__(self, series: Named, observed: Named, batch: Batch) -> Tensor:
        """Return the sum; see `Loss`."""
        return self.parts(series, observed, batch)[0]

    def parts(
        self, series: Named, observed: Named, batch: Batch
    ) -> tuple[Tensor, dict[str, float]]:
        """Return the sum, and each loss before its weight by name, NaN where its series was not
        observed.

        DataError: as `Loss`, or nothing is observed at all.
        """
        parts: dict[str, float] = {}
        weighed: list[Tensor] = []
        for loss in self.losses:
            name = str(getattr(loss, "name", f"{type(loss).__name__} of {loss.observed}"))
            seen = _named(observed, loss.observed, name)[:, batch.warm_up :]
            parts[name] = float("nan")
            if bool(torch.isfinite(seen).any()):
                value = loss(series, observed, batch)
                parts[name] = float(value.detach())
                weighed.append(getattr(loss, "weight", 1.0) * value)
        if not weighed:
            names = ", ".join(self.observed)
            raise DataError(f"none of {names} is observed in this batch; draw other windows.")
        return sum(weighed[1:], weighed[0]), parts


def as_sum(loss: Any) -> Sum:
    """Return one loss, or several in a list, as a `Sum`."""
    if isinstance(loss, Sum):
        return loss
    return Sum(*loss) if isinstance(loss, list | tuple) else Sum(loss)


LOSSES = {
    "nse": NSE, "mse": MSE, "rmse": RMSE, "log_rmse": LogRMSE, "nnse": NNSE, "kge": KGE,
    "profile": Profile, "nll": NLL,
}  # fmt: skip


def _named(values: Named, name: str, who: str) -> Tensor:
    if name not in values:
        raise DataError(f"{who} needs {name!r}{nearest(name, values)} Known: {', '.join(values)}.")
    return values[name]


def _root(values: Tensor) -> Tensor:
    """Return the square root, with a finite gradient at zero.

    A perfect series must not give NaN.
    """
    return torch.sqrt(values + torch.finfo(values.dtype).tiny)
