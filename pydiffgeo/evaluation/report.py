"""One report of judged runs for every domain: tables, figures and one page; the comparison of several runs."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from pydiffgeo.console import console
from pydiffgeo.errors import DataWarning, lookup
from pydiffgeo.evaluation.figures import Panel, matplotlib_missing, save_figure
from pydiffgeo.evaluation.page import Page
from pydiffgeo.evaluation.panels import PANELS
from pydiffgeo.evaluation.tables import print_table, write_table
from pydiffgeo.files import write_file

if TYPE_CHECKING:
    from pydiffgeo.evaluation.evaluate import Evaluation

# measures of summaries on the screen and of comparisons, and which of them is best: the largest or the least
SHOWN: dict[str, str | None] = {
    "nse": "max", "kge": "max", "rmse": "min", "ubrmse": "min", "correlation": "max", "fhv": None, "nrmse_high": "min",
    "flv": None, "alpha_nse": None, "beta_nse": None, "pearson_r": "max", "bias": None, "peak_timing": "min",
}  # fmt: skip
COMPARED = ("untrained", "cdf", "profiles", "hydrographs", "water_balance", "training_curves")
Chosen = Mapping[str, Mapping[str, Any]] | Iterable[str] | None


def write_report(
    run: Evaluation,
    folder: str | Path,
    title: str,
    panels: Chosen = None,
    figures: bool = True,
    notes: Sequence[str] = (),
    appendix: Mapping[str, str] | None = None,
    weights: str = "",
    progress: bool = False,
) -> Path:
    """Write scores, series, parameters, tables, figures and ``report.html`` of a run and return the path of the page.

    Parameters
    ----------
    run : Evaluation
    folder : str or Path
        It is created.
    title : str
        Of the page.
    panels : iterable of str, or mapping of str to mapping, optional
        Names of `PANELS`, and their options; all by default.
    figures : bool
        Draw figures (needs matplotlib).
    notes : sequence of str
        What a reader must know before the scores.
    appendix : mapping of str to str, optional
        Text as it is, such as settings and provenance, by heading.
    weights : str
        Hash of the weights that were judged.
    progress : bool
        Print the scores.

    Raises
    ------
    UnknownName
        No such panel.
    """
    folder = Path(folder)
    medians = run.medians()
    run.write(folder)
    write_table(records(medians), folder / "medians")
    page = Page(title)
    warm_up = run.data.attrs.get("warm_up", 0)
    page.text(f"{run.data.sizes['site']} sites, {run.days}, after {warm_up} steps of warm-up.")
    for note in notes:
        page.text(note)
    caption = "Medians over sites, 95 % bootstrap intervals; undefined: sites without the measure"
    page.table(records(medians), caption)
    if "depth" in (summary := run.summary):
        write_table(records(summary), folder / "table")
        page.table(records(summary), "By depth: of errors the root of the mean square over sites")
    rows = [{"site": site, "reason": reason} for site, reason in run.left_out.items()]
    page.table(rows, "Sites that were left out")
    _add_panels(page, {"simulated": run}, folder, panels, PANELS, figures)
    for name, scores in run.all_scores.items():
        page.heading(f"Scores of sites: {name}")
        columns = [m for m in (*SHOWN, "count") if m in scores]
        labels = ["group"] if "group" in scores.coords else []
        page.table(
            records(scores[[*labels, *columns]].to_dataframe()[labels + columns].reset_index())
        )
    page.heading("Settings and provenance")
    page.text(f"SHA-256 of the weights: {weights or 'unknown'}.")
    for heading, text in (appendix or {}).items():
        page.heading(heading)
        page.code(text)
    if progress and "depth" in summary:
        _print_summary(summary, title)
    elif progress:
        labels = [c for c in ("observed", "group") if c in medians]
        for names, part in medians.groupby(labels, sort=False):
            told = f"{title}, {', '.join(map(str, names))}: medians, 95 % bootstrap intervals"
            part = part[part["measure"].isin(SHOWN)]
            print_table(records(part[["measure", "median", "lower", "upper", "sites"]]), told)
    return page.write(folder / "report.html")


def compare_runs(
    runs: Mapping[str, Evaluation],
    folder: str | Path,
    name: str = "comparison",
    panels: Chosen = None,
    figures: bool = True,
    notes: Sequence[str] = (),
    reference: str | None = None,
    weights: Mapping[str, str] | None = None,
    progress: bool = False,
) -> pd.DataFrame:
    """Write tables, figures and a page that compare judged runs, and return their summary.

    Runs that judge other days or sites are warned of, and the page says so.

    Parameters
    ----------
    runs : mapping of str to Evaluation
        By name.
    folder : str or Path
        Of the files, whose names begin with `name`.
    name : str
        Such as "comparison_test".
    panels : iterable of str, or mapping of str to mapping, optional
        As for `write_report`.
    figures : bool
        Draw figures.
    notes : sequence of str
        What a reader must know of single runs.
    reference : str, optional
        Run whose RMSE the others' is compared with: ``gain`` is the share by which it is lower.
    weights : mapping of str to str, optional
        Hash of the weights of each run.
    progress : bool
        Print the summary.

    Returns
    -------
    pandas.DataFrame
        ``run`` and the columns of `Evaluation.summary`; ``gain``, where there is a reference.
    """
    folder = Path(folder)
    tables = [run.summary.assign(run=label) for label, run in runs.items()]
    summary = pd.concat(tables, ignore_index=True)
    labels = [c for c in ("run", "observed", "group", "depth") if c in summary]
    measures = [c for c in SHOWN if c in summary and summary[c].notna().any()]
    summary = summary[[*labels, *measures, "sites"]]
    if reference is not None:
        lookup(runs, reference, "run")
        keys = labels[1:]
        base = summary[summary["run"] == reference].set_index(keys)["rmse"]
        gain = (
            1 - summary["rmse"] / base.reindex(pd.MultiIndex.from_frame(summary[keys])).to_numpy()
        )
        summary = summary.assign(gain=gain)
    write_table(records(summary), folder / name)
    page = Page(name.replace("_", " ").capitalize())
    for text in notes:
        page.text(text)
    page.table(records(summary), "Scores over the sites: see the report of each run")
    for text in (*_different_days(runs), *_different_sites(runs)):
        warnings.warn(text, DataWarning, stacklevel=2)
        page.text(text)
    known = {k: PANELS[k] for k in COMPARED}
    _add_panels(page, runs, folder, panels, known, figures, f"{name}_")
    if weights:
        told = "; ".join(f"{label} {value}" for label, value in weights.items())
        page.text(f"Weights that were judged: {told}.")
    page.write(folder / f"{name}.html")
    if progress:
        _print_summary(summary, "Scores of the runs")
        console().print(f"Comparison: {folder / f'{name}.html'}, with tables beside it")
    return summary


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a table as dictionaries."""
    return [{str(k): v for k, v in row.items()} for row in table.to_dict("records")]


def _add_panels(
    page: Page,
    runs: Mapping[str, Evaluation],
    folder: Path,
    panels: Chosen,
    known: Mapping[str, Any],
    figures: bool,
    prefix: str = "",
) -> None:
    """Add panels to a page and write their files; those with nothing to show are told of at the end."""
    chosen = dict.fromkeys(known, {}) if panels is None else panels
    options = dict(chosen) if isinstance(chosen, Mapping) else dict.fromkeys(chosen, {})
    made: dict[str, Panel] = {n: lookup(PANELS, n, "panel")(runs, **o) for n, o in options.items()}
    draw = figures and matplotlib_missing() is None
    for panel in made.values():
        if panel.nothing:
            continue
        for stem, table in panel.files.items():
            text = table.to_csv(index=False, float_format="%.6g")
            write_file(folder / f"{prefix}{stem}.csv", text)
        page.heading(panel.title)
        if panel.text:
            page.text(panel.text)
        for stem, table in panel.tables.items():
            write_table(records(table), folder / f"{prefix}{stem}")
            page.table(records(table))
        for stem, (caption, make) in panel.figures.items() if draw else ():
            page.figure(save_figure(make(), folder / f"{prefix}{stem}.png"), caption)
    for panel in made.values():
        if panel.nothing:
            page.text(f"{panel.title}: not shown, since {panel.nothing}.")


def _print_summary(summary: pd.DataFrame, title: str) -> None:
    """Print scores: one table, or for profiles one for each measure, with depths across."""
    labels = [c for c in ("run", "observed", "group") if c in summary]
    measures = [m for m in SHOWN if m in summary]
    best = {k: v for k, v in SHOWN.items() if v is not None}
    if "depth" not in summary:
        print_table(records(summary[[*labels, *measures, "sites"]]), title, best)
        return
    for measure in measures:
        wide = summary.pivot_table(measure, labels, "depth", sort=False, dropna=False).reset_index()
        marks = {str(c): best[measure] for c in wide if c not in labels and measure in best}
        print_table(records(wide), f"{title}: {measure}", marks)


def _different_days(runs: Mapping[str, Evaluation]) -> list[str]:
    """Return a sentence where runs judge different days."""
    days = {name: run.days for name, run in runs.items()}
    if len(set(days.values())) < 2:
        return []
    told = ", ".join(f"{name} {span}" for name, span in days.items())
    return [
        f"The runs do not judge the same days ({told}): their scores cannot be compared. Give all the same start and end."
    ]


def _different_sites(runs: Mapping[str, Evaluation]) -> list[str]:
    """Return a sentence for each group of sites in which runs judge different ones."""
    judged: dict[str, dict[str, set[str]]] = {}
    for name, run in runs.items():
        sites = run.data["site"].to_series().astype(str)
        groups = (
            run.data["group"].to_series()
            if "group" in run.data.coords
            else sites.map(lambda _: "all")
        )
        for group, part in sites.groupby(groups):
            judged.setdefault(str(group), {})[name] = set(part)
    found = []
    for group, sites_of in judged.items():
        every, common = set.union(*sites_of.values()), set.intersection(*sites_of.values())
        if every != common:
            counts = ", ".join(f"{name} {len(sites)}" for name, sites in sites_of.items())
            found.append(
                f"The runs do not judge the same sites ({group}: {counts}; {len(common)} are common to all): their scores "
                f"cannot be compared. Leave {', '.join(sorted(every - common)[:10])} out of all runs."
            )
    return found
