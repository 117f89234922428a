"""torchode: explicit Runge-Kutta with one step size per sample, through the solver or backwards in
time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from new_mexico import LOSS_SCALE, PSI_INITIAL, Reference, head_rate, parameter_batch, target_on

from peers.protocol import FIRST_STEP, Measurement, Request, serve, timed


def measure(request: Request, reference: Reference) -> Measurement:
    """Time `method`, a step method's name in torchode; sensitivity is "backprop" or "adjoint"."""
    import torch
    import torchode

    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)

    class Column(torch.nn.Module):
        """dpsi/dt of [batch, cell]."""

        def __init__(self) -> None:
            super().__init__()
            columns = torch.tensor(parameter_batch(request.batch))
            self.soil = torch.nn.ParameterList(
                torch.nn.Parameter(column.clone()) for column in columns.T
            )

        def forward(self, time: Any, psi: Any) -> Any:
            # cells come first in head_rate; under BacksolveAdjoint, which maps over samples, psi is
            # [cell]
            cells_first = psi.movedim(-1, 0)
            return head_rate(cells_first, list(self.soil), torch, torch.cat, request.cells).movedim(
                0, -1
            )

    column = Column()
    target = torch.tensor(target_on(request.cells, reference))
    initial = torch.full((request.batch, request.cells), PSI_INITIAL)
    span = {
        "t_start": torch.zeros(request.batch),
        "t_end": torch.full((request.batch,), request.horizon),
    }
    problem = torchode.InitialValueProblem(y0=initial, **span)
    first_step = torch.full((request.batch,), FIRST_STEP)
    term = torchode.ODETerm(column)
    method = getattr(torchode, request.method)(term=term)
    controller = torchode.IntegralController(atol=request.atol, rtol=request.rtol, term=term)
    adjoints = {
        "backprop": lambda: torchode.AutoDiffAdjoint(method, controller),
        "adjoint": lambda: torchode.BacksolveAdjoint(term, method, controller),
    }
    solver = adjoints[request.sensitivity]()

    def forward() -> Any:
        with torch.no_grad():
            return solver.solve(problem, dt0=first_step)

    def gradient() -> Any:
        column.zero_grad()
        psi = solver.solve(problem, dt0=first_step).ys[:, -1]
        (((psi - target) / LOSS_SCALE) ** 2).mean(-1).sum().backward()
        return psi.detach()

    forward_s, solution = timed(forward, request.repeats)
    total_s, psi = timed(gradient, request.repeats)
    slopes = np.array([float(value.grad[0] * value.detach()[0]) for value in column.soil])
    stats = {"steps": int(solution.stats["n_steps"].max())}
    return Measurement(0.0, forward_s, total_s, psi[0].numpy(), slopes, stats)


if __name__ == "__main__":
    serve(measure, ("torchode", "torch"))
