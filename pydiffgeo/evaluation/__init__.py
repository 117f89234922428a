"""Metrics, tables and figures of results."""

from pydiffgeo.evaluation.metrics import METRICS, bias, correlation, kge, nse, rmse, score, ubrmse
from pydiffgeo.evaluation.table import print_table, write_table

__all__ = [
    "METRICS",
    "bias",
    "correlation",
    "kge",
    "nse",
    "print_table",
    "rmse",
    "score",
    "ubrmse",
    "write_table",
]
