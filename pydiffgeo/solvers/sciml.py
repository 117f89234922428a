"""Methods and sensitivities of SciML by name, and which combinations are refused; the same as in `julia_src/src/sciml.jl`."""

from __future__ import annotations

SCIML_METHODS = ("FBDF", "QNDF", "Rodas5P", "KenCarp3", "KenCarp4", "TRBDF2", "RadauIIA5")
SENSITIVITIES = ("discrete", "GaussAdjoint", "QuadratureAdjoint", "InterpolatingAdjoint", "ForwardDiff", "ForwardSensitivity")
SCIML_DEFAULT_RTOL = 1e-6
SCIML_LOOSEST_RTOL = 1e-4

REFUSED: dict[tuple[str, str], str] = {
    ("", "ForwardSensitivity"): "SciML's forward sensitivities are those in the parameters, without the initial state, so that "
    "no gradient crosses a change of forcing; ForwardDiff carries both",
}
"""Reasons by method and sensitivity, "" for every method; measured by benchmarks/sensitivities.jl."""


def allowed(method: str) -> list[str]:
    """Sensitivities that give right gradients with a method of SciML."""
    return [s for s in SENSITIVITIES[1:] if (method, s) not in REFUSED and ("", s) not in REFUSED]


def refusal(method: str, sensitivity: str) -> str:
    """Why a method and a sensitivity cannot be used together, "" where they can."""
    if method not in SCIML_METHODS:
        if sensitivity == "discrete":
            return ""
        return f"{method} has the discrete adjoint; {sensitivity} is for the methods of SciML: {', '.join(SCIML_METHODS)}"
    if sensitivity == "discrete":
        return f"{method} has no discrete adjoint: choose the sensitivity {' or '.join(allowed(method))}"
    reason = REFUSED.get((method, sensitivity)) or REFUSED.get(("", sensitivity))
    return f"{method} with {sensitivity}: {reason}. Choose {' or '.join(allowed(method))}" if reason else ""
