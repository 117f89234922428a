"""Figures of learned functions. They need matplotlib (the extra `plot`)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from numpy.typing import NDArray

from pydiffgeo.evaluation.plots import literal, new_figure, save_figure

DOTS = 150  # simulated days that are drawn


def plot_function(
    path: Path,
    x: NDArray,
    learned: NDArray,
    formulas: Mapping[str, NDArray],
    met: tuple[NDArray, NDArray],
    labels: tuple[str, str],
) -> Path:
    """Draw a learned function of one input, formulas beside it, and what it gave in simulations.

    Parameters
    ----------
    path : Path
        Image to write.
    x, learned : ndarray, [point]
        The function, a blue line.
    formulas : mapping of str to ndarray, [point]
        Black lines, by label.
    met : pair of ndarray, [sample]
        Inputs of simulated days, and what the function gave: dots.
    labels : pair of str
        Of input and output.
    """
    figure, axes = new_figure(1, 1, (6.0, 4.2))
    axis = axes[0, 0]
    styles = ("-", "--", "-.", ":", (0, (6, 2)))
    for k, (name, values) in enumerate(formulas.items()):
        axis.plot(
            x,
            values,
            color="black",
            linewidth=0.8,
            linestyle=styles[k % len(styles)],
            label=literal(name),
        )
    axis.plot(x, learned, color="tab:blue", linewidth=1.2, label="learned")
    # few and hollow: they lie on the line where the function has the input alone
    shown = (values[:: max(1, len(values) // DOTS)] for values in met)
    axis.plot(
        *shown,
        "o",
        color="tab:blue",
        markerfacecolor="none",
        markersize=5,
        markeredgewidth=0.7,
        label="simulated days",
    )
    axis.set(xlabel=literal(labels[0]), ylabel=literal(labels[1]))
    axis.margins(x=0)
    axis.grid(color="0.92")
    axis.legend(fontsize=8)
    return save_figure(figure, path)
