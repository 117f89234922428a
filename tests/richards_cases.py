"""Cases that several tests of the Richards model share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pydiffgeo import Grid, Richards, Solution, Solver, solve

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
    """In - out - change of storage at each output time, in parts of the water moved, `[batch,
    time]`.

    First with the storage that the solver reports, then with the storage of the heads that it
    reports.
    """
    dt = times.diff()
    gain = torch.zeros_like(solution.storage[:, 1:])
    for name, flux in model.spec.fluxes.items():
        gain = gain + flux.balance * solution.fluxes[name].detach() * dt
    moved = water_moved(solution, times)[:, None]
    heads = torch.cat([initial.expand(len(gain), 1, -1), solution.states.detach()], 1)
    storages = (solution.storage.detach(), column_water(model, heads, parameters))
    reported, recomputed = [
        (gain.cumsum(-1) - (s[:, 1:] - s[:, :1])).abs() / moved for s in storages
    ]
    return reported, recomputed


def column_water(model: Richards, psi: Tensor, parameters: dict[str, Any]) -> Tensor:
    """Water in the pores and by specific storage, cm `[batch, time]`, from heads `[batch, time,
    cell]`.
    """
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


SMALL_TIMES = torch.tensor([0.0, 0.4, 1.0, 1.5], dtype=F64)


def whole_soil(model: Richards, given: dict[str, Any]) -> dict[str, Any]:
    """Soil parameters with the defaults of those that are not given: `solve` takes all or none."""
    return {k: model.spec.parameters[k].default for k in model.hydraulics.parameters} | given


class Small:
    """Two columns of six cells and two soils, 1.5 hours; any of their inputs may be replaced."""

    def __init__(
        self, method: str, top: str = "atmospheric", bottom: str = "free_drainage", **model: Any
    ):
        grid = Grid.from_faces([0.0, 2.0, 5.0, 9.0, 14.0, 20.0, 30.0], layers=[0.0, 9.0])
        self.model = Richards(grid, top=top, bottom=bottom, **model)
        self.solver = resolved(method, rtol=1e-2)
        weather = {
            "rain": [[3.0, 0.01, 0.2], [0.5, 0.02, 1.5]],
            "potential_evaporation": [[0.01, 0.05, 0.02], [0.01, 0.08, 0.02]],
            "potential_transpiration": [[0.02, 0.05, 0.04], [0.06, 0.03, 0.01]],
            "top_head": [[-30.0, -80.0, -10.0], [-5.0, 2.0, -40.0]],
            "top_flux": [[0.3, -0.02, 0.1], [0.8, 0.0, 0.2]],
            "bottom_head": [[-60.0, -40.0, -90.0], [-20.0, -15.0, -30.0]],
            "bottom_flux": [[0.02, -0.03, 0.0], [0.05, 0.01, -0.02]],
        }
        soils = {
            "theta_r": [[0.065, 0.095], [0.078, 0.034]],
            "theta_s": [[0.41, 0.41], [0.43, 0.46]],
            "alpha": [[0.075, 0.019], [0.036, 0.016]],
            "n": [[1.89, 1.31], [1.56, 1.37]],
            "K_s": [[4.42, 0.26], [1.04, 0.25]],
            "ponding_height": [0.3, 1.0],
        }
        known = self.model.spec.parameters
        self.forcing = {k: torch.tensor(weather[k], dtype=F64) for k in self.model.spec.forcings}
        self.parameters = {k: torch.tensor(v, dtype=F64) for k, v in soils.items() if k in known}
        self.initial = torch.linspace(-60, -30, 6, dtype=F64) - torch.tensor(
            [[0.0], [150.0]], dtype=F64
        )
        self.frozen: Solution | None = None

    def run(
        self,
        initial: Tensor | None = None,
        parameters: Any = None,
        forcing: Any = None,
        **more: Any,
    ) -> Solution:
        """Solve with some inputs replaced."""
        return solve(
            self.model,
            forcing={**self.forcing, **(forcing or {})},
            parameters=whole_soil(self.model, {**self.parameters, **(parameters or {})}),
            initial_state=self.initial if initial is None else initial,
            times=SMALL_TIMES,
            solver=self.solver,
            **more,
        )

    def outputs(self, **inputs: Any) -> Tensor:
        """Two random combinations each of states, storage and fluxes, always with the same accepted
        steps.
        """
        if self.frozen is None:
            self.frozen = self.run()
        solution = self.run(**inputs, replay=self.frozen)
        random = torch.Generator().manual_seed(1)
        out = []
        for x in (solution.states, solution.storage, torch.stack(list(solution.fluxes.values()))):
            weights = torch.randn(2, *x.shape, generator=random, dtype=x.dtype)
            out += [(w * x).sum() for w in weights]
        return torch.stack(out)

    def gradcheck(
        self, value: Tensor, inputs: Callable[[Tensor], dict[str, Any]], fast: bool = True
    ) -> bool:
        """Compare the gradient of all outputs in a value with central differences.

        Those along a random direction, or in each number where it shall not be `fast`.
        """
        # relative steps, since inputs range from 1e-4 to 1e6
        size = value.abs().clamp_min(1e-2)
        unit = (value / size).requires_grad_()
        return gradcheck(lambda x: self.outputs(**inputs(x * size)), unit, fast)


def gradcheck(function: Callable[..., Tensor], inputs: Any, fast: bool = True) -> bool:
    """torch's, with steps that suit heads resolved to 1e-12 cm and outputs between 1e-2 and 1e3."""
    return torch.autograd.gradcheck(
        function, inputs, eps=1e-5, atol=1e-5, rtol=1e-5, fast_mode=fast
    )
