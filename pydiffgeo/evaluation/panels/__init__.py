"""Panels of reports by name: each takes judged runs by name, and says so where it has nothing to show."""

from __future__ import annotations

from collections.abc import Callable

from pydiffgeo.evaluation.figures import Panel
from pydiffgeo.evaluation.panels.cdf import cdf
from pydiffgeo.evaluation.panels.learned_functions import learned_functions, soil_curves
from pydiffgeo.evaluation.panels.site_map import site_map
from pydiffgeo.evaluation.panels.time_series import hydrographs, profiles
from pydiffgeo.evaluation.panels.training_curves import training_curves
from pydiffgeo.evaluation.panels.untrained import untrained
from pydiffgeo.evaluation.panels.water_balance import water_balance

PANELS: dict[str, Callable[..., Panel]] = {
    "untrained": untrained,
    "cdf": cdf,
    "hydrographs": hydrographs,
    "profiles": profiles,
    "map": site_map,
    "learned_functions": learned_functions,
    "soil_curves": soil_curves,
    "water_balance": water_balance,
    "training_curves": training_curves,
}

__all__ = ["PANELS", "Panel"]
