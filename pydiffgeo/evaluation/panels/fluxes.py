"""Fluxes: the balance of a model, and what a model of discharge was never trained on.

The idea of the latter is that of Feng et al. (2022), doi:10.1029/2022WR032404. Neither reference
was measured: precipitation less discharge leaves out what is stored, and what gauges and divides
miss; a digital filter knows nothing of where water comes from.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.signal import lfilter

from pydiffgeo.errors import DataError
from pydiffgeo.evaluation.figures import Evaluation, Figure, Panel, Runs, literal, new_figure
from pydiffgeo.evaluation.measures import correlation
from pydiffgeo.evaluation.simulate import OBSERVED

COMPLETE = 0.9  # share of the days of a water year that must be observed
REFLECTED = 30  # days, at both ends of a series
DAYS_PER_YEAR = 365.25
# what is compared: simulated, reference (columns of `untrained_table`, or zero), unit
ET, YEARLY = "evapotranspiration", "mm year-1"
CHECKS: dict[str, tuple[str, str, str]] = {
    ET: (ET, "precipitation_less_discharge", YEARLY),
    f"{ET}, corrected precipitation": (ET, "inflow_less_discharge", YEARLY),
    "base-flow index": ("base_flow_index", "observed_base_flow_index", "1"),
    # over years near zero: a store that fills for years hides water from the training period
    "gain of storage": ("storage_gain", "zero", YEARLY),
}
BALANCE = "Medians over the sites of mean fluxes; storage_gain: what enters and does not leave."
TEXT = (
    "Over water years of which at least 90 % of days are observed: evapotranspiration (mm per "
    "year) against precipitation less observed discharge, as measured and, where it was learned, "
    "times precipitation_factor; base flow over discharge against that of a digital filter on "
    "observed discharge. A model that loses no water misses the first by the error of its mean "
    "discharge and the change of its stores: it is no independent observation. Medians over "
    "sites; relative_bias in percent, of sites whose reference is above zero."
)
NOTHING = (
    "no run gives evapotranspiration or base flow beside observed discharge and measured "
    "precipitation; a pure LSTM simulates its targets alone"
)


def untrained(runs: Runs) -> Panel:
    """Compare evapotranspiration and base flow, which nobody trained on, with what records tell."""
    panel = Panel("Variables that were never trained on", TEXT)
    tables, rows, without = [], [], []
    for name, run in runs.items():
        table = _table(run)
        if not set(table) & {ET, "base_flow_index"}:
            without.append(name)
            continue
        for group in dict.fromkeys(run.groups):
            label = {"run": name} if len(runs) > 1 else {}
            label |= {"group": group} if group else {}
            part = table[run.groups == group]
            tables.append(part.assign(**label))
            rows += [{**label, **row} for row in untrained_summary(part)]
    if not rows:
        return Panel(panel.title, nothing=NOTHING)
    if without:
        panel.text += f" Left out, since they simulate no such variables: {', '.join(without)}."
    panel.tables["untrained_summary"] = pd.DataFrame(rows)
    panel.files["untrained"] = pd.concat(tables).reset_index()
    return panel


def _table(run: Evaluation) -> pd.DataFrame:
    """Return `untrained_table` of a run; nothing where the records do not tell of it."""
    if not {"discharge" + OBSERVED, "precipitation", "time"} <= set(run.data.variables):
        return pd.DataFrame()
    data = run.judged
    # "inflow" is what was measured where nobody corrected it
    corrected = ["inflow"] if "precipitation_factor" in run.parameters else []
    names = [n for n in (ET, "base_flow", *corrected) if n in data and n not in run.observed]
    series = {name: data[name].values for name in names}
    # the discharge as it leaves the stores, before routing, is called runoff
    series["runoff"] = data["runoff" if "runoff" in data else "discharge"].values
    flow, rain = data["discharge" + OBSERVED].values, data["precipitation"].values
    return untrained_table(
        series, flow, rain, data.indexes["time"], list(map(str, data["site"].values))
    )


def base_flow(discharge: ArrayLike, alpha: float = 0.925, passes: int = 3) -> NDArray:
    """Return the base flow of a daily series by the digital filter of Lyne and Hollick (1979).

    As Ladson et al. (2013), doi:10.7158/13241583.2013.11465417, made it a standard: passes forward,
    backward, forward, each of which starts with all its first flow as quick; 30 days reflected at
    both ends; parts between gaps by themselves.

    Parameters
    ----------
    discharge : array_like, [time]
        Any unit; NaN where missing.
    alpha, passes : float, int
        Of the filter, per day, from 0 to below 1: larger means less base flow; passes over the
        series, at least 1. DataError for others.

    Returns
    -------
    ndarray, [time]
        From 0 to the discharge; NaN where that is missing, and in parts of at most 30 days.
    """
    if not 0 <= alpha < 1 or passes < 1:
        raise DataError(f"alpha {alpha} must be from 0 to below 1, passes {passes} at least 1.")
    whole = np.asarray(discharge, float)
    found = np.full(whole.shape, np.nan)
    changes = np.flatnonzero(np.diff(np.isfinite(whole), prepend=False, append=False))
    for first, last in changes.reshape(-1, 2):
        if last - first <= REFLECTED:
            continue
        flow = np.pad(whole[first:last], REFLECTED, mode="reflect")
        for _ in range(passes):
            rises = np.append(flow[0], 0.5 * (1 + alpha) * np.diff(flow))
            quick = lfilter([1.0], [1.0, -alpha], rises)
            flow = (flow - quick.clip(min=0))[::-1]  # the next pass comes back
        found[first:last] = flow[:: (-1) ** passes][REFLECTED:-REFLECTED].clip(min=0)
    return found


def counted_days(observed: NDArray, days: pd.DatetimeIndex) -> NDArray:
    """Return which days count, bool [site, time]: observed, in water years nearly all seen."""
    years = days.year + (days.month >= 10)  # from 1 October
    seen = pd.DataFrame(observed.T.astype(int)).groupby(np.asarray(years)).transform("sum")
    length = 365 + pd.to_datetime(years, format="%Y").is_leap_year
    return observed & (seen.to_numpy() >= COMPLETE * length[:, None]).T


def untrained_table(
    simulated: Mapping[str, ArrayLike], observed: ArrayLike, precipitation: ArrayLike,
    days: pd.DatetimeIndex, sites: Sequence[str],
) -> pd.DataFrame:  # fmt: skip
    """Return evapotranspiration and base-flow index of sites, simulated and as the records tell.

    Parameters
    ----------
    simulated : mapping of str to array_like, [site, time]
        What the model gives of ``evapotranspiration``, ``base_flow`` and the ``runoff`` that it is
        part of, and ``inflow``, the precipitation as a model corrected it; mm day-1, not routed.
    observed, precipitation : array_like, [site, time]
        Discharge, NaN where missing, and precipitation as measured on `days`; mm day-1.

    Returns
    -------
    pandas.DataFrame
        Per site ``days``, the number of `counted_days`; means of these days, mm year-1:
        ``evapotranspiration``, ``precipitation_less_discharge``, ``inflow_less_discharge``; ratios
        of sums over them, 1: ``base_flow_index``, ``observed_base_flow_index``; over all days, mm
        year-1: ``storage_gain``, what enters and does not leave. NaN where no day counts; columns
        of what the model does not give are left out.
    """
    flow, rain = np.asarray(observed, float), np.asarray(precipitation, float)
    given = {name: np.asarray(values, float) for name, values in simulated.items()}
    counted = counted_days(np.isfinite(flow), days)
    table: dict[str, NDArray] = {"days": counted.sum(1)}
    if ET in given:
        series = {ET: given[ET], "precipitation_less_discharge": rain - flow}
        if "inflow" in given:
            series["inflow_less_discharge"] = given["inflow"] - flow
        every = np.ones_like(flow)
        table |= {n: _ratio(v, every, counted) * DAYS_PER_YEAR for n, v in series.items()}
        if "runoff" in given:
            gain = given.get("inflow", rain) - given[ET] - given["runoff"]
            table["storage_gain"] = gain.mean(1) * DAYS_PER_YEAR
    if "base_flow" in given:
        filtered = np.array([base_flow(row) for row in flow])
        counted = counted & np.isfinite(filtered)
        table["base_flow_index"] = _ratio(given["base_flow"], given["runoff"], counted)
        table["observed_base_flow_index"] = _ratio(filtered, flow, counted)
    return pd.DataFrame(table, index=pd.Index(sites, name="site"))


def untrained_summary(table: pd.DataFrame) -> list[dict[str, str | float | int]]:
    """Return how a table of `untrained_table` agrees over the sites, a row for each of its checks.

    Rows have ``check``, ``unit``, ``sites`` (where both are known), ``simulated`` and ``reference``
    (medians), ``correlation`` (over sites), ``difference`` (median of simulated less reference) and
    ``relative_bias`` (median, percent of the reference, of the sites where that is above zero).
    """
    rows: list[dict[str, str | float | int]] = []
    table = table.assign(zero=0.0)
    for check, (name, reference, unit) in CHECKS.items():
        if not {name, reference} <= set(table):
            continue
        known = table[[name, reference]].dropna()
        s, r = known[name], known[reference]
        rows.append({
            "check": check, "unit": unit, "sites": len(s),
            "simulated": float(s.median()), "reference": float(r.median()),
            "correlation": correlation(s, r) if len(s) > 1 else np.nan,
            "difference": float((s - r).median()),
            "relative_bias": float((s / r - 1)[r > 0].median() * 100),
        })  # fmt: skip
    return rows


def _ratio(upper: NDArray, lower: NDArray, counted: NDArray) -> NDArray:
    """Return ratios of sums over the days that count, [site]; NaN for a lower sum of zero."""
    above, below = (np.where(counted, values, 0.0).sum(1) for values in (upper, lower))
    return np.divide(above, below, out=np.full(len(below), np.nan), where=below > 0)


def water_balance(runs: Runs) -> Panel:
    """Show the mean of each flux of a model's balance over the judged steps, and the gain."""
    tables = {name: table for name, run in runs.items() if len(table := balance_table(run))}
    if not tables:
        return Panel("Balance", nothing="no run gives the fluxes of a balance")
    panel = Panel("Balance", BALANCE)
    rows = [{"run": name, **table.median()} for name, table in tables.items()]
    panel.tables["balance_summary"] = pd.DataFrame(rows)
    every = [table.assign(run=name) for name, table in tables.items()]
    panel.files["balance"] = pd.concat(every).reset_index()
    panel.figures["balance"] = "Mean fluxes over the sites", lambda: _draw(runs, tables)
    return panel


def balance_table(run: Evaluation) -> pd.DataFrame:
    """Return the mean fluxes of a balance and the gain by site; nothing where one is missing."""
    signs = json.loads(run.data.attrs.get("balance", "{}"))
    if "runoff" in run.data and "discharge" in signs:  # before routing
        signs["runoff"] = signs.pop("discharge")
    if not signs or not set(signs) <= set(run.data):
        return pd.DataFrame()
    means = run.judged[list(signs)].mean(run.axis).reset_coords(drop=True).to_dataframe()
    return means.assign(storage_gain=sum(sign * means[name] for name, sign in signs.items()))


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
