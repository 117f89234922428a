"""Methods and sensitivities of SciML by name, and combinations that are refused."""

from __future__ import annotations

SCIML_METHODS = ("FBDF", "QNDF", "Rodas5P", "KenCarp3", "KenCarp4", "TRBDF2", "RadauIIA5")
SENSITIVITIES = (
    "discrete",
    "GaussAdjoint",
    "QuadratureAdjoint",
    "InterpolatingAdjoint",
    "ForwardDiff",
    "ForwardSensitivity",
)
SCIML_DEFAULT_RTOL = 1e-6
SCIML_LOOSEST_RTOL = 1e-4

REFUSED: dict[tuple[str, str], str] = {
    **{
        (
            "TRBDF2",
            s,
        ): "it is wrong without notice: on the New Mexico infiltration, at rtol 1e-6, heads are 6 "
        "cm off and gradients 6%"
        for s in SENSITIVITIES[1:]
    },
    **{
        (
            "KenCarp3",
            s,
        ): "gradients are wrong by 1% on the New Mexico infiltration at rtol 1e-6, heads by 1 cm"
        for s in SENSITIVITIES[1:]
    },
    (
        "RadauIIA5",
        "ForwardSensitivity",
    ): "it did not end within two minutes on the New Mexico infiltration, "
    "which takes FBDF one second",
    (
        "Rodas5P",
        "ForwardSensitivity",
    ): "it takes 5 s on twelve days of weather at rtol 1e-5, where GaussAdjoint takes a tenth "
    "of a second; its accuracy on the New Mexico infiltration is not measured",
    (
        "Rodas5P",
        "InterpolatingAdjoint",
    ): "SciML differentiates the adjoint equation in time by dual numbers, which ends in an error",
}
"""Reasons by method and sensitivity; measured by benchmarks/sensitivities.jl."""


def allowed(method: str) -> list[str]:
    """Sensitivities that give right gradients with a method of SciML."""
    return [s for s in SENSITIVITIES[1:] if (method, s) not in REFUSED]


def refusal(method: str, sensitivity: str) -> str:
    """Why a method and a sensitivity cannot be used together, "" where they can."""
    if method not in SCIML_METHODS:
        if sensitivity == "discrete":
            return ""
        return (
            f"{method} has the discrete adjoint; {sensitivity} is for the methods of SciML: "
            f"{', '.join(SCIML_METHODS)}."
        )
    known = allowed(method)
    instead = f"Choose the sensitivity {' or '.join(known)}." if known else "Choose another method."
    if sensitivity == "discrete":
        return f"{method} has no discrete adjoint. {instead}"
    reason = REFUSED.get((method, sensitivity))
    return f"{method} with {sensitivity}: {reason}. {instead}" if reason else ""
