"""The contract of an engine: from a checked problem to results, differentiable by torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor

from pydiffgeo.models.base import ProcessModel
from pydiffgeo.solvers.options import Solver
from pydiffgeo.solvers.problem import Problem


@dataclass
class Result:
    """Results of all columns. States, storage and fluxes carry gradients to every input.

    Attributes
    ----------
    states : Tensor, [column, interval, size]
        State at the interval ends.
    storage : Tensor, [column, interval + 1, size]
        Storage at the start and at the interval ends.
    fluxes : sequence of Tensor, [column, interval]
        Interval means, in the order of the specification; of a flux with a value in each cell, one
        after another.
    failed : dict of int to (int, str)
        Columns that did not reach the end: interval and reason. Of a model that stores nothing
        those with an interval that was not solved: the first.
    stats : dict of Tensor
    steps : list of Tensor
        Accepted steps `[column, step]` per chunk, for replaying them.
    """

    states: Tensor
    storage: Tensor
    fluxes: Sequence[Tensor]
    failed: dict[int, tuple[int, str]]
    stats: dict[str, Tensor]
    steps: list[Tensor] = field(default_factory=list)


def by_flux(model: ProcessModel, values: Sequence[Tensor]) -> list[Tensor]:
    """Return the fluxes of the specification from all values one by one, `[...]` each.

    Those of cells are `[..., cell]`.
    """
    fluxes, places = model.spec.fluxes, model.spec.flux_places(model.size)
    return [
        torch.stack(list(values[place]), -1) if fluxes[name].per == "cell" else values[place.start]
        for name, place in places.items()
    ]


G = TypeVar("G", Tensor, Tensor | None)


def constant_after_failure(
    grads: Sequence[G], intervals: int, failed: dict[int, tuple[int, str]]
) -> list[G]:
    """Cotangents without those of results that columns did not reach.

    Such a result is NaN whatever the inputs are: nothing depends on it, though masks and nanmean
    leave NaN as its cotangent.

    Parameters
    ----------
    grads : sequence of Tensor, [column, interval or interval + 1, ...], or None
        Cotangents of states, storage (which has the start too) and fluxes.
    failed : dict of int to (int, str)
        As in `Result`.
    """
    out = [g if g is None or not failed else g.clone() for g in grads]
    for column, (interval, _) in failed.items():
        for g in out:
            if g is not None:
                g[column, interval + g.shape[1] - intervals :] = 0.0
    return out


Engine = Callable[[Problem, Solver, Tensor | None], Result]
"""`engine(problem, options, replay)`; `replay` are steps to take `[column, step]`, padded with
zeros, or None.
"""
