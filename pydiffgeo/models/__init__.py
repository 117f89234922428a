"""Process models: what is solved."""

from pydiffgeo.models.base import ProcessModel
from pydiffgeo.models.exp_hydro import ExpHydro
from pydiffgeo.models.hbv import HBV
from pydiffgeo.models.richards.richards import Richards

MODELS: dict[str, type[ProcessModel]] = {"richards": Richards, "hbv": HBV, "exp_hydro": ExpHydro}

__all__ = ["HBV", "MODELS", "ExpHydro", "ProcessModel", "Richards"]
