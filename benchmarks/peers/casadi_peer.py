"""CasADi's SUNDIALS: CVODES on the head form, IDAS on the mixed form as a differential-algebraic
system.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from new_mexico import (
    LOSS_SCALE,
    PARAMETERS,
    PSI_INITIAL,
    Reference,
    divergence,
    hydraulics,
    parameter_batch,
    target_on,
)

from peers.protocol import ATOL_PER_RTOL, Measurement, Request, serve, timed


def heads_of(theta: Any, parameters: Sequence[Any]) -> Any:
    """Heads (cm) of water contents: the inverse of the van Genuchten curve.

    IDAS' adjoint of the final storage converges to the reference gradient; seeded through the
    algebraic variable `zf` instead, it stays 5e-3 off at any tolerance.
    """
    alpha, n, _, theta_s, theta_r = parameters
    saturation = (theta - theta_r) / (theta_s - theta_r)
    return -((saturation ** (-n / (n - 1.0)) - 1.0) ** (1.0 / n)) / alpha


def measure(request: Request, reference: Reference) -> Measurement:
    """Time `method`, "cvodes" or "idas"; sensitivity is "adjoint" or "forward".

    The option `loss_scale` multiplies the loss before, and divides the gradient after, the adjoint
    solve: SUNDIALS applies the tolerances of the heads to the adjoint variables, whose size follows
    the loss.
    """
    import casadi

    cells = request.cells
    soil = casadi.SX.sym("soil", len(PARAMETERS))
    psi = casadi.SX.sym("psi", cells)
    values = [soil[index] for index in range(len(PARAMETERS))]
    theta, capacity, conductivity = hydraulics(psi, values, casadi)
    supply = divergence(
        psi, conductivity, values, casadi, lambda parts: casadi.vertcat(*parts), cells
    )
    options = {"reltol": request.rtol, "abstol": request.atol, "max_num_steps": 200_000}
    options |= request.options.get("integrator", {})

    start = time.process_time()
    inputs = casadi.MX.sym("inputs", len(PARAMETERS))
    initial = np.full(cells, PSI_INITIAL)
    if request.method == "cvodes":
        system = {"x": psi, "p": soil, "ode": supply / capacity}
        integrator = casadi.integrator(
            "integrator", "cvodes", system, 0.0, request.horizon, options
        )
        final = integrator(x0=initial, p=inputs)["xf"]
    else:
        storage = casadi.SX.sym("storage", cells)
        system = {
            "x": storage,
            "z": psi,
            "p": soil,
            "ode": ATOL_PER_RTOL * supply,
            "alg": ATOL_PER_RTOL * theta - storage,
        }
        integrator = casadi.integrator("integrator", "idas", system, 0.0, request.horizon, options)
        wetness = casadi.Function(
            "wetness", [soil], [casadi.substitute(ATOL_PER_RTOL * theta, psi, initial)]
        )
        stored = integrator(x0=wetness(inputs), z0=initial, p=inputs)["xf"]
        final = heads_of(
            stored / ATOL_PER_RTOL, [inputs[index] for index in range(len(PARAMETERS))]
        )

    target = target_on(cells, reference)
    scale = request.options.get("loss_scale", 1.0)
    loss = scale * casadi.sumsqr((final - target) / LOSS_SCALE) / cells
    if request.sensitivity == "adjoint":
        slopes = casadi.gradient(loss, inputs)
    else:
        seeds = 2.0 * scale * (final - target) / LOSS_SCALE**2 / cells
        slopes = casadi.mtimes(casadi.jacobian(final, inputs).T, seeds)
    forward = casadi.Function("forward", [inputs], [loss, final])
    gradient = casadi.Function("gradient", [inputs], [slopes, final])
    setup = time.process_time() - start

    point = parameter_batch(1)[0]
    forward_s, (_, heads) = timed(lambda: forward(point), request.repeats)
    total_s, (slope, _) = timed(lambda: gradient(point), request.repeats)
    return Measurement(
        setup,
        forward_s,
        total_s,
        np.asarray(heads).ravel(),
        np.asarray(slope).ravel() * point / scale,
        {},
    )


if __name__ == "__main__":
    serve(measure, ("casadi",))
