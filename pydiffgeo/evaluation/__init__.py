"""Metrics, losses, tables and figures of results."""

from pydiffgeo.evaluation.basins import median_scores, score_basins, write_scores
from pydiffgeo.evaluation.hydrology import HYDROLOGICAL
from pydiffgeo.evaluation.metrics import METRICS, bias, correlation, kge, nse, rmse, score, ubrmse
from pydiffgeo.evaluation.table import print_table, write_table
from pydiffgeo.evaluation.untrained import base_flow, untrained_summary, untrained_table

__all__ = [
    "HYDROLOGICAL",
    "METRICS",
    "base_flow",
    "bias",
    "correlation",
    "kge",
    "median_scores",
    "nse",
    "print_table",
    "rmse",
    "score",
    "score_basins",
    "ubrmse",
    "untrained_summary",
    "untrained_table",
    "write_scores",
    "write_table",
]
