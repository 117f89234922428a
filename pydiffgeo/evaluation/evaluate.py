"""The judgement of a hybrid: a simulation of sites with what was observed, and its scores."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from pydiffgeo.data.form import axis_of, stamp
from pydiffgeo.distributions import LEVELS
from pydiffgeo.errors import DataError
from pydiffgeo.evaluation.probabilistic import NLL, QUANTILE, score_distribution
from pydiffgeo.evaluation.report import write_report
from pydiffgeo.evaluation.scores import (
    POOLED,
    groups_of,
    median_scores,
    pooled_scores,
    score_sites,
    summary_table,
    write_scores,
)
from pydiffgeo.evaluation.simulate import OBSERVED, simulate
from pydiffgeo.files import file_name, write_file, write_netcdf
from pydiffgeo.hybrid import Hybrid
from pydiffgeo.limits import Count, Natural
from pydiffgeo.members import Ensemble

if TYPE_CHECKING:
    from pydiffgeo.training.distributed import Group


@dataclass(repr=False)
class Evaluation:
    """A simulation of sites with what was observed, and its scores.

    Attributes
    ----------
    data : xarray.Dataset
        From `pydiffgeo.evaluation.simulate`: series, ``NAME_observed``, parameters.
    measures : mapping of str to sequence of str, optional
        Measures of an observed series, by name; see `score_sites`.
    left_out : dict of str to str
        Sites that are not judged, and why.
    sites, hybrid, history : xarray.Dataset, Hybrid or Ensemble, pandas.DataFrame, optional
        Records of the sites, what was judged, and a row per epoch of its training, for the panels.
    all_scores : dict of str to xarray.Dataset
        Scores by observed series; computed where they are not given.
    """

    data: xr.Dataset
    measures: Mapping[str, Sequence[str]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    sites: xr.Dataset | None = None
    hybrid: Hybrid | Ensemble | None = None
    history: pd.DataFrame | None = None
    all_scores: dict[str, xr.Dataset] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.axis = axis_of(self.data)
        judged = self.judged
        for name in (n for n in self.observed if n not in self.all_scores):
            pair = judged[name], judged[name + OBSERVED]
            gauged: Any = slice(None)
            if self.data.attrs.get("closed"):  # the other sites of a river have no gauge
                seen = pair[1].notnull()
                gauged = seen.any([dim for dim in seen.dims if dim != "site"]).values
                pair = pair[0].isel(site=gauged), pair[1].isel(site=gauged)
            scores = score_sites(*pair, self.measures.get(name))
            if name + QUANTILE in judged:
                given = judged[name + QUANTILE].isel(site=gauged)
                nll = judged[name + NLL].isel(site=gauged) if name + NLL in judged else None
                scores = scores.assign(score_distribution(given, pair[1], nll).data_vars)
            self.all_scores[name] = scores

    @property
    def observed(self) -> list[str]:
        """The series that are compared."""
        return _observed(self.data)

    @property
    def judged(self) -> xr.Dataset:
        """The data without the steps of the warm-up."""
        return self.data.isel({self.axis: self.data["judged"].values})

    @property
    def groups(self) -> NDArray:
        """The group of each site, [site]; "" where there are none."""
        return groups_of(self.data)

    @property
    def scores(self) -> xr.Dataset:
        """Scores of the first observed series, [site] or [site, depth]; `all_scores` has all."""
        if not self.all_scores:
            raise DataError("nothing was observed, so nothing is scored; give observed series.")
        return next(iter(self.all_scores.values()))

    @property
    def parameters(self) -> xr.Dataset:
        """Parameters [site] or [site, layer]; none of a network alone."""
        return self.data.filter_by_attrs(role="parameter")

    @property
    def series(self) -> xr.Dataset:
        """Simulated and observed series, fluxes and states that were asked for."""
        return self.data.drop_vars(list(self.parameters.data_vars))

    @property
    def days(self) -> str:
        """First and last day judged, in words."""
        times = self.judged[self.axis].values if self.axis in self.data.coords else [0]
        return f"{stamp(times[0])} to {stamp(times[-1])}"

    @property
    def summary(self) -> pd.DataFrame:
        """One row per observed series, group of sites, and depth of profiles: `summary_table`."""
        return self._tables(summary_table)

    def pooled(self, measures: Iterable[str] = POOLED) -> pd.DataFrame:
        """Return measures over all points of all sites at once: see `pooled_scores`.

        A row for each observed series, and each group of sites where there are groups.
        """
        judged, rows = self.judged, []
        for name in self.observed:
            pair = judged[name].values, judged[name + OBSERVED].values
            for group in dict.fromkeys(self.groups):
                own = self.groups == group
                label = {"observed": name} | ({"group": group} if group else {})
                rows.append({**label, **pooled_scores(pair[0][own], pair[1][own], measures)})
        return pd.DataFrame(rows)

    def medians(self, confidence: float = 0.95) -> pd.DataFrame:
        """Return medians over the sites with bootstrap intervals: see `median_scores`."""
        return self._tables(lambda scores: median_scores(scores, confidence))

    def _tables(self, make: Callable[[xr.Dataset], pd.DataFrame]) -> pd.DataFrame:
        tables = {name: make(scores) for name, scores in self.all_scores.items()}
        for name, table in tables.items():
            table.insert(0, "observed", name)
        return pd.concat(tables.values(), ignore_index=True) if tables else pd.DataFrame()

    def to_netcdf(self, path: str | Path) -> Path:
        """Write series, states and parameters as netCDF, series in float32, and return the path."""
        numbers = [str(n) for n, v in self.data.data_vars.items() if v.dtype.kind == "f"]
        packed = {"zlib": True, "complevel": 1, "dtype": "float32"}
        return write_netcdf(self.data, path, encoding=dict.fromkeys(numbers, packed))

    def write(self, folder: Path) -> None:
        """Write series, scores, parameters and what was left out into a folder."""
        self.to_netcdf(folder / "series.nc")
        for name, path in _score_files(self.data, folder).items():
            write_scores(self.all_scores[name], path.with_suffix(""))
        left_out = pd.DataFrame(self.left_out.items(), columns=["site", "reason"])
        write_file(folder / "left_out.csv", left_out.to_csv(index=False))
        if self.parameters.data_vars:
            table = self.parameters.reset_coords(drop=True).to_dataframe()
            write_file(folder / "parameters.csv", table.to_csv(float_format="%.6g"))

    def save(self, folder: str | Path, title: str = "Evaluation", **options: Any) -> Path:
        """Write everything and a page, whose path is returned; options: see `write_report`."""
        return write_report(self, folder, title, **options)

    def __repr__(self) -> str:
        table = self.summary.to_string(index=False) if self.all_scores else "nothing was observed"
        return f"{self.data.sizes['site']} sites, {self.days}\n{table}"


def _observed(data: xr.Dataset) -> list[str]:
    return [str(name) for name in data.data_vars if f"{name}{OBSERVED}" in data]


def _score_files(data: xr.Dataset, folder: Path) -> dict[str, Path]:
    """Return the netCDF file of the scores of each observed series: the first is scores.nc."""
    stems = [f"_{file_name(name)}" if k else "" for k, name in enumerate(_observed(data))]
    return {n: folder / f"scores{s}.nc" for n, s in zip(_observed(data), stems, strict=True)}


def evaluate(
    hybrid: Hybrid | Ensemble, sites: xr.Dataset, start: str | None = None, end: str | None = None,
    warm_up: Natural | None = 365, batch: Count = 128, *, observed: Iterable[str] | None = None,
    measures: Mapping[str, Sequence[str]] | None = None,
    also: Iterable[str] | Literal["all"] | None = None, members: Mapping[str, int] | None = None,
    groups: Mapping[str, Iterable[str]] | None = None, keep_warm_up: bool = False,
    group: Group | None = None, history: pd.DataFrame | None = None,
    left_out: Mapping[str, str] | None = None, missing: Literal["error", "skip"] = "error",
    quantiles: Sequence[float] = LEVELS,
) -> Evaluation:  # fmt: skip
    """Simulate sites with a trained hybrid and score it.

    Parameters
    ----------
    hybrid : Hybrid or Ensemble
        Trained. The series of an ensemble are the means over its members.
    sites : xarray.Dataset
        Site form, with what the hybrid reads, and observed series where there are any.
    start, end : str, optional
        First and last day that are judged; by default all after the warm-up.
    warm_up : int, optional
        Steps simulated before the first judged one: fewer, with a warning, where the record begins
        later than that; all that there are for None (from where most sites have forcing, if none
        has it from the first one on and `missing` is "skip").
    batch : int
        Sites simulated at a time; of a hybrid with `Downstream` whole rivers, whatever they have.
    observed : iterable of str, optional
        Series that are compared; by default all observed ones that the hybrid gives.
    also : iterable of str, optional
        Further series to keep: fluxes and states that the hybrid gives, "all" of them, or forcing
        as in the records; by default what the panels show.
    members, group
        As for `pydiffgeo.evaluation.simulate`.
    keep_warm_up : bool
        Whether the steps of the warm-up are kept in the series, and drawn.
    measures : mapping of str to sequence of str, optional
        Names of `pydiffgeo.evaluation.MEASURES` by observed series.
    groups : mapping of str to iterable of str, optional
        Sites by the name of their group, such as "trained" and "held out", which are summarised
        apart. DataError where a site has none.
    history, left_out : pandas.DataFrame, mapping of str to str, optional
        Of the training, for its panel; sites that were left out before, and why.
    missing : {"error", "skip"}
        What a site with missing forcing is: an error by site and date, or left out with a warning
        and listed in `Evaluation.left_out`.
    quantiles : sequence of float
        Levels of the quantiles that are kept and scored where a distribution is known: of a hybrid
        with `stages.ErrorModel` or a `Sequence` with a distribution, and of the members of an
        ensemble. () for none.
    """
    data = simulate(
        hybrid, sites, start, end, warm_up, batch, observed=observed, also=also, members=members,
        keep_warm_up=keep_warm_up, group=group, missing=missing, quantiles=quantiles,
    )  # fmt: skip
    if groups is not None:
        of = {site: name for name, some in groups.items() for site in some}
        names = list(map(str, data["site"].values))
        if alone := [site for site in names if site not in of]:
            known = ", ".join(groups)
            raise DataError(f"site {alone[0]} is in none of the groups {known}; add it.")
        data = data.assign_coords(group=("site", [of[site] for site in names]))
    gone = {**(left_out or {}), **json.loads(data.attrs["left_out"])}
    gone |= {k: f"the solve failed: {why}" for k, why in json.loads(data.attrs["failed"]).items()}
    return Evaluation(data, dict(measures or {}), gone, sites, hybrid, history)


def open_evaluation(folder: str | Path) -> Evaluation:
    """Read what `Evaluation.save` has written, with ``history.csv`` of the folder above it.

    DataError where the folder holds no evaluation.
    """
    folder, history = Path(folder), Path(folder).parent / "history.csv"
    if not (folder / "series.nc").is_file():
        raise DataError(f"{folder} holds no evaluation (no series.nc). Judge the run first.")
    data = xr.load_dataset(folder / "series.nc")
    left_out = pd.read_csv(folder / "left_out.csv", dtype=str)
    return Evaluation(
        data,
        left_out=dict(left_out.to_numpy()),
        history=pd.read_csv(history) if history.is_file() else None,
        all_scores={n: xr.load_dataset(path) for n, path in _score_files(data, folder).items()},
    )
