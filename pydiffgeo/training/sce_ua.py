"""Calibration of one basin at a time by global search: the shuffled complex evolution of spotpy (the extra `calibrate`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO

import numpy as np
from numpy.typing import NDArray

from pydiffgeo.errors import DataError, EngineUnavailable
from pydiffgeo.networks import Bounds

Objective = Callable[[dict[str, float]], float]


@dataclass(frozen=True)
class Calibration:
    """What a search found.

    Attributes
    ----------
    parameters : dict of str to float
        The best.
    loss : float
        Its value.
    evaluations : int
        Times that the model was run.
    converged : bool
        Whether the search stopped by itself before its last allowed evaluation.
    history : ndarray, [evaluation]
        Loss of each run, in order.
    """

    parameters: dict[str, float]
    loss: float
    evaluations: int
    converged: bool
    history: NDArray


def sce_ua(
    objective: Objective,
    bounds: Mapping[str, Bounds],
    evaluations: int,
    complexes: int | None = None,
    seed: int = 0,
) -> Calibration:
    """Minimise an objective inside bounds by SCE-UA: Duan et al. (1992), doi:10.1029/91WR02985, as spotpy has it.

    Parameters
    ----------
    objective : callable
        Parameters by name to a loss, smaller for better; infinite or NaN where a run failed, which counts as worst.
    bounds : mapping of str to Bounds
        Range of each parameter; those with a "log" transform are sampled by their logarithm.
    evaluations : int
        Runs after which the search ends. spotpy finishes the complex at hand, so that a few more may be counted: the result
        says how many.
    complexes : int, optional
        As many as there are parameters, at least 2, by default.
    seed : int
        The same seed gives the same search.

    Raises
    ------
    DataError
        Fewer evaluations than the first sample of the complexes needs, or no run gave a number.
    EngineUnavailable
        spotpy is not installed.
    """
    try:
        import spotpy
    except ImportError:
        raise EngineUnavailable(
            "spotpy is not installed: pip install 'pydiffgeo[calibrate]' brings it."
        ) from None
    count = len(bounds)
    complexes = complexes or max(2, count)
    least = complexes * (2 * count + 1)
    if evaluations < least:
        raise DataError(
            f"{evaluations} evaluations are fewer than the {least} of the first sample: {complexes} complexes of "
            f"{2 * count + 1} points for {count} parameters; allow more evaluations or take fewer complexes."
        )
    # spotpy draws from numpy's global generator: the caller's state is put back
    state = np.random.get_state()
    try:
        problem = _Problem(objective, bounds)
        with redirect_stdout(StringIO()):  # spotpy prints every improvement
            sampler = spotpy.algorithms.sceua(
                problem, dbname="sceua", dbformat="ram", random_state=seed, save_sim=False
            )
            sampler.sample(evaluations, ngs=complexes, kstop=10, pcento=0.01, peps=1e-4)
    finally:
        np.random.set_state(state)
    if not np.isfinite(problem.losses).any():
        raise DataError(
            f"none of {len(problem.losses)} runs gave a loss; check forcing and observations of this basin."
        )
    best = int(np.nanargmin(problem.losses))
    losses = np.array(problem.losses)
    return Calibration(
        problem.tried[best], float(losses[best]), len(losses), len(losses) < evaluations, losses
    )


class _Problem:
    """What spotpy asks for, in the unit interval of each parameter's scale."""

    def __init__(self, objective: Objective, bounds: Mapping[str, Bounds]):
        from spotpy.parameter import Uniform

        self.objective, self.bounds = objective, bounds
        # once: spotpy draws 100,000 numbers for each that it makes, and asks for all of them in every run
        self.uniform = [
            Uniform(name, 0.0, 1.0, step=0.1, optguess=0.5, minbound=0.0, maxbound=1.0)
            for name in bounds
        ]
        self.losses: list[float] = []
        self.tried: list[dict[str, float]] = []

    def parameters(self) -> object:
        """Return uniform parameters between 0 and 1."""
        from spotpy.parameter import generate

        return generate(self.uniform)

    def simulation(self, vector: NDArray) -> list[float]:
        """Run the model and return its loss."""
        given = {
            name: _physical(float(x), b)
            for (name, b), x in zip(self.bounds.items(), vector, strict=True)
        }
        self.tried.append(given)
        self.losses.append(float(self.objective(given)))
        return [self.losses[-1]]

    def evaluation(self) -> list[float]:
        """Return the observation, which the objective has used already."""
        return [0.0]

    def objectivefunction(
        self, simulation: list[float], evaluation: list[float], params: object = None
    ) -> float:
        """Return the loss; a failed run is worse than any other."""
        return simulation[0] if np.isfinite(simulation[0]) else 1e30


def _physical(share: float, bounds: Bounds) -> float:
    if bounds.transform == "log":
        return float(np.exp(np.log(bounds.lower) + share * np.log(bounds.upper / bounds.lower)))
    return bounds.lower + share * (bounds.upper - bounds.lower)
