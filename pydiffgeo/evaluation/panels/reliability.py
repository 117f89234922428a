"""How sure runs are, and how right that is: coverage of intervals and histograms of the PIT."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pydiffgeo.evaluation.figures import (
    Evaluation,
    Figure,
    Panel,
    Runs,
    colour,
    literal,
    new_figure,
)
from pydiffgeo.evaluation.probabilistic import BINS, QUANTILE, pit, pit_histogram
from pydiffgeo.evaluation.simulate import OBSERVED
from pydiffgeo.files import file_name

TEXT = (
    "Over all steps of all sites together: how often what was observed lies in the central "
    "interval of a nominal share, and the histogram of the probability integral transform: flat "
    "where the distribution is right, a hump where it is too wide, a trough where too narrow."
)
SHOWN = ("crps", "nll", "coverage_50", "coverage_90", "coverage_95", "width_90")


def reliability(runs: Runs) -> Panel:
    """Tabulate and draw coverage, and the PIT, of what has a distribution."""
    panel = Panel("Reliability", TEXT)
    names = dict.fromkeys(
        n for run in runs.values() for n in run.observed if n + QUANTILE in run.data
    )
    for name in names:
        having = {n: run for n, run in runs.items() if f"{name}{QUANTILE}" in run.data}
        rows = [_row(label, run, name) for label, run in having.items()]
        panel.tables[f"reliability_{file_name(name)}"] = pd.DataFrame(rows)
        caption = f"Coverage and PIT of {name}"
        panel.figures[f"reliability_{file_name(name)}"] = caption, partial(_draw, having, name)
    panel.nothing = "" if names else "no run gives a distribution"
    return panel


def _row(label: str, run: Evaluation, name: str) -> dict[str, object]:
    """Return means over the sites, medians of what has a unit."""
    scores = run.all_scores[name]
    found: dict[str, object] = {"run": label, "observed": name}
    for measure in (m for m in SHOWN if m in scores):
        values = scores[measure]
        mean = measure.startswith("coverage")
        found[f"{measure} ({'mean' if mean else 'median'})"] = float(
            values.mean() if mean else values.median()
        )
    return found


def central_coverage(run: Evaluation, name: str) -> tuple[NDArray, NDArray]:
    """Return nominal shares of central intervals, and how often the observed lies in them."""
    judged = run.judged
    observed, quantiles = judged[name + OBSERVED].values, judged[name + QUANTILE]
    levels = quantiles["quantile"].values
    seen = np.isfinite(observed) & np.isfinite(quantiles.values).all(-1)
    q, o = quantiles.values[seen], observed[seen]
    pairs = [
        (k, int(np.argmin(np.abs(levels + level - 1))))
        for k, level in enumerate(levels)
        if level < 0.5 and np.abs(levels + level - 1).min() < 1e-6
    ]
    nominal = np.array([levels[b] - levels[a] for a, b in pairs])
    found = np.array([np.mean((o >= q[:, a]) & (o <= q[:, b])) for a, b in pairs])
    return nominal, found


def _draw(runs: Runs, name: str) -> Figure:
    figure, [[left, right]] = new_figure(1, 2, (8.6, 3.8))
    left.plot([0, 1], [0, 1], color="0.6", linewidth=0.8)
    right.axhline(1.0, color="0.6", linewidth=0.8)
    for k, (label, run) in enumerate(runs.items()):
        left.plot(*central_coverage(run, name), ".-", color=colour(k), label=literal(label))
        judged = run.judged
        quantiles = judged[name + QUANTILE]
        ends = pit(quantiles.values, quantiles["quantile"].values, judged[name + OBSERVED].values)
        shares = pit_histogram(*ends) * BINS
        right.stairs(shares, np.linspace(0, 1, BINS + 1), color=colour(k))
    left.set(xlabel="nominal share", ylabel="observed in the interval", xlim=(0, 1), ylim=(0, 1))
    right.set(xlabel="PIT", ylabel="density", xlim=(0, 1), ylim=(0, None))
    left.legend(fontsize=8)
    left.grid(color="0.92")
    return figure
