"""Methods and sensitivities of SciML by name, and what is refused: from sciml.toml.

Julia reads the same file.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

_TABLE = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))

SCIML_METHODS: tuple[str, ...] = tuple(_TABLE["methods"])
SENSITIVITIES: tuple[str, ...] = ("discrete", *_TABLE["sensitivities"])
SCIML_DEFAULT_RTOL: float = _TABLE["default_rtol"]
SCIML_LOOSEST_RTOL: float = _TABLE["loosest_rtol"]
REFUSED: dict[tuple[str, str], str] = {
    (entry["method"], sensitivity): entry["reason"]
    for entry in _TABLE["refused"]
    for sensitivity in ([entry["sensitivity"]] if "sensitivity" in entry else SENSITIVITIES[1:])
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
