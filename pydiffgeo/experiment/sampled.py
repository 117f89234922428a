"""Posteriors of runs, site by site: draws, a summary, and the test period that is judged."""

from __future__ import annotations

from pathlib import Path
from shutil import rmtree

import torch

from pydiffgeo.console import console
from pydiffgeo.data.form import positions, times_of
from pydiffgeo.errors import OutputError
from pydiffgeo.evaluation import evaluate
from pydiffgeo.experiment.build import build_windows, load_sites
from pydiffgeo.experiment.data_schema import days_of
from pydiffgeo.experiment.run import placed, untrained, with_records
from pydiffgeo.experiment.schema import Experiment
from pydiffgeo.files import require_room, write_file
from pydiffgeo.training import posterior
from pydiffgeo.training.distributed import Group
from pydiffgeo.training.posterior import SITES_AT_ONCE

POSTERIOR, SUMMARY = "posterior.nc", "summary.csv"


def sample_run(
    experiment: Experiment,
    output: Path,
    run: str,
    method: str = "laplace",
    samples: int = 500,
    warm_up: int = 200,
    chains: int = 2,
    correlated: bool = False,
    sites: int | None = None,
    overwrite: bool = False,
    progress: bool = True,
    figures: bool = True,
) -> Path:
    """Find the posterior of the parameters of each site of a run, into ``RUN_METHOD``.

    Of the training period; the test period is simulated and judged with the posterior predictive
    distribution. The network of the run is not used.

    Parameters
    ----------
    experiment, output, run, sites, overwrite, progress, figures
        As `calibrate` and `judge`.
    method, samples, warm_up, chains, correlated
        As `pydiffgeo.posterior`.

    Returns
    -------
    Path
        Folder of ``posterior.nc``, ``summary.csv`` and ``evaluation_test``.

    Raises
    ------
    SettingsError, DataError, EngineUnavailable
        As `pydiffgeo.posterior`, and no such run.
    OutputError
        The folder holds a posterior already.
    """
    folder = output / f"{run}_{method}"
    if (folder / POSTERIOR).exists() and not overwrite:
        raise OutputError(f"{folder} holds a posterior already; replace it by --overwrite.")
    hybrids = untrained(experiment, [run])
    experiment = with_records(experiment, output, hybrids, Group())
    settings = experiment.runs[run]
    if sites is not None:
        data = settings.data.model_copy(update={"sites": sites})
        settings = settings.model_copy(update={"data": data})
    with placed(experiment, run):
        data = load_sites(settings, hybrids.values(), calibrated=True)
        trained, e = data.training, settings.evaluation
        first, last = positions(times_of(trained), *days_of(settings.data.train))
        before = min(e.warm_up or 0, (last - first) // 2)  # half of a short period is left
        windows = build_windows(
            trained, settings, hybrids[run], settings.data.train,
            length=None, batch=None, warm_up=before, dtype=torch.float64,
        )  # fmt: skip
        data.say(folder.name, progress)
        for old in (folder / POSTERIOR, folder / SUMMARY):
            old.unlink(missing_ok=True)
        rmtree(folder / "evaluation_test", ignore_errors=True)  # it would be of another posterior
        folder.mkdir(parents=True, exist_ok=True)
        require_room(folder)
        found = posterior(
            hybrids[run], windows, method, observed=settings.data.observed[0], samples=samples,
            warm_up=warm_up, chains=chains, correlated=correlated, seed=settings.training.seed,
        )  # fmt: skip
    found.to_netcdf(folder / POSTERIOR)
    write_file(folder / SUMMARY, found.summary.to_csv(index=False, float_format="%.6g"))
    judged = data.judged("test")
    judged = judged.sel(site=[s for s in map(str, judged.site.values) if s in data.trained])
    run_of = evaluate(
        found.ensemble, judged, *days_of(settings.data.test), e.warm_up, SITES_AT_ONCE,
        observed=settings.data.observed[:1], measures=e.measures, missing=settings.data.missing,
        quantiles=e.quantiles,
    )  # fmt: skip
    run_of.save(
        folder / "evaluation_test", f"{folder.name}, test period", figures=figures,
        panels=e.panels, progress=progress,
    )  # fmt: skip
    say = console(quiet=not progress).print
    if "r_hat" in found.draws:
        worst, least = float(found.draws["r_hat"].max()), float(found.draws["effective_size"].min())
        say(f"{folder}: largest R-hat {worst:.3f}, fewest effective draws {least:.0f}")
    say(f"{folder}: {found.draws.attrs['cpu_seconds']:.0f} CPU seconds")
    return folder
