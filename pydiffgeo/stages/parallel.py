"""Copies of stages side by side in each site."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn

from pydiffgeo.data.batch import Batch
from pydiffgeo.errors import ParameterError
from pydiffgeo.stages.base import Named, Series, Stage
from pydiffgeo.stages.error_model import ErrorModel


class Parallel(Stage):
    """Copies of stages side by side in each site, such as hillslopes; series are averaged.

    The copies share the series and have parameters of their own. They are one batch for the solver.
    Source: Feng et al. (2022), doi:10.1029/2022WR032404.

    Parameters
    ----------
    count : int
        Copies; published differentiable HBV takes 16.
    *stages : Stage
        Run one after another in each copy.
    """

    def __init__(self, count: int, *stages: Stage):
        super().__init__()
        if count < 1 or any(isinstance(stage, Parallel) for stage in stages):
            raise ParameterError(f"Parallel({count}): give a copy or more, and no Parallel inside.")
        if any(isinstance(stage, ErrorModel) for stage in stages):
            raise ParameterError(
                "an ErrorModel stands after Parallel, of the mean over the copies."
            )
        self.count, self.stages = count, nn.ModuleList(stages)
        self.reads, self.gives = ends(stages)

    def forward(self, series: Series, parameters: Named, batch: Batch) -> Named:
        """Return the mean of each series over the copies, for parameters [batch, copy, ...]."""
        read = {name: series[name].repeat_interleave(self.count, 0) for name in self.reads}
        own = {name: values.flatten(0, 1) for name, values in parameters.items()}
        wide, given = batch.repeated(self.count), Series()
        for stage in self.stages:
            given = given.added(stage(Series(read).added(given), own, wide))
        failed = {row // self.count: why for row, why in given.failed.items()}
        mean = {k: v.unflatten(0, (-1, self.count)).mean(1) for k, v in given.items()}
        return Series(mean, failed)


def ends(stages: Iterable[Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the series that stages read and do not give before, and those that they give."""
    reads: list[str] = []
    gives: list[str] = []
    for stage in stages:
        reads += [name for name in stage.reads if name not in gives]
        gives += stage.gives
    return tuple(dict.fromkeys(reads)), tuple(dict.fromkeys(gives))


def flat(stages: Iterable[Any]) -> list[Any]:
    """Return stages in their order, those of a `Parallel` in its place."""
    found: list[Any] = []
    for stage in stages:
        found += list(stage.stages) if isinstance(stage, Parallel) else [stage]
    return found
