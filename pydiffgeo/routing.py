"""Routing of runoff to the outlet by a unit hydrograph, and parallel components of a basin."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from pydiffgeo.errors import DataError, ParameterError

SHAPE_BOUNDS = (0.0, 2.9)  # 1: what a network may learn for `a`,
SCALE_BOUNDS = (0.0, 6.5)  # d: and for `b`; Feng et al. (2022)
LEAST_SHAPE, LEAST_SCALE = 0.1, 0.5  # added, so that the hydrograph stays finite


def gamma_unit_hydrograph(a: Tensor, b: Tensor, length: int = 15, step: float = 1.0) -> Tensor:
    """Parts of a step's runoff that arrive in that and in the following steps.

    A step is a day by default.

    They are proportional to the gamma density of shape `a` + 0.1 and scale `b` + 0.5 days,
    integrated over each step, and sum to one: water is conserved whatever the length.

    Parameters
    ----------
    a : Tensor, [...]
        Shape, 1; at least 0. Usual bounds: 0 to 2.9.
    b : Tensor, [...]
        Scale, d; at least 0. Usual bounds: 0 to 6.5.
    length : int
        Days after which nothing arrives.
    step : float
        Length of a step, d: 1/24 for hours.

    Returns
    -------
    Tensor, [..., length / step]

    Raises
    ------
    ParameterError
        A negative `a` or `b`, a length below 1, or a shape so large that its numbers leave the
        range of the dtype.

    References
    ----------
    Feng et al. (2022), doi:10.1029/2022WR032404, after Mizukami et al. (2016),
    doi:10.5194/gmd-9-2223-2016. Their code takes the density in the middle of each day for its
    integral over the day.
    """
    if length < 1:
        raise ParameterError(f"length={length}: the unit hydrograph needs at least one day.")
    for name, values in (("a", a), ("b", b)):
        if bool((values.detach() < 0).any()) or not bool(values.detach().isfinite().all()):
            raise ParameterError(
                f"parameter {name!r} of the unit hydrograph must be finite and not negative, "
                f"its least value is {float(values.detach().min()):g}."
            )
    shape, scale = (a + LEAST_SHAPE)[..., None], (b + LEAST_SCALE)[..., None]
    count = max(1, round(length / step))
    x = torch.arange(1, count + 1, dtype=a.dtype, device=a.device) * step / scale
    # all has arrived, to rounding, before exp(x) leaves the range of the dtype: Chernoff's bound of
    # what has not
    last = 0.9 * math.log(torch.finfo(a.dtype).max)
    within = shape.detach().clamp(max=last)
    late = -(last - within + within * (within / last).log()).expand_as(x)[x.detach() > last]
    x = x.clamp(max=last)
    # the incomplete gamma function by its series, whose terms are positive: torch's own has no
    # derivative in the shape
    term = 1 / shape.expand_as(x)
    total = term
    longest = min(count * step / LEAST_SCALE, last)
    for k in range(
        1, math.ceil(longest + max(6 * math.sqrt(longest) + 20, 9 * math.sqrt(longest)))
    ):
        term = term * (x / (shape + k))
        total = total + term
    cumulative = total * torch.exp(shape * x.log() - x)
    parts = torch.diff(cumulative, prepend=torch.zeros_like(cumulative[..., :1])).clamp_min(0)
    parts = parts / parts.sum(-1, keepdim=True)
    if not bool(parts.detach().isfinite().all()) or bool(
        (late > math.log(torch.finfo(a.dtype).eps)).any()
    ):
        raise ParameterError(
            f"parameter 'a' of the unit hydrograph is up to {float(a.detach().max()):g}, too large "
            f"to compute with in {a.dtype}: usual bounds are {SHAPE_BOUNDS[0]:g} to "
            f"{SHAPE_BOUNDS[1]:g}."
        )
    return parts


def triangular_unit_hydrograph(maxbas: Tensor, length: int = 10) -> Tensor:
    """Parts of a day's runoff that arrive on that and on the following days, from a triangle.

    The triangle is isosceles, its base is `maxbas` days long, and it is integrated over each day:
    water is conserved.

    Parameters
    ----------
    maxbas : Tensor, [...]
        Base of the triangle, d; above 0. Usual bounds: 1 to 7.
    length : int
        Days of the result; at least `maxbas`.

    Returns
    -------
    Tensor, [..., length]

    Raises
    ------
    ParameterError
        A base that is not positive, or longer than `length`.

    References
    ----------
    MAXBAS of HBV: Seibert & Vis (2012), doi:10.5194/hess-16-3315-2012, eq. 6.
    """
    low, high = (float(v) for v in torch.aminmax(maxbas.detach()))
    if not (0 < low and high <= length):
        raise ParameterError(
            f"parameter 'maxbas' of the unit hydrograph lies between {low:g} and {high:g} days; it "
            f"must be above 0 and at most length={length}: raise length, or correct it."
        )
    x = torch.arange(1, length + 1, dtype=maxbas.dtype, device=maxbas.device) / maxbas[..., None]
    rising, falling = x.clamp(max=0.5), (1 - x).clamp(min=0, max=0.5)
    cumulative = 2 * rising.square() + 0.5 - 2 * falling.square()
    return torch.diff(cumulative, prepend=torch.zeros_like(cumulative[..., :1]))


class Routed(NamedTuple):
    """What `route_through` returns.

    Attributes
    ----------
    discharge : Tensor, [batch, day]
        At the outlet, mm d-1.
    in_transit : Tensor, [batch, length - 1]
        What has not arrived on the last day, by the day after it on which it arrives, mm d-1: the
        state of the routing.
    """

    discharge: Tensor
    in_transit: Tensor


def route_through(inflow: Tensor, hydrograph: Tensor, in_transit: Tensor | None = None) -> Routed:
    """Return discharge by any unit hydrograph, and what is still on its way.

    Water is conserved: what was in transit and the inflow equal the discharge and what is in
    transit at the end. A record cut in two gives the discharge of the whole, where the second part
    begins with what the first left in transit. Differentiable in all three.

    Parameters
    ----------
    inflow : Tensor, [batch, day]
        Runoff, mm d-1.
    hydrograph : Tensor, [batch or 1, length]
        Parts of a day's runoff that arrive on that and on the following days; none is negative and
        they sum to 1.
    in_transit : Tensor, [batch or 1, length - 1], optional
        What an earlier call left; nothing by default.

    Raises
    ------
    DataError
        A tensor of another shape, inflow without a day, or a hydrograph that loses or makes water.
    """
    if inflow.ndim != 2 or not inflow.numel():
        raise DataError(
            f"inflow has shape {list(inflow.shape)}; give [batch, day], with at least one day."
        )
    batch, days = inflow.shape
    if hydrograph.ndim != 2 or len(hydrograph) not in (1, batch) or not hydrograph.numel():
        raise DataError(f"hydrograph has shape {list(hydrograph.shape)}; give [{batch}, length].")
    _check_hydrograph(hydrograph.detach())
    length = hydrograph.shape[1]
    if in_transit is not None and tuple(in_transit.shape) not in (
        (1, length - 1),
        (batch, length - 1),
    ):
        raise DataError(
            f"in_transit has shape {list(in_transit.shape)}; give [{batch}, {length - 1}], as an "
            f"earlier call with a hydrograph of {length} days returned it."
        )
    kernel = hydrograph.to(inflow.dtype).flip(-1).expand(batch, -1)[:, None]

    def days_from(padded: Tensor) -> Tensor:
        return torch.nn.functional.conv1d(padded[None], kernel, groups=batch)[0]

    before, last = length - 1, min(length - 1, days)
    discharge = days_from(torch.nn.functional.pad(inflow, (before, 0)))
    tail = torch.nn.functional.pad(inflow[:, days - last :], (before - last, before))
    after = days_from(tail) if before else discharge[:, :0]
    if in_transit is None:
        return Routed(discharge, after)
    waiting = torch.nn.functional.pad(in_transit, (0, days))
    return Routed(discharge + waiting[:, :days], after + waiting[:, days:])


def _check_hydrograph(hydrograph: Tensor) -> None:
    """Raise DataError for parts that are negative or do not sum to 1, naming the basin."""
    sums, least = hydrograph.sum(-1), hydrograph.amin(-1)
    rounding = (
        1e-9
        if hydrograph.dtype == torch.float64
        else max(1e-5, 4 * torch.finfo(hydrograph.dtype).eps)
    )
    bad = ~(((sums - 1).abs() <= rounding) & (least >= 0))  # also where one is NaN
    if bool(bad.any()):
        i = int(bad.nonzero()[0])
        raise DataError(
            f"the hydrograph of basin number {i} sums to {float(sums[i]):g} and its least part is "
            f"{float(least[i]):g}: its parts must not be negative and must sum to 1, or water is "
            "lost or made. Divide them by their sum."
        )


def route(inflow: Tensor, a: Tensor, b: Tensor, length: int = 15, step: float = 1.0) -> Tensor:
    """Discharge at the outlet from the runoff of a basin, by the gamma unit hydrograph.

    Causal and conserving: no runoff before the first day is assumed, and what has not arrived on
    the last day is still on its way; `route_through` returns that too, and begins with it.
    Differentiable in all three.

    Parameters
    ----------
    inflow : Tensor, [batch, step]
        Runoff, mm d-1.
    a, b : Tensor, [batch] or []
        Shape, 1, and scale, d; see `gamma_unit_hydrograph`.
    length : int
        Days after which nothing arrives.
    step : float
        Length of a step, d: 1/24 for hours.

    Returns
    -------
    Tensor, [batch, step]

    Raises
    ------
    DataError
        Inflow of another shape.
    ParameterError
        `a` or `b` that is negative or of another shape.
    """
    batch = len(inflow) if inflow.ndim == 2 else 1
    for name, values in (("a", a), ("b", b)):
        if values.ndim > 1 or values.numel() not in (1, batch):
            raise ParameterError(
                f"parameter {name!r} of the unit hydrograph has shape {list(values.shape)}; give "
                f"[{batch}]."
            )
    shape, scale = torch.broadcast_tensors(a.reshape(-1), b.reshape(-1))
    return route_through(inflow, gamma_unit_hydrograph(shape, scale, length, step)).discharge
