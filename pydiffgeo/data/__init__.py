"""Records of sites in one xarray form: checked, filled on request, and cut into windows."""

from pydiffgeo.data.batch import Batch
from pydiffgeo.data.checks import check_form, missing_forcing, require_complete
from pydiffgeo.data.derive import DERIVED, derived
from pydiffgeo.data.derive.pet import PET_METHODS, add_pet, potential_evapotranspiration
from pydiffgeo.data.derive.snow import degree_day
from pydiffgeo.data.divide import divide_reaches
from pydiffgeo.data.gaps import Fill, GapRules, fill_forcing, filled_lines
from pydiffgeo.data.join import append_sites, join_sites
from pydiffgeo.data.layouts import LAYOUTS
from pydiffgeo.data.lazy import lazy_variable
from pydiffgeo.data.left_out import left_out_lines
from pydiffgeo.data.network import cut_above
from pydiffgeo.data.problems import Problem
from pydiffgeo.data.scaling import Scaling, fit_scaling
from pydiffgeo.data.selection import (
    Selection,
    Span,
    select_sites,
    without_impossible,
)
from pydiffgeo.data.site_report import SiteReport, check_sites
from pydiffgeo.data.sites import find_data, open_sites
from pydiffgeo.data.store import write_sites
from pydiffgeo.data.usable import Usable, choose_sites, usable_sites
from pydiffgeo.data.weather import synthetic_weather
from pydiffgeo.data.windows import Windows

__all__ = [
    "LAYOUTS",
    "DERIVED",
    "PET_METHODS",
    "SiteReport",
    "Batch",
    "Fill",
    "GapRules",
    "Problem",
    "Scaling",
    "Selection",
    "Span",
    "Usable",
    "Windows",
    "add_pet",
    "append_sites",
    "check_sites",
    "check_form",
    "choose_sites",
    "cut_above",
    "degree_day",
    "derived",
    "divide_reaches",
    "find_data",
    "fill_forcing",
    "filled_lines",
    "fit_scaling",
    "join_sites",
    "lazy_variable",
    "left_out_lines",
    "missing_forcing",
    "open_sites",
    "potential_evapotranspiration",
    "require_complete",
    "select_sites",
    "synthetic_weather",
    "usable_sites",
    "without_impossible",
    "write_sites",
]
