"""Steps one after another, each in one compiled operation.

For models that see the end of a step from its begin (`ahead`). From there one iteration of Newton's
method is nearly always enough, and no window of many steps waits for its slowest column.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor

from pydiffgeo.models.base import ProcessModel
from pydiffgeo.solvers.kernels import BELOW, FALL, kept_by
from pydiffgeo.solvers.small_matrices import implicit_matrix, solved
from pydiffgeo.solvers.step_windows import TURN, Window, blocks

Names = tuple[tuple[str, ...], tuple[str, ...]]
"""Names of forcing and of parameters, in the order of their rows."""

SEEN = 4  # iterations by which the model sees ahead: compiled, they cost little
MOST = 12  # iterations of a step; columns that need more are set apart
COLUMNS = 64  # columns from which this is faster than windows: below, calls take the time
KEPT = "_compiled_steps"  # name under which a model keeps its own


class Steps:
    """Compiled operations of one step of a model.

    `target` and states are `[size, column]`, forcing and parameters have a row for each name,
    `lower` and `scale` of the states are `[size, 1]`: numbers would be made tensors at every call.
    """

    def __init__(self, model: ProcessModel):
        self.model = model
        self.first = torch.compile(self._first, dynamic=True)
        self.again = torch.compile(self._again, dynamic=True)

    def _first(
        self, target: Tensor, forcing: Tensor, parameters: Tensor, lower: Tensor, scale: Tensor,
        names: Names, a: float,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        """Return states at the end of a step, their last update, and its size `[column]`."""
        f, p = _named(names, forcing, parameters)
        seen = self.model.ahead(target.clamp_min(0).unbind(), f, p, a, SEEN)
        return self._newton(torch.stack(seen), target, None, f, p, lower, scale, a)

    def _again(
        self, state: Tensor, moves: Tensor, target: Tensor, forcing: Tensor, parameters: Tensor,
        lower: Tensor, scale: Tensor, names: Names, a: float,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        """Return the same after one iteration more."""
        f, p = _named(names, forcing, parameters)
        return self._newton(state, target, moves, f, p, lower, scale, a)

    def _newton(
        self, state: Tensor, target: Tensor, moves: Tensor | None, forcing: Mapping[str, Tensor],
        parameters: Mapping[str, Tensor], lower: Tensor, scale: Tensor, a: float,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        """One iteration, with the limits of that of a window."""
        f, p = ({k: v[:, None] for k, v in x.items()} for x in (forcing, parameters))
        rates, jacobian = self.model.slopes(state.T, f, p)
        left = [t - x + a * rate for t, x, rate in zip(target, state, rates, strict=True)]
        update = torch.stack(solved(implicit_matrix(jacobian, a, len(left)), left))
        size = (update.abs() / (state.abs() + scale)).amax(0)
        update = torch.maximum(update, -(FALL * (state - lower).abs() + BELOW * scale))
        if moves is not None:
            back = -TURN * moves
            update = torch.where(update * back > back * back, back, update)
        return state + update, update, size

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        return type(None), ()  # who copies or pickles a model compiles anew


def marches(window: Window) -> bool:
    """Whether steps of some columns are taken one after another."""
    return (
        window.kernels.compiled
        and window.model.ahead is not None
        and window.stored is None
        and len(window.rows) >= COLUMNS
    )


@torch.no_grad()
def march(window: Window) -> Tensor:
    """Solve a window's columns from the first to the last node; return those that are set apart."""
    steps: Steps = kept_by(window.model, KEPT, partial(Steps, window.model))
    first, apart = 0, []
    while first < window.nodes.count and len(window.rows):
        # a part is packed at once; it ends early where columns are set apart
        part = blocks(window.nodes, len(window.rows))[0]
        stop = min(first + part.stop, window.nodes.count)
        first, failed = _some(window, steps, slice(first, stop))
        if bool(failed.any()):
            apart.append(window.rows[failed])
            window.keep(~failed)
    # in their order, as those of any window
    return torch.cat(apart).sort().values if apart else window.rows[:0]


def _some(window: Window, steps: Steps, nodes: slice) -> tuple[int, Tensor]:
    """Solve some nodes; the first that is not solved, and the columns that failed there."""
    states = window.states
    columns, lower, scale = len(window.rows), window.lower[:, 0], window.scale[:, 0]
    inputs = window.inputs(nodes)
    names = tuple(inputs[0]), tuple(inputs[1])
    forcing, parameters = (
        torch.stack([v[..., 0].expand(nodes.stop - nodes.start, columns) for v in x.values()], 1)
        for x in inputs
    )
    for node, f, p in zip(range(nodes.start, nodes.stop), forcing, parameters, strict=True):
        target, a = window.target(node)
        state, moves, size = steps.first(target, f, p, lower, scale, names, a)
        for _ in range(MOST):
            window.sweeps += 1
            solved_ = size < window.tolerance
            if bool(solved_.all()):
                break
            state, moves, size = steps.again(state, moves, target, f, p, lower, scale, names, a)
        else:
            return node, ~solved_
        states[:, node + 1] = state
    return nodes.stop, torch.zeros(columns, dtype=torch.bool, device=states.device)


def _named(names: Names, *values: Tensor) -> list[dict[str, Tensor]]:
    """Rows of forcing and of parameters by their names."""
    return [dict(zip(n, x.unbind(), strict=True)) for n, x in zip(names, values, strict=True)]
