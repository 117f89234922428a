"""Members of an ensemble that is trained together: each with its own network, stations and days."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pydiffgeo.training.models import Inputs
from pydiffgeo.training.record import Record
from pydiffgeo.training.settings import SoilMoistureSettings


@dataclass
class Member:
    """One network of an ensemble.

    Attributes
    ----------
    name : str
        Such as "seed 0", "seed 0 (choice of epoch)", "without 03047".
    network : nn.Module
        Own weights.
    inputs : dict of str to Tensor
        What the network is given, for all stations.
    fit, validate : Tensor of bool, [station, day, depth]
        Observations in the loss, and those that choose the epoch; they share none.
    judge : int
        Index of the member whose validation chooses this one's epoch: itself, or a twin that did not see
        those days.
    """

    name: str
    network: nn.Module
    inputs: Inputs
    fit: Tensor
    validate: Tensor
    judge: int


MakeInputs = Callable[[Record, SoilMoistureSettings, Tensor, Tensor], Inputs]
MakeNetwork = Callable[[Inputs, int], nn.Module]


def fitted_days(record: Record, settings: SoilMoistureSettings, whole: bool) -> Tensor:
    """Return the days in the loss `[day]`: without warm-up and, unless `whole`, validation days."""
    n = record.training_days
    day = torch.arange(len(record.days))
    last = n if whole else n - settings.period.validation_days
    return (day >= settings.period.warm_up_days) & (day < last)


def ensemble(
    record: Record, settings: SoilMoistureSettings, inputs: MakeInputs, network: MakeNetwork
) -> list[Member]:
    """Return two members per seed: one trained on all training days, and the twin that chooses its epoch.

    The twin is trained without the last `validation_days` of the training period and judged on them; the
    epoch at which it was best is the one at which the weights of the first are kept. Days after the training
    period are never looked at.
    """
    seen = torch.isfinite(record.observed)
    stations = torch.ones(len(record.stations), dtype=torch.bool)
    nothing = torch.zeros_like(seen)
    members: list[Member] = []
    for seed in settings.seeds:
        twin = len(members) + 1
        for whole in (True, False):
            days = fitted_days(record, settings, whole)
            held = fitted_days(record, settings, True) & ~days
            given = inputs(record, settings, days, stations)
            members.append(
                Member(
                    f"seed {seed}" if whole else f"seed {seed} (choice of epoch)",
                    network(given, seed),
                    given,
                    seen & days[:, None],
                    nothing if whole else seen & held[:, None],
                    twin,
                )
            )
    return members


def folds(
    record: Record, settings: SoilMoistureSettings, inputs: MakeInputs, network: MakeNetwork
) -> list[Member]:
    """Return one member per station, trained on all others and validated on their last training days."""
    seen = torch.isfinite(record.observed)
    days = fitted_days(record, settings, whole=False)
    held = fitted_days(record, settings, whole=True) & ~days
    members: list[Member] = []
    for k, station in enumerate(record.stations):
        others = torch.arange(len(record.stations)) != k
        given = inputs(record, settings, days, others)
        here = seen & others[:, None, None]
        members.append(
            Member(
                f"without {station}",
                network(given, settings.seeds[0]),
                given,
                here & days[:, None],
                here & held[:, None],
                k,
            )
        )
    return members
