"""Radiation in a canopy: what sunlit leaves, shaded leaves and the soil absorb.

Leaves scatter one half up and one half down, and the soil reflects. The two streams of this are
solved exactly (Campbell & Norman 1998, eq. 15.8 and 15.11, are what they give at the top and at the
soil), so that what is absorbed and what is reflected make up what came, for any leaves. Depth in a
canopy is the leaf area above, from 0 to L; a share exp(-K_b depth) of the leaves there is sunlit.

Sources: Campbell & Norman (1998), An Introduction to Environmental Biophysics,
doi:10.1007/978-1-4612-1626-1; de Pury & Farquhar (1997), doi:10.1111/j.1365-3040.1997.00094.x.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

SMALL = 1e-4  # argument of `mean_exp` below which its series is exact to rounding


class Absorbed(NamedTuple):
    """Radiation by who absorbs it, and what leaves at the top; per area of ground."""

    sun: Tensor
    shade: Tensor
    soil: Tensor
    reflected: Tensor


class Exchange(NamedTuple):
    """Shares of long wave radiation between leaves, sky and soil; per area of ground."""

    sun_sky: Tensor
    shade_sky: Tensor
    sun_soil: Tensor
    shade_soil: Tensor
    sky_soil: Tensor


def mean_exp(x: Tensor) -> Tensor:
    """(1 - exp(-x)) / x, the mean of exp(-x s) for s from 0 to 1; 1 at x = 0."""
    near = x.abs() < SMALL
    safe = torch.where(near, 1.0, x)
    series = 1 - x * (1 / 2 - x * (1 / 6 - x * (1 / 24 - x / 120)))
    return torch.where(near, series, -torch.expm1(-safe) / safe)


def extinction(sun_elevation: Tensor, leaf_angle: Tensor, least_sine: float) -> Tensor:
    """Return leaf area that is projected on the ground along the beam, per leaf area, `[...]`.

    For ellipsoidal leaf angles (Campbell & Norman 1998, eq. 15.4).

    Parameters
    ----------
    sun_elevation : Tensor, [...]
        Of the sun above the horizon, deg.
    leaf_angle : Tensor, [...]
        Ratio of the horizontal to the vertical axis of the ellipsoid: 1 spherical, 0 vertical.
    least_sine : float
        Sine of the elevation below which the sun counts as that high.
    """
    sine = torch.sin(torch.deg2rad(sun_elevation)).clamp_min(least_sine)
    tangent = (1 - sine * sine) / (sine * sine)  # of the zenith angle, squared
    spread = leaf_angle + 1.774 * (leaf_angle + 1.182) ** -0.733
    return torch.sqrt(leaf_angle * leaf_angle + tangent) / spread


class _Streams(NamedTuple):
    """Down plus up stream at depth s is `size` (exp(-decay s) + back exp(-decay (2 L - s)))."""

    size: Tensor
    back: Tensor
    decay: Tensor
    reflected: Tensor
    reaching: Tensor  # the soil


def _streams(area: Tensor, K: Tensor, absorptivity: Tensor, soil_albedo: Tensor) -> _Streams:
    """Solve both streams under a unit of radiation."""
    root = torch.sqrt(absorptivity)
    deep = (1 - root) / (1 + root)  # reflectance of a canopy without end
    decay = root * K
    back = (soil_albedo - deep) / (1 - soil_albedo * deep)
    through = torch.exp(-decay * area)
    first = 1 / (1 + deep * back * through * through)
    return _Streams(
        first * (1 + deep), back, decay, first * (deep + back * through * through),
        first * through * (1 + deep * back),
    )  # fmt: skip


def _over_depth(s: _Streams, area: Tensor, K: Tensor | float) -> Tensor:
    """Integral of both streams times exp(-K depth) over the leaf area."""
    twice = torch.exp(-2 * s.decay * area)
    return (
        s.size
        * area
        * (mean_exp((s.decay + K) * area) + s.back * twice * mean_exp((K - s.decay) * area))
    )


def absorbed(
    beam: Tensor,
    diffuse: Tensor,
    area: Tensor,
    K_beam: Tensor,
    K_diffuse: Tensor,
    absorptivity: Tensor,
    soil_albedo: Tensor,
) -> Absorbed:
    """Return who absorbs the radiation of one band, `[...]` each, in its unit.

    Sunlit leaves alone meet the beam before it is scattered; scattered and diffuse radiation meets
    all leaves.

    Parameters
    ----------
    beam, diffuse : Tensor, [...]
        Radiation above the canopy, per area of ground.
    area : Tensor, [...]
        Leaf area index, m2 m-2.
    K_beam, K_diffuse : Tensor, [...]
        Extinction by black leaves, per leaf area.
    absorptivity : Tensor, [...]
        Share that a leaf absorbs, above 0 and up to 1.
    soil_albedo : Tensor, [...]
        Share that the soil reflects.
    """
    b = _streams(area, K_beam, absorptivity, soil_albedo)
    d = _streams(area, K_diffuse, absorptivity, soil_albedo)
    per_b, per_d = absorptivity * K_beam, absorptivity * K_diffuse
    met = area * mean_exp(K_beam * area)  # the beam before it is scattered
    met_again = area * mean_exp(2 * K_beam * area)
    scattered = per_b * (_over_depth(b, area, K_beam) - met_again)  # by sunlit leaves
    beam_shade = per_b * (_over_depth(b, area, 0.0) - met) - scattered
    diffuse_sun = per_d * _over_depth(d, area, K_beam)
    diffuse_shade = per_d * _over_depth(d, area, 0.0) - diffuse_sun
    down = beam * b.reaching + diffuse * d.reaching
    return Absorbed(
        beam * (per_b * met + scattered) + diffuse * diffuse_sun,
        beam * beam_shade + diffuse * diffuse_shade,
        (1 - soil_albedo) * down,
        beam * b.reflected + diffuse * d.reflected,
    )


def sunlit_area(area: Tensor, K_beam: Tensor, decline: Tensor | float = 0.0) -> Tensor:
    """Integral of exp(-(K_beam + decline) depth) over a canopy, `[...]`: without decline the sunlit
    leaf area, m2 m-2.
    """
    return area * mean_exp((K_beam + decline) * area)


def long_wave_exchange(area: Tensor, K_beam: Tensor, K_diffuse: Tensor) -> Exchange:
    """Return shares of long wave radiation that leaves, sky and soil exchange, `[...]` each.

    All are black. What leaves of one class send to the other is left out: their temperatures are
    near each other. What one sends to another is what it gets at equal temperatures, so that the
    sum of the net radiation of all is what comes from the sky less what goes there.
    """
    through = torch.exp(-K_diffuse * area)
    sun_sky = K_diffuse * area * mean_exp((K_diffuse + K_beam) * area)
    sun_soil = K_diffuse * area * through * mean_exp((K_beam - K_diffuse) * area)
    leaves = K_diffuse * area * mean_exp(K_diffuse * area)
    return Exchange(sun_sky, leaves - sun_sky, sun_soil, leaves - sun_soil, through)


def diffuse_par_share(diffuse_share: Tensor) -> Tensor:
    """Return the diffuse share of photosynthetically active radiation from that of all.

    The sky is blue: Spitters et al. (1986), doi:10.1016/0168-1923(86)90060-2, eq. 10.
    """
    return (1 + 0.3 * (1 - diffuse_share * diffuse_share)) * diffuse_share
