"""Series in time: of the best, the median and the worst site, and by depth."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from pydiffgeo.evaluation.figures import DOTS, LINE, Panel, Runs, colour, literal, new_figure
from pydiffgeo.evaluation.simulate import OBSERVED
from pydiffgeo.files import file_name

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def hydrographs(runs: Runs, measure: str = "nse") -> Panel:
    """Draw observed and simulated series of the sites with the best, the median and the worst score of the first run.

    Parameters
    ----------
    runs : mapping of str to Evaluation
        A line each.
    measure : str
        By which the sites are chosen.
    """
    panel = Panel("Best, median and worst site")
    for name, scores in next(iter(runs.values())).all_scores.items():
        values = scores[measure]
        rows = [
            (f"{which}: site {site}, {measure.upper()} {values[i].item():.2f}", {"site": site})
            for which, i in (exemplary(values) if values.ndim == 1 else {}).items()
            for site in [scores["site"].values[i]]
        ]
        if rows:
            stem = f"hydrographs_{file_name(name)}" if panel.figures else "hydrographs"
            panel.figures[stem] = f"{panel.title}: {name}", partial(_draw, runs, name, rows)
    panel.nothing = "" if panel.figures else "no series without depths has a score"
    return panel


def exemplary(scores: ArrayLike) -> dict[str, int]:
    """Return the positions of the best, the median and the worst score; none where there is no score."""
    values = np.asarray(scores, float)
    order = np.argsort(values)[: np.isfinite(values).sum()]  # NaN come last
    if not order.size:
        return {}
    return {"best": int(order[-1]), "median": int(order[order.size // 2]), "worst": int(order[0])}


def profiles(runs: Runs, measure: str = "rmse", most: int = 50) -> Panel:
    """Draw a score by depth, and the series of each site by depth; the scores of each site and depth go to a file.

    Parameters
    ----------
    runs : mapping of str to Evaluation
        A bar and a line each.
    measure : str
        Of the bars.
    most : int
        Sites drawn, evenly spread over all.
    """
    panel = Panel("Profiles")
    for name, scores in next(iter(runs.values())).all_scores.items():
        if "depth" not in scores.dims:
            continue
        having = {run: judged for run, judged in runs.items() if name in judged.all_scores}
        tables = [
            judged.all_scores[name].reset_coords(drop=True).to_dataframe().assign(run=run)
            for run, judged in having.items()
        ]
        panel.files[f"profiles_{file_name(name)}"] = pd.concat(tables).reset_index()
        caption = f"{measure.upper()} of {name} by depth"
        panel.figures[f"{measure}_{file_name(name)}"] = (
            caption,
            partial(_bars, having, name, measure),
        )
        count = scores.sizes["site"]
        chosen = np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(int))
        for site in scores["site"].values[chosen]:
            rows = [(f"{100 * z:g} cm", {"site": site, "depth": z}) for z in scores["depth"].values]
            caption = f"{name} of site {site}; what is judged is shaded"
            draw = partial(_draw, having, name, rows, 1.7, DOTS)
            panel.figures[f"site_{file_name(str(site))}"] = caption, draw
    panel.nothing = "" if panel.figures else "no series with depths was observed"
    return panel


def _draw(
    runs: Runs,
    name: str,
    rows: list[tuple[str, dict[str, Any]]],
    height: float = 2.2,
    style: dict[str, Any] = LINE,
) -> Figure:
    """Draw what was observed and simulated at the places of the rows, below each other; the judged part is shaded."""
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
        if not judged.all():
            axis.axvspan(times[judged][0], times[judged][-1], color="0.93", zorder=0)
        axis.set_title(literal(title), fontsize=9, loc="left")
        axis.set_ylabel(literal(first.data[name].attrs.get("units", "1")))
        axis.margins(x=0)
    axes[0, 0].legend(fontsize=8, loc="upper right", ncols=3)
    return figure


def _bars(runs: Runs, name: str, measure: str) -> Figure:
    figure, axes = new_figure(1, 1, (8.5, 3.8))
    axis, width = axes[0, 0], 0.8 / len(runs)
    for i, (run, judged) in enumerate(runs.items()):
        table = judged.summary.query("observed == @name").drop_duplicates("depth")
        axis.bar(np.arange(len(table)) + i * width, table[measure], width, label=literal(run))
    axis.set_xticks(np.arange(len(table)) + 0.4 - width / 2, table["depth"])
    axis.set_ylabel(measure)
    axis.legend(fontsize=7)
    return figure
