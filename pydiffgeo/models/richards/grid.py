"""One-dimensional finite-volume grids of a soil column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pydiffgeo.errors import GridError
from pydiffgeo.units import Units


@dataclass(frozen=True)
class Grid:
    """A soil column cut into cells, depth positive downward from the surface.

    Attributes
    ----------
    faces : Tensor, [cell + 1]
        Depth of the faces in `unit`; the first is 0.
    layer : Tensor, [cell], int64
        Number of the soil layer of each cell, from 0 at the surface.
    unit : {"mm", "cm", "dm", "m"}
        Unit of length of this grid, and of all that is given to a model on it and comes from it.
    time_unit : {"s", "min", "h", "d"}
        Unit of time of a model on it: of conductivities, fluxes, and times that are numbers.
    """

    faces: Tensor
    layer: Tensor
    unit: str = "cm"
    time_unit: str = "h"

    def __post_init__(self) -> None:
        units = Units(self.unit, self.time_unit)
        object.__setattr__(self, "unit", units.length)
        object.__setattr__(self, "time_unit", units.time)

    @classmethod
    def from_faces(
        cls,
        faces: Sequence[float] | np.ndarray | Tensor,
        layers: Sequence[float] = (0.0,),
        unit: str = "cm",
        time_unit: str = "h",
    ) -> Grid:
        """Build a grid from the depths of its faces.

        Parameters
        ----------
        faces : sequence of float, [cell + 1]
            Depths in `unit`, strictly increasing, starting at 0.
        layers : sequence of float
            Depth at which each soil layer begins; the first is 0, each of the others must be a
            face.
        unit, time_unit : str
            Units of length and time, see `Grid`.

        Raises
        ------
        GridError
            A cell without thickness, or a layer boundary that is no face.
        UnknownName
            A unit that is not known.
        """
        z = np.asarray(faces, dtype=float).ravel()
        if z.size < 3 or not np.isfinite(z).all():
            raise GridError(
                f"a grid needs at least two cells with finite faces, got faces={z.tolist()[:5]}."
            )
        if z[0] != 0:
            raise GridError(f"the first face must be the surface at 0 {unit}, got {z[0]}.")
        dz = np.diff(z)
        if (dz <= 0).any():
            i = int(np.argmax(dz <= 0))
            raise GridError(
                f"cell {i} between {z[i]} and {z[i + 1]} {unit} has thickness {dz[i]}; "
                "depths are positive downward and must increase."
            )
        tops = np.asarray(layers, dtype=float).ravel()
        if tops.size == 0 or tops[0] != 0 or (np.diff(tops) <= 0).any() or tops[-1] >= z[-1]:
            raise GridError(
                f"layers must begin at 0 {unit}, increase, and end above the bottom at {z[-1]} "
                f"{unit}; got {tops.tolist()}."
            )
        for top in tops:
            if np.abs(z - top).min() > 1e-9 * z[-1]:
                raise GridError(
                    f"layer boundary at {top} {unit} is not a face of the grid; nearest face: "
                    f"{z[np.abs(z - top).argmin()]} {unit}; move one of them."
                )
        middle = 0.5 * (z[1:] + z[:-1])
        return cls(
            torch.tensor(z),
            torch.tensor(np.searchsorted(tops, middle, side="right") - 1),
            unit,
            time_unit,
        )

    @classmethod
    def uniform(
        cls,
        depth: float,
        cells: int,
        layers: Sequence[float] = (0.0,),
        unit: str = "cm",
        time_unit: str = "h",
    ) -> Grid:
        """Cells of equal thickness from the surface to `depth`; units as in `Grid`."""
        _check_size(depth, cells, unit)
        return cls.from_faces(np.linspace(0.0, depth, cells + 1), layers, unit, time_unit)

    @classmethod
    def graded(
        cls,
        depth: float,
        cells: int,
        top: float,
        layers: Sequence[float] = (0.0,),
        unit: str = "cm",
        time_unit: str = "h",
    ) -> Grid:
        """Return cells that grow geometrically from thickness `top` at the surface.

        Faces are moved to the boundaries of layers.
        """
        _check_size(depth, cells, unit)
        if not 0 < top <= depth / cells:
            raise GridError(
                f"the top cell must be thinner than the mean, {depth / cells:g} {unit}; got "
                f"top={top}."
            )
        low, high = 1.0, 1e3
        for _ in range(200):  # bisection on the growth ratio
            ratio = 0.5 * (low + high)
            total = top * cells if ratio - 1 < 1e-12 else top * (ratio**cells - 1) / (ratio - 1)
            low, high = (ratio, high) if total < depth else (low, ratio)
        z = np.concatenate([[0.0], np.cumsum(top * ratio ** np.arange(cells))])
        z *= depth / z[-1]
        for boundary in layers:
            z[np.abs(z - boundary).argmin()] = boundary
        return cls.from_faces(z, layers, unit, time_unit)

    def computed(self) -> Grid:
        """Return the same column in cm and h."""
        units = Units(self.unit, self.time_unit)
        return self if units.computed else Grid(self.faces * units.factor("cm"), self.layer)

    def as_settings(self) -> dict[str, Any]:
        """Return the grid in plain types, as settings take it."""
        tops = [0, *((self.layer.diff() != 0).nonzero()[:, 0] + 1).tolist()]
        faces, layers = self.faces.tolist(), self.faces[tops].tolist()
        units = {"unit": self.unit, "time_unit": self.time_unit}
        return {"kind": "from_faces", "faces": faces, "layers": layers, **units}

    @property
    def cells(self) -> int:
        """Number of cells."""
        return self.faces.numel() - 1

    @property
    def n_layers(self) -> int:
        """Number of soil layers."""
        return int(self.layer[-1]) + 1

    @property
    def thickness(self) -> Tensor:
        """Thickness of the cells `[cell]`, in `unit`."""
        return self.faces.diff()

    @property
    def depth(self) -> Tensor:
        """Depth of the cell centres `[cell]`, in `unit`."""
        return 0.5 * (self.faces[1:] + self.faces[:-1])


def _check_size(depth: float, cells: int, unit: str) -> None:
    if not (np.isfinite(depth) and depth > 0):
        raise GridError(f"depth must be a positive number of {unit}, got {depth}.")
    if int(cells) != cells or cells < 2:
        raise GridError(f"a grid needs at least 2 cells, got cells={cells}.")
