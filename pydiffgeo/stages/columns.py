"""From the cells of a column to what probes measure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from pydiffgeo.data.batch import Batch
from pydiffgeo.errors import DataError, nearest
from pydiffgeo.models.richards.grid import Grid
from pydiffgeo.networks.reading import linear_weights
from pydiffgeo.stages.base import Known, Named, Series, Stage


class Probes(Stage):
    """Values at probes from those of cells: linear between the cells of the layer of each probe.

    Parameters
    ----------
    series : str
        Series of cells.
    gives : str
        Series [batch, time, depth] at the probes.
    depths : sequence of float, optional
        Depths of the probes (cm); by default those of the observations.
    """

    def __init__(
        self,
        series: str = "mean_water_content",
        gives: str = "soil_moisture",
        depths: Sequence[float] | None = None,
    ):
        super().__init__()
        self.of, self.reads, self.gives, self.depths = series, (series,), (gives,), depths

    def bind(self, known: Known) -> dict[str, str]:
        """Take the grid of the series."""
        if self.of not in known.grids:
            raise DataError(
                f"Probes reads {self.of!r}, which is no series of "
                f"cells{nearest(self.of, known.grids)} There are "
                f"{', '.join(known.grids) or 'none'}."
            )
        depths = known.depths if self.depths is None else self.depths
        if not len(depths):
            raise DataError("Probes needs depths: the observations have none. Give depths=[...].")
        weights = probe_weights(known.grids[self.of], np.asarray(depths, dtype=float))
        self.register_buffer("weights", weights, persistent=False)
        return known.unit_of(self.of, self.gives)

    def forward(self, series: Series, parameters: Named, batch: Batch) -> Named:
        """Return the series at the probes."""
        cells = series[self.of]
        return {self.gives[0]: cells @ self.get_buffer("weights").to(cells)}


def probe_weights(grid: Grid, depths: np.ndarray) -> Tensor:
    """Return the weights [cell, probe] that interpolate within the layer of each probe."""
    centres, layer, faces = grid.depth.numpy(), grid.layer.numpy(), grid.faces.numpy()
    weights = np.zeros((grid.cells, len(depths)))
    for j, depth in enumerate(depths):
        cell = min(int(np.searchsorted(faces, depth, side="right")) - 1, grid.cells - 1)
        inside = np.flatnonzero(layer == layer[cell])
        weights[inside, j] = linear_weights(centres[inside], np.array([depth]))[:, 0]
    return torch.tensor(weights)
