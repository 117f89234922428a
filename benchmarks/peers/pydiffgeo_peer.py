"""pydiffgeo's engines: the package's own `solve`, discrete adjoint, one step size per column."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from new_mexico import (
    DEPTH,
    LOSS_SCALE,
    PARAMETERS,
    PSI_BOTTOM,
    PSI_INITIAL,
    PSI_TOP,
    Reference,
    parameter_batch,
    target_on,
)

from peers.protocol import Measurement, Request, serve, timed

SECONDS_PER_HOUR = 3600.0  # the package counts in hours


def measure(request: Request, reference: Reference) -> Measurement:
    """Time `method`, a method's name in pydiffgeo.

    Options: `engine`, "torch" by default; `compile` for the compiled step of the torch engine;
    `threads` of the Julia engine, more than one of which are timed by the clock on the wall.
    """
    import torch

    from pydiffgeo import Grid, Richards, Solver, solve

    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    compiled = bool(request.options.get("compile", False))
    engine = str(request.options.get("engine", "torch"))
    clock = time.perf_counter if request.options.get("threads", 1) > 1 else time.process_time
    columns = torch.tensor(parameter_batch(request.batch))
    target = torch.tensor(target_on(request.cells, reference))
    soil = {name: columns[:, index].clone() for index, name in enumerate(PARAMETERS)}
    soil["K_s"] *= SECONDS_PER_HOUR
    model = Richards(
        Grid.uniform(DEPTH, request.cells),
        hydraulics="van_genuchten",
        top="head",
        bottom="head",
        roots=None,
        face_mean="arithmetic",
    )
    solver = Solver(request.method, rtol=request.rtol, compile=compiled)
    times = torch.tensor([0.0, request.horizon / SECONDS_PER_HOUR])

    def run(values: dict[str, Any]) -> Any:
        return solve(
            model,
            forcing={"top_head": PSI_TOP, "bottom_head": PSI_BOTTOM},
            parameters={**values, "specific_storage": 0.0},
            initial_state=PSI_INITIAL,
            times=times,
            solver=solver,
            engine=engine,
        )

    def forward() -> Any:
        with torch.no_grad():
            return run(soil)

    def gradient() -> tuple[Any, dict[str, Any], list[float]]:
        values: dict[str, Any] = {
            name: value.clone().requires_grad_() for name, value in soil.items()
        }
        solution = run(values)
        psi = solution.states[:, -1]
        (((psi - target) / LOSS_SCALE) ** 2).mean(-1).sum().backward()
        slopes = [float(value.grad[0] * value.detach()[0]) for value in values.values()]
        return psi.detach(), dict(solution.stats), slopes

    start = time.process_time()
    if compiled or engine == "julia":
        gradient()
    setup = time.process_time() - start
    forward_s, _ = timed(forward, request.repeats, clock)
    total_s, (psi, counts, slopes) = timed(gradient, request.repeats, clock)
    stats = {name: float(torch.as_tensor(value).double().mean()) for name, value in counts.items()}
    return Measurement(setup, forward_s, total_s, psi[0].numpy(), np.array(slopes), stats)


if __name__ == "__main__":
    serve(measure, ("pydiffgeo", "torch", "numpy", "scipy"))
