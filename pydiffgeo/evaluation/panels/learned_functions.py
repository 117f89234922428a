"""Functions that networks in the equations have learned, and the inputs that simulations gave them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from pydiffgeo.evaluation.figures import Panel, Runs, literal, new_figure
from pydiffgeo.evaluation.simulate import processes_of, simulate
from pydiffgeo.models.buckets import Buckets
from pydiffgeo.models.spec import SlotSpec
from pydiffgeo.models.spec_files import load_spec

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pydiffgeo.evaluation.evaluate import Evaluation

SITES, SAMPLES, POINTS = 50, 2000, 201
DOTS = 150  # simulated steps that are drawn
QUANTILES = (0.1, 0.5, 0.9)  # of a formula over sites
# as Feng et al. (2022), doi:10.1029/2022WR032404
DRAWN = {("hbv", "recharge"): {"BETA": (1.0, 2.0, 3.0, 4.0, 6.0)}}


@dataclass(frozen=True)
class LearnedFunction:
    """A closure in its `slot` over the range of its input.

    The `table` has ``input``, ``learned`` and ``formula``. Of a closure in place of its formula the latter has the default
    parameters. One beside it has the medians over sites and copies, which are in ``learned``, too; ``formula_q10``,
    ``formula_q50``, ``formula_q90`` are then the quantiles over these. `formulas` has the formula at several values of its own
    parameter, by label; `inputs` and `outputs` are those of random steps, sites and copies.
    """

    slot: SlotSpec
    table: pd.DataFrame
    formulas: dict[str, NDArray]
    inputs: NDArray
    outputs: NDArray


def learned_functions(runs: Runs, seed: int = 0) -> Panel:
    """Draw the closures of the runs, and what they gave in at most 50 sites; `seed` chooses these and the steps."""
    panel = Panel("Learned functions")
    for name, run in runs.items():
        for slot, f in functions_of(run, seed).items():
            stem = f"closure_{slot}" if len(runs) == 1 else f"closure_{slot}_{name}"
            panel.files[stem] = f.table
            panel.figures[stem] = f"Learned function: {slot}", partial(_draw, f)
    panel.nothing = "" if panel.figures else "no network stands in the equations of a bucket model"
    return panel


def functions_of(run: Evaluation, seed: int = 0) -> dict[str, LearnedFunction]:
    """Return what the closures of a run's bucket model have learned, by slot; none where it has no closures."""
    if run.hybrid is None or run.sites is None:
        return {}
    processes = [p for p in processes_of(run.hybrid) if p.model.closures]
    if not processes or not isinstance(model := processes[0].model, Buckets):
        return {}
    process = processes[0]
    random = np.random.default_rng(seed)
    names = run.data["site"].values
    sites = run.sites.sel(site=names[np.sort(random.permutation(len(names))[:SITES])])
    days, warm_up = run.judged[run.axis].values, int(run.data.attrs.get("warm_up", 0))
    seen: dict[str, Any] = {}

    def keep(_: Any, given: tuple[Any, ...], made: Mapping[str, Tensor]) -> None:
        seen["series"], seen["parameters"] = {**given[0], **made}, given[1]

    handle = process.register_forward_hook(keep)
    try:
        simulate(
            run.hybrid, sites, str(days[0]), str(days[-1]), warm_up, SITES, observed=(), also=()
        )
    finally:
        handle.remove()
    series = {n: v[:, warm_up:] for n, v in seen["series"].items() if v.ndim == 2}
    # a forcing under the name of the model
    series |= {n: series[source] for n, source in process.names.items() if source in series}
    shape = next(iter(series.values())).shape
    chosen = torch.from_numpy(random.integers(0, shape.numel(), SAMPLES))
    daily = {n: v.reshape(shape[0], -1)[:, -shape[1] :] for n, v in seen["parameters"].items()}

    def sample(values: Tensor) -> Tensor:
        return values.expand(shape).flatten()[chosen].double()

    met, there = ({n: sample(v.detach()) for n, v in values.items()} for values in (series, daily))
    with torch.no_grad():
        return {name: _function(model, name, met, there) for name in model.closures}


def _function(
    model: Buckets, name: str, met: dict[str, Tensor], there: dict[str, Tensor]
) -> LearnedFunction:
    closure, slot, formula = model.closures[name], model.spec.slots[name], model.formulas[name]
    beside = bool(getattr(closure, "residual", False))
    inputs = model.slot_input(name, met, there)
    low, high = min(slot.domain[0], float(inputs.min())), max(slot.domain[1], float(inputs.max()))
    x = torch.linspace(low, high, POINTS, dtype=torch.float64)
    # of a formula that was replaced no parameters were learned
    middle = {k: float(v.median()) for k, v in there.items() if k in model.spec.parameters}
    reference = model.formula(name, middle if beside else {})(x)
    learned = closure(x, formula=reference) if beside else closure(x)
    outputs = closure(inputs, formula=formula(there, inputs)) if beside else closure(inputs)
    table = {"input": x, "learned": learned, "formula": reference}
    if beside:
        over_sites = formula({k: v[:, None] for k, v in there.items()}, x)
        for q in QUANTILES:
            table[f"formula_q{100 * q:.0f}"] = over_sites.expand(SAMPLES, POINTS).quantile(q, 0)
    frame = pd.DataFrame({k: v.numpy() for k, v in table.items()})
    return LearnedFunction(slot, frame, _formulas(model, name, x), inputs.numpy(), outputs.numpy())


def _formulas(model: Buckets, name: str, x: Tensor) -> dict[str, NDArray]:
    known, drawn = load_spec(model.spec.name).parameters, dict[str, NDArray]()
    for parameter in model.spec.slots[name].replaces:
        p = known[parameter]
        values = DRAWN.get((model.spec.name, name), {}).get(
            parameter, (p.lower, p.default, p.upper)
        )
        for v in values:
            drawn[f"formula, {parameter} = {v:g}"] = model.formula(name, {parameter: v})(x).numpy()
    return drawn or {"formula": model.formula(name)(x).numpy()}


def _draw(f: LearnedFunction) -> Figure:
    """Draw a blue line, the formulas in black, and what the function gave in simulations: dots."""
    figure, axes = new_figure(1, 1, (6.0, 4.2))
    axis, x = axes[0, 0], f.table["input"]
    styles = ("-", "--", "-.", ":", (0, (6, 2)))
    for k, (name, values) in enumerate(f.formulas.items()):
        style = {"color": "black", "linewidth": 0.8, "linestyle": styles[k % len(styles)]}
        axis.plot(x, values, label=literal(name), **style)
    axis.plot(x, f.table["learned"], color="tab:blue", linewidth=1.2, label="learned")
    # few and hollow: they lie on the line where the function has the input alone
    shown = (values[:: max(1, len(values) // DOTS)] for values in (f.inputs, f.outputs))
    hollow = {
        "color": "tab:blue",
        "markerfacecolor": "none",
        "markersize": 5,
        "markeredgewidth": 0.7,
    }
    axis.plot(*shown, "o", label="simulated steps", **hollow)
    x_label = f"{', '.join(f.slot.inputs)} ({', '.join(f.slot.units)})"
    axis.set(xlabel=literal(x_label), ylabel=literal(f.slot.output))
    axis.margins(x=0)
    axis.grid(color="0.92")
    axis.legend(fontsize=8)
    return figure
