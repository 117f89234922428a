"""Losses on observed series, as functions of torch tensors.

All take simulated and observed [batch, time] and count the days that are observed (finite) and, where a mask is given, allowed
by it. What is not counted gets a gradient of exactly zero, whatever the simulation is there. A simulation that is not a number
on a day that counts makes the loss NaN: `Batch.not_finite` then names basins and windows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pydiffgeo.errors import DataError, lookup


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
    """Return the mean of ((s - o) / (std + offset))^2, the squared error in standard deviations of the basin.

    The NSE of a batch of basins: each counts alike, however much water it carries. Kratzert et al. (2019),
    doi:10.5194/hess-23-5089-2019, eq. 1; as there, `offset` keeps dry basins from dominating.

    Parameters
    ----------
    simulated, observed, mask : Tensor
        As `mse_loss`.
    std : Tensor, [batch]
        Standard deviation of the basin's observations in the training period (`BasinTensors.observed_std`).
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


LOSSES: dict[str, Callable[..., Tensor]] = {
    "mse": mse_loss,
    "rmse": rmse_loss,
    "log_rmse": log_rmse_loss,
    "nse": nse_loss,
    "kge": kge_loss,
}


@dataclass(frozen=True)
class Term:
    """One part of a loss.

    Attributes
    ----------
    loss : str
        A name of `LOSSES`.
    target : str
        Observed variable.
    weight : float
        Factor of this part.
    """

    loss: str
    target: str = "discharge"
    weight: float = 1.0


def combined_loss(
    simulated: Tensor,
    observed: Tensor,
    terms: Sequence[Term],
    targets: Sequence[str] = ("discharge",),
    mask: Tensor | None = None,
    std: Tensor | None = None,
) -> tuple[Tensor, dict[str, float]]:
    """Return the weighted sum of several losses on several observed variables, and each part.

    Parameters
    ----------
    simulated, observed : Tensor, [batch, time, target]
        NaN in `observed` where nothing was observed.
    terms : sequence of Term
        Parts; their weights are not normalised.
    targets : sequence of str
        Names of the last dimension.
    mask : Tensor of bool, broadcast to [batch, time, target], optional
        Days that may count.
    std : Tensor, [batch, target], optional
        For ``nse``: see `nse_loss`.

    Returns
    -------
    Tensor
        The loss.
    dict of str to float
        Each part before its weight, by "loss of target"; NaN for a variable that was not observed in this batch, which adds
        nothing.

    Raises
    ------
    DataError
        Shapes do not fit, a target is unknown, a weight is negative, ``nse`` without `std`, or nothing is observed at all.
    UnknownName
        No such loss.
    """
    if (
        simulated.shape != observed.shape
        or simulated.ndim != 3
        or simulated.shape[2] != len(targets)
    ):
        raise DataError(
            f"simulated {tuple(simulated.shape)} and observed {tuple(observed.shape)} must both be [batch, time, target] for "
            f"the targets {', '.join(targets)}."
        )
    allowed = None if mask is None else mask.expand(simulated.shape)
    parts: dict[str, float] = {}
    total: Tensor | None = None
    for term in terms:
        k = _position(term, targets)
        function = lookup(LOSSES, term.loss, "loss")
        options: Mapping[str, Tensor] = {}
        if term.loss == "nse":
            if std is None:
                raise DataError(
                    "the loss 'nse' needs the standard deviations of the basins: std=tensors.observed_std(...)[basin]."
                )
            options = {"std": std[:, k]}
        here = None if allowed is None else allowed[..., k]
        seen = (
            torch.isfinite(observed[..., k])
            if here is None
            else torch.isfinite(observed[..., k]) & here
        )
        if not bool(seen.any()):
            parts[f"{term.loss} of {term.target}"] = float("nan")
            continue
        value = function(simulated[..., k], observed[..., k], here, **options)
        parts[f"{term.loss} of {term.target}"] = float(value.detach())
        total = term.weight * value if total is None else total + term.weight * value
    if total is None:
        raise DataError(
            f"none of {', '.join(targets)} is observed in this batch; draw windows that have observations."
        )
    return total, parts


def _position(term: Term, targets: Sequence[str]) -> int:
    if term.target not in targets:
        raise DataError(
            f"the loss {term.loss!r} is on {term.target!r}, which is none of the targets {', '.join(targets)}."
        )
    if not term.weight >= 0:
        raise DataError(
            f"the weight {term.weight} of {term.loss!r} on {term.target!r} must not be negative."
        )
    return list(targets).index(term.target)


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
