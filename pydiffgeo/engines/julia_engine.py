"""Place of the Julia engine, which this version does not have yet."""

from __future__ import annotations

from torch import Tensor

from pydiffgeo.engines.base import Result
from pydiffgeo.errors import EngineUnavailable
from pydiffgeo.solvers.options import Solver
from pydiffgeo.solvers.problem import Problem


def solve_julia(problem: Problem, options: Solver, replay: list[Tensor] | None = None) -> Result:
    """Raise EngineUnavailable: the Julia engine is not part of this version."""
    raise EngineUnavailable('this version of pydiffgeo has no Julia engine; use engine="torch", which solves the same models')
