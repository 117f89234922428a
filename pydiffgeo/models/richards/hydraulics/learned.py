"""Retention and conductivity of which networks give one or both."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from pydiffgeo.errors import ParameterError
from pydiffgeo.models.base import Values
from pydiffgeo.models.closures import NeuralClosure
from pydiffgeo.models.richards.hydraulics.base import Curves, SoilHydraulics
from pydiffgeo.models.slots import share, share_and_slope, with_slope
from pydiffgeo.models.spec import SlotSpec
from pydiffgeo.models.spec_files import load_constants

CONSTANTS = load_constants("richards")
ENTRY = CONSTANTS["ENTRY"]
FAINTEST = CONSTANTS["FAINTEST"]
DECADE = math.log(10.0)
LARGEST_DRYNESS = 7.0  # dryness, a suction of 1e7 cm: where the search for a head ends
SCALE = {"theta_r", "theta_s", "K_s"}  # what a network's output is in parts of


def dryness(psi: Tensor) -> Tensor:
    """Return log10(1 + suction / cm): 0 at saturation, 4.2 at the wilting point."""
    return torch.log1p(torch.where(psi < 0, -psi, 0.0)) / DECADE


def head_at(dryness: Tensor) -> Tensor:
    """Pressure head (cm), the inverse of `dryness`."""
    return -torch.expm1(DECADE * dryness)


def _decades(ratio: Tensor) -> Tensor:
    # a conductivity that has underflowed is beyond the range of every network
    return torch.log10(ratio.clamp_min(FAINTEST))


def entered(psi: Tensor) -> Tensor:
    """The factor suction / (suction + 1 cm), which vanishes at and above saturation."""
    suction = torch.where(psi < 0, -psi, 0.0)
    return suction / (suction + ENTRY)


class LearnedHydraulics(SoilHydraulics):
    """Curves of a soil, of which networks give one or both; see docs/closures.md.

    theta = theta_r + (theta_s - theta_r) (1 - r) and K = K_s 10^-k, where networks of the dryness
    give r and k, times a factor that vanishes at saturation. Both fall with the suction, since the
    networks rise; K stays positive.

    Parameters
    ----------
    formula : SoilHydraulics
        Gives the other curve, or what a residual network stands beside.
    closures : mapping of str to torch.nn.Module
        In the slots "retention" and "conductivity", of which there is one at least.
    slots : mapping of str to SlotSpec
        The slots.
    """

    name = "learned"

    def __init__(
        self,
        formula: SoilHydraulics,
        closures: Mapping[str, nn.Module],
        slots: Mapping[str, SlotSpec],
    ):
        if not formula.reads:
            raise ParameterError(
                "closures have slots in built-in soil hydraulics, not in "
                f"{type(formula).__name__}: call the network in its functions."
            )
        self.formula, self.closures, self.slots = formula, dict(closures), slots
        self.bends = formula.bends
        read = {p for k, names in formula.reads.items() if self.needs_formula(k) for p in names}
        self.parameters = tuple(p for p in formula.parameters if p in read | SCALE)
        own = {"retention": ("theta_r", "theta_s"), "conductivity": ("K_s",)}
        self.reads = {k: formula.reads[k] if self.needs_formula(k) else own[k] for k in own}

    def needs_formula(self, slot: str) -> bool:
        """Whether the formula of a slot is evaluated."""
        return slot not in self.closures or getattr(self.closures[slot], "residual", False)

    def derive(self, p: dict[str, Tensor]) -> dict[str, Tensor]:
        """The water-content range, and what the formula needs."""
        own = {"theta_r": p["theta_r"], "span": p["theta_s"] - p["theta_r"], "K_s": p["K_s"]}
        if not any(map(self.needs_formula, self.slots)):
            return own
        # numbers that only the other formula reads
        absent = {k: torch.ones_like(p["K_s"]) for k in self.formula.parameters if k not in p}
        return self.formula.derive({**absent, **p}) | own

    def curves(self, psi: Tensor, p: Values) -> tuple[Tensor, Tensor]:
        """Water content and conductivity."""
        return self._curve("retention", psi, p), self._curve("conductivity", psi, p)

    def slopes(self, psi: Tensor, p: Values) -> Curves:
        """The curves and their derivatives in psi."""
        theta, capacity = self._with_slope("retention", psi, p)
        K, dK = self._with_slope("conductivity", psi, p)
        return Curves(theta, capacity, K, dK)

    def head(self, theta: Tensor, p: Values) -> Tensor:
        """Inverse of the retention curve, with gradients to its parameters and weights.

        Raises
        ------
        ParameterError
            A water content that the curve does not reach.
        """
        p = self.derive(dict(p))
        with torch.no_grad():
            low, high = torch.zeros_like(theta), torch.full_like(theta, LARGEST_DRYNESS)
            for _ in range(60):
                middle = 0.5 * (low + high)
                wet = self._curve("retention", head_at(middle), p) > theta
                low, high = torch.where(wet, middle, low), torch.where(wet, high, middle)
            psi = head_at(high)
            water, capacity = self._with_slope("retention", psi, p)
            missed = (water - theta).abs() > 1e-9
        if bool(missed.any()):
            raise ParameterError(
                "the retention curve does not reach the water content "
                f"{float(theta[missed][0]):g}: change theta_r or theta_s, or give the initial "
                "state as pressure head."
            )
        # a step of Newton's method, of which nothing is left but the gradient
        return psi - (self._curve("retention", psi, p) - theta) / capacity

    def _curve(self, slot: str, psi: Tensor, p: Values) -> Tensor:
        retention = slot == "retention"
        whole = (
            self.formula.curves(psi, p)[0 if retention else 1]
            if self.needs_formula(slot)
            else psi.new_zeros(())
        )
        if slot not in self.closures:
            return whole

        def of_formula(p: Values, _: Tensor) -> Tensor:
            return (
                1 - (whole - p["theta_r"]) / p["span"] if retention else -_decades(whole / p["K_s"])
            )

        out = share(
            self.slots[slot], self.closures[slot], of_formula, (dryness(psi),), p, entered(psi)
        )
        return (
            p["theta_r"] + p["span"] * (1 - out)
            if retention
            else p["K_s"] * torch.exp(-DECADE * out)
        )

    def _with_slope(self, slot: str, psi: Tensor, p: Values) -> tuple[Tensor, Tensor]:
        if slot not in self.closures:
            theta, capacity, K, dK, _ = self.formula.slopes(psi, p)
            return (theta, capacity) if slot == "retention" else (K, dK)
        closure = self.closures[slot]
        if getattr(closure, "residual", False):
            return with_slope(lambda x: self._curve(slot, x, p), psi)
        suction, dry = torch.where(psi < 0, -psi, 0.0), psi < 0
        guard = entered(psi), torch.where(dry, -ENTRY / (suction + ENTRY) ** 2, 0.0)
        out, by_dryness, by_guard = share_and_slope(
            self.slots[slot], closure, _no_formula, dryness(psi), p, guard
        )
        slope = torch.where(dry, -by_dryness / (DECADE * (1 + suction)), 0.0) + by_guard
        # a NeuralClosure rises whatever its weights
        if not isinstance(closure, NeuralClosure) and bool((slope > 0).any()):
            at = float(psi.broadcast_to(slope.shape)[slope > 0][0])
            raise ParameterError(
                f"the module in the slot {slot!r} falls with the dryness at a head of {at:g} cm: "
                "take a NeuralClosure with monotone_in=(0,)."
            )
        if slot == "retention":
            return p["theta_r"] + p["span"] * (1 - out), -p["span"] * slope
        K = p["K_s"] * torch.exp(-DECADE * out)
        return K, -DECADE * K * slope


def _no_formula(p: Values, x: Tensor) -> Tensor:
    raise TypeError("only residual closures have a formula.")


def formula_of_slot(
    formula: SoilHydraulics, slot: str, values: Mapping[str, float]
) -> Callable[[Tensor], Tensor]:
    """What a network in a slot would give to be the formula, as a function of the dryness `[...]`,
    which is above zero.
    """
    p = formula.derive(
        {k: torch.as_tensor(values[k], dtype=torch.float64) for k in formula.parameters}
    )

    def of(x: Tensor) -> Tensor:
        psi = head_at(x)
        theta, K = formula.curves(psi, p)
        out = (
            1 - (theta - p["theta_r"]) / p["span"]
            if slot == "retention"
            else -_decades(K / p["K_s"])
        )
        return out / entered(psi)

    return of
