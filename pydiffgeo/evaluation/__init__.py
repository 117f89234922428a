"""Simulation of trained hybrids, measures, scores, tables, figures and reports."""

from pydiffgeo.evaluation.conformal import conformal
from pydiffgeo.evaluation.evaluate import Evaluation, evaluate, open_evaluation
from pydiffgeo.evaluation.figures import matplotlib_missing, new_figure, save_figure
from pydiffgeo.evaluation.mean_of_runs import mean_name, mean_of_runs
from pydiffgeo.evaluation.measures import MEASURES, bias, correlation, kge, nse, rmse, score, ubrmse
from pydiffgeo.evaluation.panels import PANELS
from pydiffgeo.evaluation.panels.fluxes import base_flow, untrained_summary, untrained_table
from pydiffgeo.evaluation.panels.of_sites import cdf_figure
from pydiffgeo.evaluation.probabilistic import (
    coverage,
    crps,
    pit,
    pit_histogram,
    score_distribution,
    width,
)
from pydiffgeo.evaluation.report import compare_runs, write_report
from pydiffgeo.evaluation.scores import (
    median_scores,
    pooled_scores,
    score_sites,
    summary_table,
    write_scores,
)
from pydiffgeo.evaluation.simulate import simulate
from pydiffgeo.evaluation.tables import print_table, write_table

__all__ = [
    "MEASURES", "PANELS", "Evaluation", "base_flow", "bias", "cdf_figure", "compare_runs",
    "conformal", "correlation", "coverage", "crps", "evaluate", "kge", "matplotlib_missing",
    "mean_name", "mean_of_runs", "median_scores", "new_figure", "nse", "open_evaluation", "pit",
    "pit_histogram", "pooled_scores", "print_table", "rmse", "save_figure", "score",
    "score_distribution", "score_sites", "simulate", "summary_table", "ubrmse",
    "untrained_summary", "untrained_table", "width", "write_report", "write_scores", "write_table",
]  # fmt: skip
