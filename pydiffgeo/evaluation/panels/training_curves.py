"""Loss and validation over the epochs of the training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from pydiffgeo.evaluation.figures import Panel, Runs, literal, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROWS = 20  # of the table


def training_curves(runs: Runs) -> Panel:
    """Draw loss and validation over the epochs, a column per run, and show some epochs of a single run."""
    histories = {n: r.history for n, r in runs.items() if r.history is not None and len(r.history)}
    panel = Panel("Training")
    if not histories:
        panel.nothing = "there is no history of the training"
        return panel
    panel.figures["training"] = "Loss and validation by epoch", lambda: _draw(histories)
    if len(runs) == 1:
        history = next(iter(histories.values()))
        panel.tables["epochs"] = history.iloc[:: max(1, len(history) // ROWS)]
    return panel


def _draw(histories: dict[str, pd.DataFrame]) -> Figure:
    rows = ["loss", *(["validation"] if any("validation" in h for h in histories.values()) else [])]
    size = (3.6 * len(histories) + 0.5, 2.2 * len(rows) + 0.2)
    figure, axes = new_figure(len(rows), len(histories), size, sharex="col")
    for k, (name, history) in enumerate(histories.items()):
        for axis, row in zip(axes[:, k], rows, strict=True):
            if row in history:
                axis.plot(history["epoch"], history[row], color="tab:blue")
        if "loss" in history and (history["loss"] > 0).all():
            axes[0, k].set_yscale("log")
        axes[0, k].set_title(literal(name), fontsize=9)
        axes[-1, k].set_xlabel("epoch")
    for axis, row in zip(axes[:, 0], rows, strict=True):
        axis.set_ylabel(row)
    return figure
