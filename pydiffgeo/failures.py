"""Why columns failed, in words that are the same for all engines."""

from __future__ import annotations

from typing import NoReturn

import numpy as np
import torch

from pydiffgeo.checking import values_at
from pydiffgeo.engines.base import Result
from pydiffgeo.errors import SolveFailed, listed
from pydiffgeo.solvers.problem import Problem

SHOWN = 5  # columns that a message names
NOT_FINITE = (
    "the rate of {states} is not finite where this interval begins; look at the state, the "
    "forcing, the parameters and the closures there"
)
REMEDY = (
    'Loosen rtol, raise max_steps, or take Solver(on_failure="report") to keep the other columns'
)
REMEDY_NOT_FINITE = 'No tolerance helps; take Solver(on_failure="report") to keep the other columns'


def not_finite(problem: Problem, result: Result) -> dict[int, str]:
    """Reasons of failed columns whose rates are no numbers where the failed interval begins."""
    model = problem.model
    if not result.failed or model.spec.stationary:  # a stationary model starts from no state
        return {}
    device = problem.initial.device
    columns = torch.tensor(sorted(result.failed), device=device)
    intervals = torch.tensor([result.failed[c][0] for c in columns.tolist()], device=device)
    with torch.no_grad():
        states = torch.cat([problem.initial[:, None], result.states], 1)[columns, intervals]
        e = values_at(
            model,
            states,
            problem.forcing_at(columns, intervals),
            {**problem.static_at(columns), **problem.varying_at(columns, intervals)},
        )
    bad = ~e.rates.expand_as(states).isfinite()
    names = [
        name for name, p in model.spec.places(model.size).items() for _ in range(model.size)[p]
    ]
    return {
        c: NOT_FINITE.format(states=listed(dict.fromkeys(names[i] for i in row.nonzero()[:, 0])))
        for c, row in zip(columns.tolist(), bad, strict=True)
        if bool(row.any())
    }


def reasons(problem: Problem, result: Result, labels: np.ndarray) -> tuple[dict[int, str], str]:
    """Reason of each failed column by its index, and what the user can do."""
    known = not_finite(problem, result)
    failed = {
        c: f"in the interval that ends at {labels[k + 1]}: {known.get(c, why)}"
        for c, (k, why) in sorted(result.failed.items())
    }
    return failed, REMEDY_NOT_FINITE if len(known) == len(failed) else REMEDY


def refuse(name: str, failed: dict[int, str], columns: int, remedy: str) -> NoReturn:
    """Raise SolveFailed with the first of the reasons."""
    shown = "; ".join(f"column {c} {why}" for c, why in list(failed.items())[:SHOWN])
    raise SolveFailed(
        f"{len(failed)} of {columns} columns of the {name} model failed: {shown}"
        f"{' ...' if len(failed) > SHOWN else ''}. {remedy}.",
        failed,
    )
