"""Losses on observed series, as functions of torch tensors.

All take simulated and observed [batch, time] and count the days that are observed (finite) and, where a mask is given, allowed
by it. What is not counted gets a gradient of exactly zero, whatever the simulation is there. A simulation that is not a number
on a day that counts makes the loss NaN: `Batch.not_finite` then names sites and windows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pydiffgeo.data.batch import Batch
from pydiffgeo.errors import DataError, nearest
from pydiffgeo.recorded import Recorded, kind_of


def mse_loss(simulated: Tensor, observed: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return the mean squared error over all days that count.

    Parameters
    ----------
    simulated, observed : Tensor, [batch, time]
        NaN in `observed` where nothing was observed.
    mask : Tensor of bool, broadcast to [batch, time], optional
        Days that may count.

    Raises
    ------
    DataError
        The shapes differ, or no day counts.
    """
    s, o, counts = _known(simulated, observed, mask)
    return (s - o).square().sum() / counts.sum()


def rmse_loss(simulated: Tensor, observed: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return the root mean squared error over all days that count; arguments and errors as `mse_loss`."""
    return _root(mse_loss(simulated, observed, mask))


def log_rmse_loss(
    simulated: Tensor, observed: Tensor, mask: Tensor | None = None, offset: float = 0.1
) -> Tensor:
    """Return the root mean squared error of log(sqrt(q) + offset), which weighs low flows; `offset` in the root of the unit.

    Feng et al. (2022), doi:10.1029/2022WR032404. Negative simulations count as zero.
    """
    s, o, counts = _known(simulated, observed, mask)
    s, o = (torch.log(_root(x.clamp(min=0.0)) + offset) for x in (s, o))
    return _root(((s - o).square() * counts).sum() / counts.sum())


def nse_loss(
    simulated: Tensor,
    observed: Tensor,
    mask: Tensor | None = None,
    *,
    std: Tensor,
    offset: float = 0.1,
) -> Tensor:
    """Return the mean of ((s - o) / (std + offset))^2, the squared error in standard deviations of the site.

    The NSE of a batch of sites: each counts alike, however much water it carries. Kratzert et al. (2019),
    doi:10.5194/hess-23-5089-2019, eq. 1; as there, `offset` keeps dry sites from dominating.

    Parameters
    ----------
    simulated, observed, mask : Tensor
        As `mse_loss`.
    std : Tensor, [batch]
        Standard deviation of the site's observations in the training period (`Batch.spread`).
    offset : float
        In the unit of the observations.

    Raises
    ------
    DataError
        As `mse_loss`, or `std` has another shape or is not finite.
    """
    if std.shape != simulated.shape[:1] or not bool(torch.isfinite(std).all()):
        raise DataError(
            f"std {tuple(std.shape)} must be finite and [batch], as simulated {tuple(simulated.shape)} has it."
        )
    s, o, counts = _known(simulated, observed, mask)
    return ((s - o) / (std[:, None] + offset)).square().sum() / counts.sum()


def kge_loss(
    simulated: Tensor, observed: Tensor, mask: Tensor | None = None, least: int = 10
) -> Tensor:
    """Return 1 - KGE of each series, mean over the series that have at least `least` days that count and differ.

    Gupta et al. (2009), doi:10.1016/j.jhydrol.2009.08.003, eq. 9. It needs windows long enough to have a correlation: take a
    year or more.

    Raises
    ------
    DataError
        As `mse_loss`, or no series has enough days.
    """
    s, o, counts = _known(simulated, observed, mask)
    number = counts.sum(1)
    n = number.clamp(min=1)
    mean_s, mean_o = s.sum(1) / n, o.sum(1) / n
    ds, do = (s - mean_s[:, None]) * counts, (o - mean_o[:, None]) * counts
    var_o = do.square().sum(1) / n
    usable = (number >= least) & (var_o > 0) & (mean_o != 0)
    if not bool(usable.any()):
        raise DataError(
            f"no series of the batch has {least} different observations for the KGE; take longer windows, or another loss."
        )
    ds, do, mean_s, mean_o, var_o, n = (x[usable] for x in (ds, do, mean_s, mean_o, var_o, n))
    sd_s, sd_o = _root(ds.square().sum(1) / n), _root(var_o)
    r = (ds * do).sum(1) / n / (sd_s * sd_o)
    return _root(
        (r - 1).square() + (sd_s / sd_o - 1).square() + (mean_s / mean_o - 1).square()
    ).mean()


def profile_loss(
    simulated: Tensor,
    observed: Tensor,
    bias_weight: float = 1.0,
    anomaly_weight: float = 1.0,
    scale: float = 0.05,
) -> Tensor:
    """Return the mean over series of `bias_weight` bias^2 + `anomaly_weight` var(error), over `scale`^2.

    With both weights 1 it is the mean squared error, each site and depth counting the same.

    Parameters
    ----------
    simulated, observed : Tensor, [batch, time]
        NaN in `observed` where nothing was observed.
    bias_weight, anomaly_weight : float
    scale : float
        Typical error, so that losses and gradients are of order 1; 0.05 for soil moisture.

    Raises
    ------
    DataError
        As `mse_loss`.
    """
    s, o, counts = _known(simulated, observed, None)
    error, count = (s - o) / scale, counts.sum(1)
    bias = error.sum(1) / count.clamp_min(1)
    variance = (error**2).sum(1) / count.clamp_min(1) - bias**2
    used = count > 0
    value = bias_weight * bias**2 + anomaly_weight * variance
    return (value * used).sum() / used.sum().clamp_min(1)


class Loss(Recorded):
    """A loss on one observed series; a subclass defines `of`.

    Parameters
    ----------
    observed : str
        Observed series, and the series of the hybrid that it is compared with.
    weight : float
        Factor of this loss in a sum.

    Raises
    ------
    DataError
        The weight is negative.
    """

    needs_spread = False

    def __init__(self, observed: str = "discharge", weight: float = 1.0):
        if not weight >= 0:
            raise DataError(f"the weight {weight} of a loss on {observed!r} must not be negative.")
        self.observed, self.weight = observed, weight

    @property
    def name(self) -> str:
        """Such as "nse of discharge"."""
        return f"{kind_of(type(self))} of {self.observed}"

    def of(self, simulated: Tensor, observed: Tensor, spread: Tensor | None) -> Tensor:
        """Return the loss of series [row, time] without warm-up; `spread` is their standard deviation in training, [row]."""
        raise DataError(f"{type(self).__name__} lacks `of`: define it.")

    def __call__(
        self, series: Mapping[str, Tensor], observed: Mapping[str, Tensor], batch: Batch
    ) -> Tensor:
        """Return the loss after the warm-up; each depth of a series is a series of its own.

        Parameters
        ----------
        series : mapping of str to Tensor, [batch, time] or [batch, time, depth]
            From a hybrid, in the units of the observations.
        observed : mapping of str to Tensor
            Of the same shapes; NaN where nothing was observed.
        batch : Batch
            Its warm-up and spread.

        Raises
        ------
        DataError
            A series that is not there, shapes that differ, or nothing observed.
        """
        who, first = self.name, batch.warm_up
        simulated, seen = (
            _named(values, self.observed, who)[:, first:] for values in (series, observed)
        )
        spread = _named(batch.spread, self.observed, who) if self.needs_spread else None
        if simulated.ndim == 3 and simulated.shape == seen.shape:
            simulated, seen = (x.transpose(1, 2).flatten(0, 1) for x in (simulated, seen))
            spread = None if spread is None else spread.flatten()
        return self.of(simulated.to(seen.dtype), seen, spread)


class MSE(Loss):
    """Mean squared error; arguments as `Loss`."""

    def of(self, simulated: Tensor, observed: Tensor, spread: Tensor | None) -> Tensor:
        """Return `mse_loss`."""
        return mse_loss(simulated, observed)


class RMSE(Loss):
    """Root mean squared error; arguments as `Loss`."""

    def of(self, simulated: Tensor, observed: Tensor, spread: Tensor | None) -> Tensor:
        """Return `rmse_loss`."""
        return rmse_loss(simulated, observed)


class LogRMSE(Loss):
    """Root mean squared error of logarithms, which weighs low flows: see `log_rmse_loss`.

    Parameters
    ----------
    observed : str
        Observed series.
    weight : float
        Factor of this loss in a sum.
    offset : float
        Added to the root of the series before the logarithm.
    """

    def __init__(self, observed: str = "discharge", weight: float = 1.0, offset: float = 0.1):
        super().__init__(observed, weight)
        self.offset = offset

    def of(self, simulated: Tensor, observed: Tensor, spread: Tensor | None) -> Tensor:
        """Return `log_rmse_loss`."""
        return log_rmse_loss(simulated, observed, offset=self.offset)


class NSE(Loss):
    """Squared error in standard deviations of each site: see `nse_loss`.

    Parameters
    ----------
    observed : str
        Observed series.
    weight : float
        Factor of this loss in a sum.
    offset : float
        Added to the standard deviation, in the unit of the series, so that dry sites do not dominate.
    """

    needs_spread = True

    def __init__(self, observed: str = "discharge", weight: float = 1.0, offset: float = 0.1):
        super().__init__(observed, weight)
        self.offset = offset

    def of(self, simulated: Tensor, observed: Tensor, spread: Tensor | None) -> Tensor:
        """Return `nse_loss`."""
        assert spread is not None
        return nse_loss(simulated, observed, std=spread, offset=self.offset)


class KGE(Loss):
    """1 - KGE of each window that has enough observations: see `kge_loss`; arguments as `Loss`."""

    def of(self, simulated: Tensor, observed: Tensor, spread: Tensor | None) -> Tensor:
        """Return `kge_loss`."""
        return kge_loss(simulated, observed)


class Profile(Loss):
    """Bias and variance of the error of each series, weighed apart: see `profile_loss`.

    Parameters
    ----------
    observed : str
        Observed series.
    bias_weight : float
        Of the squared mean error of a series.
    anomaly_weight : float
        Of the variance of the error of a series.
    scale : float
        Typical error.
    weight : float
        Factor of this loss in a sum.
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

    def of(self, simulated: Tensor, observed: Tensor, spread: Tensor | None) -> Tensor:
        """Return `profile_loss`."""
        return profile_loss(
            simulated, observed, self.bias_weight, self.anomaly_weight, self.scale
        )


class Sum(Recorded):
    """The weighted sum of losses; one whose series was not observed in a batch adds nothing.

    Parameters
    ----------
    *losses : Loss
        Or any callables of series, observed and batch that have an attribute `observed`, the name of a series; `weight`
        counts where they have it.
    """

    def __init__(self, *losses: Any):
        for loss in losses:
            if not callable(loss) or not hasattr(loss, "observed"):
                raise DataError(
                    f"{loss!r} is no loss: it needs to be callable, and an attribute `observed`, the name of a series."
                )
        if not losses:
            raise DataError("a sum of losses needs at least one.")
        self.losses = losses
        self.observed = tuple(dict.fromkeys(loss.observed for loss in losses))
        self.needs_spread = any(getattr(loss, "needs_spread", False) for loss in losses)

    def __call__(
        self, series: Mapping[str, Tensor], observed: Mapping[str, Tensor], batch: Batch
    ) -> Tensor:
        """Return the sum; see `Loss`."""
        return self.parts(series, observed, batch)[0]

    def parts(
        self, series: Mapping[str, Tensor], observed: Mapping[str, Tensor], batch: Batch
    ) -> tuple[Tensor, dict[str, float]]:
        """Return the sum, and each loss before its weight by name, NaN where its series was not observed.

        Raises
        ------
        DataError
            As `Loss`, or nothing is observed at all.
        """
        parts: dict[str, float] = {}
        total: Tensor | None = None
        for loss in self.losses:
            name = str(getattr(loss, "name", f"{type(loss).__name__} of {loss.observed}"))
            seen = _named(observed, loss.observed, name)[:, batch.warm_up :]
            if not bool(torch.isfinite(seen).any()):
                parts[name] = float("nan")
                continue
            value = loss(series, observed, batch)
            parts[name] = float(value.detach())
            value = getattr(loss, "weight", 1.0) * value
            total = value if total is None else total + value
        if total is None:
            raise DataError(
                f"none of {', '.join(self.observed)} is observed in this batch; draw windows that have observations."
            )
        return total, parts


def as_sum(loss: Any) -> Sum:
    """Return one loss, or several in a list, as a `Sum`."""
    if isinstance(loss, Sum):
        return loss
    return Sum(*loss) if isinstance(loss, list | tuple) else Sum(loss)


LOSSES: dict[str, type[Loss]] = {
    "nse": NSE,
    "mse": MSE,
    "rmse": RMSE,
    "log_rmse": LogRMSE,
    "kge": KGE,
    "profile": Profile,
}


def _named(values: Mapping[str, Tensor], name: str, who: str) -> Tensor:
    if name not in values:
        raise DataError(
            f"the loss {who} needs {name!r}, which is not there{nearest(name, values)} Known: {', '.join(values) or 'nothing'}."
        )
    return values[name]


def _known(
    simulated: Tensor, observed: Tensor, mask: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return both series with zeros where a day does not count, and where it counts, in their dtype."""
    if simulated.shape != observed.shape or simulated.ndim != 2:
        raise DataError(
            f"simulated {tuple(simulated.shape)} and observed {tuple(observed.shape)} must both be [batch, time]; align them "
            "first."
        )
    counts = torch.isfinite(observed)
    if mask is not None:
        counts = counts & mask
    if not bool(counts.any()):
        raise DataError(
            "no day of the batch is observed and allowed by the mask; draw windows that have observations."
        )
    zero = simulated.new_zeros(())
    return (
        torch.where(counts, simulated, zero),
        torch.where(counts, observed, zero),
        counts.to(simulated.dtype),
    )


def _root(values: Tensor) -> Tensor:
    """Return the square root, with a finite gradient at zero: a perfect series must not give NaN."""
    return torch.sqrt(values + torch.finfo(values.dtype).tiny)
