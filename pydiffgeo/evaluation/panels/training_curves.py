"""Loss and validation over the epochs of the training."""

from __future__ import annotations

import pandas as pd

from pydiffgeo.evaluation.figures import Figure, Panel, Runs, literal, new_figure

ROWS = 20  # of the table


def training_curves(runs: Runs) -> Panel:
    """Draw loss and validation, a column per run, and show some epochs of a single run."""
    histories = {n: r.history for n, r in runs.items() if r.history is not None and len(r.history)}
    if not histories:
        return Panel("Training", nothing="there is no history of the training")
    panel = Panel("Training")
    panel.figures["training"] = "Loss and validation by epoch", lambda: _draw(histories)
    if len(runs) == 1:
        [history] = histories.values()
        panel.tables["epochs"] = history.iloc[:: max(1, len(history) // ROWS)]
    return panel


def _draw(histories: dict[str, pd.DataFrame]) -> Figure:
    rows = [x for x in ("loss", "validation") if any(x in h for h in histories.values())]
    size = (3.6 * len(histories) + 0.5, 2.2 * len(rows) + 0.2)
    figure, axes = new_figure(len(rows), len(histories), size, sharex="col")
    for column, (name, history) in zip(axes.T, histories.items(), strict=True):
        for axis, row in zip(column, rows, strict=True):
            if row in history:
                axis.plot(history["epoch"], history[row], color="tab:blue")
        if "loss" in history and (history["loss"] > 0).all():
            column[0].set_yscale("log")
        column[0].set_title(literal(name), fontsize=9)
        column[-1].set_xlabel("epoch")
    for axis, row in zip(axes[:, 0], rows, strict=True):
        axis.set_ylabel(row)
    return figure
