"""Stations with a known truth, for demonstration and tests: Richards columns, synthetic weather, noise."""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr

from pydiffgeo import usda_soil
from pydiffgeo.data import synthetic_weather
from pydiffgeo.errors import SolveFailed
from pydiffgeo.training.columns import SOIL, STAND, StationColumns
from pydiffgeo.training.record import build_record
from pydiffgeo.training.settings import SoilMoistureSettings

TRUE_CLASSES = ("sandy_loam", "silt_loam", "sandy_clay_loam", "loamy_sand", "clay_loam", "loam")
PROBES = (0.05, 0.1, 0.2, 0.5, 1.0)  # m
NOISE = 0.01  # m3 m-3, the accuracy that probes are sold with after calibration
HEAD_AT_START = -150.0  # cm


def synthetic_stations(settings: SoilMoistureSettings) -> xr.Dataset:
    """Return stations whose soil moisture is that of Richards columns with known parameters, plus noise.

    A station's class is drawn from `TRUE_CLASSES`; each layer's parameters vary about it. The column is the
    one of the settings, so that the truth can be reached.

    Parameters
    ----------
    settings : SoilMoistureSettings
        Number of stations, seed, periods, column, solver.

    Returns
    -------
    xarray.Dataset
        The station form of `pydiffgeo.data.checks`, with the true parameters in `attrs["truth"]` as text.

    Raises
    ------
    SolveFailed
        A column could not be solved.
    """
    count, period = settings.synthetic_stations, settings.period
    weather = synthetic_weather(
        settings.synthetic_seed, count, str(period.train_start), str(period.test_end)
    )
    weather = weather.assign_coords(
        depth=("depth", np.array(PROBES), {"units": "m", "positive": "down"})
    )
    shape = (count, weather.sizes["time"], len(PROBES))
    dims, units = ("station", "time", "depth"), {"units": "m3 m-3"}
    weather["soil_moisture"] = (
        dims,
        np.full(shape, 0.2),
        units,
    )  # in place of the truth, until it is known
    column = settings.column.model_copy(update={"initial": "head", "initial_head": HEAD_AT_START})
    settings = settings.model_copy(update={"column": column})
    columns = StationColumns(build_record(weather, settings), settings)
    random = np.random.default_rng(settings.synthetic_seed + 1)
    parameters = _true_parameters(random, count, columns.grid.n_layers)
    with torch.no_grad():
        truth = columns.simulate(parameters, torch.arange(count), shape[1])
    if truth.failed:
        raise SolveFailed(
            f"the synthetic truth could not be solved: {truth.failed}; change synthetic_seed.",
            truth.failed,
        )
    noisy = np.clip(truth.theta.numpy() + random.normal(0.0, NOISE, shape), 0.0, 1.0)
    weather["soil_moisture"] = (dims, noisy, units)
    weather.attrs["source"] = (
        f"synthetic truth: Richards columns with known soils and noise of {NOISE:g} m3/m3, seed "
        f"{settings.synthetic_seed}"
    )
    weather.attrs["truth"] = str(
        {k: np.round(v.numpy(), 4).tolist() for k, v in parameters.items()}
    )
    return weather


def _true_parameters(
    random: np.random.Generator, count: int, layers: int
) -> dict[str, torch.Tensor]:
    classes = [usda_soil(TRUE_CLASSES[i % len(TRUE_CLASSES)]) for i in random.permutation(count)]
    parameters = {}
    for name, bounds in SOIL.items():
        start = np.array([[soil[name]] * layers for soil in classes])
        varied = start * np.exp(
            random.normal(
                0.0, 0.3 if bounds.transform == "log" and name != "n" else 0.06, start.shape
            )
        )
        margin = 0.02 * (bounds.upper - bounds.lower)
        parameters[name] = torch.tensor(
            np.clip(
                varied,
                bounds.lower + margin * (bounds.transform == "linear"),
                bounds.upper - margin,
            )
        )
    for name, low, high in (
        ("cover", 0.4, 0.9),
        ("crop_coefficient", 0.7, 1.2),
        ("root_depth", 30.0, 120.0),
    ):
        assert STAND[name].lower < low < high < STAND[name].upper
        parameters[name] = torch.tensor(random.uniform(low, high, count))
    return parameters
