"""A value of each site at its place."""

from __future__ import annotations

import numpy as np
import xarray as xr

from pydiffgeo.errors import lookup
from pydiffgeo.evaluation.figures import Figure, Panel, Runs, literal, new_figure


def site_map(runs: Runs, of: str | None = None) -> Panel:
    """Draw a parameter, attribute or score `of` the sites of the first run on a map.

    By default the first learned parameter, or the first score; UnknownName for any other.
    """
    run = next(iter(runs.values()))
    known = {
        str(n): v for some in (run.parameters, *run.all_scores.values()) for n, v in some.items()
    }
    if run.sites is not None:
        some = run.sites.sel(site=run.data["site"]).items()
        known |= {str(n): v for n, v in some if v.dims == ("site",) and v.dtype.kind in "fiu"}
    of = of or next(iter(known), "sites")
    panel = Panel(f"Map of {of}")
    if known and {"lat", "lon"} <= set(run.data.coords):
        values = lookup(known, of, "parameter, attribute or score for the map")
        shown = values.mean([d for d in values.dims if d != "site"], keep_attrs=True)
        panel.figures["map"] = panel.title, lambda: _draw(run.data, shown)
    else:
        panel.nothing = "the places of the sites are not known"
    return panel


def _draw(places: xr.Dataset, shown: xr.DataArray) -> Figure:
    """Draw dots whose colours span the 2 % to 98 % quantiles; sites without a value are left out."""
    lon, lat, values = (np.asarray(x, float) for x in (places["lon"], places["lat"], shown))
    known = np.isfinite(lon + lat + values)
    figure, [[axis]] = new_figure(1, 1, (7.5, 4.4))
    if known.any():
        low, high = np.quantile(values[known], [0.02, 0.98])
        style = {"s": 16, "vmin": low, "vmax": high, "cmap": "viridis", "linewidths": 0}
        dots = axis.scatter(lon[known], lat[known], c=values[known], **style)
        unit = shown.attrs.get("units", "1")
        label = str(shown.name) if unit == "1" else f"{shown.name} ({unit})"
        figure.colorbar(dots, label=literal(label), extend="both", shrink=0.7)
        axis.set_aspect(1 / np.cos(np.deg2rad(np.mean(lat[known]))))
    axis.set(xlabel="longitude (degrees east)", ylabel="latitude (degrees north)")
    axis.grid(color="0.92")
    axis.set_axisbelow(True)
    return figure
