"""Reports of one judged run or of several: tables, figures and one page, for every domain."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from pydiffgeo.console import console
from pydiffgeo.errors import DataWarning, listed, lookup
from pydiffgeo.evaluation.figures import Evaluation, Panel, Runs, matplotlib_missing, save_figure
from pydiffgeo.evaluation.page import Page
from pydiffgeo.evaluation.panels import PANELS
from pydiffgeo.evaluation.panels.pooled import pooled
from pydiffgeo.evaluation.tables import print_table, write_table
from pydiffgeo.files import write_file

# measures of summaries on the screen and of comparisons, and which of them is best
SHOWN = {
    "nse": "max", "kge": "max", "rmse": "min", "ubrmse": "min", "correlation": "max", "fhv": "",
    "nrmse_high": "min", "flv": "", "alpha_nse": "", "beta_nse": "", "pearson_r": "max", "bias": "",
    "peak_timing": "min", "crps": "min", "nll": "min", "coverage_50": "", "coverage_90": "",
    "coverage_95": "", "width_90": "",
}  # fmt: skip
LABELS = ("run", "observed", "group", "depth")  # of rows
GATHERED = {  # of profiles, by `summary_table`; of all else it takes medians
    "rmse": "root of the mean square", "ubrmse": "root of the mean square", "bias": "mean",
    "correlation": "mean",
}  # fmt: skip
COMPARED = (
    "untrained", "pooled", "cdf", "profiles", "hydrographs", "reliability", "water_balance",
    "training_curves",
)  # fmt: skip
Chosen = Mapping[str, Mapping[str, Any]] | Iterable[str] | None


def write_report(
    run: Evaluation, folder: str | Path, title: str, panels: Chosen = None, figures: bool = True,
    notes: Sequence[str] = (), appendix: Mapping[str, str] | None = None, weights: str = "",
    progress: bool = False,
) -> Path:  # fmt: skip
    """Write scores, series, parameters, tables, figures and a page of a run; return its path.

    `panels` are names of `PANELS` with or without their options, all by default, and UnknownName
    for others; figures need matplotlib. `notes` are what a reader must know before the scores,
    `appendix` is text by heading, such as settings and provenance, `weights` the hash of those that
    were judged; `progress` prints the scores.
    """
    folder, page = Path(folder), Page(title)
    medians, summary = run.medians(), run.summary
    run.write(folder)
    write_table(medians, folder / "medians")
    warm_up = run.data.attrs.get("warm_up", 0)
    judged = f"{run.data.sizes['site']} sites, {run.days}, after {warm_up} steps of warm-up."
    page.add("p", judged, *notes)
    page.table(
        medians, "Medians over sites, 95 % bootstrap intervals; undefined: sites without one"
    )
    if "depth" in summary:
        write_table(summary, folder / "table")
        page.table(summary, "By depth: of errors the root of the mean square over sites")
    left_out = pd.DataFrame(run.left_out.items(), columns=["site", "reason"])
    page.table(left_out, "Sites that were left out")
    chosen = list(PANELS) if panels is None else panels
    _add_panels(page, {"simulated": run}, folder, chosen, figures)
    for name, scores in run.all_scores.items():
        page.add("h2", f"Scores of sites: {name}")
        table = scores.to_dataframe().reset_index()
        page.table(table[[c for c in (*scores.dims, "group", *SHOWN, "count") if c in table]])
    page.add("h2", "Settings and provenance")
    page.add("p", f"SHA-256 of the weights: {weights or 'unknown'}.")
    for heading, text in (appendix or {}).items():
        page.add("h2", heading)
        page.add("pre", text)
    if progress and run.axis == "point":
        print_table(run.pooled(), f"{title}: all points together")
    elif progress and "depth" in summary:
        _print_summary(summary, title)
    elif progress:
        labels = [c for c in LABELS if c in medians]
        for names, part in medians[medians["measure"].isin(SHOWN)].groupby(labels, sort=False):
            told = f"{title}, {', '.join(map(str, names))}: "
            if part["sites"].max() == 1:  # which has no interval
                one = part[["measure", "median"]].rename(columns={"median": "value"})
                print_table(one, told + "a single site")
                continue
            told += "medians, 95 % bootstrap intervals"
            print_table(part[["measure", "median", "lower", "upper", "sites"]], told)
    return page.write(folder / "report.html")


def compare_runs(
    runs: Runs, folder: str | Path, name: str = "comparison", panels: Chosen = None,
    figures: bool = True, notes: Sequence[str] = (), reference: str | None = None,
    weights: Mapping[str, str] | None = None, progress: bool = False,
) -> pd.DataFrame:  # fmt: skip
    """Write tables, figures and a page that compare judged runs by name, and return their summary.

    Files begin with `name`, such as "comparison_test"; `panels` and `notes` are as in
    `write_report`, `weights` the hash of those of each run. Runs that judge other days or sites are
    warned of, and the page says so.

    Returns
    -------
    pandas.DataFrame
        ``run`` and the columns of `Evaluation.summary`; with a run as `reference` also ``gain``,
        the share by which the RMSE is lower than that of the reference.
    """
    folder, page = Path(folder), Page(name.replace("_", " ").capitalize())
    tables = [run.summary.assign(run=label) for label, run in runs.items()]
    summary = pd.concat(tables, ignore_index=True).dropna(axis="columns", how="all")
    labels = [c for c in LABELS if c in summary]
    summary = summary[[*labels, *(c for c in SHOWN if c in summary), "sites"]]
    if reference is not None:
        lookup(runs, reference, "run")
        base = summary.loc[summary["run"] == reference, [*labels[1:], "rmse"]]
        base = summary[labels[1:]].merge(base, "left")["rmse"]
        summary = summary.assign(gain=1 - summary["rmse"] / base)
    write_table(summary, folder / name)
    page.add("p", *notes)
    page.table(summary, "Scores over the sites: see the report of each run")
    for text in _incomparable(runs):
        warnings.warn(text, DataWarning, stacklevel=2)
        page.add("p", text)
    _add_panels(page, runs, folder, COMPARED if panels is None else panels, figures, f"{name}_")
    if weights:
        told = "; ".join(f"{label} {value}" for label, value in weights.items())
        page.add("p", f"Weights that were judged: {told}.")
    page.write(folder / f"{name}.html")
    if progress:
        if together := pooled(runs).tables:
            best = {name: which for name, which in SHOWN.items() if which}
            print_table(together["pooled"], "All points together", best)
        else:
            _print_summary(summary, "Scores of the runs")
        console().print(f"Comparison: {folder / f'{name}.html'}, with tables beside it")
    return summary


def _add_panels(
    page: Page, runs: Runs, folder: Path, chosen: Any, figures: bool, prefix: str = ""
) -> None:
    """Add panels to a page and write their files; what has nothing to show is told at the end."""
    options = chosen if isinstance(chosen, Mapping) else dict.fromkeys(chosen, {})
    made: list[Panel] = [lookup(PANELS, n, "panel")(runs, **o) for n, o in options.items()]
    draw = figures and matplotlib_missing() is None
    for panel in (panel for panel in made if not panel.nothing):
        for stem, table in panel.files.items():
            text = table.to_csv(index=False, float_format="%.6g")
            write_file(folder / f"{prefix}{stem}.csv", text)
        page.add("h2", panel.title)
        page.add("p", *filter(None, [panel.text]))
        for stem, table in panel.tables.items():
            write_table(table, folder / f"{prefix}{stem}")
            page.table(table)
        for stem, (caption, make) in panel.figures.items() if draw else ():
            page.figure(save_figure(make(), folder / f"{prefix}{stem}.png"), caption)
    page.add("p", *(f"{p.title}: not shown, since {p.nothing}." for p in made if p.nothing))


def _print_summary(summary: pd.DataFrame, title: str) -> None:
    """Print scores: one table, or for profiles one for each measure, with depths across."""
    best = {k: v for k, v in SHOWN.items() if v and k in summary}
    labels = [c for c in LABELS if c in summary and c != "depth"]
    measures = [m for m in SHOWN if m in summary]
    if "depth" not in summary:
        print_table(summary[[*labels, *measures, "sites"]], title, best)
        return
    for m in measures:
        named = summary.fillna({"depth": "no depth"})  # a satellite beside probes
        wide = named.pivot_table(m, labels, "depth", sort=False, dropna=False)
        marks = {str(c): best[m] for c in wide if m in best}
        how = f"{GATHERED.get(m, 'median')} over the sites"
        if m in GATHERED and "no depth" in wide:
            how += ", without depth their median"
        print_table(wide.reset_index(), f"{title}: {m} ({how})", marks)


def _incomparable(runs: Runs) -> Iterator[str]:
    """Yield a sentence where runs judge different days, and for each group with different sites."""
    days = {name: run.days for name, run in runs.items()}
    if len(set(days.values())) > 1:
        told = ", ".join(f"{name} {span}" for name, span in days.items())
        yield (
            f"The runs do not judge the same days ({told}): their scores cannot be compared. Give "
            "all the same start and end."
        )
    for group in dict.fromkeys(group for run in runs.values() for group in run.groups):
        judging = {name: run for name, run in runs.items() if group in run.groups}
        sites = {n: set(r.data["site"].values[r.groups == group]) for n, r in judging.items()}
        every, common = set.union(*sites.values()), set.intersection(*sites.values())
        if every != common:
            counts = ", ".join(f"{name} {len(some)}" for name, some in sites.items())
            remedy = f"Leave {listed(sorted(map(str, every - common)), 10)} out of all runs."
            if not common:
                remedy = "Judge all runs at the same sites, or each in a report of its own."
            yield (
                f"The runs do not judge the same sites ({group or 'all'}: {counts}; {len(common)} "
                f"are common to all): their scores cannot be compared. {remedy}"
            )
