"""Choice of a method and of its tolerances."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch

from pydiffgeo.errors import ParameterError, lookup
from pydiffgeo.models.spec import ModelSpec
from pydiffgeo.solvers import implicit_euler, kvaerno3, sdirk2, trapezoid, trbdf2
from pydiffgeo.solvers.sciml import (
    SCIML_DEFAULT_RTOL,
    SCIML_LOOSEST_RTOL,
    SCIML_METHODS,
    SENSITIVITIES,
    refusal,
)
from pydiffgeo.solvers.tableau import Tableau

METHODS: dict[str, Tableau] = {
    "implicit_euler": implicit_euler.TABLEAU,
    "trapezoid": trapezoid.TABLEAU,
    "sdirk2": sdirk2.TABLEAU,
    "trbdf2": trbdf2.TABLEAU,
    "kvaerno3": kvaerno3.TABLEAU,
}


@dataclass(frozen=True)
class Solver:
    """How to integrate in time.

    Parameters
    ----------
    method : {"kvaerno3", "trbdf2", "sdirk2", "trapezoid", "implicit_euler"} or a method of SciML
        Time-stepping method. Those of SciML, which need engine="julia": "FBDF", "QNDF", "Rodas5P",
        "KenCarp3", "KenCarp4", "TRBDF2", "RadauIIA5"; see docs/sensitivities.md.
    rtol : float, optional
        Relative tolerance of the error per step, in state and in storage; default: 1e-3, and 1e-6
        for the methods of SciML, which refuse more than 1e-4.
    atol : float, or mapping of str to float, optional
        Absolute tolerance of all states, or of those named, in the unit of the state; default:
        `rtol` times the typical magnitude of each state in the model's spec (100 cm for psi). The
        storage of each state has `rtol` times its typical magnitude.
    step : float, optional
        Fixed step in the model's time unit, instead of error control; halved only where Newton
        fails.
    initial_step : float, optional
        First step; default: 1e-5 of the first interval.
    max_steps : int
        Attempted steps after which a column counts as failed.
    newton_tolerance : float
        Newton stops when the expected next update is below this fraction of the error tolerance.
    max_newton : int, optional
        Newton iterations after which the step is reduced; default: 8, and 40 with a fixed step,
        which is to be taken if it can.
    on_failure : {"raise", "report"}
        Raise SolveFailed if any column fails, or return the others and list the failed ones in
        `Solution.failed`.
    checkpoints : bool
        Keep for the gradient only states at about sqrt(number of intervals) times and solve the
        stretches between them again when going backward: less memory for one more forward solve.
    shared_step : bool
        One step size for all columns of the batch instead of one per column: slower, for
        comparison.
    compile : bool
        Compile rates and Jacobian with torch.compile; pays off for large batches solved many times.
        Of a model that stores nothing and has one state and `slopes`, all that is done with a chunk
        becomes one loop, which pays off at any size; of other models that store nothing, nothing.
    chunk : int, optional
        Columns solved together; default: as many as hold about 25,000 state values (256 columns of
        100 cells), which stay in the cache of a CPU, and all of them on a GPU.
    dtype : torch.dtype
        Precision of the solve.
    sensitivity : str
        How gradients are computed: "discrete", the adjoint of this package's own methods; for a
        method of SciML "GaussAdjoint", "QuadratureAdjoint", "InterpolatingAdjoint" or
        "ForwardDiff". Combinations whose gradients were found wrong are refused.
    """

    method: str = "kvaerno3"
    rtol: float = cast("float", None)  # by the method, see below
    atol: float | Mapping[str, float] | None = None
    step: float | None = None
    initial_step: float | None = None
    max_steps: int = 100_000
    newton_tolerance: float = 0.005
    max_newton: int = cast("int", None)  # by `step`
    on_failure: str = "raise"
    checkpoints: bool = False
    shared_step: bool = False
    compile: bool = False
    chunk: int | None = None
    dtype: torch.dtype = torch.float64
    sensitivity: str = "discrete"

    def __post_init__(self) -> None:
        lookup({**METHODS, **dict.fromkeys(SCIML_METHODS)}, self.method, "method")
        lookup(dict.fromkeys(SENSITIVITIES), self.sensitivity, "sensitivity")
        if cast("float | None", self.rtol) is None:
            object.__setattr__(
                self, "rtol", SCIML_DEFAULT_RTOL if self.method in SCIML_METHODS else 1e-3
            )
        if cast("int | None", self.max_newton) is None:
            object.__setattr__(self, "max_newton", 8 if self.step is None else 40)
        lookup({"raise": 0, "report": 0}, self.on_failure, "choice for on_failure")
        for name in (
            "rtol",
            "atol",
            "step",
            "initial_step",
            "max_steps",
            "newton_tolerance",
            "max_newton",
            "chunk",
        ):
            value = getattr(self, name)
            for number in value.values() if isinstance(value, Mapping) else [value]:
                if number is not None and not (number > 0 and math.isfinite(number)):
                    raise ParameterError(f"Solver({name}={value}): must be a positive number.")
        if self.dtype not in (torch.float64, torch.float32):
            raise ParameterError(f"Solver(dtype={self.dtype}): float64 or float32.")
        refused = refusal(self.method, self.sensitivity)
        if refused:
            raise ParameterError(refused)
        if self.method in SCIML_METHODS:
            self._check_sciml()

    def _check_sciml(self) -> None:
        if self.step is not None:
            own = ", ".join(METHODS)
            raise ParameterError(
                f"Solver(step={self.step}): {self.method} chooses its steps; {own} take fixed ones."
            )
        if self.rtol > SCIML_LOOSEST_RTOL:
            raise ParameterError(
                f"Solver(rtol={self.rtol}): too loose for {self.method}, which integrates heads: "
                f"at most {SCIML_LOOSEST_RTOL}."
            )
        if self.dtype != torch.float64:
            raise ParameterError(
                f"Solver(dtype={self.dtype}): {self.method} is checked in float64 only."
            )

    def absolute(self, spec: ModelSpec) -> dict[str, float]:
        """Absolute tolerance of each state of a model.

        Raises
        ------
        UnknownName
            `atol` names a state that the model does not have.
        """
        given = (
            self.atol if isinstance(self.atol, Mapping) else dict.fromkeys(spec.states, self.atol)
        )
        for name in given:
            lookup(spec.states, name, f"state of {spec.name} in Solver(atol=...)")
        default = {name: self.rtol * state.scale for name, state in spec.states.items()}
        return default | {name: value for name, value in given.items() if value is not None}

    @property
    def tableau(self) -> Tableau:
        """Coefficients of the method."""
        return METHODS[self.method]
