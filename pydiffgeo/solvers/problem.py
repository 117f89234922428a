"""A solve, as the integrators see it: tensors only, every input checked before."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pydiffgeo.models.base import ProcessModel, Values


@dataclass(frozen=True)
class Problem:
    """Inputs of some columns; the first dimension of inputs shared by all columns is 1.

    Attributes
    ----------
    initial : Tensor, [column, size]
    static : dict of Tensor, [column or 1, width]
        Parameters that do not change in time: as given, or inside the torch engine as
        `ProcessModel.prepare` returns them.
    varying : dict of Tensor, [column or 1, interval, width]
        Parameters with a value per forcing interval.
    forcing : dict of Tensor, [column or 1, interval, 1]
    lengths : Tensor, [interval]
        Lengths of the intervals, in the model's time unit.
    only : tuple of str
        Fluxes that alone are read, if any are named: an engine may leave all other results as the
        memory is.
    """

    model: ProcessModel
    initial: Tensor
    static: dict[str, Tensor]
    varying: dict[str, Tensor]
    forcing: dict[str, Tensor]
    lengths: Tensor
    only: tuple[str, ...] = ()

    def static_at(self, column: Tensor) -> dict[str, Tensor]:
        """Static parameters of some columns, `[row or 1, width]`."""
        return take(self.static, column)

    def forcing_at(self, column: Tensor, interval: Tensor) -> dict[str, Tensor]:
        """Forcing of some columns in their intervals, `[row, 1]`."""
        return {k: _rows_at(v, column, interval) for k, v in self.forcing.items()}

    def varying_at(self, column: Tensor, interval: Tensor) -> dict[str, Tensor]:
        """Time-varying parameters of some columns in their intervals, `[row, width]`."""
        return {k: _rows_at(v, column, interval) for k, v in self.varying.items()}


def take(values: Values, rows: Tensor) -> dict[str, Tensor]:
    """Return inputs `[row or 1, ...]` of some rows; what all share stays one row."""
    return {k: v if v.shape[0] == 1 else v[rows] for k, v in values.items()}


def _rows_at(x: Tensor, column: Tensor, interval: Tensor) -> Tensor:
    return x[torch.zeros_like(column) if x.shape[0] == 1 else column, interval]
