"""Experiments: settings in, trained and judged hybrids out; nothing below reads settings trees."""

from pydiffgeo.experiment.build import build_hybrid, load_sites
from pydiffgeo.experiment.examples import write_example
from pydiffgeo.experiment.judge import judge
from pydiffgeo.experiment.prediction import open_prediction, predict, predict_parts
from pydiffgeo.experiment.run import calibrate, run_experiment, train
from pydiffgeo.experiment.schema import Experiment, load_experiment

__all__ = [
    "Experiment",
    "build_hybrid",
    "calibrate",
    "judge",
    "load_experiment",
    "load_sites",
    "open_prediction",
    "predict",
    "predict_parts",
    "run_experiment",
    "train",
    "write_example",
]
