"""All points of all sites together: what records without dates are judged by."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd

from pydiffgeo.evaluation.figures import Figure, Panel, Runs, colour, literal, new_figure, with_unit
from pydiffgeo.evaluation.simulate import OBSERVED
from pydiffgeo.files import file_name

TEXT = (
    "Over all points of all sites at once, not site by site: a site counts by the number of its "
    "points, and differences between sites count as well as those within one."
)


def pooled(runs: Runs, of: str | None = None) -> Panel:
    """Tabulate and draw what is simulated of all points of all sites together.

    By default of records of points, all observed series; `of` names one of records in time.
    """
    panel = Panel("All points together", TEXT)
    tables, names = [], list[str]()
    for name, run in runs.items():
        chosen = [n for n in run.observed if n == of or (of is None and run.axis == "point")]
        names += chosen
        table = run.pooled()
        table = table[table["observed"].isin(chosen)]
        tables.append(table.assign(run=name)[["run", *table]] if len(runs) > 1 else table)
    table = pd.concat(tables, ignore_index=True)
    if table.empty:
        panel.nothing = f"no run judges {of}" if of else "no run judges records of points"
        return panel
    panel.tables["pooled"] = table
    for name in dict.fromkeys(names):
        having = {label: run for label, run in runs.items() if name in run.observed}
        caption = f"Simulated against observed {name}"
        panel.figures[f"pooled_{file_name(name)}"] = caption, partial(_draw, having, name)
    return panel


def _draw(runs: Runs, name: str) -> Figure:
    """Draw a panel for each run, and dots in a colour for each group of sites."""
    columns = min(len(runs), 4)
    rows = -(-len(runs) // columns)
    figure, axes = new_figure(rows, columns, (3.2 * columns, 3.2 * rows), sharex=True, sharey=True)
    for axis in axes.flat[len(runs) :]:
        axis.set_visible(False)
    for axis, (label, run) in zip(axes.flat, runs.items(), strict=False):
        judged = run.judged
        simulated, observed = judged[name].values, judged[name + OBSERVED].values
        for k, group in enumerate(dict.fromkeys(run.groups)):
            own = run.groups == group
            style = {"color": colour(k), "markersize": 3, "label": literal(group)}
            axis.plot(observed[own].ravel(), simulated[own].ravel(), ".", **style)
        low, high = np.nanmin(observed), np.nanmax(observed)
        axis.plot([low, high], [low, high], color="0.6", linewidth=0.8)
        text = with_unit(f"observed {name}", judged[name])
        axis.set(title=literal(label), xlabel=text, ylabel="simulated")
        axis.grid(color="0.92")
        if any(run.groups):
            axis.legend(fontsize=8)
    return figure
