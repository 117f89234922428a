"""A value of each site at its place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pydiffgeo.errors import lookup
from pydiffgeo.evaluation.figures import Panel, Runs, literal, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def site_map(runs: Runs, of: str | None = None) -> Panel:
    """Draw a parameter, attribute or score of the sites of the first run on a map.

    Parameters
    ----------
    runs : mapping of str to Evaluation
    of : str, optional
        What is shown; by default the first learned parameter, or the first score.

    Raises
    ------
    UnknownName
        Nothing is called so.
    """
    run = next(iter(runs.values()))
    known = {str(n): v for n, v in run.parameters.items()}
    known |= {str(n): v for scores in run.all_scores.values() for n, v in scores.items()}
    if run.sites is not None:
        some = run.sites.sel(site=run.data["site"])
        attributes = {str(n): v for n, v in some.items() if v.dims == ("site",)}
        known |= {n: v for n, v in attributes.items() if v.dtype.kind in "fiu"}
    panel = Panel(f"Map of {of or next(iter(known), 'sites')}")
    if not known or not {"lat", "lon"} <= set(run.data.coords):
        panel.nothing = "the places of the sites are not known"
        return panel
    values = lookup(known, of or next(iter(known)), "parameter, attribute or score for the map")
    unit = values.attrs.get("units", "1")
    shown = values.mean([d for d in values.dims if d != "site"]).values
    lon, lat = (np.asarray(run.data[x].values, float) for x in ("lon", "lat"))
    label = str(values.name) if unit == "1" else f"{values.name} ({unit})"
    panel.figures["map"] = panel.title, lambda: _draw(lon, lat, shown, label)
    return panel


def _draw(lon: NDArray, lat: NDArray, shown: NDArray, label: str) -> Figure:
    """Draw dots whose colours span the 2 % to 98 % quantiles; sites without a value are left out."""
    known = np.isfinite(lon) & np.isfinite(lat) & np.isfinite(shown)
    figure, axes = new_figure(1, 1, (7.5, 4.4))
    axis = axes[0, 0]
    if known.any():
        low, high = np.quantile(shown[known], [0.02, 0.98])
        style = {"s": 16, "vmin": low, "vmax": high, "cmap": "viridis", "linewidths": 0}
        dots = axis.scatter(lon[known], lat[known], c=shown[known], **style)
        figure.colorbar(dots, label=literal(label), extend="both", shrink=0.7)
        axis.set_aspect(1 / np.cos(np.deg2rad(np.mean(lat[known]))))
    axis.set(xlabel="longitude (degrees east)", ylabel="latitude (degrees north)")
    axis.grid(color="0.92")
    axis.set_axisbelow(True)
    return figure
