"""Cases that several tests of the Richards model share."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pydiffgeo import Grid, Richards, Solver, solve

METHODS = ("implicit_euler", "sdirk2", "trbdf2", "kvaerno3")
F64 = torch.float64

DATA = Path(os.environ.get("PYDIFFGEO_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))


def reference_file(name: str) -> Path:
    """Path of a reference file; the test skips, naming it, where it is absent."""
    path = DATA / "richards_reference" / name
    if not path.is_file():
        pytest.skip(f"no {path}: set PYDIFFGEO_DATA to the folder that holds richards_reference/{name}")
    return path


# Celia et al. (1990), doi:10.1029/WR026i007p01483; K_s 0.00922 cm/s
NEW_MEXICO = {"alpha": 0.0335, "n": 2.0, "K_s": 0.00922 * 3600, "theta_s": 0.368, "theta_r": 0.102}


def new_mexico(
    cells: int = 100, parameters: dict[str, Any] | None = None, hours: float = 24.0, **options: Any
) -> tuple[Richards, Any]:
    """Infiltration from a head of -75 cm into a soil at -1000 cm, 100 cm deep."""
    model = Richards(Grid.uniform(100.0, cells), top="head", bottom="head")
    solution = solve(
        model,
        forcing={"top_head": -75.0, "bottom_head": -1000.0},
        parameters=parameters or NEW_MEXICO,
        initial_state=-1000.0,
        times=torch.tensor([0.0, hours], dtype=F64),
        engine="torch",
        **options,
    )
    return model, solution


def new_mexico_reference() -> dict[str, Any]:
    """Solution, target and gradient of SciPy's Radau at rtol 1e-10."""
    return json.loads(reference_file("celia_new_mexico.json").read_text())


def water_moved(solution: Any, times: Tensor) -> Tensor:
    """Water that passed the boundaries and the roots, whatever its direction, cm `[batch]`."""
    dt = times.diff()
    moved = [(q.detach().abs() * dt).sum(-1) for k, q in solution.fluxes.items() if k != "runoff"]
    return torch.stack(moved).sum(0)


def balance_errors(model: Richards, solution: Any, parameters: dict[str, Any], initial: Tensor, times: Tensor) -> Tensor:
    """In - out - change of storage at each output time, in parts of the water moved, `[2, batch, time]`.

    First with the storage that the solver reports, then with that of the reported heads.
    """
    dt = times.diff()
    signs = {k: f.balance for k, f in model.spec.fluxes.items()}
    gain = torch.stack([sign * q.detach() * dt for (k, sign), q in zip(signs.items(), solution.fluxes.values(), strict=True)])
    gain = gain.sum(0).cumsum(-1)
    moved = water_moved(solution, times)[:, None]
    reported = solution.storage.detach()
    heads = torch.cat([initial.expand(len(gain), 1, -1), solution.states.detach()], 1)
    recomputed = column_water(model, heads, parameters)
    return torch.stack([(gain - (s[:, 1:] - s[:, :1])).abs() / moved for s in (reported, recomputed)])


def column_water(model: Richards, psi: Tensor, parameters: dict[str, Any]) -> Tensor:
    """Water in the columns, cm `[batch, time]`, from heads `[batch, time, cell]`: pores and specific storage."""
    theta = model.water_content(psi, parameters)
    default = model.spec.parameters["specific_storage"].default
    specific = torch.as_tensor(parameters.get("specific_storage", default), dtype=psi.dtype)
    if specific.ndim == 2 and specific.shape[1] > 1:
        specific = specific[:, model.grid.layer]
    specific = specific.reshape(-1, 1, specific.shape[-1] if specific.ndim == 2 else 1)
    return ((theta + specific * psi.clamp_min(0)) * model.grid.thickness).sum(-1)


def at_depths(grid: Grid, values: np.ndarray, depths: list[float]) -> np.ndarray:
    """Values of cell centres at other depths, linearly between the centres."""
    return np.interp(depths, grid.depth.numpy(), values)


def fixed(method: str, **options: Any) -> Solver:
    """A solver whose Newton iterations are resolved to rounding, for derivatives by differences."""
    return Solver(method, newton_tolerance=1e-10, max_newton=30, **options)
