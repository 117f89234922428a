"""What a satellite sees of the soil: a depth near the surface, the mean of a cell, its bias."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pydiffgeo.data.batch import Batch
from pydiffgeo.errors import DataError
from pydiffgeo.models.richards.grid import Grid
from pydiffgeo.networks.bounds import Bounds
from pydiffgeo.stages.base import Known, Named, Range, Series, Stage, in_time, nearest_inside


class Satellite(Stage):
    """Soil moisture as a satellite measures it in a cell of its grid.

    A series of soil cells is weighted by exp(-z / depth), as emission from the soil is (Jackson et
    al. 1984, first order), over each cell of the soil; another series is taken as it is. Sites
    that share the attribute ``cell`` get the mean of the cell: the batch must hold all of them,
    `Windows(closed="cell")`. Then comes gain x value + bias, where they are learned, the mean of
    those of the sites of the cell.

    What is observed of a cell stands at one of its sites, so that it counts once in losses and
    scores, or at all of them.

    Parameters
    ----------
    series : str
        Water content, [batch, time] or of soil cells.
    name : str
        What it is given as.
    depth : float
        Depth (cm) at which the weight is 1/e; for a series of soil cells.
    bias : (float, float), optional
        Bounds of the learned parameter NAME_bias, in the unit of the series; it begins at zero.
    gain : (float, float), optional
        Bounds of the learned parameter NAME_gain; it begins at one.
    cells : bool
        Whether sites share cells. Without it each site is a cell of its own, and needs no attribute
        ``cell``.
    """

    remembers = False

    def __init__(
        self,
        series: str = "mean_water_content",
        name: str = "satellite_soil_moisture",
        depth: float = 5.0,
        bias: Range | None = None,
        gain: Range | None = None,
        cells: bool = True,
    ):
        super().__init__()
        if not depth > 0:
            raise DataError(f"Satellite: depth {depth} must be positive (cm).")
        self.whole_cells = cells
        self.of, self.reads, self.gives, self.depth = series, (series,), (name,), depth
        self.learns = {}
        if bias is not None:
            self.learns[f"{name}_bias"] = Bounds(*bias)
        if gain is not None:
            self.learns[f"{name}_gain"] = Bounds(*gain)
        start = {f"{name}_bias": 0.0, f"{name}_gain": 1.0}
        self.begin = nearest_inside({k: start[k] for k in self.learns}, self.learns)

    def bind(self, known: Known) -> dict[str, str]:
        """Take the grid of a series of soil cells, and return the unit of the series."""
        grid = known.grids.get(self.of)
        weights = torch.zeros(0) if grid is None else seen_weights(grid, self.depth)
        self.register_buffer("weights", weights, persistent=False)
        return known.unit_of(self.of, self.gives)

    def forward(self, series: Series, parameters: Named, batch: Batch) -> Named:
        """Return what is seen of the cell of each site, [batch, time]."""
        name, values = self.gives[0], series[self.of]
        if values.ndim == 3:
            values = values @ self.get_buffer("weights").to(values)
        values = self._of_cells(values, batch)
        for part, apply in ((f"{name}_gain", torch.mul), (f"{name}_bias", torch.add)):
            if part in self.learns:
                own = in_time(parameters[part].to(values), values)
                values = apply(values, self._of_cells(own, batch))
        return {name: values}

    def _of_cells(self, values: Tensor, batch: Batch) -> Tensor:
        """Return the mean of the cell of each row, where sites share cells."""
        return batch.mean_of_cells(values, self.who) if self.whole_cells else values


def seen_weights(grid: Grid, depth: float) -> Tensor:
    """Return the share [cell] of each soil cell in what is seen: exp(-z / depth), over the column.

    The integral over each cell, divided by that over the whole column.
    """
    through = np.exp(-grid.faces.numpy() / depth)
    shares = through[:-1] - through[1:]
    return torch.tensor(shares / shares.sum())
