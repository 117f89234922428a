"""Lakes and reservoirs with a level surface, an orifice and a weir."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from pydiffgeo.models.base import Values, not_negative
from pydiffgeo.models.rivers.reach import Reach
from pydiffgeo.models.smooth import positive_and_slope
from pydiffgeo.models.spec_files import load_constants

CONSTANTS = load_constants("level_pool")
BED, SILL, ROOT = (CONSTANTS[k] for k in ("BED_DEPTH", "SILL_WIDTH", "ROOT_WIDTH"))
SPEED = math.sqrt(2 * CONSTANTS["GRAVITY"])  # m1/2 s-1, of a head of 1 m


class LevelPool(Reach):
    """A lake or reservoir, whose surface is level: its depth follows from its volume.

    Water leaves through an orifice, C area sqrt(2 g head), and over a weir, 2/3 C width sqrt(2 g)
    head^(3/2); head is the depth of the water above either. The water surface grows with the depth
    h as lake_area ((h + d) / (crest + d))^shape, d = 10 cm. Above the crest it goes on to grow.

    The head has a smooth threshold, `positive` of a width of 1 cm: it is exactly 0 from 3 cm below
    the sill downwards, and exact from 3 cm above it. The power of a head is that of
    sqrt(head^2 + 1 mm^2). All are odd in the volume, so that no water leaves an empty pool, and one
    below zero, where Newton's method may pass, is refilled.

    Source: Chow, Maidment & Mays (1988), Applied Hydrology, section 8.2; lakes in large models of
    routing: Gharari et al. (2024), doi:10.1029/2022WR032400.
    """

    def __init__(self) -> None:
        super().__init__("level_pool")

    def start(self, parameters: Values) -> dict[str, Tensor]:
        """Return the volume of a pool that is filled to the crest."""
        p = {
            k: parameters.get(k, torch.tensor(q.default, dtype=torch.float64))
            for k, q in self.spec.parameters.items()
        }
        more = 1 + p["shape"]
        # of the bed, up to the crest
        filled = torch.expm1(more * torch.log1p(p["crest"] / BED))
        return {"volume": filled * bed_area(p) * BED / more}

    def check_parameters(self, parameters: Mapping[str, Tensor]) -> None:
        """Raise ParameterError as `Reach` does, and for outlets that would take water in."""
        super().check_parameters(parameters)
        outlets = ("weir_width", "weir_coefficient", "orifice_area", "orifice_coefficient")
        not_negative(self.spec, parameters, ("crest", "shape", "orifice_height", *outlets))

    def outflow(self, volume: Tensor, inflow: Tensor, p: Values) -> tuple[Tensor, Tensor]:
        """Return discharge, and loss to the bed (m3 s-1), `[...]`."""
        return self.outflow_and_slope(volume, inflow, p)[:2]

    def outflow_and_slope(
        self, volume: Tensor, inflow: Tensor, p: Values
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return discharge and loss (m3 s-1), and the slope of their sum in the volume (s-1)."""
        depth, surface, widening = depth_of(volume, p)
        out, out_slope = root_of(*head(depth, p["orifice_height"]))
        over, over_slope = power_of(*head(depth, p["crest"]))
        orifice = SPEED * p["orifice_coefficient"] * p["orifice_area"]
        weir = (2 / 3) * SPEED * p["weir_coefficient"] * p["weir_width"]
        loss = p["leakance"] * depth * surface
        by_depth = orifice * out_slope + weir * over_slope
        seeping = p["leakance"] * (1 + depth * widening / surface)
        return orifice * out + weir * over, loss, by_depth / surface + seeping


def bed_area(p: Values) -> Tensor:
    """Return the water surface of an empty pool, m2."""
    return p["lake_area"] * torch.exp(-p["shape"] * torch.log1p(p["crest"] / BED))


def depth_of(volume: Tensor, p: Values) -> tuple[Tensor, Tensor, Tensor]:
    """Return the depth of a volume, m, the water surface, m2, and its slope in the depth, m; the
    first and the last odd in the volume.
    """
    below = volume < 0
    size = torch.where(below, -volume, volume)
    bed, more = bed_area(p), 1 + p["shape"]
    filled = size * more / (bed * BED)
    rise = torch.expm1(torch.log1p(filled) / more)  # depth in parts of BED
    surface = bed * (1 + filled) / (1 + rise)
    depth, widening = BED * rise, p["shape"] * surface / (BED * (1 + rise))
    return torch.where(below, -depth, depth), surface, torch.where(below, -widening, widening)


def head(depth: Tensor, sill: Tensor) -> tuple[Tensor, Tensor]:
    """Return the depth of water above a sill, m, odd in the depth, and its slope."""
    above, slope = positive_and_slope(depth - sill, SILL)
    under, other = positive_and_slope(-depth - sill, SILL)
    return above - under, slope + other


def root_of(x: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
    """Return the root of a head, m1/2, linear near 0, and its slope in that in which the head has
    the slope `slope`.
    """
    square = x * x
    size = square + ROOT**2
    root = size.sqrt().sqrt()
    return x / root, slope * (1 - 0.5 * square / size) / root


def power_of(x: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
    """Return the power 3/2 of a head, m3/2, and its slope, as `root_of`."""
    square = x * x
    size = square + ROOT**2
    root = size.sqrt().sqrt()
    return x * root, slope * (1 + 0.5 * square / size) * root
