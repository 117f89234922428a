"""All reaches of a river in one call of the Julia engine."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pydiffgeo.bridge.runtime import start
from pydiffgeo.engines.base import Result
from pydiffgeo.engines.julia_engine import Run, all_inputs, solve_run, torch_only
from pydiffgeo.engines.whole_rivers import ByLevels, River
from pydiffgeo.solvers.options import Solver
from pydiffgeo.solvers.problem import Problem
from pydiffgeo.solvers.sciml import SCIML_METHODS

BY_LEVELS = -3  # what Julia returns where columns must be solved one by one


def solve_river(problem: Problem, options: Solver, river: River) -> Result | None:
    """Solve all columns from the headwaters down.

    Fluxes are means over the intervals of the problem, states those at their ends; both carry
    gradients to every input and to the delay. None where the columns must be solved level by level,
    each level with `solve_julia`: a step that is not fixed, a model with branches, or a column that
    fails.

    Raises
    ------
    EngineUnavailable
        Julia cannot run here.
    """
    if torch_only(options) or options.method in SCIML_METHODS or options.step is None:
        return None
    run = _RiverRun(start(), problem, options, None, river=river)
    inputs = all_inputs(problem)
    if river.delay is not None:
        inputs.append(river.delay.to(problem.initial).contiguous())
    try:
        return solve_run(run, inputs)
    except ByLevels:
        return None


@dataclass
class _RiverRun(Run):
    """As `Run`; the delay is the last of the inputs where there is one."""

    river: River = None  # type: ignore[assignment]
    delay: Tensor | None = None
    on_delay: Tensor | None = None

    def forward(self, inputs: Sequence[Tensor], record: bool) -> tuple[Tensor, ...]:
        """Return states, storage, and the fluxes one by one."""
        if self.river.delay is not None:
            *inputs, self.delay = inputs
            self.on_delay = torch.zeros_like(self.delay)
        return super().forward(inputs, record)

    def begin(self, model: int, bits: int, call: bytes, numbers: bytes) -> int:
        """Call Julia's forward pass of a river, and return the number of its run."""
        spec, river = self.problem.model.spec, self.river
        below = (river.below.cpu() + 1).contiguous()
        place = list(spec.forcings).index
        given = (
            river.parts, list(spec.fluxes).index(river.outflow) + 1, place(river.inflow) + 1,
            0 if river.delayed is None else place(river.delayed) + 1, below.data_ptr(),
            *(0 if x is None else x.data_ptr() for x in (self.delay, self.on_delay)),
        )  # fmt: skip
        status = self.julia.call("river", model, bits, call, struct.pack("7q", *given), numbers)
        if status == BY_LEVELS:
            raise ByLevels
        return status

    def backward(
        self, grads: Sequence[Tensor | None], wanted: Sequence[bool]
    ) -> list[Tensor | None]:
        """Return the cotangents of the inputs that are wanted."""
        if self.on_delay is None:
            return super().backward(grads, wanted)
        self.on_delay.zero_()
        found = super().backward(grads, wanted[:-1])
        return [*found, self.on_delay.clone() if wanted[-1] else None]
