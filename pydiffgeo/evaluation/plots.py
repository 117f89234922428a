"""Figures of soil-moisture simulations and learned soils. They need matplotlib (the extra `plot`)."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pydiffgeo.files import write_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STYLES: dict[str, dict[str, Any]] = {
    "observed": {"color": "black", "linewidth": 0, "marker": ".", "markersize": 2.5},
    "Richards, trained": {"color": "tab:blue", "linewidth": 1.3},
    "LSTM": {"color": "tab:orange", "linewidth": 1.0},
}


def matplotlib_missing() -> str | None:
    """Return why figures cannot be drawn and what to do, or None where they can."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        return "no figures: matplotlib is not installed; pip install 'pydiffgeo[plot]' brings it."
    return None


def new_figure(
    rows: int, columns: int, size: tuple[float, float], **kwargs: Any
) -> tuple[Figure, NDArray]:
    """Return a figure of `size` inches and its axes [rows, columns]."""
    # a figure of its own canvas needs no display, and leaves the caller's backend and figures alone
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False, **kwargs)


def save_figure(figure: Figure, path: Path) -> Path:
    """Write a figure and return its path; the folder is created."""
    image = io.BytesIO()
    figure.savefig(image, dpi=110, format=path.suffix[1:])
    return write_file(path, image.getvalue())


def literal(text: str) -> str:
    """Return a name as matplotlib shows it as it is: a dollar would begin a formula."""
    return text.replace("$", r"\$")


def plot_series(
    path: Path,
    days: pd.DatetimeIndex,
    series: Mapping[str, NDArray],
    depths: Sequence[float],
    title: str,
    test_start: pd.Timestamp,
) -> Path:
    """Draw the soil moisture of one station, one panel per depth.

    Parameters
    ----------
    path : Path
        Image to write.
    days : DatetimeIndex, [day]
        Dates.
    series : mapping of str to ndarray, [day, depth]
        "observed" and simulated soil moisture by name.
    depths : sequence of float
        cm.
    title : str
        Station.
    test_start : Timestamp
        The judged period from here on is shaded.
    """
    figure, axes = new_figure(len(depths), 1, (9.0, 1.7 * len(depths) + 0.8), sharex=True)
    for j, (axis, depth) in enumerate(zip(axes[:, 0], depths, strict=True)):
        for name, values in series.items():
            axis.plot(
                days,
                values[:, j],
                label=literal(name),
                **STYLES.get(name, {"color": "0.55", "linewidth": 1.0}),
            )
        axis.axvspan(test_start, days[-1], color="0.93", zorder=0)
        axis.set_ylabel(f"{depth:g} cm")
        axis.margins(x=0)
    axes[0, 0].set_title(
        f"{literal(title)}: soil moisture (m³/m³); judged period shaded", fontsize=10
    )
    axes[0, 0].legend(ncols=len(series), fontsize=8, loc="upper right")
    return save_figure(figure, path)


def plot_curves(
    path: Path,
    suction: NDArray,
    learned: Mapping[str, NDArray],
    default: NDArray,
    layers: Sequence[str],
    what: str,
    log: bool,
) -> Path:
    """Draw retention or conductivity curves, one panel per station and one line per layer.

    Parameters
    ----------
    path : Path
        Image to write.
    suction : ndarray, [point]
        -psi, cm.
    learned : mapping of str to ndarray, [layer, point]
        By station.
    default : ndarray, [point]
        The untrained class, dashed.
    layers : sequence of str
        Labels.
    what : str
        Label of the ordinate, with unit.
    log : bool
        Logarithmic ordinate.
    """
    columns = min(5, len(learned))
    rows = -(-len(learned) // columns)
    figure, axes = new_figure(
        rows, columns, (2.6 * columns + 0.6, 2.3 * rows + 0.6), sharex=True, sharey=True
    )
    colours = [(0.1 + 0.75 * i / max(len(layers) - 1, 1), 0.35, 0.75 - 0.6 * i / max(len(layers) - 1, 1))
               for i in range(len(layers))]  # fmt: skip
    for axis, (station, curves) in zip(axes.flat, learned.items(), strict=False):
        for label, colour, curve in zip(layers, colours, curves, strict=True):
            axis.plot(suction, curve, color=colour, linewidth=1.1, label=label)
        axis.plot(suction, default, color="0.4", linestyle="--", linewidth=0.9, label="default")
        axis.set_title(literal(station), fontsize=9)
        axis.set_xscale("log")
        if log:
            axis.set_yscale("log")
            axis.set_ylim(1e-8, 2e2)
    for axis in axes.flat[len(learned) :]:
        axis.set_axis_off()
    axes[0, 0].legend(fontsize=6)
    figure.supxlabel("suction (cm)", fontsize=9)
    figure.supylabel(what, fontsize=9)
    return save_figure(figure, path)


def plot_history(path: Path, histories: Mapping[str, Sequence[Mapping[str, float]]]) -> Path:
    """Draw loss and validation RMSE over the epochs, one column of panels per training."""
    figure, axes = new_figure(2, len(histories), (3.6 * len(histories) + 0.5, 4.5), sharex="col")
    for k, (name, history) in enumerate(histories.items()):
        epochs = [row["epoch"] for row in history]
        axes[0, k].semilogy(epochs, [row["loss"] for row in history])
        axes[1, k].plot(epochs, [row["validation"] for row in history], color="tab:green")
        axes[0, k].set_title(literal(name), fontsize=9)
        axes[1, k].set_xlabel("epoch")
    axes[0, 0].set_ylabel("loss")
    axes[1, 0].set_ylabel("validation RMSE (m³/m³)")
    return save_figure(figure, path)


def plot_scores(path: Path, rows: Sequence[Mapping[str, Any]], metric: str = "rmse") -> Path:
    """Draw one score by depth for every model, from the rows of `profile_table`."""
    frame = pd.DataFrame(list(rows)).pivot(index="model", columns="depth", values=metric)
    order = list(dict.fromkeys(row["depth"] for row in rows))
    models = list(dict.fromkeys(row["model"] for row in rows))
    figure, axes = new_figure(1, 1, (8.5, 3.8))
    axis, width = axes[0, 0], 0.8 / len(models)
    for i, model in enumerate(models):
        axis.bar(
            np.arange(len(order)) + i * width, frame.loc[model, order], width, label=literal(model)
        )
    axis.set_xticks(np.arange(len(order)) + 0.4 - width / 2, order)
    axis.set_ylabel(metric)
    axis.legend(fontsize=7)
    return save_figure(figure, path)
