"""Cases that several tests of the Richards model share."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from pydiffgeo import Grid, Richards, Solver, solve

METHODS = ("implicit_euler", "sdirk2", "trbdf2", "kvaerno3")
F64 = torch.float64

# Celia et al. (1990), doi:10.1029/WR026i007p01483; K_s 0.00922 cm/s
NEW_MEXICO = {"alpha": 0.0335, "n": 2.0, "K_s": 0.00922 * 3600, "theta_s": 0.368, "theta_r": 0.102}
NEW_MEXICO_REFERENCE = "richards_reference/celia_new_mexico.json"


def new_mexico(
    cells: int = 100, parameters: dict[str, Any] | None = None, **options: Any
) -> tuple[Richards, Any]:
    """Infiltration for a day from a head of -75 cm into a soil at -1000 cm, 100 cm deep."""
    model = Richards(Grid.uniform(100.0, cells), top="head", bottom="head")
    solution = solve(
        model,
        forcing={"top_head": -75.0, "bottom_head": -1000.0},
        parameters=parameters or NEW_MEXICO,
        initial_state=-1000.0,
        times=torch.tensor([0.0, 24.0], dtype=F64),
        engine="torch",
        **options,
    )
    return model, solution


def water_moved(solution: Any, times: Tensor) -> Tensor:
    """Water that passed the boundaries and the roots, whatever its direction, cm `[batch]`."""
    dt = times.diff()
    moved = [(q.detach().abs() * dt).sum(-1) for k, q in solution.fluxes.items() if k != "runoff"]
    return torch.stack(moved).sum(0)


def balance_errors(
    model: Richards, solution: Any, parameters: dict[str, Any], initial: Tensor, times: Tensor
) -> tuple[Tensor, Tensor]:
    """In - out - change of storage at each output time, in parts of the water moved, `[batch, time]`.

    First with the storage that the solver reports, then with the storage of the heads that it reports.
    """
    dt = times.diff()
    gain = torch.zeros_like(solution.storage[:, 1:])
    for name, flux in model.spec.fluxes.items():
        gain = gain + flux.balance * solution.fluxes[name].detach() * dt
    moved = water_moved(solution, times)[:, None]
    heads = torch.cat([initial.expand(len(gain), 1, -1), solution.states.detach()], 1)
    storages = (solution.storage.detach(), column_water(model, heads, parameters))
    reported, recomputed = [(gain.cumsum(-1) - (s[:, 1:] - s[:, :1])).abs() / moved for s in storages]
    return reported, recomputed


def column_water(model: Richards, psi: Tensor, parameters: dict[str, Any]) -> Tensor:
    """Water in the pores and by specific storage, cm `[batch, time]`, from heads `[batch, time, cell]`."""
    default = model.spec.parameters["specific_storage"].default
    specific = torch.as_tensor(parameters.get("specific_storage", default), dtype=psi.dtype)
    assert specific.ndim == 0
    theta = model.water_content(psi, parameters)
    return ((theta + specific * psi.clamp_min(0)) * model.grid.thickness).sum(-1)


def at_depths(grid: Grid, values: np.ndarray, depths: list[float]) -> np.ndarray:
    """Values of cell centres at other depths, linearly between the centres."""
    return np.interp(depths, grid.depth.numpy(), values)


def resolved(method: str, **options: Any) -> Solver:
    """A solver whose Newton iterations are resolved to rounding, for derivatives by differences."""
    return Solver(method, newton_tolerance=1e-10, max_newton=30, **options)
