"""Soil hydraulic models: water content and conductivity as functions of pressure head."""

from pydiffgeo.models.soil_hydraulics.base import Curves, SoilHydraulics
from pydiffgeo.models.soil_hydraulics.brooks_corey import BrooksCorey
from pydiffgeo.models.soil_hydraulics.converted import ConvertedHydraulics
from pydiffgeo.models.soil_hydraulics.gardner import Gardner
from pydiffgeo.models.soil_hydraulics.haverkamp import Haverkamp
from pydiffgeo.models.soil_hydraulics.learned import LearnedHydraulics, formula_of_slot
from pydiffgeo.models.soil_hydraulics.usda import USDA_SOILS, usda_soil
from pydiffgeo.models.soil_hydraulics.user import UserHydraulics
from pydiffgeo.models.soil_hydraulics.van_genuchten import VanGenuchten
from pydiffgeo.models.soil_hydraulics.vogel import VanGenuchtenVogel

HYDRAULICS: dict[str, type[SoilHydraulics]] = {
    "van_genuchten": VanGenuchten,
    "van_genuchten_vogel": VanGenuchtenVogel,
    "brooks_corey": BrooksCorey,
    "gardner": Gardner,
    "haverkamp": Haverkamp,
}

__all__ = [
    "HYDRAULICS",
    "USDA_SOILS",
    "BrooksCorey",
    "ConvertedHydraulics",
    "Curves",
    "Gardner",
    "Haverkamp",
    "LearnedHydraulics",
    "SoilHydraulics",
    "UserHydraulics",
    "VanGenuchten",
    "VanGenuchtenVogel",
    "formula_of_slot",
    "usda_soil",
]
