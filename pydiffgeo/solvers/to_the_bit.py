"""States of one store that do not depend on the window of steps in which they were found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pydiffgeo.solvers.substitution import one_after_another

if TYPE_CHECKING:
    from pydiffgeo.solvers.step_windows import Window

GRID = 27  # bits of a state that are kept where its last iteration begins
TINY = 1e-12  # parts of a state's scale below which the grid becomes no finer
NEAR = 1e-8  # parts of a state by which that iteration may move it


def once_more(window: Window, pieces: Sequence[slice]) -> None:
    """Take one more iteration of Newton from node to node, from points of a coarse grid.

    The solution lies at the same point whatever window it was found in, so that a state becomes a
    function of the one before and the inputs of its step, to the last bit: a run that begins with a
    state goes on as one that passes it. Half the grid's spacing, squared, is rounding. Columns
    whose equation bends within that spacing, as in a bed that falls dry, keep what was found.
    """
    for nodes in pieces:
        a = window.nodes.a_of(nodes)
        found = window.states[:, nodes.start + 1 : nodes.stop + 1]
        before = window.states[:, nodes.start : nodes.start + 1]
        u, magnitude = _on_grid(found, window.scale[:, 0])
        (rate,), jacobian = window.kernels.slopes(u.movedim(0, -1), *window.inputs(nodes))
        inverse, u = window.inverses(jacobian, a)[:, 0], u.movedim(0, 1)
        values = u + inverse * ((rate * a)[:, None] - u)
        factors = torch.cat([torch.zeros_like(before), inverse])
        x = one_after_another(torch.cat([before, values]), factors)[1:].movedim(1, 0)
        near = ((x - found).abs() < NEAR * magnitude).all(1, keepdim=True)
        found.copy_(torch.where(near, x, found))


def _on_grid(states: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Return the nearest points of a grid, whose spacing goes with the magnitude of a state, and
    that magnitude.
    """
    magnitude = states.abs() + scale
    finest = torch.frexp(states.abs() + TINY * scale).exponent - GRID
    spacing = torch.ldexp(torch.ones_like(states), finest)
    return (states / spacing).round_().mul_(spacing), magnitude
