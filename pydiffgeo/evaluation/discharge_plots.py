"""Figures of discharge over many basins. They need matplotlib (the extra `plot`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from pydiffgeo.evaluation.plots import literal, new_figure, save_figure


def plot_cdf(
    path: Path,
    scores: Mapping[str, ArrayLike],
    label: str,
    limits: tuple[float, float] = (-0.5, 1.0),
) -> Path:
    """Draw the share of basins with at most a score, one line per model.

    Parameters
    ----------
    path : Path
        Image to write.
    scores : mapping of str to array_like, [basin]
        By model; basins without a score count neither below nor above.
    label : str
        Of the score.
    limits : tuple of float
        Range shown; what lies below it is in the share at its left end.
    """
    figure, axes = new_figure(1, 1, (6.0, 4.0))
    axis = axes[0, 0]
    for name, values in scores.items():
        known = np.sort(np.asarray(values, float)[np.isfinite(np.asarray(values, float))])
        if known.size:
            axis.step(known, np.arange(1, known.size + 1) / known.size, where="post",
                      label=f"{literal(name)}: median {np.median(known):.3f}, {known.size} basins")  # fmt: skip
    axis.set(xlim=limits, ylim=(0, 1), xlabel=literal(label), ylabel="share of basins")
    axis.grid(color="0.9")
    if axis.get_lines():
        axis.legend(fontsize=8, loc="upper left")
    return save_figure(figure, path)


def plot_hydrographs(
    path: Path, days: pd.DatetimeIndex, simulated: NDArray, observed: NDArray, titles: Sequence[str]
) -> Path:
    """Draw discharge of some basins, one panel each.

    Parameters
    ----------
    path : Path
        Image to write.
    days : DatetimeIndex, [time]
        Dates.
    simulated, observed : ndarray, [basin, time]
        Discharge, mm day-1.
    titles : sequence of str, [basin]
        Above each panel.
    """
    figure, axes = new_figure(len(titles), 1, (9.5, 2.2 * len(titles) + 0.5), sharex=True)
    for axis, title, s, o in zip(axes[:, 0], titles, simulated, observed, strict=True):
        axis.plot(days, o, color="black", linewidth=0.8, label="observed")
        axis.plot(days, s, color="tab:blue", linewidth=0.9, alpha=0.85, label="simulated")
        axis.set_title(literal(title), fontsize=9, loc="left")
        axis.set_ylabel("mm/day")
        axis.set_ylim(bottom=0)
        axis.margins(x=0)
    axes[0, 0].legend(fontsize=8, loc="upper right", ncols=2)
    return save_figure(figure, path)


def plot_map(
    path: Path, longitude: ArrayLike, latitude: ArrayLike, values: ArrayLike, label: str
) -> Path:
    """Draw a value of each basin at its place; the colours span the 2 % to 98 % quantiles.

    Parameters
    ----------
    path : Path
        Image to write.
    longitude, latitude : array_like, [basin]
        Degrees.
    values : array_like, [basin]
        Basins without a value are left out.
    label : str
        Of the values, with unit.
    """
    lon, lat, shown = (np.asarray(x, float) for x in (longitude, latitude, values))
    known = np.isfinite(lon) & np.isfinite(lat) & np.isfinite(shown)
    figure, axes = new_figure(1, 1, (7.5, 4.4))
    axis = axes[0, 0]
    if known.any():
        low, high = np.quantile(shown[known], [0.02, 0.98])
        dots = axis.scatter(
            lon[known],
            lat[known],
            c=shown[known],
            s=16,
            vmin=low,
            vmax=high,
            cmap="viridis",
            linewidths=0,
        )
        figure.colorbar(dots, label=literal(label), extend="both", shrink=0.7)
        axis.set_aspect(1 / np.cos(np.deg2rad(np.mean(lat[known]))))
    axis.set(xlabel="longitude (degrees east)", ylabel="latitude (degrees north)")
    axis.grid(color="0.92")
    axis.set_axisbelow(True)
    return save_figure(figure, path)
