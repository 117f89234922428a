"""Training of hybrids: the trainer, ensembles, calibration, several processes."""

from pydiffgeo.training.checkpoint import CHECKPOINT, load_checkpoint, save_checkpoint
from pydiffgeo.training.distributed import Group, process_group
from pydiffgeo.training.ensemble import Member, folds, twins
from pydiffgeo.training.gauss_newton import LeastSquares, least_squares
from pydiffgeo.training.posterior import Posterior, posterior
from pydiffgeo.training.sce_ua import calibrate, calibrated
from pydiffgeo.training.trainer import Trainer

__all__ = ["CHECKPOINT", "Group", "LeastSquares", "Member", "Posterior", "Trainer", "calibrate",
           "calibrated", "folds", "least_squares", "load_checkpoint", "posterior",
           "process_group", "save_checkpoint", "twins"]  # fmt: skip
