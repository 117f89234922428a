"""Data in: records of stations in one xarray form, checked, filled on request, and turned into forcing."""

from pydiffgeo.data.checks import check_stations, missing_forcing, require_complete
from pydiffgeo.data.gaps import Fill, GapSettings, fill_forcing, filled_lines
from pydiffgeo.data.pet import PET_METHODS, potential_evapotranspiration
from pydiffgeo.data.snow import degree_day
from pydiffgeo.data.uscrn import find_uscrn, load_uscrn
from pydiffgeo.data.weather import synthetic_weather

__all__ = [
    "PET_METHODS",
    "Fill",
    "GapSettings",
    "check_stations",
    "degree_day",
    "fill_forcing",
    "filled_lines",
    "find_uscrn",
    "load_uscrn",
    "missing_forcing",
    "potential_evapotranspiration",
    "require_complete",
    "synthetic_weather",
]
