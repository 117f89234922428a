"""What all reaches share: one store, which takes water from above and from its sides.

The outflow of a store follows from its volume and its inflow. Muskingum's method in this form
conserves water whatever its coefficients are, since nothing but the balance changes the volume.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from pydiffgeo.errors import ModelError
from pydiffgeo.models.base import Entries, ProcessModel, Values, not_negative
from pydiffgeo.models.smooth import stacked
from pydiffgeo.models.spec_files import load_constants, load_spec

CONSTANTS = load_constants("muskingum")
LEAST_SHARE, SHARE_WIDTH = CONSTANTS["LEAST_SHARE"], CONSTANTS["SHARE_WIDTH"]
FIRST = 1000.0  # m3: volume from which a warm-up begins


class Reach(ProcessModel):
    """A reach with one store, whose volume is the state (m3).

    A subclass defines `outflow` and `outflow_and_slope`. `without` names parameters of options that
    are not taken.
    """

    size = 1

    def __init__(self, name: str, without: Iterable[str] = ()) -> None:
        spec = load_spec(name)
        used = {k: v for k, v in spec.parameters.items() if k not in without}
        self.spec = replace(spec, parameters=used)

    def start(self, parameters: Values) -> dict[str, Tensor]:
        """Return a volume for the start of a warm-up."""
        return {"volume": torch.tensor(FIRST, dtype=torch.float64)}

    def outflow(self, volume: Tensor, inflow: Tensor, p: Values) -> tuple[Tensor, Tensor]:
        """Return discharge at the lower end, and loss to the bed (m3 s-1), `[...]`."""
        raise ModelError(f"{type(self).__name__} lacks `outflow`: define it.")

    def check_parameters(self, parameters: Mapping[str, Tensor]) -> None:
        """Raise ParameterError for a bed that would give water, or a step below zero."""
        not_negative(self.spec, parameters, ("leakance", "step"))

    def _flows(self, state: Tensor, forcing: Values, parameters: Values) -> tuple[Tensor, ...]:
        f, p = ({k: v[..., 0] for k, v in x.items()} for x in (forcing, parameters))
        discharge, loss = self.outflow(state[..., 0], f["inflow"], p)
        return (f["inflow"] + f["lateral_inflow"]).expand_as(discharge), discharge, loss

    def rates(self, state: Tensor, forcing: Values, parameters: Values) -> Tensor:
        """Rate of change of the volume, m3 s-1."""
        gain, discharge, loss = self._flows(state, forcing, parameters)
        return (gain - discharge - loss)[..., None]

    def outflow_and_slope(
        self, volume: Tensor, inflow: Tensor, p: Values
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return `outflow`, and the slope of discharge and loss together in the volume, s-1."""
        raise ModelError(f"{type(self).__name__} lacks `outflow_and_slope`: define it.")

    def slopes(
        self, state: Tensor, forcing: Values, parameters: Values
    ) -> tuple[list[Tensor], Entries]:
        """Rate of change of the volume, and its slope in the volume."""
        f, p = ({k: v[..., 0] for k, v in x.items()} for x in (forcing, parameters))
        discharge, loss, slope = self.outflow_and_slope(state[..., 0], f["inflow"], p)
        rate = (f["inflow"] + f["lateral_inflow"]).sub(discharge).sub_(loss)
        return [rate], {(0, 0): -slope}

    def fluxes(self, state: Tensor, forcing: Values, parameters: Values) -> Tensor:
        """Inflow from above and the sides, discharge, loss."""
        return stacked(list(self._flows(state, forcing, parameters)))


def share_of_outflow(share: Tensor) -> Tensor:
    """Return 1 - X, kept above `LEAST_SHARE` by a hyperbola: where the wave passes a reach within
    a step, X = 1 - LEAST_SHARE moves it on with the least spreading that the step allows.
    """
    return LEAST_SHARE + 0.5 * _hyperbola(share - LEAST_SHARE)[0]


def _hyperbola(over: Tensor) -> tuple[Tensor, Tensor]:
    """Return over + root, root = sqrt(over^2 + width^2), and the root.

    Far below, the sum is written so that it is not the small difference of large numbers.
    """
    root = torch.sqrt(over * over + SHARE_WIDTH**2)
    return torch.where(over < 0, SHARE_WIDTH**2 / (root + over.abs()), over + root), root


def weighted_outflow(normal: Tensor, inflow: Tensor, share: Tensor) -> Tensor:
    """Return the outflow Q of a store whose weighted discharge X I + (1 - X) Q is `normal`.

    `share` is 1 - X. Where that Q = normal - X / (1 - X) (I - normal) would fall below zero, in
    front of a wave, it goes to zero as normal^2 / (normal + X / (1 - X) (I - normal)) instead,
    which has the same slope at I = normal: for a smooth wave the difference is of second order in
    the length of the reach.
    """
    push = (1 / share - 1) * (inflow - normal)
    front = push > 0
    held = torch.where(front, push, 0.0)
    rising = normal * normal / (normal.abs() + held + 1e-30)
    return torch.where(front, rising, normal - push)


def share_and_slope(share: Tensor) -> tuple[Tensor, Tensor]:
    """Return `share_of_outflow`, and its slope."""
    above, root = _hyperbola(share - LEAST_SHARE)
    return LEAST_SHARE + 0.5 * above, (above / root).mul_(0.5)


def weighted_and_slope(
    normal: Tensor,
    growth: Tensor,
    inflow: Tensor,
    share: Tensor,
    share_growth: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return `weighted_outflow`, and its slope in that in which `normal` grows by `growth`, and
    `share` by `share_growth` if at all.
    """
    per = 1 / share
    weight, rest = per - 1, inflow - normal
    push, steeper = weight * rest, -weight * growth
    if share_growth is not None:
        steeper = steeper.addcmul(rest, share_growth * per * per, value=-1)
    front = push > 0
    per = (normal.abs() + torch.where(front, push, 0.0)).add_(1e-30).reciprocal_()
    rising = normal * normal * per
    by_front = (2 * normal * growth).addcmul_(
        rising, steeper + torch.sign(normal) * growth, value=-1
    )
    return (
        torch.where(front, rising, normal - push),
        torch.where(front, by_front.mul_(per), growth - steeper),
    )
