"""Assimilation of a leaf from the CO2 at its chloroplasts: C3 and C4 leaves.

CO2 in umol mol-1, rates in umol m-2 s-1. Each function comes with its slope in CO2, so that
Newton's method needs no differentiation.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pydiffgeo.models.base import Values

TINY = 1e-20  # under square roots, where both rates are zero in the dark


def smooth_minimum(a: Tensor, b: Tensor, curvature: float) -> tuple[Tensor, Tensor]:
    """Smaller root x of curvature x^2 - (a + b) x + a b = 0, and the root of its discriminant.

    With a curvature of 1 it is min(a, b); where a = b it is below by the part sqrt(1 - curvature) /
    (1 + sqrt(1 - curvature)): 3 % for .999. The slope of x in a is (b - x) / root.
    """
    total, product = a + b, a * b
    square = torch.sub(total * total, product, alpha=4 * curvature)
    root = torch.sqrt(square + TINY)
    return 2 * product / (total + root + TINY), root


def electron_transport(light: Tensor, most: Tensor, curvature: Tensor) -> Tensor:
    """Rate of electron transport J from the light that photosystem II absorbs, and J_max.

    References
    ----------
    Farquhar & Wong (1984), doi:10.1071/PP9840191; Collatz et al. (1991), equation A8.
    """
    total, product = light + most, light * most
    return 2 * product / (total + torch.sqrt(total * total - 4 * curvature * product + TINY))


def c3(co2: Tensor, leaf: Values, curvatures: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """Gross assimilation of a C3 leaf, and its slope in CO2.

    Below the compensation point it is negative: photorespiration exceeds carboxylation.

    Parameters
    ----------
    co2 : Tensor, [...]
        CO2 at the chloroplasts.
    leaf : mapping of str to Tensor, [...]
        V, J, compensation (point without day respiration), michaelis (constant for CO2 in air) and,
        where triose phosphate use limits, product (3 TPU).
    curvatures : pair of float
        Of the smooth minima of the Rubisco- and light-limited rates, and of their minimum and the
        product-limited one.

    References
    ----------
    Farquhar, von Caemmerer & Berry (1980), doi:10.1007/BF00386231; Harley et al. (1992),
    doi:10.1111/j.1365-3040.1992.tb00974.x, for triose phosphates.
    """
    point = leaf["compensation"]
    over = co2 - point
    per_v, per_j = 1 / (co2 + leaf["michaelis"]), 1 / torch.add(co2, point, alpha=2)
    rubisco, light = leaf["V"] * per_v, 0.25 * leaf["J"] * per_j
    least, root = smooth_minimum(rubisco, light, curvatures[0])
    falling = (light - least) * rubisco * per_v + (rubisco - least) * light * per_j
    gross, slope = over * least, least - over * falling / root
    if "product" in leaf:
        limited, root = smooth_minimum(gross, leaf["product"], curvatures[1])
        gross, slope = limited, slope * (leaf["product"] - limited) / root
    return gross, slope


def c4(co2: Tensor, leaf: Values, curvatures: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """Gross assimilation of a C4 leaf, and its slope in CO2.

    Parameters
    ----------
    co2 : Tensor, [...]
        CO2 between the cells.
    leaf : mapping of str to Tensor, [...]
        V_c4 (umol m-2 s-1), light_c4, and slope_c4, the initial slope of the response to CO2
        (mol m-2 s-1).
    curvatures : pair of float
        Of the smooth minima of the first two, and of their minimum and the third.

    References
    ----------
    Collatz, Ribas-Carbo & Berry (1992), doi:10.1071/PP9920519.
    """
    ceiling = smooth_minimum(leaf["V_c4"], leaf["light_c4"], curvatures[0])[0]
    gross, root = smooth_minimum(leaf["slope_c4"] * co2, ceiling, curvatures[1])
    return gross, leaf["slope_c4"] * (ceiling - gross) / root


def limits_c3(co2: Tensor, leaf: Values) -> tuple[Tensor, ...]:
    """Return the Rubisco- and light-limited rates of a C3 leaf, and the product-limited if any."""
    over = co2 - leaf["compensation"]
    rubisco = leaf["V"] * over / (co2 + leaf["michaelis"])
    light = leaf["J"] * over / (4 * co2 + 8 * leaf["compensation"])
    return (rubisco, light, leaf["product"]) if "product" in leaf else (rubisco, light)


def limits_c4(co2: Tensor, leaf: Values) -> tuple[Tensor, ...]:
    """Return the Rubisco-, light- and CO2-limited rates of a C4 leaf."""
    return leaf["V_c4"], leaf["light_c4"], leaf["slope_c4"] * co2
