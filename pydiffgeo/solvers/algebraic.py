"""States that store nothing: 0 = f(u) in place of d m(u) / dt = f(u).

Each stage of a method solves these equations with the others: they have no capacity, no storage to
reach, and no part in the error of a step. What such a state is at the start of an interval does not
follow from the interval before, whose forcing was another: methods that read rates there solve the
equations first.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pydiffgeo.models.base import ProcessModel
from pydiffgeo.solvers.linear import Matrix, Structure


def storing(model: ProcessModel, like: Tensor) -> Tensor | None:
    """Return which values of a column store something, `[size]`; None where all do."""
    if not model.spec.algebraic:
        return None
    stored = [not s.algebraic for s in model.spec.each_state(model.size)]
    return torch.tensor(stored, device=like.device)


def only(stored: Tensor | None, x: Tensor) -> Tensor:
    """Return `x` `[..., size]` with zeros where nothing is stored."""
    return x if stored is None else torch.where(stored, x, 0.0)


def held(linear: Structure, jacobian: Matrix, stored: Tensor, like: Tensor) -> Matrix:
    """Return the matrix of the algebraic equations where what is stored stays as it is."""
    share = stored.to(like)
    return linear.assemble(share.expand_as(like), jacobian, 1 - share)
