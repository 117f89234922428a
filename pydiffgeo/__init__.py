"""Differentiable process models for geosciences: stiff solvers, exact discrete gradients."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydiffgeo import julia, losses, stages
    from pydiffgeo.data.batch import Batch
    from pydiffgeo.data.sites import open_sites
    from pydiffgeo.data.windows import Windows
    from pydiffgeo.engines import ENGINES
    from pydiffgeo.evaluation import conformal, evaluate, simulate
    from pydiffgeo.hybrid import Hybrid
    from pydiffgeo.members import Ensemble
    from pydiffgeo.model_check import check_model
    from pydiffgeo.models import (
        HBV,
        MODELS,
        Air2Stream,
        ExpHydro,
        KinematicWave,
        LevelPool,
        Muskingum,
        MuskingumCunge,
        Photosynthesis,
        ProcessModel,
        Richards,
        StreamOxygen,
        StreamTemperature,
        TwoBigLeaf,
        TwoLayerBucket,
    )
    from pydiffgeo.models.closures import JuliaClosure, NeuralClosure
    from pydiffgeo.models.descent import descend
    from pydiffgeo.models.fitting import fit_closure, fit_slots
    from pydiffgeo.models.leaves.optimality import optimal_chi
    from pydiffgeo.models.richards import Grid, Roots
    from pydiffgeo.models.richards.hydraulics import (
        HYDRAULICS,
        SoilHydraulics,
        UserHydraulics,
        usda_soil,
    )
    from pydiffgeo.models.spec import ModelSpec
    from pydiffgeo.models.spec_files import load_spec
    from pydiffgeo.networks import LSTM, MLP, Bounds, Mixed, Network, SoilClass, StepMLP, Table
    from pydiffgeo.solution import Solution
    from pydiffgeo.solvers import METHODS, Solver
    from pydiffgeo.solving import solve, solve_fluxes
    from pydiffgeo.stages import Series, Stage
    from pydiffgeo.training import posterior
    from pydiffgeo.training.trainer import Trainer

try:
    __version__ = version("pydiffgeo")
except PackageNotFoundError:  # run from a source tree that is not installed
    __version__ = "0+unknown"

# Public name -> its module, imported at first use: `pydiffgeo --help` and `doctor` must not wait
# for torch
_HOMES = {
    "Air2Stream": "models",
    "Batch": "data.batch",
    "Bounds": "networks",
    "ENGINES": "engines",
    "Ensemble": "members",
    "ExpHydro": "models",
    "Grid": "models.richards",
    "HBV": "models",
    "HYDRAULICS": "models.richards.hydraulics",
    "Hybrid": "hybrid",
    "JuliaClosure": "models.closures",
    "KinematicWave": "models",
    "LevelPool": "models",
    "LSTM": "networks",
    "METHODS": "solvers",
    "MLP": "networks",
    "MODELS": "models",
    "Mixed": "networks",
    "ModelSpec": "models.spec",
    "Network": "networks",
    "Muskingum": "models",
    "MuskingumCunge": "models",
    "NeuralClosure": "models.closures",
    "Photosynthesis": "models",
    "ProcessModel": "models",
    "Richards": "models",
    "TwoBigLeaf": "models",
    "TwoLayerBucket": "models",
    "StreamTemperature": "models",
    "Roots": "models.richards",
    "Series": "stages",
    "SoilClass": "networks",
    "SoilHydraulics": "models.richards.hydraulics",
    "Solution": "solution",
    "Solver": "solvers",
    "Stage": "stages",
    "StepMLP": "networks",
    "StreamOxygen": "models",
    "Table": "networks",
    "Trainer": "training.trainer",
    "UserHydraulics": "models.richards.hydraulics",
    "Windows": "data.windows",
    "check_model": "model_check",
    "conformal": "evaluation",
    "descend": "models.descent",
    "evaluate": "evaluation",
    "fit_closure": "models.fitting",
    "fit_slots": "models.fitting",
    "load": "experiment.trained",
    "load_spec": "models.spec_files",
    "open_prediction": "experiment.prediction",
    "open_sites": "data.sites",
    "optimal_chi": "models.leaves.optimality",
    "posterior": "training",
    "simulate": "evaluation",
    "solve": "solving",
    "solve_fluxes": "solving",
    "usda_soil": "models.richards.hydraulics",
}

__all__ = [
    "Air2Stream",
    "Batch",
    "Bounds",
    "ENGINES",
    "Ensemble",
    "ExpHydro",
    "Grid",
    "HBV",
    "HYDRAULICS",
    "Hybrid",
    "JuliaClosure",
    "KinematicWave",
    "LevelPool",
    "LSTM",
    "METHODS",
    "MLP",
    "MODELS",
    "Mixed",
    "ModelSpec",
    "Network",
    "Muskingum",
    "MuskingumCunge",
    "NeuralClosure",
    "Photosynthesis",
    "ProcessModel",
    "Richards",
    "StreamTemperature",
    "Roots",
    "Series",
    "SoilClass",
    "SoilHydraulics",
    "Solution",
    "Solver",
    "Stage",
    "StepMLP",
    "StreamOxygen",
    "Table",
    "Trainer",
    "TwoBigLeaf",
    "TwoLayerBucket",
    "UserHydraulics",
    "Windows",
    "__version__",
    "check_model",
    "conformal",
    "descend",
    "evaluate",
    "fit_closure",
    "fit_slots",
    "julia",
    "load",
    "load_spec",
    "losses",
    "open_prediction",
    "open_sites",
    "optimal_chi",
    "posterior",
    "simulate",
    "solve",
    "solve_fluxes",
    "stages",
    "usda_soil",
]


def __getattr__(name: str) -> Any:
    if name in ("julia", "losses", "stages"):
        return import_module(f"{__name__}.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
