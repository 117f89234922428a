"""Rivers: a value of each site along the network, and a score against an attribute."""

from __future__ import annotations

from functools import partial

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pydiffgeo.data.network import DOWNSTREAM, below, levels
from pydiffgeo.errors import lookup
from pydiffgeo.evaluation.figures import Figure, Panel, Runs, colour, literal, new_figure, with_unit

WIDTHS = 0.4, 3.0  # points: of the lines of headwaters, and of the largest river


def river(runs: Runs, of: str | None = None) -> Panel:
    """Draw a parameter or attribute `of` the sites of the first run along the river.

    By their places (`lat`, `lon`) where these are known, else by the distance to the outlet (the
    attribute `length`, or the number of sites). By default the first learned parameter.
    """
    run = next(iter(runs.values()))
    sites = run.sites
    if sites is None or DOWNSTREAM not in sites:
        return Panel("The river", nothing="the sites are no river")
    sites = sites.sel(site=run.data["site"])
    known = {str(n): v for n, v in run.parameters.items() if v.dims == ("site",)}
    numbers = {str(n): v for n, v in sites.items() if v.dims == ("site",) and v.dtype.kind in "fiu"}
    of = of or next(iter(known), next(iter(numbers), ""))
    panel = Panel(f"{of} along the river")
    if not of:
        panel.nothing = "no site has a number to show"
        return panel
    shown = lookup({**numbers, **known}, of, "parameter or attribute of the river")
    panel.figures["river"] = panel.title, partial(_draw_river, sites, shown)
    return panel


def places(sites: xr.Dataset) -> tuple[NDArray, NDArray, tuple[str, str]]:
    """Return where sites are drawn, x and y [site], and what the axes are."""
    if {"lat", "lon"} <= set(sites.variables):
        names = "longitude (degrees east)", "latitude (degrees north)"
        return sites["lon"].values.astype(float), sites["lat"].values.astype(float), names
    into = below(sites)
    measured = "length" in sites
    length = sites["length"].values / 1000 if measured else np.ones(len(into))
    order = np.concatenate(levels(into))[::-1]  # from the outlets up
    distance, branches = np.zeros(len(into)), [list[int]() for _ in into]
    for row in order:
        down = into[row]
        distance[row] = length[row] + (distance[down] if down >= 0 else 0.0)
        if down >= 0:
            branches[down].append(int(row))
    leaves = np.zeros(len(into))
    for row in order[::-1]:
        leaves[row] = sum(leaves[k] for k in branches[row]) or 1.0
    height, free = np.zeros(len(into)), 0.0
    for row in order:
        if into[row] < 0:
            height[row], free = free + leaves[row] / 2, free + leaves[row]
        bottom = height[row] - leaves[row] / 2
        for k in sorted(branches[row], key=lambda k: leaves[k]):
            height[k], bottom = bottom + leaves[k] / 2, bottom + leaves[k]
    return distance, height, ("distance to the outlet" + (" (km)" if measured else ""), "")


def _draw_river(sites: xr.Dataset, shown: xr.DataArray) -> Figure:
    from matplotlib.collections import LineCollection

    x, y, names = places(sites)
    into, values = below(sites), shown.values.astype(float)
    size = np.ones(len(into))
    for rows in levels(into)[:-1]:
        rows = rows[into[rows] >= 0]
        np.add.at(size, into[rows], size[rows])
    figure, [[axis]] = new_figure(1, 1, (8.0, 5.0))
    ends = np.where(into >= 0, into, np.arange(len(into)))
    lines = np.stack([np.stack([x, y], 1), np.stack([x[ends], y[ends]], 1)], 1)
    thick = WIDTHS[0] + (WIDTHS[1] - WIDTHS[0]) * np.sqrt(size / size.max())
    drawn = LineCollection(list(lines), array=values, cmap="viridis", linewidths=thick)
    low, high = np.nanquantile(values, [0.02, 0.98])
    drawn.set_clim(low, high)
    axis.add_collection(drawn)
    axis.autoscale()
    figure.colorbar(drawn, label=with_unit(shown.name, shown), extend="both", shrink=0.7)
    axis.set(xlabel=names[0], ylabel=names[1])
    if not names[1]:
        axis.set_yticks([])
    return figure


def score_by(runs: Runs, attribute: str = "n_upstream", measure: str = "nse") -> Panel:
    """Draw a score of each site against an attribute, such as the drainage area, on a log axis."""
    panel = Panel(f"{measure.upper()} against {attribute}")
    found: dict[str, tuple[NDArray, NDArray]] = {}
    for name, run in runs.items():
        scores = next((s for s in run.all_scores.values() if measure in s), None)
        if scores is None or run.sites is None or attribute not in run.sites:
            continue
        if scores[measure].ndim == 1:
            values = run.sites[attribute].sel(site=scores["site"]).values.astype(float)
            found[name] = values, scores[measure].values
    if not found:
        panel.nothing = f"no run has both {measure.upper()} and {attribute}"
        return panel
    panel.figures["score_by"] = panel.title, partial(_draw_scores, found, attribute, measure)
    return panel


def _draw_scores(found: dict[str, tuple[NDArray, NDArray]], attribute: str, measure: str) -> Figure:
    figure, [[axis]] = new_figure(1, 1, (6.5, 4.0))
    for k, (name, (values, scores)) in enumerate(found.items()):
        axis.plot(values, scores, ".", color=colour(k), label=literal(name))
    if all((values > 0).all() for values, _ in found.values()):
        axis.set_xscale("log")
        for part in (axis.xaxis.set_major_formatter, axis.xaxis.set_minor_formatter):
            part("{x:g}")  # 30 and not 3 times 10 to the power of 1
        if max(values.max() / values.min() for values, _ in found.values()) > 10:
            axis.xaxis.set_minor_formatter("")
    axis.set(xlabel=literal(attribute), ylabel=measure.upper(), ylim=(-1.0, 1.02))
    axis.grid(color="0.92")
    axis.legend(fontsize=8)
    return figure
