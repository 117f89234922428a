"""Experiments: settings in, trained and judged hybrids out; nothing below reads settings trees."""

from pydiffgeo.experiment.judge import judge, predict
from pydiffgeo.experiment.run import calibrate, run_experiment, train
from pydiffgeo.experiment.schema import Experiment, load_experiment

__all__ = [
    "Experiment",
    "calibrate",
    "judge",
    "load_experiment",
    "predict",
    "run_experiment",
    "train",
]
