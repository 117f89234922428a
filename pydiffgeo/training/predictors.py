"""Members to soil moisture: through Richards columns, all in one solve, or through LSTMs."""

from __future__ import annotations

import torch
from torch import Tensor

from pydiffgeo.training.columns import StationColumns
from pydiffgeo.training.members import Member
from pydiffgeo.training.trainer import Predict, Prediction


def column_parameters(members: list[Member]) -> dict[str, Tensor]:
    """Return the parameters of all members' columns, station within member, `[member * station, (layer)]`."""
    each = [member.network(member.inputs) for member in members]
    return {name: torch.cat([p[name] for p in each]) for name in each[0]}


def through_columns(columns: StationColumns, days: int) -> Predict:
    """Return the prediction by Richards columns over the first `days` days."""
    count = len(columns.record.stations)

    def predict(members: list[Member]) -> Prediction:
        stations = torch.arange(count).repeat(len(members))
        result = columns.simulate(column_parameters(members), stations, days)
        return Prediction(
            result.theta.unflatten(0, (len(members), count)),
            {divmod(column, count): reason for column, reason in result.failed.items()},
        )

    return predict


def through_lstm(days: int) -> Predict:
    """Return the prediction by LSTMs over the first `days` days."""

    def predict(members: list[Member]) -> Prediction:
        cut = [{**m.inputs, "weather": m.inputs["weather"][:, :days]} for m in members]
        return Prediction(torch.stack([m.network(i) for m, i in zip(members, cut, strict=True)]))

    return predict
