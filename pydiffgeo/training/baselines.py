"""What trained columns are compared with, besides the LSTM: soils by class, and the mean of the record."""

from __future__ import annotations

import torch
from torch import Tensor

from pydiffgeo.training.columns import StationColumns
from pydiffgeo.training.record import Record


def by_class(
    columns: StationColumns, days: Tensor
) -> tuple[dict[str, Tensor], dict[str, str], list[str]]:
    """Simulate every station with each candidate class, and the default class, in all layers.

    Parameters
    ----------
    columns : StationColumns
        Same grid, boundaries and stand as the trained columns start from.
    days : Tensor of bool, [day]
        Training days by which the best class of a station is chosen.

    Returns
    -------
    simulated : dict of str to Tensor
        "default" and "best class": soil moisture `[station, day, depth]`.
    chosen : dict of str to str
        Best class of each station.
    failed : list of str
        Class, station, day and reason of each column that failed; it cannot be chosen.
    """
    record = columns.record
    count = len(record.stations)
    default = columns.settings.column.default_class
    names = list(dict.fromkeys([default, *columns.settings.column.candidate_classes]))
    each = [columns.default_parameters(name, count) for name in names]
    parameters = {k: torch.cat([p[k] for p in each]) for k in each[0]}
    stations = torch.arange(count).repeat(len(names))
    with torch.no_grad():
        result = columns.simulate(parameters, stations, len(record.days))
    theta = result.theta.unflatten(0, (len(names), count))
    error = (theta - record.observed)[:, :, days]
    score = error.square().nanmean((2, 3))
    score = torch.where(torch.isnan(theta).all((2, 3)), torch.inf, score)
    best = score.argmin(0)
    simulated = {
        "default": theta[0],
        "best class": theta[best, torch.arange(count)],
    }
    chosen = {record.stations[j]: names[int(i)] for j, i in enumerate(best)}
    failed = [f"{names[column // count]}, {why}" for column, why in result.failed.items()]
    return simulated, chosen, failed


def climatology(record: Record, days: Tensor) -> Tensor:
    """Return the mean over `days` of each station and depth, on every day: `[station, day, depth]`."""
    mean = record.observed[:, days].nanmean(1, keepdim=True)
    return mean.expand(record.observed.shape)


def climatology_of_others(record: Record, days: Tensor) -> Tensor:
    """Return the mean over `days` and over all other stations of each depth: `[station, day, depth]`."""
    mean = record.observed[:, days].nanmean(1)
    others = (mean.sum(0) - mean) / (len(mean) - 1)
    return others[:, None].expand(record.observed.shape)
