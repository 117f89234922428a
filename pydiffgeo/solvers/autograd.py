"""A solve as one function of autograd, whichever way it is solved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

import torch
from torch import Tensor

from pydiffgeo.second_derivatives import first_derivatives
from pydiffgeo.solvers.problem import Problem

GROUPS = ("static", "varying", "forcing")


def derivatives(
    total: Tensor, inputs: Sequence[Tensor], retain_graph: bool = False
) -> Sequence[Tensor | None]:
    """Return the derivatives of a number in some tensors.

    None for those that it does not depend on, or for all.
    """
    if not inputs or not total.requires_grad:
        return [None] * len(inputs)
    return torch.autograd.grad(total, inputs, allow_unused=True, retain_graph=retain_graph)


class Cotangents(Protocol):
    """Of the initial state, of each wanted input by group and name, and of closure weights."""

    initial: Tensor
    grads: dict[str, dict[str, Tensor]]
    weights: list[Tensor]


class Run(Protocol):
    """A solve between its forward and its backward pass."""

    problem: Problem

    def forward(self, record: bool) -> tuple[Tensor, Tensor, Tensor]:
        """States, storage and fluxes; `record` what the gradient needs."""
        ...

    def backward(self, grads: tuple[Tensor, ...], needs: dict[str, set[str]]) -> Cotangents:
        """Cotangents of the inputs named in `needs`, from those of states, storage and fluxes."""
        ...


def differentiable(run: Run) -> tuple[Tensor, Tensor, Tensor]:
    """Solve; the results carry gradients to every input and closure weight."""
    p = run.problem
    results: tuple[Tensor, Tensor, Tensor] = _Solve.apply(
        run,
        p.initial,
        *(v for g in GROUPS for v in getattr(p, g).values()),
        *p.model.closure_weights(),
    )
    return results


class _Solve(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, run: Run, *tensors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        ctx.run = run
        ctx.save_for_backward(*tensors)
        ctx.set_materialize_grads(True)
        run.problem = _detached(run.problem)
        return run.forward(record=any(ctx.needs_input_grad))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:  # type: ignore[override]
        # or torch's own errors: an input was changed in place, or the graph has been freed
        inputs = ctx.saved_tensors
        run: Run = ctx.run
        names = [(g, k) for g in GROUPS for k in getattr(run.problem, g)]
        wanted = ctx.needs_input_grad[1:]
        needs: dict[str, set[str]] = {g: set() for g in GROUPS}
        for (group, name), want in zip(names, wanted[1:], strict=False):
            if want:
                needs[group].add(name)

        def pull(cotangents: Sequence[Any]) -> list[Tensor | None]:
            found = run.backward(tuple(cotangents), needs)
            return [found.initial, *(found.grads[g].get(k) for g, k in names), *found.weights]

        return None, *first_derivatives("solve", pull, grads, inputs, wanted)


def _detached(problem: Problem) -> Problem:
    """The same problem, outside of any graph."""
    groups: dict[str, Any] = {
        g: {k: v.detach().contiguous() for k, v in getattr(problem, g).items()} for g in GROUPS
    }
    return replace(problem, initial=problem.initial.detach().contiguous(), **groups)
