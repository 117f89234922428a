"""The judgement of a hybrid: simulation, scores, report."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr

from pydiffgeo.errors import DataError
from pydiffgeo.evaluation.judged import Judged
from pydiffgeo.evaluation.report import write_report
from pydiffgeo.evaluation.simulate import Processes, simulate
from pydiffgeo.hybrid import Ensemble, Hybrid


class Evaluation(Judged):
    """What `evaluate` gives: see `Judged` for its parts, `save` for a report."""

    def save(self, folder: str | Path, title: str = "Evaluation", **options: Any) -> Path:
        """Write everything and a page into a folder and return the path of the page; options are those of `write_report`."""
        return write_report(self, folder, title, **options)


def evaluate(
    hybrid: Hybrid | Ensemble,
    sites: xr.Dataset,
    start: str | None = None,
    end: str | None = None,
    warm_up: int | None = 365,
    batch: int = 128,
    *,
    observed: Iterable[str] | None = None,
    measures: Mapping[str, Sequence[str]] | None = None,
    also: Iterable[str] | None = None,
    members: Mapping[str, int] | None = None,
    groups: Mapping[str, Iterable[str]] | None = None,
    keep_warm_up: bool = False,
    group: Processes | None = None,
    history: pd.DataFrame | None = None,
    left_out: Mapping[str, str] | None = None,
) -> Evaluation:
    """Simulate sites with a trained hybrid and score it.

    Parameters
    ----------
    hybrid, sites, start, end, warm_up, batch, observed, also, members, keep_warm_up, group
        As for `pydiffgeo.evaluation.simulate`.
    measures : mapping of str to sequence of str, optional
        Names of `pydiffgeo.evaluation.MEASURES` by observed series; see `score_sites` for the default.
    groups : mapping of str to iterable of str, optional
        Sites by the name of their group, such as "trained" and "held out", which are summarised apart.
    history : pandas.DataFrame, optional
        Of the training, for its panel.
    left_out : mapping of str to str, optional
        Sites that were left out before, and why.

    Returns
    -------
    Evaluation
        ``scores``, ``series``, ``parameters``, ``summary``, ``medians()``, ``save(folder)``.

    Raises
    ------
    DataError
        As `simulate`; or a site has no group.
    """
    data = simulate(
        hybrid, sites, start, end, warm_up, batch, observed=observed, also=also, members=members,
        keep_warm_up=keep_warm_up, group=group,
    )  # fmt: skip
    if groups is not None:
        of = {site: name for name, some in groups.items() for site in some}
        names = [str(site) for site in data["site"].values]
        if missing := [site for site in names if site not in of]:
            raise DataError(
                f"site {missing[0]} is in none of the groups {', '.join(groups)}; add it."
            )
        data = data.assign_coords(group=("site", [of[site] for site in names]))
    gone = {**(left_out or {}), **json.loads(data.attrs["left_out"])}
    gone |= {k: f"the solve failed: {why}" for k, why in json.loads(data.attrs["failed"]).items()}
    return Evaluation(data, dict(measures or {}), gone, sites, hybrid, history)


def open_evaluation(folder: str | Path) -> Evaluation:
    """Read what `Evaluation.save` has written, with ``history.csv`` of the run's folder above it.

    Raises
    ------
    DataError
        The folder holds no evaluation.
    """
    folder = Path(folder)
    if not (folder / "series.nc").is_file():
        raise DataError(
            f"{folder} holds no evaluation: there is no series.nc. Judge the run first."
        )
    data = xr.load_dataset(folder / "series.nc")
    left_out = pd.read_csv(folder / "left_out.csv", dtype=str)
    history = folder.parent / "history.csv"
    scores = {k: xr.load_dataset(path) for k, path in Judged.score_files(data, folder).items()}
    return Evaluation(
        data,
        left_out=dict(zip(left_out["site"], left_out["reason"], strict=True)),
        history=pd.read_csv(history) if history.is_file() else None,
        all_scores=scores,
    )
