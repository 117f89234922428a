"""The distribution of a score over the sites."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from pydiffgeo.evaluation.figures import Figure, Panel, Runs, literal, new_figure


def cdf(runs: Runs, measure: str = "nse", limits: tuple[float, float] = (-0.5, 1.0)) -> Panel:
    """Draw the share of sites with at most a score, one line per run and group of sites.

    `limits` is the range shown; what lies below it is in the share at its left end.
    """
    lines: dict[str, NDArray] = {}
    for name, run in runs.items():
        scores = next((s for s in run.all_scores.values() if measure in s), xr.Dataset())
        for group in dict.fromkeys(run.groups if measure in scores else ()):
            values = scores[measure].values[run.groups == group].ravel()
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
