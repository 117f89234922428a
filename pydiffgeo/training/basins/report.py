"""What the evaluation of runs on basins leaves behind: scores, series, parameters, figures, one page."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
import yaml

from pydiffgeo.console import console
from pydiffgeo.errors import DataWarning, SettingsError, nearest
from pydiffgeo.evaluation import median_scores, print_table, score_basins, write_scores, write_table
from pydiffgeo.evaluation.discharge_plots import plot_cdf, plot_hydrographs, plot_map
from pydiffgeo.evaluation.function_plots import plot_function
from pydiffgeo.evaluation.page import Page
from pydiffgeo.evaluation.plots import matplotlib_missing
from pydiffgeo.files import file_name, write_file, write_netcdf
from pydiffgeo.training.basins.data import BasinData, left_out_rows
from pydiffgeo.training.basins.functions import LearnedFunction
from pydiffgeo.training.basins.prediction import Periods
from pydiffgeo.training.basins.settings import BasinRun
from pydiffgeo.training.basins.trainer import CHECKPOINT
from pydiffgeo.training.basins.untrained import check_untrained
from pydiffgeo.training.checkpoint import chosen_weights, load_checkpoint, weights_hash
from pydiffgeo.training.run_folder import check_judged

SHOWN = (
    "nse",
    "kge",
    "fhv",
    "nrmse_high",
    "flv",
    "alpha_nse",
    "beta_nse",
    "pearson_r",
    "rmse",
    "bias",
    "peak_timing",
)
Rows = list[dict[str, Any]]
UNTRAINED = (
    "Over water years of which at least 90 % of days are observed: evapotranspiration (mm per year) against precipitation less "
    "observed discharge, as measured and, where it was learned, times precipitation_factor; base flow over discharge against "
    "that of a digital filter on observed discharge. A model that loses no water misses the first by the error of its mean "
    "discharge and the change of its stores: it is no independent observation."
)
CAPTION = "Medians over basins; relative_bias in percent, of basins whose reference is above zero"


def report_run(
    folder: Path,
    period: str,
    settings: BasinRun,
    data: BasinData,
    periods: Mapping[str, Periods],
    progress: bool = True,
    figures: bool = True,
    functions: Mapping[str, LearnedFunction] | None = None,
    weights: str = "",
) -> Rows:
    """Write ``evaluation_PERIOD/`` in the folder of a run and return the rows of medians.

    Parameters
    ----------
    folder : Path
        Of the run.
    period : str
        Name of the period.
    settings : BasinRun
    data : BasinData
        Places and attributes of the basins.
    periods : mapping of str to Periods
        Simulations by group of basins.
    progress : bool
        Print the table.
    figures : bool
        Draw figures.
    functions : mapping of str to LearnedFunction, optional
        By slot, what networks in the equations have learned.
    weights : str
        Hash of the weights that are judged.

    Returns
    -------
    list of dict
        ``group``, ``measure``, ``median``, ``lower``, ``upper``, ``mean``, ``basins``, ``undefined``.
    """
    out = folder / f"evaluation_{period}"
    target = settings.data.targets[0]
    series = xr.concat([p.series for p in periods.values()], "basin")
    for name in settings.data.targets:
        for kind in ("simulated", "observed"):
            series[f"{name}_{kind}"].attrs.update(data.records[name].attrs)
    packed = {str(name): {"zlib": True, "complevel": 1} for name in series.data_vars}
    write_netcdf(series, out / "series.nc", encoding=packed)
    scores: dict[str, xr.Dataset] = {}
    rows: Rows = []
    for name in settings.data.targets:
        tables: list[xr.Dataset] = []
        for group, judged in periods.items():
            simulated, observed = (
                judged.series[f"{name}_{kind}"].values for kind in ("simulated", "observed")
            )
            judgement = score_basins(
                simulated, observed, [str(b) for b in judged.series.basin.values]
            )
            rows += [{"target": name, "group": group, **row} for row in median_scores(judgement)]
            tables.append(judgement.assign(group=("basin", [group] * judgement.sizes["basin"])))
        scores[name] = xr.concat(tables, "basin")
        write_scores(
            scores[name], out / ("scores" if name == target else f"scores_{file_name(name)}")
        )
    write_table(rows, out / "medians")
    left_out = pd.DataFrame(
        left_out_rows(data.left_out), columns=["basin", "left_out_of", "reason"]
    )
    write_file(out / "left_out.csv", left_out.to_csv(index=False))
    names = next(iter(periods.values())).parameters
    learned = {
        name: np.concatenate([p.parameters[name] for p in periods.values()]) for name in names
    }
    if learned:
        table = pd.DataFrame(learned, index=pd.Index(series.basin.values, name="basin"))
        write_file(out / "parameters.csv", table.to_csv(float_format="%.6g"))
    untrained = check_untrained(out, data, periods)
    for slot, function in (functions or {}).items():
        write_file(out / f"closure_{slot}.csv", function.table.to_csv(index=False))
    drawn: dict[str, Path] = {}
    if figures and not matplotlib_missing():
        drawn = _figures(out, settings, data, series, scores[target], learned)
        for slot, f in (functions or {}).items():
            x, y = f.table["input"].to_numpy(), f.table["learned"].to_numpy()
            labels = f"{', '.join(f.slot.inputs)} ({', '.join(f.slot.units)})", f.slot.output
            path = plot_function(
                out / f"closure_{slot}.png", x, y, f.formulas, (f.inputs, f.outputs), labels
            )
            drawn[f"Learned function: {slot}"] = path
    _page(out, folder, period, settings, rows, untrained, scores[target], drawn, data, weights)
    if progress:
        for group in periods:
            kept = ("measure", "median", "lower", "upper", "basins")
            shown = [{k: row[k] for k in kept} for row in rows
                     if (row["target"], row["group"]) == (target, group) and row["measure"] in SHOWN]  # fmt: skip
            print_table(
                shown,
                f"{folder.name}, {target}, basins {group}, {period} period: medians, 95 % bootstrap intervals",
            )
        if untrained:
            print_table(
                untrained, f"{folder.name}, {period} period: variables that were never trained on"
            )
    return rows


def compare_runs(
    folders: Sequence[Path],
    period: str,
    progress: bool = True,
    figures: bool = True,
    notes: Sequence[str] = (),
) -> Rows:
    """Write tables of several judged runs, a figure and a page, into the folder of the first; return the medians.

    The page begins with `notes`: what a reader must know of single runs.

    Raises
    ------
    DataError
        An evaluation is not that of the weights that its run has now.
    """
    out = Path(folders[0]).parent
    rows: Rows = []
    untrained: Rows = []
    lines: dict[str, np.ndarray] = {}
    weights: list[str] = []
    judged: dict[str, dict[str, set[str]]] = {}
    days: dict[str, str] = {}
    names = [folder.name for folder in folders]
    for folder in folders:
        label = folder.name if names.count(folder.name) == 1 else str(folder)
        weights.append(
            weights_hash(
                chosen_weights(load_checkpoint(folder / CHECKPOINT, ["model"]) or {"model": {}})
            )
        )
        check_judged(folder / f"evaluation_{period}", weights[-1])
        medians = pd.read_csv(folder / f"evaluation_{period}" / "medians.csv")
        for (target, group), part in medians.groupby(["target", "group"], sort=False):
            value = part.set_index("measure")["median"]
            rows.append(
                {"run": label, "target": target, "group": group}
                | {n: float(value[n]) for n in SHOWN}
            )
        scores = pd.read_csv(folder / f"evaluation_{period}" / "scores.csv", dtype={"basin": str})
        for group, part in scores.groupby("group", sort=False):
            judged.setdefault(str(group), {})[label] = set(part.basin)
            lines[f"{label}, {group}"] = part["nse"].to_numpy()
        checks = folder / f"evaluation_{period}" / "untrained_summary.csv"
        if checks.is_file():
            untrained += [{"run": label} | row for row in _rows(pd.read_csv(checks))]
        with xr.open_dataset(folder / f"evaluation_{period}" / "series.nc") as series:
            days[label] = " to ".join(str(series.time.values[k])[:10] for k in (0, -1))
    write_table(rows, out / f"comparison_{period}")
    page = Page(f"Comparison, {period} period")
    for text in notes:
        page.text(text)
    page.table(rows, "Medians over basins")
    for text in (*_different_days(days, period), *_different_basins(judged, period)):
        warnings.warn(text, DataWarning, stacklevel=2)
        page.text(text)
    without = [name for name in days if name not in {row["run"] for row in untrained}]
    if untrained:
        write_table(untrained, out / f"comparison_{period}_untrained")
        page.heading("Variables that were never trained on")
        page.text(UNTRAINED)
        page.table(untrained, CAPTION)
        if without:
            page.text(f"Left out, since they simulate no such variables: {', '.join(without)}.")
    if figures and not matplotlib_missing():
        page.figure(
            plot_cdf(out / f"comparison_{period}.png", lines, "NSE"),
            "Share of basins with at most this NSE",
        )
    page.text(
        "Weights that were judged: "
        + "; ".join(f"{name} {w}" for name, w in zip(days, weights, strict=True))
        + "."
    )
    page.write(out / f"comparison_{period}.html")
    console(quiet=not progress).print(
        f"Comparison: {out / f'comparison_{period}.html'}, with tables beside it"
    )
    if progress:
        print_table(rows, f"Medians over basins, {period} period", {"nse": "max", "kge": "max"})
        if untrained:
            print_table(untrained, f"Variables that were never trained on, {period} period")
    return rows


def _different_days(days: Mapping[str, str], period: str) -> list[str]:
    """Return a sentence where runs judge different days, for first and last day by run."""
    if len(set(days.values())) < 2:
        return []
    told = ", ".join(f"{name} {span}" for name, span in days.items())
    return [
        f"The runs do not judge the same days ({period} period: {told}): their medians cannot be compared. Give data.{period} "
        "the same start and end in all runs."
    ]


def _different_basins(judged: Mapping[str, Mapping[str, set[str]]], period: str) -> list[str]:
    """Return a sentence for each group of basins in which runs judge different ones, for basins by group and run."""
    found = []
    for group, runs in judged.items():
        every, common = set.union(*runs.values()), set.intersection(*runs.values())
        if every != common:
            counts = ", ".join(f"{name} {len(basins)}" for name, basins in runs.items())
            found.append(
                f"The runs do not judge the same basins ({group}, {period} period: {counts}; {len(common)} are common to all): "
                f"their medians cannot be compared. Name {', '.join(sorted(every - common)[:10])} in data.exclude of all runs."
            )
    return found


def remove_comparisons(folder: Path) -> None:
    """Remove what `compare_runs` has written into a folder."""
    for period in ("train", "validation", "test"):
        for old in folder.glob(f"comparison_{period}*"):
            old.unlink()


def _figures(
    out: Path,
    settings: BasinRun,
    data: BasinData,
    series: xr.Dataset,
    scores: xr.Dataset,
    learned: Mapping[str, np.ndarray],
) -> dict[str, Path]:
    target = settings.data.targets[0]
    groups = {
        str(group): scores.nse.values[scores.group.values == group]
        for group in np.unique(scores.group.values)
    }
    drawn = {
        "Share of basins with at most this NSE": plot_cdf(
            out / "cdf.png", groups, f"NSE of {target}"
        )
    }
    chosen = exemplary(scores.nse.values)
    if chosen:
        titles = [
            f"{which}: basin {scores.basin.values[i]}, NSE {scores.nse.values[i]:.2f}"
            for which, i in chosen.items()
        ]
        s, o = (
            series[f"{target}_{kind}"].values[list(chosen.values())]
            for kind in ("simulated", "observed")
        )
        caption = "Best, median and worst basin"
        drawn[caption] = plot_hydrographs(
            out / "hydrographs.png", pd.DatetimeIndex(series.time.values), s, o, titles
        )
    if {"lat", "lon"} <= set(data.records.coords):
        name, shown = _mapped(settings, data, scores, learned)
        places = data.records.sel(basin=series.basin)
        drawn[f"Map of {name}"] = plot_map(out / "map.png", places.lon, places.lat, shown, name)
    return drawn


def _mapped(
    settings: BasinRun, data: BasinData, scores: xr.Dataset, learned: Mapping[str, np.ndarray]
) -> tuple[str, np.ndarray]:
    """Return name and values of what the map shows: by default the first learned parameter, or the NSE."""
    attributes = {
        n: data.records[n].sel(basin=scores.basin).values for n in settings.data.attributes
    }
    known = (
        attributes
        | {str(n): scores[n].values for n in scores.data_vars if n != "group"}
        | dict(learned)
    )
    name = settings.evaluation.mapped or next(iter(learned), "nse")
    if name not in known:
        raise SettingsError(
            f"evaluation.mapped: nothing is called {name!r}{nearest(name, known)} Known: {', '.join(known)}."
        )
    return name, known[name]


def exemplary(nse: np.ndarray) -> dict[str, int]:
    """Return the positions of the best, the median and the worst basin; none where no basin has a score."""
    order = np.argsort(nse)
    order = order[np.isfinite(nse[order])]
    if not order.size:
        return {}
    return {"best": int(order[-1]), "median": int(order[order.size // 2]), "worst": int(order[0])}


def _page(
    out: Path,
    folder: Path,
    period: str,
    settings: BasinRun,
    rows: Rows,
    untrained: Rows,
    scores: xr.Dataset,
    drawn: Mapping[str, Path],
    data: BasinData,
    weights: str,
) -> None:
    span = getattr(settings.data, period)
    page = Page(f"{folder.name}: {settings.model.name}, {period} period")
    warm_up = settings.evaluation.warm_up
    page.text(
        f"{scores.sizes['basin']} basins, {span.start} to {span.end}, after {warm_up} days of warm-up."
    )
    for note in data.notes:
        page.text(note)
    page.table(
        rows,
        "Medians over basins with 95 % bootstrap intervals; undefined: basins without the measure",
    )
    if left_out_rows(data.left_out):
        page.table(left_out_rows(data.left_out), "Basins that were left out")
    page.heading("Variables that were never trained on")
    if untrained:
        page.text(UNTRAINED)
        page.table(untrained, CAPTION)
    else:
        page.text(
            "None: this run gives neither evapotranspiration nor base flow. A pure LSTM simulates its targets alone."
        )
    for caption, path in drawn.items():
        page.heading(caption)
        page.figure(path, caption)
    history = folder / "history.csv"
    if history.is_file():
        page.heading("Training")
        table = _rows(pd.read_csv(history))
        page.table(table[:: max(1, len(table) // 20)], "Epochs")
    page.heading("Scores of basins")
    frame = scores[["group", *SHOWN, "days"]].to_dataframe().reset_index()
    page.table(_rows(frame))
    page.heading("Settings and provenance")
    page.text(f"SHA-256 of the weights: {weights or 'unknown'}.")
    page.code(yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False))
    if (folder / "provenance.json").is_file():
        page.code((folder / "provenance.json").read_text(encoding="utf-8"))
    page.write(out / "report.html")


def _rows(frame: pd.DataFrame) -> Rows:
    return [{str(k): v for k, v in row.items()} for row in frame.to_dict("records")]
