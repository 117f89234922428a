"""The soil-moisture experiment: Richards columns trained end to end on station profiles, against baselines.

`run_experiment` is what ``pydiffgeo run`` and ``pydiffgeo demo`` call.
"""

from __future__ import annotations

import logging
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from rich.console import Console
from torch import Tensor

from pydiffgeo.console import console as standard
from pydiffgeo.data import filled_lines, find_uscrn, left_out_lines, load_uscrn
from pydiffgeo.data.selection import drop_sites
from pydiffgeo.errors import DataError
from pydiffgeo.evaluation.plots import matplotlib_missing
from pydiffgeo.evaluation.profiles import profile_table
from pydiffgeo.files import require_room
from pydiffgeo.training import report
from pydiffgeo.training.baselines import by_class, climatology, climatology_of_others
from pydiffgeo.training.columns import StationColumns
from pydiffgeo.training.members import Member, ensemble, fitted_days, folds
from pydiffgeo.training.models import column_inputs, column_network, lstm_inputs, lstm_network
from pydiffgeo.training.predictors import column_parameters, through_columns, through_lstm
from pydiffgeo.training.record import Record, build_record
from pydiffgeo.training.run_folder import check_records, check_run, run_folder
from pydiffgeo.training.settings import SoilMoistureSettings, TrainingSettings
from pydiffgeo.training.synthetic import synthetic_stations
from pydiffgeo.training.trainer import Predict, Training, train

log = logging.getLogger("pydiffgeo")

__all__ = ["SoilMoistureSettings", "demo_settings", "load_records", "run_experiment"]

FREE = {"resume", "figures", "checkpoint_every", "data"}  # settings that do not change the result
TRAINED, LSTM, LEFT_OUT = "Richards, trained", "LSTM", "station out"


def demo_settings() -> SoilMoistureSettings:
    """Return the settings of the short form: four stations, one seed, few epochs, a coarse grid."""
    return SoilMoistureSettings.model_validate(
        {
            "stations": 4,
            "synthetic_stations": 4,
            "column": {
                "cells": 14,
                "depth": 150.0,
                "top_cell": 4.0,
                "candidate_classes": ["loamy_sand", "sandy_loam", "loam", "silt_loam", "clay_loam"],
            },
            "solver": {"method": "implicit_euler", "rtol": 0.1},
            "network": {"epochs": 18, "learning_rate": 0.03},
            "lstm": {"epochs": 150},
            "seeds": [0],
            "leave_one_out": False,
        }
    )


def load_records(settings: SoilMoistureSettings) -> xr.Dataset:
    """Return the records that the settings ask for: from the file, or a synthetic truth with noise.

    Raises
    ------
    DataError
        The file is asked for and not found, or cannot be used.
    """
    path = None if settings.source == "synthetic" else find_uscrn(settings.data)
    if path is not None:
        records = drop_sites(load_uscrn(path), settings.exclude)
        if settings.stations is None:
            return records
        if not isinstance(settings.stations, int):
            return load_uscrn(
                path, [station for station in settings.stations if station not in settings.exclude]
            )
        number = min(settings.stations, records.sizes["station"])
        return records.isel(
            station=np.linspace(0, records.sizes["station"] - 1, number).round().astype(int)
        )
    if settings.source == "file":
        raise DataError(
            "no USCRN file: set `data` to its path or PYDIFFGEO_DATA to the folder above soil_moisture/, "
            "or let "
            "`source` be 'synthetic'."
        )
    return drop_sites(synthetic_stations(settings), settings.exclude)


def run_experiment(
    settings: SoilMoistureSettings,
    output: Path,
    progress: bool = True,
    resume: bool = False,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Train, judge and report; everything is written into the output folder.

    Parameters
    ----------
    settings : SoilMoistureSettings
        All of the experiment.
    output : Path
        Folder of the run: settings, provenance, checkpoints, tables (CSV and JSON), predictions, parameters,
        figures.
    progress : bool
        Show progress bars.
    resume : bool
        Go on from the checkpoints in the folder.
    overwrite : bool
        Remove the run that the folder holds, with its report.

    Returns
    -------
    dict
        The report, as in ``report.json``: source, scores by model and depth, gain over the default soils,
        hours of each part, chosen epochs, filled gaps, failures.

    Raises
    ------
    DataError, SettingsError
        Input that cannot be used, or a run of other settings or training records to go on with; nothing is changed then.
    OutputError
        The folder holds a run, and neither `resume` nor `overwrite` is asked for; another process writes into it; or none can.
    SolveFailed
        Too many columns failed; a checkpoint is left.
    """
    output = Path(output)
    plain = settings.model_dump(mode="json")
    check_run(output, plain, resume, overwrite, FREE)
    require_room(output)
    record = build_record(load_records(settings), settings)
    if settings.figures and (missing := matplotlib_missing()):
        log.warning(missing)
    if resume:
        check_records(output, record.training_hash)  # before the folder is changed
    with run_folder(output, plain, resume, overwrite, FREE):
        return _train_and_report(settings, record, output, progress, resume)


def _train_and_report(
    settings: SoilMoistureSettings, record: Record, output: Path, progress: bool, resume: bool
) -> dict[str, Any]:
    console = standard()
    console.print(
        f"Records: {record.source}; {len(record.stations)} stations, {len(record.days)} days."
    )
    left_out = dict.fromkeys(settings.exclude, "named in exclude") | record.left_out
    for line in left_out_lines({"all": left_out}, "station"):
        console.print(line)
    for line in filled_lines(record.fills):
        console.print(f"  filled: {line}")
    run = _Run(settings, record, StationColumns(record, settings), output, progress, resume)
    run.baselines()
    run.richards()
    run.lstm()
    if settings.leave_one_out:
        run.left_out()
    return run.finish(console)


class _Run:
    """The parts of an experiment, in order; each adds its simulations to `models`."""

    def __init__(
        self,
        settings: SoilMoistureSettings,
        record: Record,
        columns: StationColumns,
        output: Path,
        progress: bool,
        resume: bool,
    ):
        self.settings, self.record, self.columns = settings, record, columns
        self.output, self.progress, self.resume = output, progress, resume
        self.models: dict[str, Tensor] = {}
        self.seconds: dict[str, float] = {}
        self.trainings: dict[str, Training] = {}
        self.failures: list[str] = []
        self.parameters: dict[str, Tensor] = {}
        self.best_class: dict[str, str] = {}
        self.days = len(record.days)

    def baselines(self) -> None:
        start = time.perf_counter()
        days = fitted_days(self.record, self.settings, whole=True)
        simulated, self.best_class, failed = by_class(self.columns, days)
        name = self.settings.column.default_class
        self.models[f"Richards, {name}"] = simulated["default"]
        self.models["Richards, best class"] = simulated["best class"]
        self.models["climatology"] = climatology(self.record, days)
        self.failures += [f"soil class {why}" for why in failed]
        self.seconds["soil classes"] = time.perf_counter() - start

    def richards(self) -> None:
        members = ensemble(
            self.record,
            self.settings,
            column_inputs,
            lambda given, seed: column_network(self.columns, given, seed),
        )
        theta = self._train("Richards", members, self._columns, self.settings.network)
        kept = [i for i, m in enumerate(members) if m.judge != i]
        self.models = {TRAINED: theta[kept].mean(0), **self.models}
        with torch.no_grad():
            each = column_parameters([members[i] for i in kept])
        count = len(self.record.stations)
        # the soil shown is that of the first seed: a mean of parameters is no soil of any of the networks
        self.parameters = {k: v[:count] for k, v in each.items()}

    def lstm(self) -> None:
        members = ensemble(
            self.record,
            self.settings,
            lstm_inputs,
            lambda given, seed: lstm_network(self.settings, given, seed),
        )
        theta = self._train("LSTM", members, through_lstm, self.settings.lstm)
        self.models[LSTM] = theta[[i for i, m in enumerate(members) if m.judge != i]].mean(0)

    def left_out(self) -> None:
        each = torch.arange(len(self.record.stations))
        epochs = self.settings.leave_one_out_epochs or self.settings.network.epochs
        shorter = self.settings.network.model_copy(update={"epochs": epochs})
        members = folds(
            self.record,
            self.settings,
            column_inputs,
            lambda given, seed: column_network(self.columns, given, seed),
        )
        theta = self._train(f"Richards, {LEFT_OUT}", members, self._columns, shorter)
        self.models[f"Richards, {LEFT_OUT}"] = theta[each, each]
        members = folds(
            self.record,
            self.settings,
            lstm_inputs,
            lambda given, seed: lstm_network(self.settings, given, seed),
        )
        theta = self._train(f"LSTM, {LEFT_OUT}", members, through_lstm, self.settings.lstm)
        self.models[f"LSTM, {LEFT_OUT}"] = theta[each, each]
        days = fitted_days(self.record, self.settings, whole=True)
        self.models["climatology of others"] = climatology_of_others(self.record, days)

    def _columns(self, days: int) -> Predict:
        return through_columns(self.columns, days)

    def _train(
        self, name: str, members: list[Member], predict: Any, training: TrainingSettings
    ) -> Tensor:
        """Train, then return soil moisture over all days, `[member, station, day, depth]`."""
        file = name.lower().replace(",", "").replace(" ", "_")
        torch.manual_seed(self.settings.seeds[0])  # dropout
        done = train(
            members,
            predict(self.record.training_days),
            self.record.observed[:, : self.record.training_days],
            training,
            name,
            self.output / "checkpoints" / f"{file}.pt",
            self.settings.checkpoint_every,
            self.resume,
            self.settings.solver.max_failed,
            self.progress,
            {
                "settings": self.settings.model_dump(mode="json"),
                "records": self.record.training_hash,
            },
        )
        self.trainings[name] = done
        self.seconds[name] = done.seconds
        self.failures += done.failures
        with torch.no_grad():
            result = predict(self.days)(members)
        self.failures += [
            f"{name}, final simulation, {members[i].name}, {reason}"
            for (i, _), reason in result.failed.items()
        ]
        return result.theta

    def finish(self, console: Console) -> dict[str, Any]:
        record, settings = self.record, self.settings
        observed = record.observed.numpy()
        arrays = {name: theta.numpy() for name, theta in self.models.items()}
        rows = profile_table(arrays, observed, record.test.numpy(), list(record.depths))
        period = f"{settings.period.test_start} to {settings.period.test_end}"
        report.write_table(rows, self.output / "table")
        report.write_table(
            report.station_rows(self.models, record, record.test), self.output / "table_stations"
        )
        fitted = fitted_days(record, settings, whole=True)
        report.write_table(
            profile_table(arrays, observed, fitted.numpy(), list(record.depths)),
            self.output / "table_training",
        )
        report.write_predictions(self.output / "predictions.nc", self.models, record)
        report.write_parameters(self.output / "parameters.csv", self.parameters, self.columns)
        figures: list[Path] = []
        if settings.figures and not matplotlib_missing():
            shown = {
                k: v
                for k, v in self.models.items()
                if k in (TRAINED, LSTM) or k.endswith(settings.column.default_class)
            }
            histories = {name: done.history for name, done in self.trainings.items()}
            figures = report.draw(
                self.output / "figures", shown, rows, self.parameters, self.columns, histories
            )
        overall = {str(row["model"]): float(row["rmse"]) for row in rows if row["depth"] == "all"}
        default = f"Richards, {settings.column.default_class}"
        gain = 1 - overall[TRAINED] / overall[default]
        result: dict[str, Any] = {
            "source": record.source,
            "stations": list(record.stations),
            "judged": period,
            "scores": rows,
            "gain_over_default": gain,
            "best": min(overall, key=lambda k: overall[k]),
            "hours": {name: seconds / 3600 for name, seconds in self.seconds.items()},
            "epoch_chosen": {name: done.chosen for name, done in self.trainings.items()},
            "best_class": self.best_class,
            "left_out": dict.fromkeys(settings.exclude, "named in exclude") | record.left_out,
            "filled": [asdict(fill) for fill in record.fills],
            "failures": self.failures,
            "figures": [str(path.relative_to(self.output)) for path in figures],
        }
        report.write_json(self.output / "report.json", result)
        report.print_scores(rows, period, console)
        hours = sum(self.seconds.values()) / 3600
        console.print(
            f"RMSE of {TRAINED}: {overall[TRAINED]:.4f}, {gain:.0%} below {default} "
            f"({overall[default]:.4f}). "
            f"Lowest: {result['best']} ({overall[result['best']]:.4f}). {hours:.2f} hours."
        )
        for line in self.failures[:10]:
            console.print(f"failed: {line}", style="yellow")
        if len(self.failures) > 10:
            console.print(
                f"and {len(self.failures) - 10} more failures, in report.json", style="yellow"
            )
        if figures:
            console.print(f"Figures: {self.output / 'figures'}")
        console.print(f"Tables: {self.output}")
        return result
