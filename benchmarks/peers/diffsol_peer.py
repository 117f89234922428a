"""diffsol (Rust, through pydiffsol): BDF and ESDIRK on the head form or, as a DAE, on the mixed
form.
"""

from __future__ import annotations

import time

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

from peers.protocol import ATOL_PER_RTOL, Measurement, Request, serve, timed

# With diffsol's default of 10 Newton iterations and Jacobians kept for many steps, the wetting
# front makes Newton fail at every tolerance; these are the settings under which the solve succeeds.
NEWTON = {
    "max_nonlinear_solver_iterations": 20,
    "update_jacobian_after_steps": 1,
    "update_rhs_jacobian_after_steps": 1,
}
SYMBOLS = ("alpha", "n", "ks", "ths", "thr")  # in the order of PARAMETERS


def hydraulics_code(psi: str, suffix: str, index: str = "") -> str:
    """DiffSL for saturation and conductivity of the head `psi`: `new_mexico.hydraulics`."""
    saturation, inner, x, log1x = (f"{name}{suffix}{index}" for name in ("s", "v", "x", "l"))
    lines = [
        f"{x} {{ exp(n * log(-alpha * {psi})) }}",
        f"{log1x} {{ log(1.0 + {x}) }}",
        f"{saturation} {{ exp(-m * {log1x}) }}",
        f"{inner} {{ exp(m * (n * log(-alpha * {psi}) - {log1x})) }}",
        f"k{suffix}{index} {{ ks * sqrt({saturation}) * (1.0 - {inner}) * (1.0 - {inner}) }}",
    ]
    return "\n".join(lines)


def stencil(name: str, entries: dict[tuple[int, int], float]) -> str:
    """A constant sparse matrix of DiffSL."""
    content = ", ".join(f"({i}, {j}): {value!r}" for (i, j), value in sorted(entries.items()))
    return f"{name}_ij {{ {content} }}"


def model_code(cells: int, form: str) -> str:
    """DiffSL text of the case in head form ("head") or as a differential-algebraic system
    ("mixed").
    """
    dz = DEPTH / cells
    inner = range(1, cells)
    slope = {(i, i - 1): -1.0 / dz for i in inner} | {(i, i): 1.0 / dz for i in inner}
    slope |= {(0, 0): 2.0 / dz, (cells, cells - 1): -2.0 / dz}
    mean = {face: 0.5 for face in slope}
    difference = {(i, i): 1.0 / dz for i in range(cells)} | {
        (i, i + 1): -1.0 / dz for i in range(cells)
    }
    psi = "u_i" if form == "head" else "h_i"
    inputs = ", ".join(
        f"{name} = {value}" for name, value in zip(SYMBOLS, PARAMETERS.values(), strict=True)
    )

    def at_faces(top: str, bottom: str) -> str:
        return f"(0:1): {top}, (1:{cells}): 0.0, ({cells}:{cells + 1}): {bottom}"

    head = [
        f"in_i {{ {inputs} }}",
        "m { 1.0 - 1.0 / n }",
        f"top {{ {PSI_TOP} }}",
        f"bottom {{ {PSI_BOTTOM} }}",
        f"one_i {{ (0:{cells}): 1.0 }}",
        stencil("slope", slope),
        stencil("mean", mean),
        stencil("difference", difference),
        hydraulics_code("top", "t"),
        hydraulics_code("bottom", "b"),
    ]
    unknowns = {
        "head": [f"u_i {{ (0:{cells}): h = {PSI_INITIAL} }}"],
        "mixed": [
            f"s0 {{ exp(-m * log(1.0 + exp(n * log(-alpha * ({PSI_INITIAL}))))) }}",
            f"w0_i {{ {ATOL_PER_RTOL} * (thr + (ths - thr) * s0) * one_i }}",
            f"h0_i {{ {PSI_INITIAL} * one_i }}",
            "u_i { w = w0_i, h = h0_i }",
            "dudt_i { dwdt = 0.0 * one_i, dhdt = 0.0 * one_i }",
            "M_i { dwdt_i, 0.0 * one_i }",
        ],
    }
    fluxes = [
        hydraulics_code(psi, "", "_i"),
        f"kbound_i {{ {at_faces('0.5 * kt', '0.5 * kb')} }}",
        f"hbound_i {{ {at_faces(f'{-2.0 / dz} * top', f'{2.0 / dz} * bottom')} }}",
        f"hslope_i {{ slope_ij * {psi[0]}_j }}",
        "kface_i { mean_ij * k_j }",
        "q_i { -(kface_i + kbound_i) * (hslope_i + hbound_i - 1.0) }",
        "supply_i { difference_ij * q_j }",
    ]
    rates = {
        "head": [
            f"c_i {{ -(ths - thr) * m * n * s_i * x_i / ((1.0 + x_i) * {psi}) }}",
            "F_i { supply_i / c_i }",
        ],
        "mixed": [
            f"F_i {{ {ATOL_PER_RTOL} * supply_i, {ATOL_PER_RTOL} * (thr + (ths - thr) * s_i) - w_i "
            "}"
        ],
    }
    return "\n".join([*head, *unknowns[form], *fluxes, *rates[form], f"out_i {{ {psi} }}"])


def measure(request: Request, reference: Reference) -> Measurement:
    """Time `method`, a solver's name in pydiffsol; sensitivity is "adjoint" or "forward".

    Options: `form`, and `loss_scale` as in the CasADi peer.
    """
    import pydiffsol

    start = time.process_time()
    solver = pydiffsol.Ode(
        model_code(request.cells, request.options.get("form", "head")),
        matrix_type=pydiffsol.faer_sparse,
        ode_solver=getattr(pydiffsol, request.method),
    )
    setup = time.process_time() - start
    solver.rtol, solver.atol = request.rtol, request.atol
    for name, value in NEWTON.items():
        setattr(solver.options, name, value)

    point, times = parameter_batch(1)[0], np.array([request.horizon])
    target = target_on(request.cells, reference)
    scale = request.options.get("loss_scale", 1.0)

    def seeds(psi: np.ndarray) -> np.ndarray:
        return 2.0 * scale * (psi - target) / LOSS_SCALE**2 / request.cells

    def adjoint() -> tuple[np.ndarray, np.ndarray]:
        solution, checkpoint = solver.solve_adjoint_fwd(point, times)
        psi = solution.ys[:, -1]
        return psi, np.ravel(solver.solve_adjoint_bkwd(solution, checkpoint, seeds(psi)[:, None]))

    def tangent() -> tuple[np.ndarray, np.ndarray]:
        solution = solver.solve_fwd_sens(point, times)
        psi = solution.ys[:, -1]
        return psi, np.array([seeds(psi) @ np.asarray(column)[:, -1] for column in solution.sens])

    gradient = {"adjoint": adjoint, "forward": tangent}[request.sensitivity]
    forward_s, _ = timed(lambda: solver.solve_dense(point, times), request.repeats)
    total_s, (psi, slopes) = timed(gradient, request.repeats)
    return Measurement(setup, forward_s, total_s, psi, slopes * point / scale)


if __name__ == "__main__":
    serve(measure, ("pydiffsol",))
