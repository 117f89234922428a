"""What an engine is: a function from a checked problem to results, differentiable by torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from pydiffgeo.solvers.options import Solver
from pydiffgeo.solvers.problem import Problem


@dataclass
class Result:
    """Results of all columns; states, storage and fluxes carry gradients to every tensor of the problem.

    Attributes
    ----------
    states : Tensor, [column, interval, size]
        State at the interval ends.
    storage : Tensor, [column, interval + 1, size]
        Storage at the start and at the interval ends.
    fluxes : sequence of Tensor, [column, interval]
        Interval means, in the order of the specification.
    failed : dict of int to (int, str)
        Columns that did not reach the end: interval and reason.
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


Engine = Callable[[Problem, Solver, list[Tensor] | None], Result]
"""`engine(problem, options, replay)`; `replay` holds the `steps` of an earlier result, or None."""
