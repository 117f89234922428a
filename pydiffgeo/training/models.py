"""The trained networks: soil parameters for Richards columns, and the LSTM they are compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from pydiffgeo import usda_soil
from pydiffgeo.parameters import Bounds, ParameterNetwork
from pydiffgeo.training.columns import STAND_DEFAULT, StationColumns, trained_bounds
from pydiffgeo.training.record import Record
from pydiffgeo.training.settings import SoilMoistureSettings
from pydiffgeo.training.summary import MOISTURE, layer_features, standardise, summarise

Inputs = dict[str, Tensor]


class ColumnNetwork(nn.Module):
    """Record summary to the parameters of a column: one network for the soil of a layer, one for the stand.

    The soil network is shared by the layers and told their depth; both start at their defaults, or where the
    inputs carry a start of their own (`theta_r`, `theta_s`: see `column_inputs`).

    Parameters
    ----------
    soil, stand : mapping of str to Bounds
        Bounds of the parameters of a layer and of a column.
    default_class : str
        USDA class at which the soil starts.
    layer_features, stand_features : int
        Number of inputs.
    hidden : sequence of int
        Widths of the hidden layers.
    seed : int
        Seed of the initial weights.
    """

    def __init__(
        self,
        soil: Mapping[str, Bounds],
        stand: Mapping[str, Bounds],
        default_class: str,
        layer_features: int,
        stand_features: int,
        hidden: Sequence[int],
        seed: int,
    ):
        super().__init__()
        start = usda_soil(default_class)
        self.soil = ParameterNetwork(layer_features, soil, _default(start, soil), hidden, seed)
        default = _default(STAND_DEFAULT, stand)
        self.stand = ParameterNetwork(stand_features, stand, default, hidden, seed + 1000)

    def forward(self, inputs: Inputs) -> dict[str, Tensor]:
        """Return soil parameters `[station, layer]` and stand parameters `[station]`."""
        start = {name: value for name, value in inputs.items() if name in self.soil.bounds}
        return self.soil(inputs["layer"], start) | self.stand(inputs["stand"])


def _inside(value: Tensor, bounds: Bounds) -> Tensor:
    """Return `value`, moved 2 % of the distance of the bounds inside them if it lies outside or close."""
    margin = 0.02 * (bounds.upper - bounds.lower)
    low = 1.02 * bounds.lower if bounds.transform == "log" else bounds.lower + margin
    return value.clamp(low, bounds.upper - margin)


def _default(values: Mapping[str, float], bounds: Mapping[str, Bounds]) -> dict[str, float]:
    return {
        name: float(_inside(torch.tensor(values[name]).double(), b)) for name, b in bounds.items()
    }


class MoistureLSTM(nn.Module):
    """Daily weather and the record summary to soil moisture at the probes.

    Hochreiter & Schmidhuber (1997, doi:10.1162/neco.1997.9.8.1735) with static inputs repeated each day, as
    Kratzert et al. (2019, doi:10.5194/hess-23-5089-2019) do; the output is scaled by `centre` and `scale` of
    the inputs.

    Parameters
    ----------
    weather, static : int
        Number of weather variables and of static features.
    depths : int
        Number of probes.
    hidden : int
        Size of the hidden state.
    dropout : float
        Before the output layer.
    seed : int
        Seed of the initial weights; the global random state is left alone.
    """

    lstm: nn.LSTM
    dropout: nn.Dropout
    head: nn.Linear

    def __init__(
        self, weather: int, static: int, depths: int, hidden: int, dropout: float, seed: int
    ):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.lstm = nn.LSTM(weather + static, hidden, batch_first=True)
            self.dropout = nn.Dropout(dropout)
            self.head = nn.Linear(hidden, depths)
        with (
            torch.no_grad()
        ):  # remember for weeks from the start (Gers et al. 2000: a forget-gate bias of 3)
            dict(self.lstm.named_parameters())["bias_hh_l0"][hidden : 2 * hidden] = 3.0

    def forward(self, inputs: Inputs) -> Tensor:
        """Return soil moisture `[station, day, depth]`."""
        weather, static = inputs["weather"], inputs["static"]
        x = torch.cat([weather, static[:, None].expand(-1, weather.shape[1], -1)], -1).float()
        hidden, _ = self.lstm(x)
        out = self.head(self.dropout(hidden)).double()
        return inputs["centre"][:, None] + inputs["scale"][:, None] * out


def column_inputs(
    record: Record, settings: SoilMoistureSettings, days: Tensor, stations: Tensor
) -> Inputs:
    """Return the inputs of a `ColumnNetwork`, from the record of `days`, scaled over `stations`.

    With soil moisture in the summary, the residual and saturated water contents start at half the 5 %
    quantile and a little above the 95 % quantile of each layer, in place of those of the default class.
    """
    moisture = settings.summary == "climate_and_moisture"
    summary = summarise(record, days)
    layer = layer_features(summary, record, settings.column.layers, settings.column.depth, moisture)
    stand = (
        torch.cat([summary.climate, summary.moisture.flatten(1)], 1)
        if moisture
        else summary.climate
    )
    inputs = {"layer": standardise(layer, stations), "stand": standardise(stand, stations)}
    if moisture:
        soil, _ = trained_bounds(settings)
        quantile = dict(zip(MOISTURE, layer[..., -len(MOISTURE) :].unbind(-1), strict=True))
        inputs["theta_r"] = _inside(0.5 * quantile["q05"], soil["theta_r"])
        inputs["theta_s"] = _inside(0.02 + 1.1 * quantile["q95"], soil["theta_s"])
    return inputs


def lstm_inputs(
    record: Record, settings: SoilMoistureSettings, days: Tensor, stations: Tensor
) -> Inputs:
    """Return the inputs of a `MoistureLSTM`: the weather of every day, and the summary that the columns get.

    With soil moisture in the summary, the output is scaled by each station's own median and 5-95 % range;
    without it by the mean and spread over the stations trained on.
    """
    moisture = settings.summary == "climate_and_moisture"
    summary = summarise(record, days)
    static = (
        torch.cat([summary.climate, summary.moisture.flatten(1)], 1)
        if moisture
        else summary.climate
    )
    weather = record.weather.clone()
    weather[..., 0] = torch.log1p(weather[..., 0])  # rain is skewed
    known = weather[stations][:, days].flatten(0, 1)
    weather = (weather - known.mean(0)) / known.std(0)
    median, spread = summary.moisture[..., 2], summary.moisture[..., 4] - summary.moisture[..., 0]
    if not moisture:
        spread = (median[stations].std(0) + spread[stations].mean(0)).expand_as(spread)
        median = median[stations].mean(0).expand_as(median)
    return {
        "weather": weather,
        "static": standardise(static, stations),
        "centre": median,
        "scale": spread.clamp_min(0.005),
    }


def column_network(columns: StationColumns, inputs: Inputs, seed: int) -> ColumnNetwork:
    """Return an untrained `ColumnNetwork` for the columns of an experiment."""
    s = columns.settings
    return ColumnNetwork(
        columns.soil_bounds, columns.stand_bounds, s.column.default_class,
        inputs["layer"].shape[-1], inputs["stand"].shape[-1], s.network.hidden, seed,
    )  # fmt: skip


def lstm_network(settings: SoilMoistureSettings, inputs: Inputs, seed: int) -> MoistureLSTM:
    """Return an untrained `MoistureLSTM`."""
    return MoistureLSTM(
        inputs["weather"].shape[-1], inputs["static"].shape[-1], inputs["centre"].shape[-1],
        settings.lstm.hidden, settings.lstm.dropout, seed,
    )  # fmt: skip
