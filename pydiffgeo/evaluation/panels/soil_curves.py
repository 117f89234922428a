"""Retention and conductivity curves of learned soils."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pydiffgeo.evaluation.figures import Panel, Runs, literal, new_figure
from pydiffgeo.evaluation.simulate import processes_of
from pydiffgeo.stages.process import Process

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pydiffgeo.evaluation.evaluate import Evaluation

CURVES = {"retention": "water content (m³/m³)", "conductivity": "K (cm/h)"}
SUCTION = torch.logspace(0, 4.5, 80, dtype=torch.float64)  # cm


def soil_curves(runs: Runs, most: int = 30) -> Panel:
    """Draw the curves of the soils of the first run with a Richards model, a line per layer, for at most `most` sites."""
    panel = Panel("Learned soils", "Dashed: the soil at which learning begins.")
    panel.nothing = "no soil of a Richards model was learned"
    for run in runs.values():
        known = [] if run.hybrid is None else processes_of(run.hybrid)
        column = next((p for p in known if p.middles), None)
        if column is None or "layer" not in run.parameters.dims:
            continue
        labels = [f"layer at {z:g} cm" for z in column.middles]
        for name, values in curves_of(column, run).items():
            draw = partial(_draw, values, labels, name, list(run.data["site"].values)[:most])
            panel.figures[name] = f"{name.capitalize()} of the learned soils", draw
        panel.nothing = ""
        break
    return panel


def curves_of(process: Process, run: Evaluation) -> dict[str, NDArray]:
    """Return each of `CURVES` at `SUCTION`, [site + 1, layer, point]; the last site is the soil at which learning begins."""
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


def _draw(curves: NDArray, labels: list[str], name: str, sites: list[str]) -> Figure:
    columns = min(5, len(sites))
    rows = -(-len(sites) // columns)
    size = (2.6 * columns + 0.6, 2.3 * rows + 0.6)
    figure, axes = new_figure(rows, columns, size, sharex=True, sharey=True)
    shades = np.linspace(0, 1, max(len(labels), 2))
    colours = [(0.1 + 0.75 * s, 0.35, 0.75 - 0.6 * s) for s in shades]
    for axis, site, soil in zip(axes.flat, sites, curves, strict=False):
        for label, colour, curve in zip(labels, colours, soil, strict=False):
            axis.plot(SUCTION, curve, color=colour, linewidth=1.1, label=label)
        axis.plot(SUCTION, curves[-1, 0], color="0.4", linestyle="--", linewidth=0.9, label="begin")
        axis.set_title(literal(str(site)), fontsize=9)
        axis.set_xscale("log")
        if name == "conductivity":
            axis.set_yscale("log")
            axis.set_ylim(1e-8, 2e2)
    for axis in axes.flat[len(sites) :]:
        axis.set_axis_off()
    axes[0, 0].legend(fontsize=6)
    figure.supxlabel("suction (cm)", fontsize=9)
    figure.supylabel(CURVES[name], fontsize=9)
    return figure
