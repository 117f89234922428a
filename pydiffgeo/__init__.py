"""Differentiable process models for geosciences, with stiff solvers and exact discrete gradients."""

from importlib.metadata import PackageNotFoundError, version

from pydiffgeo.engines import ENGINES
from pydiffgeo.models import MODELS, ProcessModel, Richards
from pydiffgeo.models.grid import Grid
from pydiffgeo.models.root_uptake import Roots
from pydiffgeo.models.soil_hydraulics import HYDRAULICS, SoilHydraulics, usda_soil
from pydiffgeo.models.spec import ModelSpec, load_spec
from pydiffgeo.solution import Solution
from pydiffgeo.solvers import METHODS, Solver
from pydiffgeo.solving import solve

try:
    __version__ = version("pydiffgeo")
except PackageNotFoundError:  # run from a source tree that is not installed
    __version__ = "0+unknown"

__all__ = [
    "ENGINES",
    "HYDRAULICS",
    "METHODS",
    "MODELS",
    "Grid",
    "ModelSpec",
    "ProcessModel",
    "Richards",
    "Roots",
    "SoilHydraulics",
    "Solution",
    "Solver",
    "__version__",
    "load_spec",
    "solve",
    "usda_soil",
]
