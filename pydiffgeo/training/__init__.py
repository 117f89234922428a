"""Training of hybrids: the trainer, ensembles, calibration, several processes."""

from __future__ import annotations

from importlib import import_module
from typing import Any

# public name -> its module, imported at first use: the command line handles signals before torch
_HOMES = {
    "CHECKPOINT": "checkpoint", "Group": "distributed", "Member": "ensemble", "Trainer": "trainer",
    "calibrate": "sce_ua", "calibrated": "sce_ua", "folds": "ensemble",
    "load_checkpoint": "checkpoint", "process_group": "distributed",
    "save_checkpoint": "checkpoint", "twins": "ensemble",
}  # fmt: skip

__all__ = ["CHECKPOINT", "Group", "Member", "Trainer", "calibrate", "calibrated", "folds",
           "load_checkpoint", "process_group", "save_checkpoint", "twins"]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
