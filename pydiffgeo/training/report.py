"""What an experiment leaves behind: tables, figures, predictions and learned parameters."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr
from rich.console import Console
from torch import Tensor

from pydiffgeo.evaluation import plots, print_table, write_table
from pydiffgeo.evaluation.profiles import SCORES, series_scores
from pydiffgeo.files import file_name, write_file, write_netcdf
from pydiffgeo.models.soil_hydraulics import VanGenuchten
from pydiffgeo.training.columns import StationColumns
from pydiffgeo.training.record import Record

SHOWN = {
    "rmse": "RMSE (m³/m³)",
    "ubrmse": "unbiased RMSE (m³/m³)",
    "correlation": "correlation",
    "kge": "KGE",
}


def print_scores(rows: Sequence[Mapping[str, Any]], period: str, console: Console) -> None:
    """Print one table per score: models down, depths across, the best of each depth in bold."""
    depths = list(dict.fromkeys(row["depth"] for row in rows))
    for metric, label in SHOWN.items():
        table: dict[str, dict[str, Any]] = {}
        for row in rows:
            table.setdefault(row["model"], {"model": row["model"]})[row["depth"]] = row[metric]
        best = {depth: str(SCORES[metric]) for depth in depths}
        print_table(list(table.values()), f"{label}, {period}", best, console)


def station_rows(
    models: Mapping[str, Tensor], record: Record, days: Tensor
) -> list[dict[str, str | float | int | None]]:
    """Return one row per model, station and depth with every score."""
    rows: list[dict[str, str | float | int | None]] = []
    for model, theta in models.items():
        scores = series_scores(theta.numpy(), record.observed.numpy(), days.numpy())
        for i, station in enumerate(record.stations):
            for j, depth in enumerate(record.depths):
                values = {name: float(v[i, j]) for name, v in scores.items()}
                rows.append(
                    {"model": model, "station": station, "depth": f"{depth:g} cm", **values}
                )
    return rows


def write_predictions(path: Path, models: Mapping[str, Tensor], record: Record) -> Path:
    """Write observed and simulated soil moisture as netCDF."""
    every = {"observed": record.observed, **models}
    data = xr.DataArray(
        np.stack([theta.numpy() for theta in every.values()]).astype("float32"),
        coords={
            "model": list(every),
            "station": list(record.stations),
            "time": record.days,
            "depth": ("depth", record.depths / 100, {"units": "m", "positive": "down"}),
        },
        dims=("model", "station", "time", "depth"),
        name="soil_moisture",
        attrs={"units": "m3 m-3", "source": record.source},
    )
    return write_netcdf(data, path)


def write_parameters(path: Path, parameters: Mapping[str, Tensor], columns: StationColumns) -> Path:
    """Write parameters, `[station, layer]` and `[station]`, as CSV with one row per station and layer."""
    tops = columns.settings.column.layers
    rows = [
        {
            "station": station,
            "layer_top_cm": tops[j],
            **{k: float(v[i, j] if v.ndim == 2 else v[i]) for k, v in parameters.items()},
        }
        for i, station in enumerate(columns.record.stations)
        for j in range(len(tops))
    ]
    return write_file(path, pd.DataFrame(rows).to_csv(index=False, float_format="%.6g"))


def draw(
    folder: Path,
    models: Mapping[str, Tensor],
    rows: Sequence[Mapping[str, Any]],
    parameters: Mapping[str, Tensor],
    columns: StationColumns,
    histories: Mapping[str, Sequence[Mapping[str, float]]],
) -> list[Path]:
    """Draw series per station, learned retention and conductivity curves, scores and training histories."""
    record = columns.record
    start = record.days[int(torch.nonzero(record.test)[0])]
    written = [
        plots.plot_scores(folder / "rmse.png", rows),
        plots.plot_history(folder / "training.png", histories),
    ]
    for i, station in enumerate(record.stations):
        series = {
            name: theta[i].numpy()
            for name, theta in {"observed": record.observed, **models}.items()
        }
        written.append(
            plots.plot_series(
                folder / f"station_{file_name(station)}.png",
                record.days,
                series,
                list(record.depths),
                f"station {station}",
                start,
            )
        )
    suction = torch.logspace(0, 4.5, 80, dtype=torch.float64)
    default = columns.default_parameters(columns.settings.column.default_class, 1)
    learned = _curves(suction, parameters)
    start_curves = _curves(suction, default)
    tops = columns.settings.column.layers
    labels = [
        f"{a:g}-{b:g} cm"
        for a, b in zip(tops, [*tops[1:], columns.settings.column.depth], strict=True)
    ]
    for k, (name, what) in enumerate(
        (("retention", "water content (m³/m³)"), ("conductivity", "K (cm/h)"))
    ):
        by_station = {s: learned[k][i].numpy() for i, s in enumerate(record.stations)}
        written.append(
            plots.plot_curves(
                folder / f"{name}.png",
                suction.numpy(),
                by_station,
                start_curves[k][0, 0].numpy(),
                labels,
                what,
                k == 1,
            )
        )
    return written


def _curves(suction: Tensor, parameters: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Return water content and conductivity `[station, layer, point]`."""
    hydraulics = VanGenuchten()
    soil = hydraulics.derive(
        {name: p[..., None] for name, p in parameters.items() if name in hydraulics.parameters}
    )
    return hydraulics.curves(-suction, soil)


def write_json(path: Path, report: Mapping[str, Any]) -> Path:
    """Write the report; numbers that are not finite become null."""
    return write_file(path, json.dumps(_plain(report), indent=1) + "\n")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


__all__ = [
    "draw",
    "print_scores",
    "station_rows",
    "write_json",
    "write_parameters",
    "write_predictions",
    "write_table",
]
