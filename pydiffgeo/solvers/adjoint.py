"""The gradient of the discrete solution, step by step backwards.

Every stage of an accepted step solves m(U_i) - m(u_n) - h sum_j a_ij f(U_j) = 0. The implicit
function theorem turns each into one transposed linear solve for a multiplier; nothing of the Newton
iterations is needed. The multipliers of a stretch of steps then weight one vector-Jacobian product
of storage, rates and fluxes in the parameters and the forcing.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pydiffgeo.solvers.algebraic import held, only, storing
from pydiffgeo.solvers.autograd import derivatives
from pydiffgeo.solvers.kernels import Kernels
from pydiffgeo.solvers.linear import Matrix
from pydiffgeo.solvers.options import Solver
from pydiffgeo.solvers.problem import Problem
from pydiffgeo.solvers.record import Entry, Record

# values linearised at once: large enough to hide overheads, small enough for the cache
ELEMENTS = 40_000


class Adjoint:
    """Cotangents of one chunk of columns, moved backwards over one record after another.

    Parameters
    ----------
    grad_states : Tensor, [column, interval, size]
        Cotangents of the states at the interval ends.
    grad_storage : Tensor, [column, interval + 1, size]
        Cotangents of the storage at the start and at the interval ends.
    grad_fluxes : Tensor, [column, interval, flux]
        Cotangents of the interval means.

    Steps of a column after the last result with a cotangent take no part: zero times a derivative
    that overflows is no number.

    After `sweep` for every record (the last first) and `finish`, `static`, `varying`, `forcing`,
    `weights` and `initial` hold the gradients.
    """

    def __init__(
        self, problem: Problem, kernels: Kernels, options: Solver,
        grad_states: Tensor, grad_storage: Tensor, grad_fluxes: Tensor, needs: dict[str, set[str]],
    ):  # fmt: skip
        self.problem, self.kernels, self.options = problem, kernels, options
        self.stored = storing(problem.model, problem.initial)
        grad_storage = only(self.stored, grad_storage)
        self.grad_states, self.grad_storage, self.grad_fluxes = (
            grad_states,
            grad_storage[:, 1:],
            grad_fluxes,
        )
        self.grad_start = grad_storage[:, 0]
        self.needs = needs
        self.linear = kernels.linear
        self.with_fluxes = bool((grad_fluxes != 0).any())
        self.with_storage = bool((grad_storage != 0).any())
        self.wanted = self._wanted_intervals()
        u = problem.initial
        self.on_storage = torch.zeros_like(u)  # cotangent of m(u_n)
        self.on_rates = torch.zeros_like(
            u
        )  # cotangent of the rates at u_n, for methods with an explicit first stage
        self.on_state = torch.zeros_like(u)  # cotangent of u_n itself
        self.on_flux = u.new_zeros(u.shape[0], 1)  # weight of the fluxes at u_n
        self.groups = {
            "static": problem.static,
            "varying": problem.varying,
            "forcing": problem.forcing,
        }
        self.grads = {
            g: {k: torch.zeros_like(v) for k, v in self.groups[g].items() if k in needs[g]}
            for g in self.groups
        }
        self.weights = [torch.zeros_like(w) for w in problem.model.closure_weights()]
        self.initial = torch.zeros_like(u)

    def sweep(self, record: Record) -> None:
        """Move backwards over the entries of a record."""
        entries = (
            record.entries
            if self.wanted is None
            else self._wanted_entries(record.entries, self.wanted)
        )
        size, s = self.problem.initial.shape[1], self.options.tableau.stages
        end = len(entries)
        while end:
            begin, values = end, 0
            while begin and (values == 0 or values < ELEMENTS):
                begin -= 1
                values += len(entries[begin].column) * len(entries[begin].states) * size
            self._stretch(entries[begin:end], s)
            end = begin

    def finish(self) -> None:
        """Go through the start: initial storage depends on initial state and first parameters."""
        column = torch.arange(self.problem.initial.shape[0], device=self.problem.initial.device)
        if self.wanted is not None:
            column = column[(self.wanted > 0) | (self.grad_start != 0).any(1)]
            if not len(column):
                return
        with torch.enable_grad():
            u = self.problem.initial[column].detach().requires_grad_()
            leaves, _, p = self._leaves(column, torch.zeros_like(column))
            out = (
                (self.on_storage + self.grad_start)[column] * self.problem.model.storage(u, p)
            ).sum()
            found = derivatives(out, [u, *leaves.values(), *self.problem.model.closure_weights()])
        self.initial[column] = (
            self.on_state[column] if found[0] is None else self.on_state[column] + found[0]
        )
        self._add(leaves, found[1:], column, torch.zeros_like(column))

    def _wanted_intervals(self) -> Tensor | None:
        """Return the number of intervals up to the last with a cotangent, `[column]`.

        None where these are all of all columns.
        """
        grads = self.grad_states, self.grad_storage, self.grad_fluxes
        if bool(torch.cat([(g[:, -1] != 0).any(-1, keepdim=True) for g in grads], 1).any(1).all()):
            return None
        used = torch.stack([(g != 0).any(-1) for g in grads]).any(0)
        return (used * torch.arange(1, used.shape[1] + 1, device=used.device)).amax(1)

    @staticmethod
    def _wanted_entries(entries: list[Entry], wanted: Tensor) -> list[Entry]:
        out = []
        for e in entries:
            rows = (e.interval < wanted[e.column]).nonzero()[:, 0]
            if len(rows) == len(e.column):
                out.append(e)
            elif len(rows):
                step, landed = (None if x is None else x[rows] for x in (e.step, e.landed))
                out.append(
                    Entry(
                        e.column[rows], e.interval[rows], [u[rows] for u in e.states], step, landed
                    )
                )
        return out

    @torch.no_grad()
    def _stretch(self, entries: list[Entry], s: int) -> None:
        model, gamma = self.problem.model, self.options.tableau.gamma
        states = torch.cat([u for e in entries for u in e.states])
        column = torch.cat([e.column for e in entries for _ in e.states])
        interval = torch.cat([e.interval for e in entries for _ in e.states])
        forcing = self.problem.forcing_at(column, interval)
        p = {**self.problem.static_at(column), **self.problem.varying_at(column, interval)}
        lin = self.kernels.linearise(states, forcing, p)
        step = torch.cat(
            [
                (torch.zeros_like(e.states[0][:, :1]) if e.step is None else e.step)
                for e in entries
                for _ in e.states
            ]
        )
        matrix = self.linear.assemble(lin.capacity, lin.jacobian, gamma * step)
        flux_weight = direct = None
        if self.with_fluxes:
            flux_weight = self._flux_weights(entries) * self.grad_fluxes[column, interval]
            with torch.enable_grad():
                u = states.detach().requires_grad_()
                total = (
                    self.kernels.evaluate(u, forcing, p, fluxes=True).fluxes * flux_weight
                ).sum()
                (direct,) = derivatives(total, [u])
        on_storage, on_rates = torch.empty_like(states), torch.empty_like(states)
        stop = len(states)
        for e in reversed(entries):
            n = len(e.column)
            start = stop - n * len(e.states)
            rows = [slice(start + i * n, start + (i + 1) * n) for i in range(len(e.states))]
            stop = start
            self._back(e, rows, s, lin.capacity, lin.jacobian, matrix, direct, on_storage, on_rates)
        with torch.enable_grad():
            leaves, forcing, p = self._leaves(column, interval)
            weights = model.closure_weights()
            if leaves or weights:
                out = self.kernels.evaluate(states, forcing, p, fluxes=self.with_fluxes)
                total = torch.vdot(out.storage.expand_as(states).reshape(-1), on_storage.view(-1))
                total = total + torch.vdot(
                    out.rates.expand_as(states).reshape(-1), on_rates.view(-1)
                )
                if flux_weight is not None:
                    total = total + (out.fluxes * flux_weight).sum()
                self._add(
                    leaves, derivatives(total, [*leaves.values(), *weights]), column, interval
                )

    def _back(
        self, e: Entry, rows: list[slice], s: int, capacity: Tensor, jacobian: Matrix,
        matrix: Matrix,
        direct: Tensor | None, on_storage: Tensor, on_rates: Tensor,
    ) -> None:  # fmt: skip
        """One entry: solve for the multipliers, and hand the cotangents of its first state on."""
        A, linear, c = self.options.tableau.A, self.linear, e.column

        def jt(i: int, v: Tensor) -> Tensor:
            return linear.transpose_apply(tuple(d[rows[i]] for d in jacobian), v)

        if e.step is None:  # rates at the start of an interval
            m = self.on_rates[c]
            g = jt(0, m)
            if direct is not None:
                g += direct[rows[0]]
            if self.stored is not None:  # algebraic states follow from the others
                start = tuple(d[rows[0]] for d in jacobian)
                g = linear.solve_transposed(held(linear, start, self.stored, g), g)
                m = torch.where(self.stored, m, g)
            self.on_state.index_add_(0, c, only(self.stored, g))
            self.on_rates.index_fill_(0, c, 0.0)
            on_storage[rows[0]], on_rates[rows[0]] = 0.0, m
            return
        assert e.landed is not None
        if bool(e.landed.any()):
            at = c[e.landed], e.interval[e.landed]
            self.on_state.index_add_(0, at[0], self.grad_states[at])
            if self.with_storage:
                self.on_storage.index_add_(0, at[0], self.grad_storage[at])
        later, m = self.on_storage[c], self.on_rates[c]
        right = self.on_state[c].addcmul_(capacity[rows[-1]], later).add_(jt(s - 1, m))
        multipliers: list[Tensor] = []  # of the stages s, s - 1, ... 1
        for i in range(s, 0, -1):
            if i < s:
                terms = [
                    (A[k][i], lam)
                    for k, lam in zip(range(s, i, -1), multipliers, strict=True)
                    if A[k][i] != 0
                ]
                m = only(self.stored, e.step * sum(a * lam for a, lam in terms))
                right = jt(i - 1, m)
            if direct is not None:
                right = right + direct[rows[i - 1]]
            lam = linear.solve_transposed(tuple(d[rows[i - 1]] for d in matrix), right)
            multipliers.append(lam)
            on_storage[rows[i - 1]] = only(self.stored, later - lam if i == s else -lam)
            on_rates[rows[i - 1]] = m + (A[i][i] * e.step) * lam
        total = multipliers[0]
        for lam in multipliers[1:]:
            total = total + lam
        self.on_storage.index_copy_(0, c, only(self.stored, total))
        self.on_state.index_fill_(0, c, 0.0)
        if self.options.tableau.explicit:
            first = sum(A[k][0] * lam for k, lam in zip(range(s, 0, -1), multipliers, strict=True))
            self.on_rates.index_copy_(0, c, only(self.stored, e.step * first))

    def _flux_weights(self, entries: list[Entry]) -> Tensor:
        """Weight of the fluxes at each recorded state in the mean over its interval, `[row, 1]`."""
        b = self.options.tableau.b
        out: list[Tensor] = []
        for e in reversed(entries):
            if e.step is None:
                out.append(self.on_flux[e.column])
                self.on_flux.index_fill_(0, e.column, 0.0)
                continue
            share = e.step / self.problem.lengths[e.interval][:, None]
            parts = [w * share for w in b[1:]]
            parts[-1] = parts[-1] + self.on_flux[e.column]
            out.extend(reversed(parts))
            self.on_flux.index_copy_(0, e.column, b[0] * share)
        return torch.cat(out[::-1])

    def _leaves(
        self, column: Tensor, interval: Tensor
    ) -> tuple[dict[tuple[str, str], Tensor], dict[str, Tensor], dict[str, Tensor]]:
        """Inputs of the rows; those whose gradient is wanted as leaves, under (group, name)."""
        values = {
            "static": self.problem.static_at(column),
            "varying": self.problem.varying_at(column, interval),
            "forcing": self.problem.forcing_at(column, interval),
        }
        leaves = {}
        for group, names in self.needs.items():
            for name in names:
                leaves[group, name] = values[group][name] = (
                    values[group][name].detach().requires_grad_()
                )
        return leaves, values["forcing"], {**values["static"], **values["varying"]}

    def _add(
        self,
        leaves: dict[tuple[str, str], Tensor],
        found: Sequence[Tensor | None],
        column: Tensor,
        interval: Tensor,
    ) -> None:
        for (group, name), g in zip(leaves, found, strict=False):
            if g is None:
                continue
            into = self.grads[group][name]
            if group == "static":
                if into.shape[0] == 1:
                    into += g
                else:
                    into.index_add_(0, column, g)
            else:
                into.index_put_(
                    (torch.zeros_like(column) if into.shape[0] == 1 else column, interval),
                    g,
                    accumulate=True,
                )
        for into, g in zip(self.weights, found[len(leaves) :], strict=True):
            if g is not None:
                into += g
