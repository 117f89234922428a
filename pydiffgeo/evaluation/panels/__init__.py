"""Panels of reports by name: each takes judged runs, and says where it has nothing to show."""

from __future__ import annotations

from collections.abc import Callable

from pydiffgeo.evaluation.figures import Panel
from pydiffgeo.evaluation.panels.fluxes import untrained, water_balance
from pydiffgeo.evaluation.panels.learned_functions import learned_functions, soil_curves
from pydiffgeo.evaluation.panels.of_sites import cdf, site_map
from pydiffgeo.evaluation.panels.pooled import pooled
from pydiffgeo.evaluation.panels.reliability import reliability
from pydiffgeo.evaluation.panels.rivers import river, score_by
from pydiffgeo.evaluation.panels.time_series import hydrographs, profiles, training_curves

PANELS: dict[str, Callable[..., Panel]] = {
    "untrained": untrained,
    "pooled": pooled,
    "cdf": cdf,
    "hydrographs": hydrographs,
    "profiles": profiles,
    "reliability": reliability,
    "map": site_map,
    "river": river,
    "score_by": score_by,
    "learned_functions": learned_functions,
    "soil_curves": soil_curves,
    "water_balance": water_balance,
    "training_curves": training_curves,
}

__all__ = ["PANELS", "Panel"]
