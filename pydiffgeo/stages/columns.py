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

    Or from the series of a few layers, such as those of `TwoLayerBucket`: linear between the
    middles of the layers, constant above the first and below the last.

    Parameters
    ----------
    series : str or sequence of str
        Series of cells; or one series for each layer, from above.
    gives : str
        Series [batch, time, depth] at the probes.
    depths : sequence of float, optional
        Depths of the probes (cm); by default those of the observations.
    middles : sequence of float, optional
        Depth of the middle of each layer (cm), where there is a series for each.

    Raises
    ------
    DataError
        Layers without middles, or middles that do not lie one below the other; with the first
        records, a series that is none of cells, or no depths.
    """

    def __init__(
        self,
        series: str | Sequence[str] = "mean_water_content",
        gives: str = "soil_moisture",
        depths: Sequence[float] | None = None,
        middles: Sequence[float] | None = None,
    ):
        super().__init__()
        self.reads = (series,) if isinstance(series, str) else tuple(series)
        self.gives, self.depths, self.middles = (gives,), depths, middles
        told = f"series of {len(self.reads)} layers: {', '.join(self.reads)}"
        if middles is None and len(self.reads) > 1:
            raise DataError(f"Probes has {told}; give middles=[...], their depths in cm.")
        if middles is not None and (
            len(middles) != len(self.reads) or (np.diff(middles) <= 0).any()
        ):
            raise DataError(
                f"Probes has {told}, and middles {list(middles)}; give one depth (cm) for each, "
                "from above."
            )

    def bind(self, known: Known) -> dict[str, str]:
        """Take the grid of the series."""
        of = self.reads[0]
        if self.middles is None and of not in known.grids:
            raise DataError(
                f"Probes reads {of!r}, which is no series of "
                f"cells{nearest(of, known.grids)} There are "
                f"{', '.join(known.grids) or 'none'}."
            )
        depths = np.asarray(known.depths if self.depths is None else self.depths, dtype=float)
        if not len(depths):
            raise DataError("Probes needs depths: the observations have none. Give depths=[...].")
        if self.middles is None:
            weights = probe_weights(known.grids[of], depths)
        else:
            weights = torch.tensor(linear_weights(np.asarray(self.middles, dtype=float), depths))
        self.register_buffer("weights", weights, persistent=False)
        return known.unit_of(of, self.gives)

    def forward(self, series: Series, parameters: Named, batch: Batch) -> Named:
        """Return the series at the probes."""
        parts = [series[name] for name in self.reads]
        cells = parts[0] if self.middles is None else torch.stack(parts, -1)
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
