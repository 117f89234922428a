"""Series in time: of the best, median and worst site, by depth, and over the training."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from pydiffgeo.evaluation.figures import Figure, Panel, Runs, colour, literal, new_figure
from pydiffgeo.evaluation.probabilistic import QUANTILE, interval, shares_of
from pydiffgeo.evaluation.simulate import OBSERVED
from pydiffgeo.files import file_name

ROWS = 20  # of the table of epochs
BANDS = {0.35: 0.5, 0.18: 0.95}  # central intervals by how dark they are
# of what was observed
LINE: dict[str, Any] = {"color": "black", "linewidth": 0.8, "label": "observed"}
DOTS: dict[str, Any] = LINE | {"linewidth": 0, "marker": ".", "markersize": 2.5}


def hydrographs(runs: Runs, measure: str = "nse") -> Panel:
    """Draw the sites with the best, the median and the worst score of the first run.

    Bands are the central intervals of 50 and 95 % of runs that give a distribution.
    """
    panel = Panel("Best, median and worst site")
    for name, scores in next(iter(runs.values())).all_scores.items():
        values, rows = scores[measure], []
        for which, k in exemplary(values).items() if values.ndim == 1 else ():
            site = values["site"].values[k]
            title = f"{which}: site {site}, {measure.upper()} {values[k].item():.2f}"
            rows.append((title, {"site": site}))
        if rows:
            stem = f"hydrographs_{file_name(name)}" if panel.figures else "hydrographs"
            panel.figures[stem] = f"{panel.title}: {name}", partial(_draw, runs, name, rows)
    panel.nothing = "" if panel.figures else "no series without depths has a score"
    return panel


def exemplary(scores: ArrayLike) -> dict[str, int]:
    """Return the positions of the best, median and worst score; none where none is known."""
    values = np.asarray(scores, float)
    order = np.argsort(values)[: np.isfinite(values).sum()].tolist()  # NaN come last
    places = {"best": -1, "median": len(order) // 2, "worst": 0}
    return {which: order[k] for which, k in places.items()} if order else {}


def profiles(runs: Runs, measure: str = "rmse", most: int = 50) -> Panel:
    """Draw a measure by depth, and the series of at most `most` sites, evenly spread, by depth.

    The scores of each site and depth go to a file.
    """
    panel = Panel("Profiles", nothing="no series with depths was observed")
    for name, scores in next(iter(runs.values())).all_scores.items():
        if "depth" not in scores.dims:
            continue
        panel.nothing = ""
        having = {n: run for n, run in runs.items() if name in run.all_scores}
        tables = {n: r.all_scores[name].reset_coords(drop=True) for n, r in having.items()}
        every = [table.to_dataframe().assign(run=n) for n, table in tables.items()]
        panel.files[f"profiles_{file_name(name)}"] = pd.concat(every).reset_index()
        bars = f"{measure.upper()} of {name} by depth", partial(_bars, having, name, measure)
        panel.figures[f"{measure}_{file_name(name)}"] = bars
        count = scores.sizes["site"]
        chosen = np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(int))
        for site in scores["site"].values[chosen]:
            rows = [(f"{100 * z:g} cm", {"site": site, "depth": z}) for z in scores["depth"].values]
            caption = f"{name} of site {site}; what is judged is shaded"
            draw = partial(_draw, having, name, rows, 1.7, DOTS)
            panel.figures[f"site_{file_name(str(site))}"] = caption, draw
    return panel


def _draw(
    runs: Runs, name: str, rows: list[tuple[str, dict[str, Any]]], height: float = 2.2,
    style: dict[str, Any] = LINE,
) -> Figure:  # fmt: skip
    """Draw what was observed and simulated at the places of the rows; the judged part is shaded."""
    first = next(iter(runs.values()))
    times, judged = first.data[first.axis].values, first.data["judged"].values
    size = (9.5, height * len(rows) + 0.6)
    figure, axes = new_figure(len(rows), 1, size, sharex=True)
    for axis, (title, where) in zip(axes[:, 0], rows, strict=True):
        axis.plot(times, first.data[name + OBSERVED].sel(where), **style)
        for k, (label, run) in enumerate(runs.items()):
            if name in run.data and where["site"] in run.data["site"]:
                line = run.data[name].sel(where)
                how = {"color": colour(k), "linewidth": 0.9, "alpha": 0.85}
                axis.plot(line[run.axis], line, label=literal(label), **how)
                for shade, share in BANDS.items() if name + QUANTILE in run.data else ():
                    ends = run.data[name + QUANTILE].sel(where)
                    if share in shares_of(ends["quantile"].values):
                        low, high = interval(ends.values, ends["quantile"].values, share)
                        band = {"color": colour(k), "alpha": shade, "linewidth": 0}
                        axis.fill_between(line[run.axis], low, high, **band)
        if not judged.all():
            axis.axvspan(times[judged][0], times[judged][-1], color="0.93", zorder=0)
        axis.set_title(literal(title), fontsize=9, loc="left")
        axis.set_ylabel(literal(first.data[name].attrs.get("units", "1")))
        axis.margins(x=0)
    axes[0, 0].legend(fontsize=8, loc="upper right", ncols=3)
    return figure


def _bars(runs: Runs, name: str, measure: str) -> Figure:
    figure, [[axis]] = new_figure(1, 1, (8.5, 3.8))
    width = 0.8 / len(runs)
    for i, (run, judged) in enumerate(runs.items()):
        table = judged.summary.query("observed == @name").drop_duplicates("depth")
        axis.bar(np.arange(len(table)) + i * width, table[measure], width, label=literal(run))
    axis.set_xticks(np.arange(len(table)) + 0.4 - width / 2, table["depth"])
    axis.set_ylabel(measure)
    axis.legend(fontsize=7)
    return figure


def training_curves(runs: Runs) -> Panel:
    """Draw loss and validation, a column per run, and show some epochs of a single run."""
    histories = {n: r.history for n, r in runs.items() if r.history is not None and len(r.history)}
    if not histories:
        return Panel("Training", nothing="there is no history of the training")
    panel = Panel("Training")
    panel.figures["training"] = "Loss and validation by epoch", lambda: _draw_epochs(histories)
    if len(runs) == 1:
        [history] = histories.values()
        panel.tables["epochs"] = history.iloc[:: max(1, len(history) // ROWS)]
    return panel


def _draw_epochs(histories: dict[str, pd.DataFrame]) -> Figure:
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
