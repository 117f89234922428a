"""A process model calibrated basin by basin, with the same data, solver and evaluation as the models that are trained."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from pydiffgeo.calibration import sce_ua
from pydiffgeo.console import progress_bar
from pydiffgeo.data import BasinTensors, Batch
from pydiffgeo.errors import SettingsError, SolveFailed
from pydiffgeo.evaluation import nse
from pydiffgeo.files import require_room, write_file
from pydiffgeo.training.basins.data import (
    BasinData,
    days_of,
    load_basins,
    say_left_out,
    write_data_report,
)
from pydiffgeo.training.basins.models import HybridModel, Inputs, process_of
from pydiffgeo.training.basins.processes import Process
from pydiffgeo.training.basins.settings import BasinRun
from pydiffgeo.training.basins.trainer import CHECKPOINT, require_same_scaling
from pydiffgeo.training.checkpoint import load_checkpoint, load_weights, save_checkpoint
from pydiffgeo.training.run_folder import check_run, run_folder

FREE = {
    "evaluation.batch_size",
    "evaluation.mapped",
    "data.path",
}  # settings that do not change the result


class CalibratedModel(HybridModel):
    """A process model with a row of parameters for each basin, instead of a network.

    Parameters
    ----------
    inputs, process, tensors, outputs
        As `HybridModel`.
    names : sequence of str
        Parameters, in the order of the columns of `table` [basin, parameter].
    """

    table: Tensor

    def __init__(
        self, inputs: Inputs, process: Process, tensors: BasinTensors, outputs: dict[str, str]
    ):
        super().__init__(inputs, nn.Identity(), process, tensors, outputs)  # type: ignore[arg-type]
        self.names = tuple(process.bounds)
        self.register_buffer(
            "table",
            torch.full((len(tensors.basins), len(self.names)), torch.nan, dtype=torch.float64),
        )

    def parameters_of(self, batch: Batch) -> dict[str, Tensor]:
        """Return the parameters of the basins of a batch, [batch, 1]."""
        return {name: self.table[batch.basin, k, None] for k, name in enumerate(self.names)}


def calibrated_model(settings: BasinRun, data: Any, process: Process) -> CalibratedModel:
    """Return a model whose parameters are still unknown (NaN)."""
    inputs = Inputs(data.scaling, data.tensors, settings.data.forcing)
    outputs = {
        target: settings.model.process.outputs.get(target, target)
        for target in settings.data.targets
    }
    return CalibratedModel(inputs, process, data.tensors, outputs)


def calibrate_run(
    settings: BasinRun,
    folder: Path,
    evaluations: int,
    resume: bool = False,
    progress: bool = True,
    overwrite: bool = False,
    also_needed: Sequence[str] = (),
) -> pd.DataFrame:
    """Calibrate every basin of a run by SCE-UA on the NSE of the training period.

    Static parameters, one component; `pydiffgeo evaluate` judges the folder as it judges trained runs. After each basin a
    checkpoint is written.

    Parameters
    ----------
    settings : BasinRun
        A run with a process model; `data.basins` are calibrated.
    folder : Path
        For settings, checkpoint and ``calibration.csv``.
    evaluations : int
        Runs of the model per basin at which the search ends.
    resume : bool
        Keep the basins that are done.
    progress : bool
        Show a progress bar.
    overwrite : bool
        Remove the run that the folder holds, with its evaluations.
    also_needed : sequence of str
        Series that other runs need; see `load_basins`.

    Returns
    -------
    pandas.DataFrame
        Per basin: ``nse`` of the training period, ``evaluations``, ``converged``, ``failed`` (runs without a result),
        ``cpu_seconds``, and the parameters.

    Raises
    ------
    SettingsError
        The run has no process model, or one with networks in its equations.
    DataError
        A basin for which no run gave a number; too few evaluations.
    """
    process = process_of(settings)
    if process is None:
        raise SettingsError(
            "model.name: a pure LSTM has no parameters to calibrate; name a run with a process model."
        )
    if settings.model.process.closures:
        raise SettingsError(
            "model.process.closures: SCE-UA finds no weights of networks; name a run without them."
        )
    torch.set_num_threads(settings.training.threads)
    run = settings.model_dump(mode="json")
    check_run(
        folder, run, resume, overwrite, FREE
    )  # what is wrong is said before the data are read
    require_room(folder)
    data = load_basins(settings, tuple(process.forcing.values()), also_needed, calibrated=True)
    model = calibrated_model(settings, data, process).eval()
    saved = load_checkpoint(folder / CHECKPOINT, ["model", "rows"]) if resume else None
    if saved is not None:  # what does not fit is said before the folder is changed
        require_same_scaling(model, saved["model"])
        load_weights(model, saved["model"], folder / CHECKPOINT)
        if saved.get("evaluations", evaluations) != evaluations:
            raise SettingsError(
                f"cannot resume: --evaluations is {evaluations}, those that are done had {saved['evaluations']}. Give that "
                "number, choose another folder with --output, or begin anew with --overwrite."
            )
    rows = [] if saved is None else saved["rows"]
    with run_folder(folder, run, resume, overwrite, FREE):
        write_data_report(folder, data)
        say_left_out(data, folder.name, progress)
        return _calibrate(settings, data, model, rows, folder, evaluations, progress)


def _calibrate(
    settings: BasinRun,
    data: BasinData,
    model: CalibratedModel,
    rows: list[dict[str, Any]],
    folder: Path,
    evaluations: int,
    progress: bool,
) -> pd.DataFrame:
    """Calibrate the basins that have no row yet."""
    first, last = data.tensors.span(*days_of(settings.data.train))
    warm_up = min(settings.evaluation.warm_up, last - first - 1)
    begin = max(0, first - warm_up)
    names = list(data.tensors.basins)
    todo = range(len(rows), len(names))
    for row in progress_bar(
        progress, iterable=todo, initial=len(rows), total=len(names), unit="basin"
    ):
        batch = data.tensors.windows([row], [begin], last - begin, warm_up)
        failed, start = 0, time.process_time()

        def loss(parameters: dict[str, float], batch: Batch = batch, row: int = row) -> float:
            nonlocal failed
            model.table[row] = torch.tensor([parameters[name] for name in model.names])
            try:
                with torch.no_grad():
                    simulated = model(batch)[0, :, 0]
            except SolveFailed:
                failed += 1
                return float("inf")
            return 1 - nse(simulated.numpy(), batch.observed[0, warm_up:, 0].numpy())

        found = sce_ua(loss, model.process.bounds, evaluations, seed=settings.training.seed)
        model.table[row] = torch.tensor([found.parameters[name] for name in model.names])
        rows.append(
            {"basin": names[row], "nse": 1 - found.loss, "evaluations": found.evaluations, "converged": found.converged,
             "failed": failed, "cpu_seconds": time.process_time() - start, **found.parameters}
        )  # fmt: skip
        state = {
            "model": model.state_dict(),
            "rows": rows,
            "calibrated": True,
            "evaluations": evaluations,
        }
        save_checkpoint(
            folder / CHECKPOINT, {**state, "settings": settings.model_dump(mode="json")}
        )
        write_file(
            folder / "calibration.csv", pd.DataFrame(rows).to_csv(index=False, float_format="%.6g")
        )
    return pd.DataFrame(rows)
