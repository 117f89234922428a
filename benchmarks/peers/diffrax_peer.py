"""diffrax: implicit Runge-Kutta with the checkpointed discrete adjoint, vmapped over the batch."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from new_mexico import LOSS_SCALE, PSI_INITIAL, Reference, head_rate, parameter_batch, target_on

from peers.protocol import FIRST_STEP, Measurement, Request, serve, timed


def measure(request: Request, reference: Reference) -> Measurement:
    """Time `method`, a solver's name in diffrax, under RecursiveCheckpointAdjoint."""
    import diffrax
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    target = jnp.asarray(target_on(request.cells, reference))
    initial = jnp.full(request.cells, PSI_INITIAL)

    def rate(time: Any, psi: Any, parameters: Any) -> Any:
        return head_rate(psi, parameters, jnp, jnp.concatenate, request.cells)

    def loss(parameters: Any) -> tuple[Any, tuple[Any, Any]]:
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(rate),
            getattr(diffrax, request.method)(),
            t0=0.0,
            t1=request.horizon,
            dt0=FIRST_STEP,
            y0=initial,
            args=parameters,
            stepsize_controller=diffrax.PIDController(rtol=request.rtol, atol=request.atol),
            max_steps=request.options.get("max_steps", 4096),
            adjoint=diffrax.RecursiveCheckpointAdjoint(),
        )
        psi = solution.ys[-1]
        return jnp.mean(((psi - target) / LOSS_SCALE) ** 2), (psi, solution.stats["num_steps"])

    parameters = jnp.asarray(parameter_batch(request.batch))
    start = time.process_time()
    forward = jax.jit(jax.vmap(loss)).lower(parameters).compile()
    gradient = jax.jit(jax.vmap(jax.value_and_grad(loss, has_aux=True))).lower(parameters).compile()
    setup = time.process_time() - start

    forward_s, _ = timed(lambda: jax.block_until_ready(forward(parameters)), request.repeats)
    total_s, answer = timed(lambda: jax.block_until_ready(gradient(parameters)), request.repeats)
    (_, (psi, steps)), slopes = answer
    return Measurement(
        setup,
        forward_s,
        total_s,
        np.asarray(psi[0]),
        np.asarray(slopes[0] * parameters[0]),
        {"steps_mean": float(steps.mean()), "steps_max": int(steps.max())},
    )


if __name__ == "__main__":
    serve(measure, ("diffrax", "jax", "jaxlib", "equinox", "optimistix", "lineax"))
