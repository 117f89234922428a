"""The steps of an earlier solution, to be taken again."""

from __future__ import annotations

import torch
from torch import Tensor

from pydiffgeo.errors import ParameterError
from pydiffgeo.solution import Solution
from pydiffgeo.solvers.problem import Problem
from pydiffgeo.solvers.sciml import SCIML_METHODS


def read_replay(replay: Solution, problem: Problem, method: str) -> Tensor:
    """Return the steps `[column, step]` of an earlier solution, padded with zeros.

    A negative one was taken without the trend of the steps before it, as the first one and that
    after a rejected one are.

    They must be steps of this problem.
    """
    if not isinstance(replay, Solution):
        raise ParameterError(
            "replay takes the Solution whose steps are to be taken again, got "
            f"{type(replay).__name__}: give what solve returned, not its steps."
        )
    tables, lengths, columns = replay.steps, problem.lengths.double().cpu(), len(problem.initial)
    if method in SCIML_METHODS:
        raise ParameterError(
            f"replay: {method} chooses its steps; replay with a method of this package, such as "
            "kvaerno3."
        )
    n = sum(len(t) for t in tables)
    if n != columns:
        raise ParameterError(
            f"replay is a solution of {n} columns, this solve has {columns}; replay one of the "
            "same columns."
        )
    if len(replay.lengths) != len(lengths):
        raise ParameterError(
            f"replay is a solution of {len(replay.lengths)} intervals, this solve has "
            f"{len(lengths)}; give the times of that solution."
        )
    own = replay.lengths * replay.model.units.factor(
        "h"
    )  # the problem is in the units in which the model is computed
    differ = ((own - lengths).abs() > 1e-9 * lengths).nonzero()[:, 0].tolist()
    if differ:
        i = differ[0]
        raise ParameterError(
            f"replay has other intervals: number {i} is {float(own[i]):g} long there and "
            f"{float(lengths[i]):g} here; give the times of that solution."
        )
    if any(t.dtype != problem.initial.dtype for t in tables):
        raise ParameterError(
            f"replay is a solution in {tables[0].dtype}, this solve is in {problem.initial.dtype}; "
            "give Solver(dtype=...) of that solution."
        )
    width = max(t.shape[1] for t in tables)
    steps = torch.cat(
        [torch.nn.functional.pad(t, (0, width - t.shape[1])) for t in tables]
    ).contiguous()
    ends = lengths.cumsum(0)
    reached = torch.nn.functional.pad(steps.abs().double().cpu().cumsum(1), (1, 0))
    rounding = torch.finfo(steps.dtype).eps * (64 + 4 * width) * float(ends[-1])
    nearest = torch.searchsorted(
        reached, (ends - rounding).expand(columns, -1).contiguous()
    ).clamp_max(width)
    filled = (reached.gather(1, nearest) - ends).abs() <= rounding
    if not bool(filled.all()):
        column, i = (~filled).nonzero()[0].tolist()
        raise ParameterError(
            f"replay: the steps of column {column} do not fill interval {i}: that solution failed "
            "there, or its steps were changed, or it was found by a method of SciML, whose steps "
            "are not kept; replay another solution."
        )
    return steps.to(problem.initial.device)
