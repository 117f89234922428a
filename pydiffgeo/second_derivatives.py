"""Refusal of second derivatives, which hand-written gradients do not have.

Gradients that torch's own operations do not compute are constants to torch: their derivatives would
silently be zero, or lack a part. So a backward pass is itself a function of autograd, of all
cotangents and of all inputs, whose derivative is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from pydiffgeo.errors import DerivativeError

Pull = Callable[[Sequence[Tensor | None]], Sequence[Tensor | None]]

ROAD_OUT = (
    "Take first derivatives: the Jacobian J of simulated values by "
    "torch.autograd.functional.jacobian, and J^T J in place of the Hessian of a sum of squares "
    "(Gauss-Newton), or differences of gradients."
)


def refuse_transforms(what: str) -> None:
    """Raise DerivativeError where torch.func or forward mode is at work.

    They reach into what is computed outside of torch.
    """
    if torch._C._are_functorch_transforms_active():
        raise DerivativeError(
            f"{what} cannot run inside torch.func (grad, vjp, jvp, jacrev, jacfwd, hessian, vmap): "
            "call torch.autograd.grad on its results, and give a batch in place of vmap. "
            f"{ROAD_OUT}"
        )
    if forward_ad._current_level >= 0:
        raise DerivativeError(
            f"{what} has no forward-mode derivatives: it carries no tangents. {ROAD_OUT}"
        )


def first_derivatives(
    what: str,
    pull: Pull,
    cotangents: Sequence[Tensor | None],
    inputs: Sequence[Tensor],
    wanted: Sequence[bool],
) -> list[Tensor | None]:
    """Return what a `backward` returns: `pull(cotangents)`, whose derivatives are an error.

    Parameters
    ----------
    what : str
        Who has no second derivatives, for the message.
    pull : callable
        From the cotangents of the results to those of the inputs, computed outside of any graph.
    cotangents : sequence of Tensor or None
    inputs : sequence of Tensor
        All inputs that may require gradients, with their graph.
    wanted : sequence of bool
        Which of the cotangents that `pull` gives are needed: `ctx.needs_input_grad`. The others
        become None.
    """
    given = [c for c in cotangents if c is not None]
    if torch._C._are_functorch_transforms_active() or any(
        map(torch._C._functorch.is_legacy_batchedtensor, given)
    ):
        raise DerivativeError(
            f"{what} has no vectorised gradients (jacobian(vectorize=True), is_grads_batched, "
            "vmap): take one row after the other, as torch.autograd.functional.jacobian does by "
            "itself."
        )
    if not torch.is_grad_enabled():
        found = pull(cotangents)
        return [g if want else None for g, want in zip(found, wanted, strict=True)]
    there = [c is not None for c in cotangents]

    def of_given(those: Sequence[Tensor]) -> tuple[Tensor, ...]:
        rest = iter(those)
        found = pull([next(rest) if is_there else None for is_there in there])
        return tuple(g for g, want in zip(found, wanted, strict=True) if want and g is not None)

    rest = iter(_First.apply(what, of_given, len(given), *given, *inputs))
    return [next(rest) if want else None for want in wanted]


class _First(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, what: str, pull: Callable[..., Any], count: int, *tensors: Tensor) -> Any:
        ctx.what = what
        return pull(tensors[:count])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:  # type: ignore[override]
        raise DerivativeError(
            f"{ctx.what} has no second derivatives: its gradient cannot be differentiated again "
            "(by hessian, hvp, vhp, double backward, or by torch.autograd.functional.jvp, which "
            f"does that too). {ROAD_OUT}"
        )
