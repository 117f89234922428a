"""Calibration of one site at a time by global search: the shuffled complex evolution of spotpy (the extra `calibrate`)."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from pydiffgeo.console import progress_bar
from pydiffgeo.data.batch import Batch
from pydiffgeo.data.windows import Windows
from pydiffgeo.errors import DataError, EngineUnavailable, SettingsError, SolveFailed
from pydiffgeo.evaluation.measures import nse
from pydiffgeo.files import write_file
from pydiffgeo.hybrid import Hybrid
from pydiffgeo.networks.bounds import Bounds
from pydiffgeo.networks.table import Table
from pydiffgeo.stages.base import Series
from pydiffgeo.stages.parallel import flat
from pydiffgeo.training.checkpoint import (
    CHECKPOINT,
    load_checkpoint,
    load_weights,
    records_hash,
    require_same_records,
    save_checkpoint,
)
from pydiffgeo.training.run_folder import check_run, run_folder

Objective = Callable[[dict[str, float]], float]


@dataclass(frozen=True)
class Calibration:
    """What a search found.

    Attributes
    ----------
    parameters : dict of str to float
        The best.
    loss : float
        Its value.
    evaluations : int
        Times that the model was run.
    converged : bool
        Whether the search stopped by itself before its last allowed evaluation.
    history : ndarray, [evaluation]
        Loss of each run, in order.
    """

    parameters: dict[str, float]
    loss: float
    evaluations: int
    converged: bool
    history: NDArray


def sce_ua(
    objective: Objective,
    bounds: Mapping[str, Bounds],
    evaluations: int,
    complexes: int | None = None,
    seed: int = 0,
) -> Calibration:
    """Minimise an objective inside bounds by SCE-UA: Duan et al. (1992), doi:10.1029/91WR02985, as spotpy has it.

    Parameters
    ----------
    objective : callable
        Parameters by name to a loss, smaller for better; infinite or NaN where a run failed, which counts as worst.
    bounds : mapping of str to Bounds
        Range of each parameter; those with a "log" transform are sampled by their logarithm.
    evaluations : int
        Runs after which the search ends. spotpy finishes the complex at hand, so that a few more may be counted: the result
        says how many.
    complexes : int, optional
        As many as there are parameters, at least 2, by default.
    seed : int
        The same seed gives the same search.

    Raises
    ------
    DataError
        Fewer evaluations than the first sample of the complexes needs, or no run gave a number.
    EngineUnavailable
        spotpy is not installed.
    """
    try:
        import spotpy
    except ImportError:
        raise EngineUnavailable(
            "spotpy is not installed: pip install 'pydiffgeo[calibrate]' brings it."
        ) from None
    count = len(bounds)
    complexes = complexes or max(2, count)
    least = complexes * (2 * count + 1)
    if evaluations < least:
        raise DataError(
            f"{evaluations} evaluations are fewer than the {least} of the first sample: {complexes} complexes of "
            f"{2 * count + 1} points for {count} parameters; allow more evaluations or take fewer complexes."
        )
    # spotpy draws from numpy's global generator: the caller's state is put back
    state = np.random.get_state()
    try:
        problem = _Problem(objective, bounds)
        with redirect_stdout(StringIO()):  # spotpy prints every improvement
            sampler = spotpy.algorithms.sceua(
                problem, dbname="sceua", dbformat="ram", random_state=seed, save_sim=False
            )
            sampler.sample(evaluations, ngs=complexes, kstop=10, pcento=0.01, peps=1e-4)
    finally:
        np.random.set_state(state)
    if not np.isfinite(problem.losses).any():
        raise DataError(
            f"none of {len(problem.losses)} runs gave a loss; check forcing and observations of this site."
        )
    best = int(np.nanargmin(problem.losses))
    losses = np.array(problem.losses)
    return Calibration(
        problem.tried[best], float(losses[best]), len(losses), len(losses) < evaluations, losses
    )


def calibrated(hybrid: Hybrid, sites: Sequence[str]) -> Hybrid:
    """Return a hybrid of the same stages with a row of parameters for each site in the place of a network, still unknown.

    Parameters are static, and `Parallel` copies, which would all be the same, are one.

    Raises
    ------
    SettingsError
        The hybrid has no parameters to calibrate.
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
    measure: Callable[[NDArray, NDArray], float] = nse,
    seed: int = 0,
    resume: bool = False,
    progress: bool = True,
    overwrite: bool = False,
    settings: Mapping[str, Any] | None = None,
    free: Collection[str] = (),
    files: Mapping[str, str] | None = None,
) -> tuple[Hybrid, pd.DataFrame]:
    """Calibrate the parameters of every site by SCE-UA; after each site a checkpoint is written.

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
        Series that is compared.
    measure : callable
        Simulated and observed [time] to what is to be large.
    seed : int
        Of the searches.
    resume, progress, overwrite, settings, free, files
        As `Trainer`; with `resume` the sites that are done are kept.

    Returns
    -------
    Hybrid
        With the parameters of all sites.
    pandas.DataFrame
        Per site: the measure by its name, ``evaluations``, ``converged``, ``failed`` (runs without a result),
        ``cpu_seconds``, and the parameters.

    Raises
    ------
    SettingsError
        As `calibrated`; stages with weights; windows that are not the whole period; `resume` with other records or
        evaluations.
    DataError
        A site for which no run gave a number; too few evaluations.
    OutputError
        As `Trainer`.
    """
    if windows.length is not None or windows.batch_size is not None:
        raise SettingsError(
            "a calibration needs windows of the whole period: leave length and batch out."
        )
    model = calibrated(hybrid, windows.names).prepare(windows).eval()
    if any(True for _ in model.parameters()):
        raise SettingsError(
            "SCE-UA finds no weights of networks; take a hybrid without them in its stages."
        )
    windows = windows.reading(model.reads, (observed,), model.needs)
    search = _Search(
        model,
        windows,
        None if folder is None else Path(folder),
        evaluations,
        observed,
        measure,
        seed,
    )
    search.state = {
        "settings": dict(settings or {}), "calibrated": True, "evaluations": evaluations, "sites": search.count,
        "records": records_hash([windows]),
    }  # fmt: skip
    if search.folder is None:
        return model, search.run(progress)
    given = (search.folder, dict(settings or {}), resume, overwrite, free)
    check_run(*given)
    if resume:
        search.restore()  # what does not fit is said before the folder is changed
    with run_folder(*given):
        for name, content in (files or {}).items():
            write_file(search.folder / name, content)
        return model, search.run(progress)


@dataclass
class _Search:
    """A calibration in its course; see `calibrate`."""

    model: Hybrid
    windows: Windows
    folder: Path | None
    evaluations: int
    observed: str
    measure: Callable[[NDArray, NDArray], float]
    seed: int
    state: dict[str, Any] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)

    @property
    def count(self) -> int:
        return len(self.windows.names) - len(self.windows.left_out)

    def restore(self) -> None:
        """Take what the checkpoint in the folder has, if there is one."""
        path = (self.folder or Path()) / CHECKPOINT
        saved = load_checkpoint(path, ["model", "rows", *self.state])
        if saved is None:
            return
        require_same_records(self.state | {"model": {}}, saved)
        if saved["evaluations"] != self.evaluations:
            raise SettingsError(
                f"cannot resume: --evaluations is {self.evaluations}, those that are done had {saved['evaluations']}. Give "
                "that number, choose another folder with --output, or begin anew with --overwrite."
            )
        load_weights(self.model, saved["model"], path)
        self.rows = saved["rows"]

    def run(self, progress: bool) -> pd.DataFrame:
        """Calibrate the sites that have no row yet."""
        done, total = len(self.rows), self.count
        bar = progress_bar(
            progress, iterable=range(done, total), initial=done, total=total, unit="site"
        )
        for k in bar:
            self.rows.append(self._site(self.windows.batch(0, slice(k, k + 1))))
            if self.folder is not None:
                names = list(self.windows.names)  # of the table's rows
                weights = self.model.state_dict()
                state = {"model": weights, "rows": self.rows, "names": names, **self.state}
                save_checkpoint(self.folder / CHECKPOINT, state)
                table = pd.DataFrame(self.rows).to_csv(index=False, float_format="%.6g")
                write_file(self.folder / "calibration.csv", table)
        return pd.DataFrame(self.rows)

    def _site(self, batch: Batch) -> dict[str, Any]:
        """Calibrate one site and return its row."""
        site, table = batch.sites[int(batch.site[0])], self.model.network
        assert isinstance(table, Table)
        observed = batch.observed[self.observed][0, batch.warm_up :].double().numpy()
        failed, start = 0, time.process_time()

        def loss(parameters: dict[str, float]) -> float:
            nonlocal failed
            table.set(site, parameters)
            try:
                with torch.no_grad():
                    series = self.model(batch)
            except SolveFailed as error:
                series = Series(failed=error.failed)
            if series.failed:
                failed += 1
                return float("inf")
            return 1 - self.measure(
                series[self.observed][0, batch.warm_up :].double().numpy(), observed
            )

        found = sce_ua(loss, self.model.learns, self.evaluations, seed=self.seed)
        table.set(site, found.parameters)
        name = getattr(self.measure, "__name__", "measure")
        return {
            "site": site, name: 1 - found.loss, "evaluations": found.evaluations, "converged": found.converged,
            "failed": failed, "cpu_seconds": time.process_time() - start, **found.parameters,
        }  # fmt: skip


class _Problem:
    """What spotpy asks for, in the unit interval of each parameter's scale."""

    def __init__(self, objective: Objective, bounds: Mapping[str, Bounds]):
        from spotpy.parameter import Uniform

        self.objective, self.bounds = objective, bounds
        # once: spotpy draws 100,000 numbers for each that it makes, and asks for all of them in every run
        self.uniform = [
            Uniform(name, 0.0, 1.0, step=0.1, optguess=0.5, minbound=0.0, maxbound=1.0)
            for name in bounds
        ]
        self.losses: list[float] = []
        self.tried: list[dict[str, float]] = []

    def parameters(self) -> object:
        """Return uniform parameters between 0 and 1."""
        from spotpy.parameter import generate

        return generate(self.uniform)

    def simulation(self, vector: NDArray) -> list[float]:
        """Run the model and return its loss."""
        given = {
            name: _physical(float(x), b)
            for (name, b), x in zip(self.bounds.items(), vector, strict=True)
        }
        self.tried.append(given)
        self.losses.append(float(self.objective(given)))
        return [self.losses[-1]]

    def evaluation(self) -> list[float]:
        """Return the observation, which the objective has used already."""
        return [0.0]

    def objectivefunction(
        self, simulation: list[float], evaluation: list[float], params: object = None
    ) -> float:
        """Return the loss; a failed run is worse than any other."""
        return simulation[0] if np.isfinite(simulation[0]) else 1e30


def _physical(share: float, bounds: Bounds) -> float:
    if bounds.transform == "log":
        return float(np.exp(np.log(bounds.lower) + share * np.log(bounds.upper / bounds.lower)))
    return bounds.lower + share * (bounds.upper - bounds.lower)
