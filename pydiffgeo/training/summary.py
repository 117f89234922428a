"""What a network is told of a station: statistics of its record over the fitted days alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pydiffgeo.training.record import WEATHER, Record

CLIMATE = ("rain", "pet", "dryness", "wet_days", "rain_per_wet_day", "temperature", "temperature_swing",
           "day_range", "radiation", "humidity", "latitude")  # fmt: skip
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
MOISTURE = ("q05", "q25", "q50", "q75", "q95", "first")


@dataclass(frozen=True)
class Summary:
    """Record summary of every station.

    Attributes
    ----------
    climate : Tensor, [station, len(CLIMATE)]
        In the units of the record.
    moisture : Tensor, [station, depth, len(MOISTURE)]
        Quantiles of soil moisture over the fitted days, and the first observed value (1).
    """

    climate: Tensor
    moisture: Tensor


def first_profile(record: Record) -> Tensor:
    """Return the first observed soil moisture of each station and depth, `[station, depth]`."""
    seen = torch.isfinite(record.observed)
    first = seen.to(torch.int8).argmax(1, keepdim=True)
    return record.observed.gather(1, first)[:, 0]


def summarise(record: Record, days: Tensor) -> Summary:
    """Return the record summary over the days of a boolean mask `[day]`."""
    weather = dict(zip(WEATHER, record.weather[:, days].unbind(-1), strict=True))
    rain, pet, temperature = (
        weather[k] for k in ("rain_and_melt", "potential_evapotranspiration", "tair_mean")
    )
    wet = rain > 1.0  # mm
    climate = {
        "rain": rain.mean(1),
        "pet": pet.mean(1),
        "dryness": torch.log((pet.mean(1) + 0.01) / (rain.mean(1) + 0.01)),
        "wet_days": wet.double().mean(1),
        "rain_per_wet_day": (rain * wet).sum(1) / wet.sum(1).clamp_min(1),
        "temperature": temperature.mean(1),
        "temperature_swing": temperature.std(1),
        "day_range": (weather["tair_max"] - weather["tair_min"]).mean(1),
        "radiation": weather["shortwave_down"].mean(1),
        "humidity": weather["rh_mean"].mean(1),
        "latitude": torch.tensor(record.latitude),
    }
    observed = record.observed[:, days].numpy()
    quantiles = np.nanquantile(observed, QUANTILES, axis=1)  # [quantile, station, depth]
    moisture = np.concatenate([quantiles, first_profile(record).numpy()[None]])
    return Summary(
        torch.stack([climate[k] for k in CLIMATE], -1), torch.tensor(np.moveaxis(moisture, 0, -1))
    )


def standardise(values: Tensor, stations: Tensor) -> Tensor:
    """Return `values` `[station, ..., feature]` with mean 0 and standard deviation 1 over the given stations.

    Parameters
    ----------
    values : Tensor
        Any features by station.
    stations : Tensor of bool, [station]
        Stations that the mean and standard deviation are taken from: those a network is trained on.
    """
    known = values[stations].flatten(0, -2)
    spread = known.std(0, correction=0)
    return (values - known.mean(0)) / torch.where(spread > 1e-9, spread, 1.0)


def layer_features(
    summary: Summary, record: Record, layers: tuple[float, ...], bottom: float, moisture: bool
) -> Tensor:
    """Return the inputs of the soil network `[station, layer, feature]`: climate, depth, soil moisture there.

    Parameters
    ----------
    summary : Summary
        Of the record.
    record : Record
        Gives the depths of the probes.
    layers : tuple of float
        Depth at which each layer begins, cm.
    bottom : float
        Depth of the column, cm.
    moisture : bool
        Whether quantiles of soil moisture at the middle of the layer, interpolated between probes, are
        included.
    """
    middle = 0.5 * (np.array(layers) + np.array([*layers[1:], bottom]))
    n = len(middle)
    parts = [
        summary.climate[:, None].expand(-1, n, -1),
        torch.log(torch.tensor(middle))[:, None].expand(len(record.stations), n, 1),
    ]
    if moisture:
        parts.append(interpolate_depth(summary.moisture, record.depths, middle))
    return torch.cat(parts, -1)


def interpolate_depth(values: Tensor, depths: np.ndarray, wanted: np.ndarray) -> Tensor:
    """Interpolate `[station, depth, feature]` to `[station, wanted, feature]`, constant beyond the ends."""
    position = np.interp(wanted, depths, np.arange(len(depths)))
    low = np.minimum(position.astype(int), max(len(depths) - 2, 0))
    high = np.minimum(low + 1, len(depths) - 1)
    weight = torch.tensor(position - low)[:, None]
    return values[:, low] * (1 - weight) + values[:, high] * weight
