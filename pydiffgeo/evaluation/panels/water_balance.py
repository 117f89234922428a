"""Water balance: inflow and outflow of a model, and the gain of its stores."""

from __future__ import annotations

import json

import pandas as pd

from pydiffgeo.evaluation.figures import Evaluation, Figure, Panel, Runs, literal, new_figure

TEXT = "Medians over the sites of mean fluxes; gain: what enters and does not leave."


def water_balance(runs: Runs) -> Panel:
    """Show the mean of each flux of a model's balance over the judged steps, and the gain."""
    tables = {name: table for name, run in runs.items() if len(table := balance_table(run))}
    if not tables:
        return Panel("Balance", nothing="no run gives the fluxes of a balance")
    panel = Panel("Balance", TEXT)
    rows = [{"run": name, **table.median()} for name, table in tables.items()]
    panel.tables["balance_summary"] = pd.DataFrame(rows)
    every = [table.assign(run=name) for name, table in tables.items()]
    panel.files["balance"] = pd.concat(every).reset_index()
    panel.figures["balance"] = "Mean fluxes over the sites", lambda: _draw(runs, tables)
    return panel


def balance_table(run: Evaluation) -> pd.DataFrame:
    """Return the mean fluxes of a balance and its gain by site; nothing where one is missing."""
    signs = json.loads(run.data.attrs.get("balance", "{}"))
    if "runoff" in run.data and "discharge" in signs:  # before routing
        signs["runoff"] = signs.pop("discharge")
    if not signs or not set(signs) <= set(run.data):
        return pd.DataFrame()
    means = run.judged[list(signs)].mean(run.axis).reset_coords(drop=True).to_dataframe()
    return means.assign(gain=sum(sign * means[name] for name, sign in signs.items()))


def _draw(runs: Runs, tables: dict[str, pd.DataFrame]) -> Figure:
    figure, axes = new_figure(1, len(tables), (4.2 * len(tables) + 1, 3.6))
    for axis, (name, table) in zip(axes[0], tables.items(), strict=True):
        axis.boxplot([table[c].dropna() for c in table], widths=0.6, showfliers=False)
        places = range(1, table.shape[1] + 1)
        axis.set_xticks(places, list(table), rotation=30, ha="right", fontsize=8)
        axis.set_title(literal(name), fontsize=9)
        axis.set_ylabel(literal(runs[name].data[table.columns[0]].attrs.get("units", "")))
        axis.axhline(0, color="0.8", zorder=0)
    return figure
