"""Results of the Julia engine that machines without Julia are compared with.

Run as a script it writes them anew.

python tests/golden.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from richards_cases import F64, NEW_MEXICO, Small, new_mexico
from torch import Tensor

from pydiffgeo import Roots, Solver

FILE = Path(__file__).parent / "data" / "julia_reference.json"
CASES = {
    "two soils, atmospheric, roots": {"roots": Roots()},
    "heads, harmonic means": {"top": "head", "bottom": "head", "face_mean": "harmonic"},
    "flux, seepage face": {"top": "flux", "bottom": "seepage_face"},
    "Brooks and Corey": {"hydraulics": "brooks_corey"},
    "Gardner": {"hydraulics": "gardner", "bottom": "head"},
    "Haverkamp": {"hydraulics": "haverkamp", "top": "flux"},
}


def _listed(values: dict[str, Tensor]) -> dict[str, Any]:
    return {k: v.detach().tolist() for k, v in values.items()}


def small(name: str) -> dict[str, Any]:
    """States, fluxes, and gradients of their squares, at a tight tolerance."""
    case = Small("kvaerno3", **CASES[name])
    case.solver = Solver("kvaerno3", rtol=1e-7, newton_tolerance=1e-6, max_newton=20)
    x = {k: v.clone().requires_grad_() for k, v in case.parameters.items()}
    initial = case.initial.clone().requires_grad_()
    forcing = {k: v.clone().requires_grad_() for k, v in case.forcing.items()}
    solution = case.run(initial=initial, parameters=x, forcing=forcing)
    inputs = {"initial_state": initial, **x, **forcing}
    loss = (solution.states / 100).square().sum() + sum(
        q.square().sum() for q in solution.fluxes.values()
    )
    grads = torch.autograd.grad(loss, list(inputs.values()))
    return {
        "states": solution.states.tolist(),
        "fluxes": _listed(solution.fluxes),
        "gradients": _listed(dict(zip(inputs, grads, strict=True))),
    }


def infiltration() -> dict[str, Any]:
    """The New Mexico soil: heads, infiltration, gradient of the mean square of heads."""
    logs = torch.tensor(list(NEW_MEXICO.values()), dtype=F64).log().requires_grad_()
    _, solution = new_mexico(
        100, dict(zip(NEW_MEXICO, logs.exp().unbind(), strict=True)), solver=Solver(rtol=1e-7)
    )
    (g,) = torch.autograd.grad((solution.states / 100).square().mean(), logs)
    return {
        "states": solution.states.tolist(),
        "fluxes": _listed(solution.fluxes),
        "gradients": {"logs": g.tolist()},
    }


def results() -> dict[str, Any]:
    """Everything in the file, by the engine that PYDIFFGEO_ENGINE names."""
    return {"New Mexico": infiltration(), **{name: small(name) for name in CASES}}


def main() -> None:
    """Write the file with the Julia engine."""
    import os

    from pydiffgeo import __version__
    from pydiffgeo.bridge.runtime import start

    os.environ["PYDIFFGEO_ENGINE"] = "julia"
    versions = {"julia": start().version, "pydiffgeo": __version__, "method": "kvaerno3, rtol 1e-7"}
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(json.dumps({"versions": versions, **results()}, indent=None) + "\n")
    print(FILE, FILE.stat().st_size, "bytes", versions)


if __name__ == "__main__":
    main()
