"""From station records to the tensors that columns and networks take."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
import xarray as xr
from torch import Tensor

from pydiffgeo.data import (
    Fill,
    Problem,
    Span,
    degree_day,
    fill_forcing,
    potential_evapotranspiration,
    select_sites,
    without_impossible,
)
from pydiffgeo.data.checks import FORCING, OBSERVED, check_form
from pydiffgeo.data.selection import left_or_refused
from pydiffgeo.errors import DataError
from pydiffgeo.training.checkpoint import weights_hash
from pydiffgeo.training.settings import SoilMoistureSettings

MM_PER_DAY = 0.1 / 24.0  # cm/h

WEATHER = ("rain_and_melt", "potential_evapotranspiration", "tair_mean", "tair_min", "tair_max",
           "shortwave_down", "rh_mean")  # fmt: skip


@dataclass(frozen=True)
class Record:
    """Records of some stations over the days of an experiment.

    Attributes
    ----------
    source : str
        Where the records come from, in words.
    stations : tuple of str
        Names.
    days : pandas.DatetimeIndex
        Days simulated, from the first day of training to the last day judged.
    depths : ndarray, [depth]
        Depth of the probes, cm.
    rain, pet : Tensor, [station, day]
        Rain and snow melt, and potential evapotranspiration, cm/h.
    weather : Tensor, [station, day, len(WEATHER)]
        mm day-1, degC, MJ m-2 day-1, percent.
    observed : Tensor, [station, day, depth]
        Soil moisture (1), NaN where missing.
    train, test : Tensor of bool, [day]
        Days trained on (warm-up included) and days judged.
    latitude : ndarray, [station]
        Degrees north.
    fills : tuple of Fill
        Forcing that was filled.
    left_out : dict of str to str
        Stations that cannot be used, and why.
    """

    source: str
    stations: tuple[str, ...]
    days: pd.DatetimeIndex
    depths: np.ndarray
    rain: Tensor
    pet: Tensor
    weather: Tensor
    observed: Tensor
    train: Tensor
    test: Tensor
    latitude: np.ndarray
    fills: tuple[Fill, ...]
    left_out: dict[str, str]

    @property
    def training_days(self) -> int:
        """Days from the start to the end of training."""
        return int(self.train.sum())

    @property
    def training_hash(self) -> str:
        """SHA-256 of what is trained on: in single precision, in which results of two machines do not differ by rounding."""
        given = {
            "rain": self.rain,
            "pet": self.pet,
            "weather": self.weather,
            "observed": self.observed,
        }
        return weights_hash(
            {k: v[:, : self.training_days].float().nan_to_num(nan=-1.0) for k, v in given.items()}
        )


def build_record(records: xr.Dataset, settings: SoilMoistureSettings) -> Record:
    """Fill, convert and cut the records of an experiment.

    Parameters
    ----------
    records : xarray.Dataset
        Station form (see `pydiffgeo.data.checks`).
    settings : SoilMoistureSettings
        Periods, gaps, potential evapotranspiration, snow.

    Raises
    ------
    DataError
        The records do not cover the periods; a value of these days is impossible; or a gap may not be filled, or a station and
        depth has fewer than 30 observed training days or no observed day to be judged, where the settings do not leave such
        stations out. What is wrong on other days does not matter.
    """
    check_form(records)
    period = settings.period
    first, last = pd.Timestamp(period.train_start), pd.Timestamp(period.test_end)
    times = pd.DatetimeIndex(records.time.values)
    if times[0] > first or times[-1] < last:
        raise DataError(
            f"the records cover {times[0]:%Y-%m-%d} to {times[-1]:%Y-%m-%d}, the experiment needs "
            f"{first:%Y-%m-%d} to "
            f"{last:%Y-%m-%d}; change `period` or the data."
        )
    span = Span("simulated", period.train_start, period.test_end, gaps="any")
    selection = select_sites(
        records, [span], FORCING, OBSERVED, ["lat"], missing=settings.missing, impossible=settings.impossible
    )  # fmt: skip
    left_out = dict(selection.left_out["all"])
    # what is impossible on days that matter is an error or missing; on others it must not reach a neighbour that is filled
    records = without_impossible(records.sel(station=list(selection.kept)), (*FORCING, *OBSERVED))
    found = {}
    for station in selection.kept:
        if problems := _problems(records.sel(station=[station]), settings, (first, last)):
            found[station] = problems
    left_out |= left_or_refused(found, records.sizes["station"], "station", settings.missing)
    records = records.sel(station=[station for station in selection.kept if station not in found])
    # gaps are filled before the cut, so that neighbours outside the period can help
    filled, fills = fill_forcing(records, settings.gaps, (first, last))
    filled = filled.sel(time=slice(first, last))
    filled["potential_evapotranspiration"] = potential_evapotranspiration(
        filled, settings.column.pet_method
    )
    filled["rain_and_melt"] = degree_day(
        filled.precipitation,
        filled.tair_mean,
        settings.column.snow_threshold,
        settings.column.snow_factor,
    )
    days = pd.DatetimeIndex(filled.time.values)

    def tensor(name: str, *more: str) -> Tensor:
        return torch.tensor(
            filled[name].transpose("station", "time", *more).values, dtype=torch.float64
        )

    return Record(
        source=str(records.attrs.get("source", "records without a source attribute")),
        stations=tuple(str(s) for s in filled.station.values),
        days=days,
        depths=filled.depth.values * 100.0,
        rain=tensor("rain_and_melt") * MM_PER_DAY,
        pet=tensor("potential_evapotranspiration") * MM_PER_DAY,
        weather=torch.stack([tensor(name) for name in WEATHER], -1),
        observed=tensor("soil_moisture", "depth"),
        train=torch.tensor(days <= pd.Timestamp(period.train_end)),
        test=torch.tensor(days >= pd.Timestamp(period.test_start)),
        latitude=filled.lat.values.astype(float),
        fills=tuple(fills),
        left_out=left_out,
    )


def _problems(
    record: xr.Dataset, settings: SoilMoistureSettings, days: tuple[pd.Timestamp, pd.Timestamp]
) -> list[Problem]:  # fmt: skip
    """Return why one station cannot be used: a gap that may not be filled, or too few observations at a depth."""
    station, period = str(record.station.values[0]), settings.period
    try:
        fill_forcing(record, settings.gaps, days)
    except DataError as error:
        return [Problem("missing forcing", station, "", "", "", 0, str(error))]
    for name, start, end, least in (
        ("training", period.train_start, period.train_end, 30), ("judged", period.test_start, period.test_end, 2),
    ):  # fmt: skip
        seen = (
            record.soil_moisture.isel(station=0)
            .sel(time=slice(str(start), str(end)))
            .notnull()
            .sum("time")
        )
        if (seen < least).any():
            k = int((seen.values < least).argmax())
            text = (
                f"station {station} has {int(seen[k])} {name} days of soil moisture at {float(record.depth[k]) * 100:g} cm, "
                f"{least} are needed; leave the station out."
            )
            return [Problem("no observation", station, "soil_moisture", "", "", 0, text)]
    return []
