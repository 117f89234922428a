"""Root water uptake after Feddes et al. (1978), with a profile of root density."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from pydiffgeo.errors import ParameterError, lookup
from pydiffgeo.models.base import Values


def _uniform(z: Tensor, depth: Tensor) -> Tensor:
    return torch.minimum(z / depth, torch.ones_like(z))


def _linear(z: Tensor, depth: Tensor) -> Tensor:
    s = torch.minimum(z / depth, torch.ones_like(z))
    return s * (2 - s)


def _exponential(z: Tensor, depth: Tensor) -> Tensor:
    return 1 - torch.exp(-3 * z / depth)


PROFILES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "uniform": _uniform,
    "linear": _linear,
    "exponential": _exponential,
}
"""Cumulative share of roots above the depth z, given the parameter `root_depth`."""


@dataclass(frozen=True)
class Roots:
    """Root water uptake: potential transpiration x root density x stress of Feddes.

    Compensated or not.

    The stress factor rises linearly from 0 at the head `feddes_1` to 1 at `feddes_2`, and falls
    from 1 at `feddes_3` to 0 at `feddes_4`.

    Parameters
    ----------
    profile : {"exponential", "uniform", "linear", "given"}, optional
        Root density with depth: exponential with 95 % of the roots above `root_depth` (the rest
        below it), or constant or linearly decreasing down to `root_depth`; or `density`. It is
        scaled so that the column holds all roots. By default "given" where there is a density, else
        "exponential".
    density : sequence of float, [cell] or [depth], optional
        Root density of one's own, in any unit since it is scaled: of each cell, from the surface
        down, or at each of `depth`.
    depth : sequence of float, [depth], optional
        Depths of `density` in the unit of the grid, increasing; the density is linear between them,
        and zero above the first and below the last.
    demand_dependent : bool
        Let the threshold of drought depend on the demand as in HYDRUS. `feddes_3` becomes
        `feddes_3_high` (P2H) where the potential transpiration is `demand_high` (r2H) or more,
        `feddes_3_low` (P2L) where it is `demand_low` (r2L) or less, and is linear in it between.
    compensated : bool
        Let roots that find water make up for those that do not (Jarvis 1989): the uptake of every
        cell is divided by max(omega, omega_c), where omega is the mean of the stress factor over
        the roots. Above the parameter `omega_c` the plant transpires as much as it can, below it
        less in proportion to omega; 1 is no compensation.

    Raises
    ------
    UnknownName
        No such profile.
    ParameterError
        A density that is no density, or one without the other.

    References
    ----------
    Feddes, R. A., Kowalik, P. J., Zaradny, H. (1978), Simulation of field water use and crop yield.
    Jarvis, N. J. (1989), doi:10.1016/0022-1694(89)90050-4. Simunek, J., Hopmans, J. W. (2009),
    doi:10.1016/j.ecolmodel.2008.11.004. Simunek, J., Sejna, M., Saito, H., Sakai, M., van
    Genuchten, M. Th. (2013), The HYDRUS-1D software package, version 4.17, section 2.2.
    """

    profile: str | None = None
    density: Sequence[float] | None = None
    depth: Sequence[float] | None = None
    demand_dependent: bool = False
    compensated: bool = False

    def __post_init__(self) -> None:
        profile = self.profile or ("exponential" if self.density is None else "given")
        lookup({**PROFILES, "given": None}, profile, "root profile")
        if (profile == "given") != (self.density is not None):
            raise ParameterError(
                f"the profile {profile!r} and the density do not go together: roots of your own "
                "are Roots(density=[...]), of each cell or at depth=[...]; no other profile takes "
                "a density, and profile='given' needs one."
            )
        if self.depth is not None and self.density is None:
            raise ParameterError(
                "depth gives the depths of a root density of one's own: give density=[...] too."
            )
        object.__setattr__(self, "profile", profile)
        for name, values in (("density", self.density), ("depth", self.depth)):
            if values is not None:
                object.__setattr__(self, name, _numbers(values, name))

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the parameters."""
        depth = () if self.profile == "given" else ("root_depth",)
        dry = (
            ("feddes_3_high", "feddes_3_low", "demand_high", "demand_low")
            if self.demand_dependent
            else ("feddes_3",)
        )
        return (
            *depth,
            "feddes_1",
            "feddes_2",
            *dry,
            "feddes_4",
            *(("omega_c",) if self.compensated else ()),
        )

    def on(self, faces: Tensor) -> Roots:
        """Return these roots with a density for each cell of a grid in place of one by depth."""
        if self.profile != "given":
            return self
        return replace(self, density=self.given_density(faces).tolist(), depth=None)

    def given_density(self, faces: Tensor) -> Tensor:
        """Share of the roots per unit of length in each cell `[cell]`, where the density is given.

        Raises
        ------
        ParameterError
            A density that does not fit the grid, is negative, or zero throughout the column.
        """
        z = faces.detach().double().cpu().numpy()
        value = np.array(self.density)
        places = "depths" if self.depth is not None else "cells of the grid"
        wanted = len(z) - 1 if self.depth is None else len(self.depth)
        if len(value) != wanted:
            raise ParameterError(
                f"the root density has {len(value)} values for {wanted} {places}; give one for "
                "each."
            )
        if not (np.isfinite(value).all() and (value >= 0).all()):
            bad = int(np.argmin(np.isfinite(value) & (value >= 0)))
            raise ParameterError(
                f"the root density is {value[bad]:g} at place {bad}; it must be finite and not "
                "negative."
            )
        amount = (
            value * np.diff(z) if self.depth is None else _integrals(np.array(self.depth), value, z)
        )
        if not amount.sum() > 0:
            raise ParameterError(
                "the root density is zero in the whole column; give one that lies within the grid."
            )
        return torch.from_numpy(amount / amount.sum() / np.diff(z)).to(faces)

    def shares(self, faces: Tensor, p: Values) -> Tensor:
        """Return the share of the roots per unit of length in each cell `[..., cell]`."""
        if self.profile == "given":
            return self.given_density(faces)[None]
        assert self.profile is not None
        share = PROFILES[self.profile](faces, p["root_depth"]).diff(dim=-1)
        return share / (share.sum(-1, keepdim=True) * faces.diff())

    def prepare(self, faces: Tensor, p: dict[str, Tensor]) -> None:
        """Add what the iterations need to the parameters, and take out what they do not."""
        p["density"] = self.shares(faces, p)
        if self.compensated:
            p["root_share"] = p["density"] * faces.diff()
        p["feddes_wet"] = 1 / (p["feddes_1"] - p["feddes_2"])
        if not self.demand_dependent:
            p["feddes_dry"] = 1 / (p["feddes_3"] - p["feddes_4"])
        for k in ("root_depth", "feddes_2", "feddes_3"):
            p.pop(k, None)

    def _dry(self, demand: Tensor, p: Values) -> Tensor:
        """One over the range of heads in which drought reduces the uptake."""
        if not self.demand_dependent:
            return p["feddes_dry"]
        high = ((demand - p["demand_low"]) / (p["demand_high"] - p["demand_low"])).clamp(0, 1)
        return 1 / (
            p["feddes_3_low"] + high * (p["feddes_3_high"] - p["feddes_3_low"]) - p["feddes_4"]
        )

    def uptake(self, psi: Tensor, demand: Tensor, p: Values) -> Tensor:
        """What each cell gives, per unit of time."""
        stress = self.stress(psi, demand, p)
        uptake = demand * p["density"] * stress
        return uptake / self._divisor(stress, p)[0] if self.compensated else uptake

    def uptake_slope(
        self, psi: Tensor, demand: Tensor, p: Values
    ) -> tuple[Tensor, Tensor, Tensor, tuple[Tensor, ...]]:
        """Stress factor and its slope in psi, and the factor of both in the uptake.

        Where roots compensate, the uptake of each cell depends on all heads besides: by the last, a
        column times a row.
        """
        stress, slope = self.stress_slope(psi, demand, p)
        factor = demand * p["density"]
        if not self.compensated:
            return stress, slope, factor, ()
        divisor, over = self._divisor(stress, p)
        factor = factor / divisor
        return stress, slope, factor, (factor * stress * over / divisor, p["root_share"] * slope)

    @staticmethod
    def _divisor(stress: Tensor, p: Values) -> tuple[Tensor, Tensor]:
        """The larger of omega and omega_c, and whether it is omega."""
        omega = (p["root_share"] * stress).sum(-1, keepdim=True)
        over = omega > p["omega_c"]
        return torch.where(over, omega, p["omega_c"]), over

    def stress(self, psi: Tensor, demand: Tensor, p: Values) -> Tensor:
        """Stress factor between 0 (no uptake) and 1."""
        wet = (p["feddes_1"] - psi) * p["feddes_wet"]
        dry = (psi - p["feddes_4"]) * self._dry(demand, p)
        return torch.minimum(wet, dry).clamp(0, 1)

    def stress_slope(self, psi: Tensor, demand: Tensor, p: Values) -> tuple[Tensor, Tensor]:
        """Stress factor and its derivative in psi."""
        per_dry = self._dry(demand, p)
        wet = (p["feddes_1"] - psi) * p["feddes_wet"]
        dry = (psi - p["feddes_4"]) * per_dry
        stress = torch.minimum(wet, dry)
        slope = torch.where(wet < dry, -p["feddes_wet"], per_dry)
        inside = (stress > 0) & (stress < 1)
        return stress.clamp(0, 1), torch.where(inside, slope, torch.zeros_like(slope))


def _numbers(values: Sequence[float], name: str) -> tuple[float, ...]:
    try:
        return tuple(float(v) for v in values)
    except (
        TypeError,
        ValueError,
        RuntimeError,
    ) as error:  # of a list or array, of text, of a tensor of several
        raise ParameterError(
            f"the {name} of roots must be a list of numbers, got {str(values)[:60]}: give one for "
            "each cell or depth, the same for all columns."
        ) from error


def _integrals(depth: np.ndarray, density: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Integral over each cell of the density that is linear between depths and zero beyond them."""
    if len(depth) < 2 or not (np.isfinite(depth).all() and (np.diff(depth) > 0).all()):
        raise ParameterError(
            "the depths of a root density must increase, at least two of them, got "
            f"{depth.tolist()[:5]}."
        )
    whole = np.concatenate([[0.0], np.cumsum(np.diff(depth) * (density[1:] + density[:-1]) / 2)])
    z = np.clip(faces, depth[0], depth[-1])
    i = np.clip(np.searchsorted(depth, z, side="right") - 1, 0, len(depth) - 2)
    above = z - depth[i]
    slope = np.diff(density) / np.diff(depth)
    return np.diff(whole[i] + above * (density[i] + slope[i] * above / 2))
