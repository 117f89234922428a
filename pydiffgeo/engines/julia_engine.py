"""The Julia engine: solvers and adjoint of the Julia package DiffGeo, on the memory of tensors."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from pydiffgeo.bridge.arrays import field as describe
from pydiffgeo.bridge.arrays import gradient_like, results, shared
from pydiffgeo.bridge.models import number
from pydiffgeo.bridge.runtime import STOPPED, Julia, interruptible, load_sciml, start
from pydiffgeo.engines.base import Result, constant_after_failure
from pydiffgeo.errors import ParameterError
from pydiffgeo.second_derivatives import first_derivatives
from pydiffgeo.solvers.control import MANY, REPLAYED, SHORT, STALLED, patience
from pydiffgeo.solvers.options import Solver
from pydiffgeo.solvers.problem import Problem
from pydiffgeo.solvers.sciml import SCIML_METHODS

NOWHERE = (0, 0, 0, 0)
MOST = 62  # fluxes whose bits an integer holds
OUTCOMES = {
    1: SHORT,
    2: MANY,
    4: "Unstable: {method} found no step that works; a saturated soil is beyond a method that "
    "integrates heads",
    5: "{method} ended without a solution; tighten rtol",
    6: STALLED,
    7: "no solution of its equations was found",
}


def solve_julia(problem: Problem, options: Solver, replay: Tensor | None = None) -> Result:
    """Solve all columns on Julia's threads; see `pydiffgeo.engines.base.Engine`.

    Raises
    ------
    EngineUnavailable
        Julia cannot run here.
    ParameterError
        A model or an option that only the torch engine has.
    """
    refused = torch_only(options)
    if refused:
        raise ParameterError(refused)
    julia = start()
    if options.method in SCIML_METHODS:
        load_sciml()
    run = Run(julia, problem, options, None if replay is None else replay.abs().cpu())
    return solve_run(run, all_inputs(problem))


def all_inputs(problem: Problem) -> list[Tensor]:
    """Initial state, parameters, forcing and weights, in the order in which Julia reads them."""
    raw = {**problem.static, **problem.varying}
    # each vector of weights is shared by all columns
    weights = [w[None].to(problem.initial) for w in problem.model.closure_vectors()]
    parameters = (raw[k] for k in problem.model.spec.parameters)
    return [problem.initial, *parameters, *problem.forcing.values(), *weights]


def solve_run(run: Run, inputs: Sequence[Tensor]) -> Result:
    """Solve, differentiably in the inputs."""
    device = inputs[0].device
    # the models of this package run on the CPU in Julia: tensors of a GPU are copied there and back
    if device.type != "cpu":
        inputs = [x.cpu() for x in inputs]
    states, storage, *fluxes = (x.to(device) for x in _Solve.apply(run, *inputs))
    if run.alone:  # what was not written is not a number, and takes no memory
        nan, (columns, T) = fluxes[0].new_tensor(float("nan")), fluxes[0].shape
        states, storage = (nan.expand(columns, n, states.shape[2]) for n in (T, T + 1))
        written = dict(zip(run.alone, fluxes, strict=True))
        count = len(run.problem.model.spec.fluxes)
        fluxes = [written.get(k, nan.expand(columns, T)) for k in range(count)]
    return Result(states, storage, fluxes, run.failed, run.stats, [run.steps])


def torch_only(options: Solver) -> str:
    """Why Julia cannot solve with these options, "" where it can."""
    for name in ("shared_step", "compile"):
        if getattr(options, name):
            return (
                f"Solver({name}=True) is an option of the torch engine; leave it out, or use "
                'engine="torch".'
            )
    return ""


def address(text: ctypes.c_char_p) -> int:
    """Address of the bytes of a C string."""
    return ctypes.cast(text, ctypes.c_void_p).value or 0


@dataclass
class Run:
    """One solve between its forward and its backward pass; Julia's side of it is freed with it."""

    julia: Julia
    problem: Problem
    options: Solver
    replay: Tensor | None
    number: int = 0
    failed: dict[int, tuple[int, str]] = field(default_factory=dict)
    stats: dict[str, Tensor] = field(default_factory=dict)
    steps: Tensor = None  # type: ignore[assignment]
    inputs: Sequence[Tensor] = ()

    @cached_property
    def alone(self) -> list[int]:
        """Places of the fluxes that alone are written; none: everything is.

        Models with fluxes of cells or stationary ones, and methods of SciML, write everything.
        """
        spec = self.problem.model.spec
        names = list(spec.fluxes)
        scalar = spec.flux_values(self.problem.model.size) == len(names) <= MOST
        if not scalar or spec.stationary or self.options.method in SCIML_METHODS:
            return []
        return sorted(names.index(name) for name in self.problem.only)

    def forward(self, inputs: Sequence[Tensor], record: bool) -> tuple[Tensor, ...]:
        """Return states, storage, and the fluxes one by one, or those that are wanted alone.

        So torch makes no cotangents of fluxes that nobody uses.
        """
        o, spec, initial = self.options, self.problem.model.spec, inputs[0]
        columns, size, T = len(initial), initial.shape[1], len(self.problem.lengths)
        lengths = self.problem.lengths.cpu()
        times = (0, 0) if self.alone else (T, T + 1)
        states, storage = (results(columns, n, size, dtype=initial.dtype) for n in times)
        values = len(self.alone) or spec.flux_values(size)
        fluxes = results(columns, T, values, dtype=initial.dtype)
        counts, outcome = (
            torch.empty(columns, 3, dtype=torch.long),
            torch.empty(columns, 2, dtype=torch.long),
        )
        method, sensitivity = (ctypes.c_char_p(x.encode()) for x in (o.method, o.sensitivity))
        numbers = struct.pack(
            f"{7 + len(spec.states)}d", o.rtol, o.step or 0.0, o.initial_step or 0.0,
            o.newton_tolerance, o.max_newton,
            o.max_steps, o.checkpoints, *o.absolute(spec).values(),
        )  # fmt: skip
        with interruptible() as ask:
            head = (
                columns, T, record, threads(), lengths.data_ptr(), states.data_ptr(),
                storage.data_ptr(), fluxes.data_ptr(),
                counts.data_ptr(), outcome.data_ptr(), *self._replayed(), address(method), ask,
                address(sensitivity), sum(1 << k for k in self.alone),
            )  # fmt: skip
            tail = [v for x in inputs for v in describe(x)]
            call = struct.pack(f"{len(head) + len(tail)}q", *head, *tail)
            bits = 64 if initial.dtype == torch.float64 else 32
            status = self.begin(number(self.julia, self.problem.model), bits, call, numbers)
        if status == STOPPED:
            raise KeyboardInterrupt
        self.number, self.inputs = status, inputs if record else ()
        self._report(counts, outcome, lengths)
        if not record:
            self.free()
        return states, storage, *fluxes.unbind(-1)

    def begin(self, model: int, bits: int, call: bytes, numbers: bytes) -> int:
        """Call Julia's forward pass, and return the number of its run."""
        return self.julia.call("forward", model, bits, call, numbers)

    def backward(
        self, grads: Sequence[Tensor | None], wanted: Sequence[bool]
    ) -> list[Tensor | None]:
        """Return the cotangents of the inputs that are wanted."""
        columns = len(self.inputs[0])
        if not self.problem.model.spec.stationary:  # else other intervals have their solutions
            grads = constant_after_failure(grads, len(self.problem.lengths), self.failed)
        seeds = [None if g is None else g.contiguous() for g in grads[:2]]
        given = dict(zip(self.alone, grads[2:], strict=True)) if self.alone else {}
        of_all = [given.get(k) for k in range(len(self.problem.model.spec.fluxes))]
        on_fluxes = [g if g is None else g[..., None] for g in (of_all if given else grads[2:])]
        out = [
            gradient_like(x, columns) if want else None
            for x, want in zip(self.inputs, wanted, strict=True)
        ]
        with interruptible() as ask:
            head = (
                *(0 if g is None else g.data_ptr() for g in (*seeds, out[0])),
                *self._replayed(),
                ask,
            )
            tail = [
                v for g in (*on_fluxes, *out[1:]) for v in (NOWHERE if g is None else describe(g))
            ]
            call = struct.pack(f"{len(head) + len(tail)}q", *head, *tail)
            status = self.julia.call("backward", self.number, call)
        if status == STOPPED:
            raise KeyboardInterrupt
        return [None if g is None else shared(g, x) for g, x in zip(out, self.inputs, strict=True)]

    def _replayed(self) -> tuple[int, int]:
        return (0, 0) if self.replay is None else (self.replay.data_ptr(), self.replay.shape[1])

    def _report(self, counts: Tensor, outcome: Tensor, lengths: Tensor) -> None:
        self.stats = dict(
            zip(("accepted", "rejected", "newton_iterations"), counts.unbind(1), strict=True)
        )
        self.steps = torch.zeros(
            len(counts), int(counts.numpy()[:, 0].max()), dtype=self.problem.initial.dtype
        )
        recorded = self.julia.call("steps", self.number, self.steps.data_ptr(), self.steps.shape[1])
        self.stats["recorded_bytes"] = torch.tensor(recorded)
        codes = outcome.numpy()
        if codes[:, 0].any():
            known = {
                "shortest": 1e-12 * float(lengths.min()),
                "unit": self.problem.model.spec.time_unit,
                "max_steps": self.options.max_steps,
                "patience": patience(self.options.max_newton),
                "method": self.options.method,
            }
            for column in codes[:, 0].nonzero()[0].tolist():
                code, interval = codes[column].tolist()
                told = OUTCOMES[code] if self.replay is None or code != 1 else REPLAYED
                self.failed[column] = interval - 1, told.format(**known)

    def free(self) -> None:
        """Forget Julia's side."""
        if self.number:
            self.julia.forget("release", self.number)
            self.number, self.inputs = 0, ()

    __del__ = free


# Whether this backward pass keeps the graph; where torch does not tell, the run lives as long as
# the graph
keeps_graph: Callable[[], bool] = getattr(
    torch._C._autograd, "_get_current_graph_task_keep_graph", lambda: True
)


class _Solve(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, run: Run, *inputs: Tensor) -> tuple[Tensor, ...]:
        ctx.run = run
        ctx.save_for_backward(*inputs)
        ctx.set_materialize_grads(False)
        return run.forward(inputs, record=any(ctx.needs_input_grad))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:  # type: ignore[override]
        # or torch's own errors: an input was changed in place, or the graph has been freed
        inputs = ctx.saved_tensors
        run, wanted = ctx.run, ctx.needs_input_grad[1:]
        out = first_derivatives(
            "solve", lambda cotangents: run.backward(cotangents, wanted), grads, inputs, wanted
        )
        if not keeps_graph():
            run.free()
        return None, *out


_threads = 0


def threads() -> int:
    """Threads of Julia that a solve uses; 0 for all that Julia has."""
    return _threads


def set_threads(count: int) -> None:
    """Let solves use this many of Julia's threads, or all of them for 0."""
    global _threads
    if count < 0:
        raise ParameterError(f"set_threads({count}): give the number of threads, or 0 for all.")
    _threads = count
