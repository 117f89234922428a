"""torchdiffeq: explicit Runge-Kutta, through the solver ("backprop") or the backwards-in-time
adjoint.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from new_mexico import LOSS_SCALE, PSI_INITIAL, Reference, head_rate, parameter_batch, target_on

from peers.protocol import FIRST_STEP, Measurement, Request, serve, timed


def measure(request: Request, reference: Reference) -> Measurement:
    """Time `method`, a method's name in torchdiffeq; sensitivity is "backprop" or "adjoint"."""
    import torch
    from torchdiffeq import odeint, odeint_adjoint

    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)

    class Column(torch.nn.Module):
        """dpsi/dt of [cell, batch].

        odeint_adjoint differentiates with respect to module parameters.
        """

        def __init__(self) -> None:
            super().__init__()
            columns = torch.tensor(parameter_batch(request.batch))
            self.soil = torch.nn.ParameterList(
                torch.nn.Parameter(column.clone()) for column in columns.T
            )
            self.evaluations = 0

        def forward(self, time: Any, psi: Any) -> Any:
            self.evaluations += 1
            return head_rate(psi, list(self.soil), torch, torch.cat, request.cells)

    column = Column()
    target = torch.tensor(target_on(request.cells, reference))[:, None]
    initial = torch.full((request.cells, request.batch), PSI_INITIAL)
    times = torch.tensor([0.0, request.horizon])
    integrate = {"backprop": odeint, "adjoint": odeint_adjoint}[request.sensitivity]

    def solve() -> Any:
        options = {"first_step": FIRST_STEP}
        tolerances = {"rtol": request.rtol, "atol": request.atol}
        return integrate(
            column, initial, times, method=request.method, options=options, **tolerances
        )[-1]

    def forward() -> Any:
        column.evaluations = 0
        with torch.no_grad():
            return solve()

    def gradient() -> Any:
        column.zero_grad()
        psi = solve()
        (((psi - target) / LOSS_SCALE) ** 2).mean(0).sum().backward()
        return psi.detach()

    forward_s, _ = timed(forward, request.repeats)
    evaluations = column.evaluations
    total_s, psi = timed(gradient, request.repeats)
    slopes = np.array([float(value.grad[0] * value.detach()[0]) for value in column.soil])
    return Measurement(
        0.0, forward_s, total_s, psi[:, 0].numpy(), slopes, {"rate_evaluations": evaluations}
    )


if __name__ == "__main__":
    serve(measure, ("torchdiffeq", "torch"))
