"""Data in: records of stations and basins in one xarray form each, checked, filled on request, and turned into forcing."""

from pydiffgeo.data.basins import open_basins
from pydiffgeo.data.batches import BasinTensors, Batch, load_tensors
from pydiffgeo.data.checks import check_stations, missing_forcing, require_complete
from pydiffgeo.data.gaps import Fill, GapSettings, fill_forcing, filled_lines
from pydiffgeo.data.layouts import LOADERS
from pydiffgeo.data.pet import PET_METHODS, add_pet, potential_evapotranspiration
from pydiffgeo.data.problems import Problem
from pydiffgeo.data.report import BasinReport, check_basins
from pydiffgeo.data.scaling import Scaling, fit_scaling
from pydiffgeo.data.selection import (
    Selection,
    Span,
    left_out_lines,
    select_sites,
    without_impossible,
)
from pydiffgeo.data.snow import degree_day
from pydiffgeo.data.store import write_basins
from pydiffgeo.data.uscrn import find_uscrn, load_uscrn
from pydiffgeo.data.weather import synthetic_weather
from pydiffgeo.data.windows import WindowSampler

__all__ = [
    "LOADERS",
    "PET_METHODS",
    "BasinReport",
    "BasinTensors",
    "Batch",
    "Fill",
    "GapSettings",
    "Problem",
    "Scaling",
    "Selection",
    "Span",
    "WindowSampler",
    "add_pet",
    "check_basins",
    "check_stations",
    "degree_day",
    "fill_forcing",
    "filled_lines",
    "find_uscrn",
    "fit_scaling",
    "left_out_lines",
    "load_tensors",
    "load_uscrn",
    "missing_forcing",
    "open_basins",
    "potential_evapotranspiration",
    "require_complete",
    "select_sites",
    "synthetic_weather",
    "without_impossible",
    "write_basins",
]
