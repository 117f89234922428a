"""Data in: records of sites and sites in one xarray form each, checked, filled on request, and turned into forcing."""

from pydiffgeo.data.batch import Batch
from pydiffgeo.data.checks import check_form, missing_forcing, require_complete
from pydiffgeo.data.gaps import Fill, GapSettings, fill_forcing, filled_lines
from pydiffgeo.data.layouts import LAYOUTS
from pydiffgeo.data.pet import PET_METHODS, add_pet, potential_evapotranspiration
from pydiffgeo.data.problems import Problem
from pydiffgeo.data.scaling import Scaling, fit_scaling
from pydiffgeo.data.selection import (
    Selection,
    Span,
    left_out_lines,
    select_sites,
    without_impossible,
)
from pydiffgeo.data.site_report import SiteReport, check_sites
from pydiffgeo.data.sites import open_sites
from pydiffgeo.data.snow import degree_day
from pydiffgeo.data.store import write_sites
from pydiffgeo.data.uscrn import find_uscrn, load_uscrn
from pydiffgeo.data.weather import synthetic_weather
from pydiffgeo.data.windows import Windows

__all__ = [
    "LAYOUTS",
    "PET_METHODS",
    "SiteReport",
    "Batch",
    "Fill",
    "GapSettings",
    "Problem",
    "Scaling",
    "Selection",
    "Span",
    "Windows",
    "add_pet",
    "check_sites",
    "check_form",
    "degree_day",
    "fill_forcing",
    "filled_lines",
    "find_uscrn",
    "fit_scaling",
    "left_out_lines",
    "load_uscrn",
    "missing_forcing",
    "open_sites",
    "potential_evapotranspiration",
    "require_complete",
    "select_sites",
    "synthetic_weather",
    "without_impossible",
    "write_sites",
]
