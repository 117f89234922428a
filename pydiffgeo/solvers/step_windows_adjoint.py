"""The gradient of solutions by windows.

The same small matrices, transposed, from the last node to the first.

Each stage solves U - a f(U) = own y + ... for its node. The implicit function theorem gives one
transposed product for its multiplier, and the multipliers weight one vector-Jacobian product of
rates and fluxes in parameters and forcing.
"""

from __future__ import annotations

import math
from copy import copy
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pydiffgeo.solvers.algebraic import only
from pydiffgeo.solvers.autograd import GROUPS, derivatives, differentiable
from pydiffgeo.solvers.kernels import Kernels, kernels
from pydiffgeo.solvers.march import march, marches
from pydiffgeo.solvers.options import Solver
from pydiffgeo.solvers.problem import Problem
from pydiffgeo.solvers.step_windows import COLUMNS, Nodes, Window, blocks
from pydiffgeo.solvers.substitution import back_substitution


@dataclass
class Run:
    """One solve between its forward and its backward pass."""

    problem: Problem
    nodes: Nodes
    patience: int
    chunk: int
    operations: Kernels
    windows: list[Window] = field(default_factory=list)
    sweeps: Tensor = None  # type: ignore[assignment]
    stuck: dict[int, int] = field(default_factory=dict)
    """Columns that were not solved, and the interval in which they were."""

    def forward(self, record: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Return states, storage and fluxes `[column, interval, ...]`; to `record`, keep windows.

        NaN for columns that were not solved, and for what is not asked for.
        """
        p = self.problem
        columns, size, T = len(p.initial), p.model.size, len(p.lengths)
        nan = p.initial.new_tensor(float("nan"))
        states, storage = (nan.expand(size, n, columns) for n in (T, T + 1))
        if not p.only:
            states, storage = states.clone(), storage.clone()
        fluxes = nan.expand(p.model.spec.flux_values(size), T, columns).clone()
        self.sweeps = torch.zeros(columns, dtype=torch.long)
        chunks = math.ceil(columns / self.chunk)
        for rows in torch.arange(columns, device=p.initial.device).tensor_split(chunks):
            window = Window(p, rows, self.nodes, self.patience, self.operations)
            found = [window]
            if not marches(window):
                window.solve()
            elif len(apart := march(window)):
                found.append(Window(p, apart, self.nodes, self.patience, self.operations))
                found[1].solve()
            for each in found:
                each.write(states, storage, fluxes)
                self.sweeps[each.rows.cpu()] = each.sweeps
                self.stuck |= each.stuck
            self.windows += found if record else []
        return states.permute(2, 1, 0), storage.permute(2, 1, 0), fluxes.permute(2, 1, 0)

    def backward(self, grads: tuple[Tensor, ...], needs: dict[str, set[str]]) -> _Adjoint:
        """Cotangents of every input."""
        adjoint = _Adjoint(self.problem, needs)
        for window in self.windows:
            if len(window.rows):
                adjoint.sweep(window, grads)
        return adjoint


class _Adjoint:
    """Cotangents of all inputs, added up over windows."""

    def __init__(self, problem: Problem, needs: dict[str, set[str]]):
        self.problem, self.needs = problem, needs
        groups = {"static": problem.static, "varying": problem.varying, "forcing": problem.forcing}
        self.grads = {g: {k: torch.zeros_like(groups[g][k]) for k in needs[g]} for g in GROUPS}
        self.weights = [torch.zeros_like(w) for w in problem.model.closure_weights()]
        self.initial = torch.zeros_like(problem.initial)

    def sweep(self, w: Window, grads: tuple[Tensor, ...]) -> None:
        """Add the cotangents of the columns of a window."""
        own = [g[w.rows] for g in grads]
        own[1] = only(w.stored, own[1])
        used = torch.stack([g.flatten(1).any(1) for g in own])
        wanted = used.any(0)
        if not bool(wanted.any()):
            return
        if not bool(wanted.all()):  # zero times a derivative that overflows is no number
            w, own = copy(w), [g[wanted] for g in own]
            w.keep(wanted)
        plan, rows = w.nodes, w.rows
        # the storage at the end of an interval is the state there
        on_states, on_storage, on_fluxes = (
            g.permute(2, 1, 0) if bool(some.any()) else None
            for g, some in zip(own, used, strict=True)
        )  # [size or flux, interval, column]
        sums = {
            g: {k: torch.zeros_like(w.columns.groups[g][k]) for k in self.needs[g]} for g in GROUPS
        }
        after = torch.zeros_like(w.columns.initial)
        for nodes in reversed(blocks(plan, len(rows))):
            after = self._block(w, nodes, on_states, on_storage, on_fluxes, sums, after)
        if on_storage is not None:
            after = after + on_storage[:, 0]
        self.initial[rows] = after.T
        for group, found in sums.items():
            for name, g in found.items():
                into = self.grads[group][name]
                g = g[0] if group == "static" else g.transpose(0, 1)
                if into.shape[0] == 1:
                    into += g.sum(0, keepdim=True)
                else:
                    into[rows] = g

    def _block(
        self, w: Window, nodes: slice, on_states: Tensor | None, on_storage: Tensor | None,
        on_fluxes: Tensor | None,
        sums: dict[str, dict[str, Tensor]], after: Tensor,
    ) -> Tensor:  # fmt: skip
        """Some nodes; the cotangent of the state before them."""
        plan, model, at = w.nodes, w.model, w.nodes.intervals(nodes)
        a = plan.a_of(nodes)
        state = w.states[:, nodes.start + 1 : nodes.stop + 1].movedim(0, -1)
        right = torch.zeros(
            state.shape[0], model.size, state.shape[1], dtype=state.dtype, device=state.device
        )
        ends = plan.ends[at]
        inside = ends < nodes.stop
        for x, shift in ((on_states, 0), (on_storage, 1)):
            if x is not None:
                days = slice(at.start + shift, at.start + shift + int(inside.sum()))
                right.index_add_(0, ends[inside] - nodes.start, x[:, days].movedim(0, 1))
        inverses = w.inverses(w.kernels.slopes(state, *w.inputs(nodes))[1], a)
        with torch.enable_grad():
            u = state.detach().requires_grad_()
            leaves, forcing, parameters = self._leaves(w, at)
            spread = {
                k: plan.spread(v, nodes)
                for k, v in {**forcing, **model.drivers(forcing, parameters)}.items()
            }
            spread_parameters = {
                k: plan.spread(v, nodes) if v.shape[0] > 1 else v for k, v in parameters.items()
            }
            inputs, fluxes = (u, spread, spread_parameters), on_fluxes is not None
            e = w.kernels.evaluate(*inputs, fluxes=fluxes)
            weighted = None
            if on_fluxes is not None:
                weights = (
                    plan.spread(on_fluxes[:, at].movedim(0, -1), nodes)
                    * plan.share[nodes][..., None]
                )
                weighted = (e.fluxes * weights).sum()
                again = w.kernels.compiled  # a compiled graph does not outlive its derivative
                (direct,) = derivatives(weighted, [u], retain_graph=not again)
                if direct is not None:
                    right += direct.movedim(-1, 1)
                if again:
                    e = w.kernels.evaluate(*inputs, fluxes=fluxes)
                    weighted = (e.fluxes * weights).sum()
        multipliers, after = back_substitution(inverses, right, plan, after, w.stored)
        targets = [*leaves.values(), *model.closure_weights()]
        if targets:
            on_rates = (multipliers * (a if isinstance(a, float) else a[..., None])).movedim(1, -1)
            if w.stored is not None:  # equations of what stores nothing know no step
                on_rates = torch.where(w.stored, on_rates, multipliers.movedim(1, -1))
            with torch.enable_grad():
                total = (e.rates * on_rates).sum()
                total = total if weighted is None else total + weighted
                found = derivatives(total, targets)
            for (group, name), g in zip(leaves, found, strict=False):
                if g is not None:
                    sums[group][name][slice(None) if group == "static" else at] += g
            for into, g in zip(self.weights, found[len(leaves) :], strict=True):
                if g is not None:
                    into += g
        return after

    def _leaves(
        self, w: Window, at: slice
    ) -> tuple[dict[tuple[str, str], Tensor], dict[str, Tensor], dict[str, Tensor]]:
        """Inputs in some intervals; those whose gradient is wanted are leaves, by (group, name)."""
        c = w.columns
        values = {
            "static": dict(c.static),
            "varying": {k: v[at] for k, v in c.varying.items()},
            "forcing": {k: v[at] for k, v in c.forcing.items()},
        }
        leaves = {}
        for group, names in self.needs.items():
            for name in names:
                leaves[group, name] = values[group][name] = (
                    values[group][name].detach().requires_grad_()
                )
        return leaves, values["forcing"], {**values["static"], **values["varying"]}


def solve_windows(problem: Problem, options: Solver) -> tuple[tuple[Tensor, Tensor, Tensor], Run]:
    """Return states, storage and fluxes `[column, interval, ...]`, and the run with its counts.

    Storage begins with that of the start.
    """
    assert options.step is not None
    nodes = Nodes(problem.lengths, options.step, options.tableau)
    operations = kernels(problem.model, options.compile)
    run = Run(problem, nodes, options.max_newton, options.chunk or COLUMNS, operations)
    return differentiable(run), run
