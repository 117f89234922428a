"""Differentiable process models for geosciences: stiff solvers, exact discrete gradients."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydiffgeo import julia
    from pydiffgeo.engines import ENGINES
    from pydiffgeo.model_check import check_model
    from pydiffgeo.models import HBV, MODELS, ExpHydro, ProcessModel, Richards
    from pydiffgeo.models.closures import JuliaClosure, NeuralClosure
    from pydiffgeo.models.fitting import fit_closure, fit_slots
    from pydiffgeo.models.richards import Grid, Roots
    from pydiffgeo.models.richards.hydraulics import HYDRAULICS, SoilHydraulics, usda_soil
    from pydiffgeo.models.spec import ModelSpec, load_spec
    from pydiffgeo.solution import Solution
    from pydiffgeo.solvers import METHODS, Solver
    from pydiffgeo.solving import solve

try:
    __version__ = version("pydiffgeo")
except PackageNotFoundError:  # run from a source tree that is not installed
    __version__ = "0+unknown"

# Public name -> its module, imported at first use: `pydiffgeo --help` and `doctor` must not wait
# for torch
_HOMES = {
    "ENGINES": "engines",
    "HYDRAULICS": "models.richards.hydraulics",
    "METHODS": "solvers",
    "MODELS": "models",
    "ExpHydro": "models",
    "Grid": "models.richards",
    "HBV": "models",
    "JuliaClosure": "models.closures",
    "ModelSpec": "models.spec",
    "NeuralClosure": "models.closures",
    "ProcessModel": "models",
    "Richards": "models",
    "Roots": "models.richards",
    "SoilHydraulics": "models.richards.hydraulics",
    "Solution": "solution",
    "Solver": "solvers",
    "check_model": "model_check",
    "fit_closure": "models.fitting",
    "fit_slots": "models.fitting",
    "load_spec": "models.spec",
    "solve": "solving",
    "usda_soil": "models.richards.hydraulics",
}

__all__ = [
    "ENGINES",
    "HYDRAULICS",
    "METHODS",
    "HBV",
    "MODELS",
    "ExpHydro",
    "Grid",
    "JuliaClosure",
    "ModelSpec",
    "NeuralClosure",
    "ProcessModel",
    "Richards",
    "Roots",
    "SoilHydraulics",
    "Solution",
    "Solver",
    "__version__",
    "check_model",
    "fit_closure",
    "fit_slots",
    "julia",
    "load_spec",
    "solve",
    "usda_soil",
]


def __getattr__(name: str) -> Any:
    if name == "julia":
        return import_module(f"{__name__}.julia")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
