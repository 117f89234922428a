"""Calibration of each site: by the shuffled complex evolution of spotpy, or Gauss-Newton steps."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from pydiffgeo.console import progress_bar
from pydiffgeo.data.batch import Batch
from pydiffgeo.data.windows import Windows
from pydiffgeo.errors import DataError, EngineUnavailable, SettingsError, SolveFailed, lookup
from pydiffgeo.evaluation.measures import nse
from pydiffgeo.files import write_file
from pydiffgeo.hybrid import Hybrid
from pydiffgeo.networks.bounds import Bounds
from pydiffgeo.networks.table import Table
from pydiffgeo.stages.base import Series
from pydiffgeo.stages.parallel import flat
from pydiffgeo.training import checkpoint
from pydiffgeo.training.gauss_newton import fit_all
from pydiffgeo.training.run_folder import check_run, run_folder

METHODS = {"sce_ua": "shuffled complex evolution", "gauss_newton": "damped least squares"}
MOST_STEPS = 300  # of Gauss-Newton


@dataclass(frozen=True)
class Calibration:
    """The best parameters that a search found, their loss, and that of every run."""

    parameters: dict[str, float]
    loss: float
    converged: bool  # before the last evaluation that was allowed
    history: NDArray  # [evaluation]

    @property
    def evaluations(self) -> int:
        """Times that the model was run."""
        return len(self.history)


def sce_ua(
    objective: Callable[[dict[str, float]], float],
    bounds: Mapping[str, Bounds],
    evaluations: int,
    complexes: int | None = None,
    seed: int = 0,
) -> Calibration:
    """Minimise an objective inside bounds by SCE-UA (Duan et al. 1992, doi:10.1029/91WR02985).

    It is infinite or NaN where a run failed. There are as many complexes as parameters, at least 2,
    by default; the last one is finished, so that there may be a few evaluations more. DataError
    where these are fewer than the first sample, or none gave a number.
    """
    try:
        import spotpy
    except ImportError:
        raise EngineUnavailable(
            "spotpy is not installed: pip install 'pydiffgeo[calibrate]' brings it."
        ) from None
    complexes = complexes or max(2, len(bounds))
    require_evaluations(evaluations, len(bounds), complexes)
    tried: list[dict[str, float]] = []
    losses: list[float] = []

    def run(vector: NDArray) -> list[float]:
        shares = zip(bounds.items(), map(float, vector), strict=True)
        tried.append({name: own.at(share) for (name, own), share in shares})
        losses.append(float(objective(tried[-1])))
        return losses[-1:]

    def compared(simulation: list[float], evaluation: Any, params: Any = None) -> float:
        return simulation[0] if math.isfinite(simulation[0]) else 1e30  # of runs that failed

    state = np.random.get_state()  # spotpy draws from the global generator
    try:
        # made once: spotpy draws 100,000 numbers for each, and asks for all of them in every run
        unit = {"step": 0.1, "optguess": 0.5, "minbound": 0.0, "maxbound": 1.0}
        uniform = [spotpy.parameter.Uniform(name, 0.0, 1.0, **unit) for name in bounds]
        problem = SimpleNamespace(
            parameters=lambda: spotpy.parameter.generate(uniform), simulation=run,
            evaluation=lambda: [0.0], objectivefunction=compared,
        )  # fmt: skip
        with redirect_stdout(StringIO()):  # spotpy prints every improvement
            sampler = spotpy.algorithms.sceua(
                problem, dbname="sceua", dbformat="ram", random_state=seed, save_sim=False
            )
            sampler.sample(evaluations, ngs=complexes, kstop=10, pcento=0.01, peps=1e-4)
    finally:
        np.random.set_state(state)
    if not np.isfinite(losses).any():
        raise DataError(
            f"none of {len(losses)} runs gave a loss; check forcing and observations of this site."
        )
    best, count = int(np.nanargmin(losses)), len(losses)
    return Calibration(tried[best], losses[best], count < evaluations, np.array(losses))


def require_evaluations(evaluations: int, parameters: int, complexes: int | None = None) -> None:
    """Raise DataError where evaluations are fewer than the first sample of `sce_ua`."""
    complexes, points = complexes or max(2, parameters), 2 * parameters + 1
    if evaluations < complexes * points:
        raise DataError(
            f"{evaluations} evaluations are fewer than the {complexes * points} of the first "
            f"sample: {complexes} complexes of {points} points for {parameters} parameters; allow "
            f"at least {complexes * points} evaluations."
        )


def calibrated(hybrid: Hybrid, sites: Sequence[str]) -> Hybrid:
    """Return a hybrid of the same stages with a row of parameters for each site, still unknown.

    Parameters are static; `Parallel` copies, which would be the same, are one. SettingsError where
    there is none.
    """
    if not hybrid.learns:
        raise SettingsError(
            "this hybrid has no parameters to calibrate; take one with a process model."
        )
    return Hybrid(Table(sites), *flat(hybrid.stages), dtype=torch.float64)


def calibrate(
    hybrid: Hybrid,
    windows: Windows,
    folder: str | Path | None = None,
    *,
    evaluations: int = 5000,
    observed: str = "discharge",
    method: str = "sce_ua",
    seed: int = 0,
    resume: bool = False,
    progress: bool = True,
    overwrite: bool = False,
    settings: Mapping[str, Any] | None = None,
    free: Collection[str] = (),
    files: Mapping[str, str] | None = None,
) -> tuple[Hybrid, pd.DataFrame]:
    """Calibrate the parameters of every site, by themselves.

    By SCE-UA a checkpoint is written after each site.

    Parameters
    ----------
    hybrid : Hybrid
        Its stages are run, see `calibrated`; its network is not used.
    windows : Windows
        Of the whole period.
    folder : Path, optional
        For settings, checkpoint and ``calibration.csv``; without it nothing is written.
    evaluations : int
        Runs of a site at which its search ends.
    observed : str
        Series whose NSE is to be large.
    method : {"sce_ua", "gauss_newton"}
        Global search site by site, or least squares of all sites at once with standard errors of
        the parameters, for models that store nothing: see `gauss_newton`.
    seed : int
        Of the searches.
    resume, progress, overwrite, settings, free, files
        As `Trainer`, as are errors; with `resume` the sites that are done are kept.

    Returns
    -------
    Hybrid
        With the parameters of all sites.
    pandas.DataFrame
        Per site: ``nse``, ``evaluations``, ``converged``, ``failed`` (runs without a result),
        ``cpu_seconds``, and the parameters.

    Raises
    ------
    SettingsError
        No parameters; stages with weights; not the whole period; `resume` with other evaluations;
        Gauss-Newton steps of a model that stores something.
    DataError
        A site for which no run gave a number; too few evaluations.
    """
    lookup(METHODS, method, "method of calibration")
    if windows.length is not None or windows.batch_size is not None:
        raise SettingsError(
            "a calibration needs windows of the whole period: leave length and batch out."
        )
    if windows.closed is not None:
        raise SettingsError(
            "a calibration is site by site, and discharge of a river is of all sites above; train "
            "the run instead."
        )
    model = calibrated(hybrid, windows.names).prepare(windows).eval()
    if any(True for _ in model.parameters()):
        raise SettingsError(
            "a calibration finds no weights of networks; take a hybrid without them in its stages."
        )
    windows = windows.reading(model.reads, (observed,), model.needs, model.optional)
    count, folder = windows.rows(0), None if folder is None else Path(folder)
    state: dict[str, Any] = {
        "settings": dict(settings or {}), "calibrated": True, "evaluations": evaluations,
        "sites": count, "names": list(windows.names), "records": checkpoint.records_hash([windows]),
    }  # fmt: skip
    rows: list[dict[str, Any]] = []

    def search() -> tuple[Hybrid, pd.DataFrame]:
        if method == "gauss_newton":
            batch = windows.batch(0)
            table, found = fit_all(model, batch, observed, min(evaluations, MOST_STEPS), seed)
            _set_rows(model, batch, found.parameters)
            rows[:] = table.to_dict("records")
            if folder is not None:
                keep(rows)
            return model, table
        left = range(len(rows), count)
        for k in progress_bar(progress, iterable=left, initial=len(rows), total=count, unit="site"):
            batch = windows.batch(0, slice(k, k + 1))
            rows.append(_calibrated_row(model, batch, observed, evaluations, seed))
            if folder is not None:
                keep(rows)
        return model, pd.DataFrame(rows)

    def keep(rows: list[dict[str, Any]]) -> None:
        assert folder is not None
        now = {"model": model.state_dict(), "rows": rows, **state}
        checkpoint.save_checkpoint(folder / checkpoint.CHECKPOINT, now)
        table = pd.DataFrame(rows).to_csv(index=False, float_format="%.6g")
        write_file(folder / "calibration.csv", table)

    if folder is None:
        return search()
    given = (folder, state["settings"], resume, overwrite, free)
    check_run(*given)
    if resume:  # what does not fit is said before the folder is changed
        rows += _rows_before(model, state, folder / checkpoint.CHECKPOINT)
    with run_folder(*given, files):
        return search()


def _set_rows(model: Hybrid, batch: Batch, parameters: Mapping[str, NDArray]) -> None:
    """Set the parameters of all sites of a batch."""
    table = model.network
    assert isinstance(table, Table)
    for k, site in enumerate(batch.names):
        table.set(site, {name: float(found[k]) for name, found in parameters.items()})


def _rows_before(model: Hybrid, state: dict[str, Any], path: Path) -> list[dict[str, Any]]:
    """Return the rows of the sites that a checkpoint has, whose parameters the model gets."""
    saved = checkpoint.load_checkpoint(path, ["model", "rows", *state])
    if saved is None:
        return []
    checkpoint.require_same_records(state | {"model": {}}, saved)
    if saved["evaluations"] != state["evaluations"]:
        raise SettingsError(
            f"cannot resume: --evaluations is {state['evaluations']}, those that are done had "
            f"{saved['evaluations']}. Give that number, {checkpoint.ANEW}"
        )
    checkpoint.load_weights(model, saved["model"], path)
    return list(saved["rows"])


def _calibrated_row(
    model: Hybrid, batch: Batch, name: str, evaluations: int, seed: int
) -> dict[str, Any]:
    """Calibrate the one site of a batch, set its parameters and return its row of the table."""
    site, table = batch.names[0], model.network
    assert isinstance(table, Table)
    observed = batch.observed[name][0, batch.warm_up :].double().numpy()
    failed, start = 0, time.process_time()

    def loss(parameters: dict[str, float]) -> float:
        nonlocal failed
        table.set(site, parameters)
        try:
            with torch.no_grad():
                series = model(batch)
        except SolveFailed as error:
            series = Series(failed=error.failed)
        if series.failed:
            failed += 1
            return math.inf
        simulated = series[name][0, batch.warm_up :].double().numpy()
        if not np.isfinite(simulated[np.isfinite(observed)]).all():
            return math.inf  # else it would be judged by fewer days than others
        return 1 - nse(simulated, observed)

    found = sce_ua(loss, model.learns, evaluations, seed=seed)
    table.set(site, found.parameters)
    return {
        "site": site, "nse": 1 - found.loss, "evaluations": found.evaluations,
        "converged": found.converged, "failed": failed,
        "cpu_seconds": time.process_time() - start, **found.parameters,
    }  # fmt: skip
