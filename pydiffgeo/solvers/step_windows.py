"""Models with few states and a fixed step: many steps in one Newton iteration.

The unknowns are the states of all implicit stages of all steps, here called nodes. Newton's method
for a window of nodes has a block-bidiagonal matrix: slopes and inverses of all blocks are computed
at once, and only a product of a small matrix with a vector goes from node to node. The nodes at the
front of the window that have converged leave it, and as many enter at its end, so that the window
moves through time. The front of the window iterates as if it were alone, whatever comes after it: a
window converges wherever single steps do.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import torch
from torch import Tensor

from pydiffgeo.models.base import Entries, ProcessModel
from pydiffgeo.solvers.algebraic import only, storing
from pydiffgeo.solvers.kernels import BELOW, FALL, Kernels
from pydiffgeo.solvers.options import Solver
from pydiffgeo.solvers.ordered import Ordered
from pydiffgeo.solvers.problem import Problem
from pydiffgeo.solvers.small_matrices import implicit_matrix, pivoted_inverse
from pydiffgeo.solvers.substitution import forward_substitution
from pydiffgeo.solvers.tableau import Tableau
from pydiffgeo.solvers.to_the_bit import once_more

MOST_STATES = 8  # the work on small matrices grows with the cube
# values of one state in a window: some hundred such arrays share the second-level cache
VALUES = 12_000
NODES = 500  # of a window at most: those far behind its front iterate in vain
# columns from which nodes begin where a model of several states sees them, one after another: with
# fewer, calling its operations day by day takes longer than the iterations that it saves
MARCHING, SEVERAL = 400, 4
SEEN = 2  # iterations by which it sees ahead
COLUMNS = 1024  # columns solved together
ROUND = 1e-9  # parts of an interval that count as rounding of its end
FEW = 8  # steps finished by a sweep: where fewer are, Newton may go to and fro across a threshold,
TURN = 0.6  # and a state turns back by no more than this part of its last update


@cache
def keep_freed_memory() -> None:
    """Let the C library keep memory that is freed, once in a process.

    Arrays as small as those of a window come and go thousands of times. glibc gives such memory
    back to the system, which clears its pages whenever they are asked for again, as long as no
    larger block was freed before: then it keeps up to twice the size of that one (mallopt(3),
    M_MMAP_THRESHOLD). This frees one of nearly 32 MB, the most that counts. Not a page of it is
    touched. Other C libraries do not notice.
    """
    torch.empty(31 * 2**20, dtype=torch.uint8)


def in_windows(problem: Problem, options: Solver, replay: object) -> bool:
    """Whether these steps can be taken many at once."""
    model, base = problem.model, ProcessModel
    model = model.model if isinstance(model, Ordered) else model
    plain = model.slopes is not None or (
        type(model).storage is base.storage
        and type(model).evaluate is base.evaluate
        and model.linearise is None
    )
    return (
        plain and model.structure == "dense" and model.size <= MOST_STATES
        and options.step is not None and replay is None and not options.tableau.explicit
        and not options.shared_step
        and float((problem.lengths / options.step).sum()) < options.max_steps - len(problem.lengths)
    )  # fmt: skip


class Nodes:
    """The implicit stages of all steps, in their order.

    Attributes
    ----------
    interval : Tensor, [node]
        Forcing interval of each.
    daily : bool
        Whether each interval has one node, its own.
    step : Tensor, [node, 1]
        Length of the step.
    a : float or Tensor, [node, 1]
        Factor of the rates in a stage: step times the diagonal of the method.
    share : Tensor, [node, 1]
        Weight of the fluxes at a node in the mean over its interval.
    ends : Tensor, [interval]
        Last node of each interval.
    own, other : list of float, list of list of float
        Of stage i of a step from y: U_i - a f(U_i) = own[i] y + sum over j < i of other[i][j] U_j.
    """

    def __init__(self, lengths: Tensor, step: float, tableau: Tableau):
        s = self.stages = tableau.stages
        size = lengths.double().cpu().numpy()
        counts = np.maximum(np.ceil(size / step * (1 - ROUND)), 1).astype(int)
        steps = np.full(counts.sum(), float(step))
        last = counts.cumsum() - 1
        steps[last] = size - (counts - 1) * step
        self.steps = torch.from_numpy(steps).to(lengths)
        interval = np.repeat(np.arange(len(size)), counts * s)
        self.count, self.daily = len(interval), len(interval) == len(size)
        self.interval = torch.from_numpy(interval).to(lengths.device)
        self.ends = torch.from_numpy((last + 1) * s - 1).to(lengths.device)
        self.step = self.steps.repeat_interleave(s)[:, None]
        b = lengths.new_tensor(tableau.b[1:]).repeat(len(steps))[:, None]
        self.weight = b * self.step
        self.share = self.weight / lengths[self.interval][:, None]
        same = float(np.ptp(steps)) <= ROUND * step
        self.a = float(steps[0]) * tableau.gamma if same else self.step * tableau.gamma
        A = np.array(tableau.A)[1:, 1:]
        other = np.tril(A, -1) @ np.linalg.inv(A)
        self.own, self.other = (1 - other.sum(1)).tolist(), other.tolist()

    def a_of(self, nodes: slice) -> float | Tensor:
        """`a` of some nodes."""
        return self.a if isinstance(self.a, float) else self.a[nodes]

    def intervals(self, nodes: slice) -> slice:
        """Intervals that some nodes lie in."""
        return slice(int(self.interval[nodes.start]), int(self.interval[nodes.stop - 1]) + 1)

    def spread(self, values: Tensor, nodes: slice) -> Tensor:
        """Return values `[node, ...]` at nodes from values `[interval, ...]` of their intervals."""
        return values if self.daily else values[self.interval[nodes] - self.interval[nodes.start]]

    def collect(self, values: Tensor, share: Tensor, nodes: slice, out: Tensor) -> None:
        """Add shares of values `[node, ...]` to their intervals in `out`, `[interval, ...]`; where
        each interval has one node they are written.
        """
        if self.daily:
            torch.mul(values, share[nodes], out=out[nodes])
        else:
            out.index_add_(0, self.interval[nodes], values * share[nodes])

    def targets(self, states: Tensor, nodes: slice) -> Tensor:
        """Right-hand sides of the stages, `[size, node, column]`, from `states` as in `Window`."""
        if self.stages == 1:
            return states[:, nodes]
        known = states[:, nodes.start : nodes.stop : self.stages]
        stages = states[:, nodes.start + 1 : nodes.stop + 1].unflatten(1, (-1, self.stages))
        out = torch.empty_like(stages)
        for i in range(self.stages):
            out[:, :, i] = self.own[i] * known
            for j in range(i):
                out[:, :, i] += self.other[i][j] * stages[:, :, j]
        return out.flatten(1, 2)


class Columns:
    """Inputs of some columns, time first.

    Parameters and forcing `[interval or 1, column or 1, width]`.
    """

    def __init__(self, problem: Problem, rows: Tensor | slice):
        def cut(x: Tensor) -> Tensor:
            return x if x.shape[0] == 1 else x[rows]

        self.model = problem.model
        self.initial = problem.initial[rows].T.contiguous()
        self.static = {k: cut(v)[None] for k, v in problem.static.items()}
        self.varying = {k: cut(v).transpose(0, 1).contiguous() for k, v in problem.varying.items()}
        self.forcing = {k: cut(v).transpose(0, 1).contiguous() for k, v in problem.forcing.items()}
        self.groups = {"static": self.static, "varying": self.varying, "forcing": self.forcing}

    def with_drivers(self) -> dict[str, Tensor]:
        """Forcing and what the rates need of it and of parameters alone."""
        return {**self.forcing, **self.model.drivers(self.forcing, {**self.static, **self.varying})}


class Window:
    """The forward solve of some columns.

    Attributes
    ----------
    states : Tensor, [size, 1 + node, column]
        Initial state, then that of every node.
    moves : Tensor, [size, node, column]
        The last update of every node of the window; zero for those that have just entered.
    rows : Tensor, [column]
        The columns that were solved; the others are in `stuck`, with the interval in which they
        were.
    patience : int
        Iterations of the node at the front after which its columns are given up.
    sweeps : int
        Newton iterations of windows.
    kernels : Kernels
        The operations on the model, eager or compiled.
    """

    def __init__(
        self, problem: Problem, rows: Tensor, nodes: Nodes, patience: int, operations: Kernels
    ):
        keep_freed_memory()
        self.problem, self.nodes, self.rows, self.patience = problem, nodes, rows, patience
        self.model, self.kernels = problem.model, operations
        size = problem.model.size
        each = problem.model.spec.each_state(size)
        self.stored = storing(problem.model, problem.initial)
        self.stores = None if self.stored is None else [not s.algebraic for s in each]
        states = [(s.scale, s.lower) for s in each]
        self.scale, self.lower = problem.initial.new_tensor(states).T[:, :, None, None]
        # as in `lowest`
        self.from_zero, self.below = (not bool(self.lower.any()), -BELOW * self.scale)
        self.tolerance = math.sqrt(
            torch.finfo(problem.initial.dtype).eps
        )  # the error is the square of the last update
        self.sweeps, self.stuck = 0, dict[int, int]()
        self.columns = Columns(problem, rows)
        self.forcing = self.columns.with_drivers()
        initial = self.columns.initial
        self.states = initial.new_empty(size, 1 + nodes.count, len(rows))
        self.states[:, 0] = initial
        self.moves = initial.new_empty(size, 0, len(rows))

    @torch.no_grad()
    def solve(self) -> None:
        """Move the window from the first to the last node."""
        s, count = self.nodes.stages, self.nodes.count
        width = max(2, min(NODES, VALUES // max(1, len(self.rows) * s))) * s
        first, stop, waited, done = 0, min(width, count), 0, 0
        self._begin(slice(0, stop))
        while first < count and len(self.rows):
            size = self._sweep(slice(first, stop), careful=self.sweeps > 0 and done < FEW * s)
            self.sweeps += 1
            done = int((size.amax((0, 2)) < self.tolerance).cumprod(0).sum()) // s * s
            waited = 0 if done else waited + 1
            failed = None
            if not bool(torch.isfinite(size).all()):
                failed = self._restart(size, first, stop)
            if waited == self.patience:
                failed = ~(size[:, :s].amax((0, 1)) < self.tolerance)
            if failed is not None and bool(failed.any()):
                self._give_up(failed, first)
                waited = 0
                continue
            enter = min(count, stop + done)
            self._begin(slice(stop, enter))
            if done:
                entered = self.moves.new_zeros(len(self.moves), enter - stop, len(self.rows))
                self.moves = torch.cat([self.moves[:, done:], entered], 1)
            first, stop = first + done, enter
        if self.one_store and len(self.rows) and not self.states.is_cuda:
            once_more(self, blocks(self.nodes, len(self.rows)))

    @property
    def one_store(self) -> bool:
        """Whether a node is one number, that of a store at the end of a step."""
        return self.nodes.stages == len(self.states) == 1 and self.stored is None

    def _begin(self, nodes: slice) -> None:
        """Let nodes begin where the last one before them is, or where the model sees them."""
        states = self.states[:, nodes.start : nodes.stop + 1]
        states[:, 1:] = states[:, :1]
        sees = self.model.ahead is not None and self.model.size >= SEVERAL
        if sees and len(self.rows) >= MARCHING:
            for node in range(nodes.start, nodes.stop):
                self._look_ahead(node)

    def _look_ahead(self, node: int) -> None:
        """Let the model see a node from the state before it."""
        forcing, parameters = (
            {k: v[0, :, 0] for k, v in x.items()} for x in self.inputs(slice(node, node + 1))
        )
        before, a = self.target(node)
        found = self.model.ahead(before.clamp_min(0).unbind(), forcing, parameters, a, SEEN)
        torch.stack(found, out=self.states[:, node + 1])

    def target(self, node: int) -> tuple[Tensor, float]:
        """Right-hand side `[size, column]` of one node, from the states before it, and its `a`."""
        plan, begin = self.nodes, node // self.nodes.stages * self.nodes.stages
        known = plan.targets(self.states, slice(begin, begin + plan.stages))
        a = plan.a if isinstance(plan.a, float) else float(plan.a[node])
        return known[:, node - begin], a

    def _sweep(self, nodes: slice, careful: bool) -> Tensor:
        """Do one iteration of Newton on a window.

        Returns the sizes of the updates relative to the states, `[size, node, column]`.

        With `careful` no state turns back by more than a part of its last update.
        """
        plan, a = self.nodes, self.nodes.a_of(nodes)
        state = self.states[:, nodes.start + 1 : nodes.stop + 1]
        forcing, parameters = self.inputs(nodes)
        rates, jacobian = self.kernels.slopes(state.movedim(0, -1), forcing, parameters)
        inverses = self.inverses(jacobian, a)
        left = plan.targets(self.states, nodes) - state
        for x, rate in zip(left, rates, strict=True):
            x.add_(rate, alpha=a) if isinstance(a, float) else x.addcmul_(a, rate)
        for i in self.equations:
            left[i] = rates[i]
        right = left.movedim(0, 1).contiguous()
        update = forward_substitution(inverses, right, plan, self.stored).movedim(1, 0)
        magnitude = state.abs()
        size = update.abs().div_(magnitude + self.scale)
        above = magnitude if self.from_zero else (state - self.lower).abs_()
        torch.maximum(update, torch.add(self.below, above, alpha=-FALL), out=update)
        if careful:
            back = self.moves.mul_(-TURN)
            update = torch.where(update * back > back * back, back, update)
        self.moves = update
        state.add_(update)
        return size

    @property
    def equations(self) -> list[int]:
        """States that store nothing: their rates are zero."""
        return [] if self.stores is None else [i for i, s in enumerate(self.stores) if not s]

    def inverses(self, jacobian: Entries, a: float | Tensor) -> Tensor:
        """Inverse matrices of the nodes, `[node, size, size, column]`."""
        matrix = implicit_matrix(jacobian, a, self.model.size, self.stores)
        if self.stores is not None:
            return pivoted_inverse(matrix, self.model.size)
        return self.kernels.inverse(matrix, self.model.size)

    def inputs(self, nodes: slice) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Forcing and parameters of some nodes."""
        plan, c = self.nodes, self.columns
        at = plan.intervals(nodes)
        forcing = {k: plan.spread(v[at], nodes) for k, v in self.forcing.items()}
        return forcing, {**c.static, **{k: plan.spread(v[at], nodes) for k, v in c.varying.items()}}

    def _restart(self, size: Tensor, first: int, stop: int) -> Tensor:
        """Let nodes that left the range of numbers begin again at the last known state.

        Returns the columns whose first step did so.
        """
        lost = ~torch.isfinite(size).all(0)
        state = self.states[:, first + 1 : stop + 1]
        state.copy_(torch.where(lost, self.states[:, first : first + 1], state))
        return lost[: self.nodes.stages].any(0)

    def _give_up(self, failed: Tensor, first: int) -> None:
        """Leave out columns."""
        self.stuck.update(
            dict.fromkeys(self.rows[failed].tolist(), int(self.nodes.interval[first]))
        )
        self.keep(~failed)

    def keep(self, wanted: Tensor) -> None:
        """Go on with some of the columns, which `wanted` marks."""
        self.rows = self.rows[wanted]
        self.columns = Columns(self.problem, self.rows)
        self.forcing = self.columns.with_drivers()
        self.states = self.states[:, :, wanted].contiguous()
        self.moves = self.moves[:, :, wanted].contiguous()

    @torch.no_grad()
    def write(self, states: Tensor, storage: Tensor, fluxes: Tensor) -> None:
        """Write results `[size or flux, interval, column]`.

        The storage changes by the integral of the rates.
        """
        plan, ends = self.nodes, self.nodes.ends
        # all columns stand in their order
        rows = self.rows if len(self.rows) < states.shape[2] else slice(None)
        wanted, places = self.problem.only, self.model.spec.flux_places(self.model.size)
        values = [i for name in wanted or places for i in range(len(fluxes))[places[name]]]
        if not wanted:
            states[:, :, rows] = self.states[:, 1:] if plan.daily else self.states[:, 1 + ends]
        means = self.states.new_zeros(len(values), len(ends), len(self.rows))
        stores = 0 if wanted else len(states)
        change = self.states.new_zeros(stores, len(ends), len(self.rows))
        for nodes in blocks(plan, len(self.rows)):
            state = self.states[:, nodes.start + 1 : nodes.stop + 1].movedim(0, -1)
            e = self.kernels.evaluate(state, *self.inputs(nodes), fluxes=True)
            for i, out in zip(values, means, strict=True):
                plan.collect(e.fluxes[..., i], plan.share, nodes, out)
            if not wanted:
                rates = only(self.stored, e.rates).expand_as(state)  # a rate may be that of all
                for rate, out in zip(rates.unbind(-1), change, strict=True):
                    plan.collect(rate, plan.weight, nodes, out)
        for i, mean in zip(values, means, strict=True):
            fluxes[i, :, rows] = mean
        if wanted:
            return
        begins = only(self.stored, self.columns.initial.T).T
        storage[:, 0, rows] = begins
        storage[:, 1:, rows] = change.cumsum_(1).add_(begins[:, None])


def blocks(nodes: Nodes, columns: int) -> list[slice]:
    """Nodes in pieces that fill the cache, whole steps in each."""
    width = max(1, VALUES // max(1, columns * nodes.stages)) * nodes.stages
    return [slice(i, min(i + width, nodes.count)) for i in range(0, nodes.count, width)]
