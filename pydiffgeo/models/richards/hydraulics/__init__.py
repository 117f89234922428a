"""Soil hydraulic models: water content and conductivity as functions of pressure head."""

from pydiffgeo.models.richards.hydraulics.base import Curves, SoilHydraulics
from pydiffgeo.models.richards.hydraulics.brooks_corey import BrooksCorey
from pydiffgeo.models.richards.hydraulics.converted import ConvertedHydraulics
from pydiffgeo.models.richards.hydraulics.gardner import Gardner
from pydiffgeo.models.richards.hydraulics.haverkamp import Haverkamp
from pydiffgeo.models.richards.hydraulics.learned import LearnedHydraulics, formula_of_slot
from pydiffgeo.models.richards.hydraulics.usda import USDA_SOILS, usda_soil
from pydiffgeo.models.richards.hydraulics.user import UserHydraulics
from pydiffgeo.models.richards.hydraulics.van_genuchten import VanGenuchten
from pydiffgeo.models.richards.hydraulics.vogel import VanGenuchtenVogel

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
