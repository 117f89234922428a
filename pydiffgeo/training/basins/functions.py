"""What the networks in the equations of a trained model have learned, and where simulations met them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from pydiffgeo.data import BasinTensors
from pydiffgeo.models.buckets import Buckets
from pydiffgeo.models.spec import SlotSpec, load_spec
from pydiffgeo.training.basins.models import HybridModel
from pydiffgeo.training.basins.processes import SolvedProcess, columns

BASINS, SAMPLES, POINTS = 50, 2000, 201
QUANTILES = (0.1, 0.5, 0.9)  # of a formula over basins
DRAWN = {
    ("hbv", "recharge"): {"BETA": (1.0, 2.0, 3.0, 4.0, 6.0)}
}  # as Feng et al. (2022), doi:10.1029/2022WR032404


@dataclass(frozen=True)
class LearnedFunction:
    """A closure over the range of its input, the formula whose slot it fills, and what it gave on simulated days.

    Attributes
    ----------
    slot : SlotSpec
    table : pandas.DataFrame
        ``input``, ``learned``, ``formula``. Of a closure in place of its formula the latter has the default parameters. One
        beside it has the medians over basins and components, which are in ``learned``, too; ``formula_q10``, ``formula_q50``,
        ``formula_q90`` are then the quantiles over these.
    formulas : dict of str to ndarray, [point]
        The formula at several values of its own parameter, by label.
    inputs, outputs : ndarray, [sample]
        At random days, basins and components.
    """

    slot: SlotSpec
    table: pd.DataFrame
    formulas: dict[str, NDArray]
    inputs: NDArray
    outputs: NDArray


def learned_functions(
    model: HybridModel, tensors: BasinTensors, start: str, end: str, warm_up: int, seed: int = 0
) -> dict[str, LearnedFunction]:
    """Return what the closures of a model have learned, by slot; none where it has no closures.

    Parameters
    ----------
    model : HybridModel
        In evaluation mode.
    tensors : BasinTensors
        Basins, of which at most 50 at random are simulated.
    start, end : str
        First and last day that is looked at.
    warm_up : int
        Days simulated before; fewer where the record begins later than that.
    seed : int
        Of the choice of basins and days.
    """
    process = model.process
    if (
        not isinstance(process, SolvedProcess)
        or not isinstance(process.model, Buckets)
        or not process.model.closures
    ):
        return {}
    random = np.random.default_rng(seed)
    first, last = tensors.span(start, end)
    warm_up = min(warm_up, first)
    complete = tensors.complete_between(first - warm_up, last)
    rows = np.sort(complete[random.permutation(len(complete))[:BASINS]])
    batch = tensors.windows(
        rows, np.full(len(rows), first - warm_up), last - first + warm_up, warm_up
    )
    with torch.no_grad():
        forcing = {name: batch.forcing[..., k] for name, k in model.forcing.items()}
        _, weather, parameters = columns(process, forcing, model.parameters_of(batch))
        daily = {name: p if p.ndim == 2 else p[:, None] for name, p in parameters.items()}
        series = {
            name: s[:, warm_up:]
            for name, s in (weather | process.simulate(weather, parameters)).items()
        }
        daily = {name: p[:, warm_up:] if p.shape[1] > 1 else p for name, p in daily.items()}
        shape = next(iter(series.values())).shape
        chosen = torch.from_numpy(random.integers(0, shape.numel(), SAMPLES))

        def sample(values: Tensor) -> Tensor:
            return values.expand(shape).flatten()[chosen].double()

        met, there = ({name: sample(v) for name, v in values.items()} for values in (series, daily))
        return {name: _function(process.model, name, met, there) for name in process.model.closures}


def _function(
    model: Buckets, name: str, met: dict[str, Tensor], there: dict[str, Tensor]
) -> LearnedFunction:
    closure, slot, formula = model.closures[name], model.spec.slots[name], model.formulas[name]
    beside = bool(getattr(closure, "residual", False))
    inputs = model.slot_input(name, met, there)
    low, high = min(slot.domain[0], float(inputs.min())), max(slot.domain[1], float(inputs.max()))
    x = torch.linspace(low, high, POINTS, dtype=torch.float64)
    # of a formula that was replaced no parameters were learned
    middle = (
        {k: float(v.median()) for k, v in there.items() if k in model.spec.parameters}
        if beside
        else {}
    )
    reference = model.formula(name, middle)(x)
    learned = closure(x, formula=reference) if beside else closure(x)
    outputs = closure(inputs, formula=formula(there, inputs)) if beside else closure(inputs)
    table = {"input": x, "learned": learned, "formula": reference}
    if beside:
        over_basins = formula({k: v[:, None] for k, v in there.items()}, x)
        for q in QUANTILES:
            table[f"formula_q{100 * q:.0f}"] = over_basins.expand(SAMPLES, POINTS).quantile(q, 0)
    frame = pd.DataFrame({k: v.numpy() for k, v in table.items()})
    return LearnedFunction(slot, frame, _formulas(model, name, x), inputs.numpy(), outputs.numpy())


def _formulas(model: Buckets, name: str, x: Tensor) -> dict[str, NDArray]:
    known, drawn = load_spec(model.spec.name).parameters, dict[str, NDArray]()
    for parameter in model.spec.slots[name].replaces:
        p = known[parameter]
        values = DRAWN.get((model.spec.name, name), {}).get(
            parameter, (p.lower, p.default, p.upper)
        )
        drawn |= {
            f"formula, {parameter} = {v:g}": model.formula(name, {parameter: v})(x).numpy()
            for v in values
        }
    return drawn or {"formula": model.formula(name)(x).numpy()}
