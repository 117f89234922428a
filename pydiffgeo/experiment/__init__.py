"""Experiments: settings in, trained and judged hybrids out; the only part of the package that reads settings trees."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydiffgeo.experiment.judge import judge, predict
    from pydiffgeo.experiment.run import calibrate, run_experiment, train
    from pydiffgeo.experiment.schema import Experiment, load_experiment

# public name -> its module, imported at first use
_HOMES = {
    "Experiment": "schema", "calibrate": "run", "judge": "judge", "load_experiment": "schema", "predict": "judge",
    "run_experiment": "run", "train": "run",
}  # fmt: skip

__all__ = ["Experiment", "calibrate", "judge", "load_experiment", "predict", "run_experiment", "train"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
