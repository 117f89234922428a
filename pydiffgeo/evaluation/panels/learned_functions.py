"""What networks have learned inside of models: closures and soils, as functions of their input."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from pydiffgeo.evaluation.figures import Evaluation, Figure, Panel, Runs, literal, new_figure
from pydiffgeo.evaluation.simulate import simulate
from pydiffgeo.models.slots import Slotted
from pydiffgeo.models.spec import SlotSpec
from pydiffgeo.models.spec_files import load_spec
from pydiffgeo.stages.base import stages_of
from pydiffgeo.stages.process import Process

SITES, SAMPLES, POINTS = 50, 2000, 201
DOTS = 150  # simulated steps that are drawn
QUANTILES = (0.1, 0.5, 0.9)  # of a formula over sites
STYLES = ("-", "--", "-.", ":", (0, (6, 2)))  # of formulas
# values of parameters that are drawn, as Feng et al. (2022), doi:10.1029/2022WR032404
DRAWN = {("hbv", "recharge", "BETA"): (1.0, 2.0, 3.0, 4.0, 6.0)}
CURVES = {"retention": "water content (m³/m³)", "conductivity": "K (cm/h)"}
SUCTION = torch.logspace(0, 4.5, 80, dtype=torch.float64)  # cm


@dataclass(frozen=True)
class LearnedFunction:
    """A closure in its `slot` over the range of its input.

    The `table` has ``input``, ``learned`` and ``formula``. Of a closure in place of its formula the
    latter has the default parameters. One beside it has the medians over sites and copies, which
    are in ``learned``, too; ``formula_q10``, ``formula_q50``, ``formula_q90`` are then quantiles
    over these. `formulas` has the formula at several values of its own parameter, by label;
    `inputs` and `outputs` are those of random steps, sites and copies. Of several inputs it is the
    first, with the others at their medians; `formulas` then has the closure at the 10th and 90th
    percentile of the second, too.
    """

    slot: SlotSpec
    table: pd.DataFrame
    formulas: dict[str, NDArray]
    inputs: NDArray
    outputs: NDArray


def learned_functions(runs: Runs, seed: int = 0) -> Panel:
    """Draw the closures of the runs, and what they gave at random steps of at most 50 sites."""
    panel = Panel("Learned functions")
    for name, run in runs.items():
        for slot, f in functions_of(run, seed).items():
            stem = f"closure_{slot}" if len(runs) == 1 else f"closure_{slot}_{name}"
            panel.files[stem] = f.table
            panel.figures[stem] = f"Learned function: {slot}", partial(_draw, f)
    panel.nothing = "" if panel.figures else "no network stands in the slot of a model"
    return panel


def soil_curves(runs: Runs, most: int = 30) -> Panel:
    """Draw the soils of the first run with a Richards model, a line per layer, of `most` sites."""
    panel = Panel("Learned soils", "Dashed: the soil at which learning begins.")
    for run in runs.values():
        column = _first(run, "middles")
        if column is None or "layer" not in run.parameters.dims:
            continue
        for name, values in curves_of(column, run).items():
            draw = partial(
                _draw_soils, values, column.middles, name, run.data["site"].values[:most]
            )
            panel.figures[name] = f"{name.capitalize()} of the learned soils", draw
        return panel
    panel.nothing = "no soil of a Richards model was learned"
    return panel


def _first(run: Evaluation, having: str) -> Process | None:
    """Return the first process of a run that has closures, or the middles of layers."""
    processes = [] if run.hybrid is None else stages_of(run.hybrid, Process)
    return next((process for process in processes if getattr(process, having)), None)


def functions_of(run: Evaluation, seed: int = 0) -> dict[str, LearnedFunction]:
    """Return what the closures of a run's model have learned, by slot; none without them."""
    process = _first(run, "closures")
    if run.sites is None or run.hybrid is None or process is None:
        return {}
    model = process.model
    if run.axis != "time" or not isinstance(model, Slotted):
        return {}
    random = np.random.default_rng(seed)
    names = run.data["site"].values
    sites = run.sites.sel(site=names[np.sort(random.permutation(len(names))[:SITES])])
    days, warm_up = run.judged[run.axis].values, int(run.data.attrs.get("warm_up", 0))
    seen: list[dict[str, Tensor]] = []

    def keep(_: Any, given: tuple[Any, ...], made: Mapping[str, Tensor]) -> None:
        seen.extend(({**given[0], **made}, given[1]))

    span = str(days[0]), str(days[-1]), warm_up, SITES
    with process.register_forward_hook(keep):
        simulate(run.hybrid, sites, *span, observed=(), also=())
    series = {n: v[:, warm_up:] for n, v in seen[0].items() if v.ndim == 2}
    # a forcing under the name of the model
    series |= {n: series[source] for n, source in process.names.items() if source in series}
    shape = next(iter(series.values())).shape
    chosen = torch.from_numpy(random.integers(0, shape.numel(), SAMPLES))
    daily = {n: v.reshape(shape[0], -1)[:, -shape[1] :] for n, v in seen[1].items()}
    met, there = (
        {n: v.detach().expand(shape).flatten()[chosen].double() for n, v in values.items()}
        for values in (series, daily)
    )
    # parameters that nobody learns have their number, or their default
    known = {k: torch.tensor(p.default).double() for k, p in model.spec.parameters.items()}
    known |= {k: v.detach().cpu().double().flatten()[0] for k, v in process.fixed.items()}
    there = {k: v.expand(SAMPLES) for k, v in known.items()} | there
    with torch.no_grad():
        return {name: _function(model, name, met, there) for name in model.closures}


def _function(
    model: Slotted, name: str, met: dict[str, Tensor], there: dict[str, Tensor]
) -> LearnedFunction:
    closure, slot, formula = model.closures[name], model.spec.slots[name], model.formulas[name]
    beside = bool(getattr(closure, "residual", False))
    every = model.slot_inputs(name, met, there)
    inputs, others = every[0], every[1:]
    low, high = min(slot.domain[0], float(inputs.min())), max(slot.domain[1], float(inputs.max()))
    if others:  # the domain is that of all inputs
        low, high = float(inputs.min()), float(inputs.max())
    x = torch.linspace(low, high, POINTS, dtype=torch.float64)
    rest = [other.median().expand_as(x) for other in others]
    # of a formula that was replaced no parameters were learned
    middle = {k: float(v.median()) for k, v in there.items() if k in model.spec.parameters}
    known = model.formula(name, middle if beside else {})

    def given(*x: Tensor) -> Tensor:
        own: Tensor = closure(*x, formula=known(*x)) if beside else closure(*x)
        return own

    reference, learned = known(x, *rest), given(x, *rest)
    outputs = closure(*every, formula=formula(there, *every)) if beside else closure(*every)
    table = {"input": x, "learned": learned, "formula": reference}
    if beside:
        each = {k: v[:, None] for k, v in there.items()}
        over_sites = formula(each, x, *rest).expand(SAMPLES, POINTS)
        table |= {f"formula_q{100 * q:.0f}": over_sites.quantile(q, 0) for q in QUANTILES}
    frame = pd.DataFrame({k: v.numpy() for k, v in table.items()})
    formulas = dict[str, NDArray]()
    for parameter in slot.replaces:
        p = load_spec(model.spec.name).parameters[parameter]
        default = p.lower, p.default, p.upper
        for v in DRAWN.get((model.spec.name, name, parameter), default):
            label = f"formula, {parameter} = {v:g}"
            formulas[label] = model.formula(name, {parameter: v})(x, *rest).numpy()
    formulas = formulas or {"formula": model.formula(name)(x, *rest).numpy()}
    for q in QUANTILES[::2] if others else ():
        second = others[0].quantile(q)
        label = f"network, {slot.inputs[1]} = {float(second):.2g}"
        formulas[label] = given(x, second.expand_as(x), *rest[1:]).numpy()
    return LearnedFunction(slot, frame, formulas, inputs.numpy(), outputs.numpy())


def curves_of(process: Process, run: Evaluation) -> dict[str, NDArray]:
    """Return `CURVES` at `SUCTION`, [site + 1, layer, point]; the last: where learning begins."""
    model: Any = process.model
    own, known = model.core.hydraulics, model.core.spec.parameters
    sites, layers = run.data.sizes["site"], run.data.sizes["layer"]
    begin = {name: float(value) for name, value in (process.fixed | process.begin).items()}
    values: dict[str, Tensor] = {}
    for name in own.parameters:
        factor = model.units.factor(known[name].unit)  # from the units of the grid to cm and hours
        soil = begin[name] * factor if name in begin else known[name].default
        values[name] = torch.full((sites + 1, layers, 1), soil, dtype=torch.float64)
        if name in run.parameters:
            learned = torch.as_tensor(run.parameters[name].values).double()
            values[name][:-1] = learned.reshape(sites, -1, 1) * factor
    with torch.no_grad():
        curves = own.curves(-SUCTION, own.derive(values))
    return {name: values.numpy() for name, values in zip(CURVES, curves, strict=True)}


def _draw(f: LearnedFunction) -> Figure:
    """Draw a blue line, the formulas in black, and what the function gave in simulations: dots."""
    figure, [[axis]] = new_figure(1, 1, (6.0, 4.2))
    for k, (name, values) in enumerate(f.formulas.items()):
        style = {"color": "black", "linewidth": 0.8, "linestyle": STYLES[k % len(STYLES)]}
        axis.plot(f.table["input"], values, label=literal(name), **style)
    blue: dict[str, Any] = {"color": "tab:blue", "linewidth": 1.2}
    axis.plot(f.table["input"], f.table["learned"], label="learned", **blue)
    # few and hollow: they lie on the line where the function has the input alone
    shown = (values[:: max(1, len(values) // DOTS)] for values in (f.inputs, f.outputs))
    blue |= {"markerfacecolor": "none", "markersize": 5, "markeredgewidth": 0.7}
    axis.plot(*shown, "o", label="simulated steps", **blue)
    x_label = f"{f.slot.inputs[0]} ({f.slot.units[0]})"
    axis.set(xlabel=literal(x_label), ylabel=literal(f.slot.output))
    axis.margins(x=0)
    axis.grid(color="0.92")
    axis.legend(fontsize=8)
    return figure


def _draw_soils(curves: NDArray, middles: tuple[float, ...], name: str, sites: NDArray) -> Figure:
    columns = min(5, len(sites))
    rows = -(-len(sites) // columns)
    size = (2.6 * columns + 0.6, 2.3 * rows + 0.6)
    figure, axes = new_figure(rows, columns, size, sharex=True, sharey=True)
    for axis, site, soil in zip(axes.flat, sites, curves, strict=False):
        for z, shade, curve in zip(middles, np.linspace(0, 1, len(middles)), soil, strict=True):
            colour = (0.1 + 0.75 * shade, 0.35, 0.75 - 0.6 * shade)
            label = f"layer at {z:g} cm"
            axis.plot(SUCTION, curve, color=colour, linewidth=1.1, label=label)
        axis.plot(SUCTION, curves[-1, 0], color="0.4", linestyle="--", linewidth=0.9, label="begin")
        axis.set_title(literal(str(site)), fontsize=9)
        axis.set_xscale("log")
        if name == "conductivity":
            axis.set(yscale="log", ylim=(1e-8, 2e2))
    for axis in axes.flat[len(sites) :]:
        axis.set_axis_off()
    axes[0, 0].legend(fontsize=6)
    figure.supxlabel("suction (cm)", fontsize=9)
    figure.supylabel(CURVES[name], fontsize=9)
    return figure
