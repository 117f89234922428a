"""What differs between sites: the distribution of a score, and values at their places."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from pydiffgeo.errors import lookup
from pydiffgeo.evaluation.figures import Figure, Panel, Runs, literal, new_figure, with_unit
from pydiffgeo.evaluation.scores import groups_of


def cdf(runs: Runs, measure: str = "nse", limits: tuple[float, float] = (-0.5, 1.0)) -> Panel:
    """Draw the share of sites with at most a score, one line per run and group of sites.

    `limits` is the range shown; what lies below it is in the share at its left end.
    """
    lines: dict[str, NDArray] = {}
    for name, run in runs.items():
        scores = next((s for s in run.all_scores.values() if measure in s), xr.Dataset())
        groups = groups_of(scores) if measure in scores else ()
        for group in dict.fromkeys(groups):
            values = scores[measure].values[groups == group].ravel()
            label = ", ".join(filter(None, (name if len(runs) > 1 or not group else "", group)))
            lines[label] = values[np.isfinite(values)]
    panel = Panel(f"Share of sites with at most this {measure.upper()}")
    if any(values.size for values in lines.values()):
        panel.figures["cdf"] = panel.title, lambda: cdf_figure(lines, measure.upper(), limits)
    else:
        panel.nothing = f"no site has a {measure.upper()}"
    return panel


def cdf_figure(
    scores: Mapping[str, ArrayLike], label: str, limits: tuple[float, float] = (-0.5, 1.0)
) -> Figure:
    """Return a figure of the share of sites with at most a score, a line for each model.

    Scores are [site]; NaN count for nothing.
    """
    figure, [[axis]] = new_figure(1, 1, (6.0, 4.0))
    for name, given in scores.items():
        values = np.asarray(given, float)
        known = np.sort(values[np.isfinite(values)])
        if known.size:
            text = f"{literal(name)}: median {np.median(known):.3f}, {known.size} scores"
            axis.step(known, np.arange(1, known.size + 1) / known.size, where="post", label=text)
    axis.set(xlim=limits, ylim=(0, 1), xlabel=literal(label), ylabel="share of sites")
    axis.grid(color="0.9")
    if axis.get_lines():
        axis.legend(fontsize=8, loc="upper left")
    return figure


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
        panel.figures["map"] = panel.title, lambda: _draw_map(run.data, shown)
    else:
        panel.nothing = "the places of the sites are not known"
    return panel


def _draw_map(places: xr.Dataset, shown: xr.DataArray) -> Figure:
    """Draw dots whose colours span the 2 % to 98 % quantiles; sites without a value have none."""
    lon, lat, values = (np.asarray(x, float) for x in (places["lon"], places["lat"], shown))
    known = np.isfinite(lon + lat + values)
    figure, [[axis]] = new_figure(1, 1, (7.5, 4.4))
    if known.any():
        low, high = np.quantile(values[known], [0.02, 0.98])
        style = {"s": 16, "vmin": low, "vmax": high, "cmap": "viridis", "linewidths": 0}
        dots = axis.scatter(lon[known], lat[known], c=values[known], **style)
        figure.colorbar(dots, label=with_unit(shown.name, shown), extend="both", shrink=0.7)
        axis.set_aspect(1 / np.cos(np.deg2rad(np.mean(lat[known]))))
    axis.set(xlabel="longitude (degrees east)", ylabel="latitude (degrees north)")
    axis.grid(color="0.92")
    axis.set_axisbelow(True)
    return figure
