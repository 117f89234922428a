"""Block-bidiagonal systems of many steps: from node to node, forwards and backwards."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from scipy.linalg import get_blas_funcs
from torch import Tensor

if TYPE_CHECKING:
    from pydiffgeo.solvers.step_windows import Nodes


MANY = 50  # nodes from which on the BLAS takes them faster one after another than doubling


def _coupling(stored: Tensor | None) -> Callable[[Tensor], Tensor]:
    """Return what a node takes over of the state `[size, column]` of another: what is stored."""
    return (lambda x: x) if stored is None else (lambda x: torch.where(stored[:, None], x, 0.0))


def forward_substitution(
    inverses: Tensor, right: Tensor, nodes: Nodes, stored: Tensor | None = None
) -> Tensor:
    """Updates `[node, size, column]` from node to node.

    x_k = M_k^-1 (r_k + what the target of k takes from earlier x). `stored` as `storing` gives it.
    """
    s, taken = nodes.stages, _coupling(stored)
    if stored is None and s == right.shape[1] == 1:
        M1 = inverses[:, 0]
        return running(M1 * right, M1)
    out, work = torch.empty_like(right), torch.empty_like(inverses[0])
    x, M, r = out.unbind(), inverses.unbind(), right.unbind()
    for k in range(len(r)):
        i, step = k % s, k - k % s
        v = r[k]
        if step:
            v = torch.add(v, taken(x[step - 1]), alpha=nodes.own[i])
        for j in range(i):
            v = torch.add(v, taken(x[step + j]), alpha=nodes.other[i][j])
        torch.sum(torch.mul(M[k], v, out=work), 1, out=x[k])
    return out


def back_substitution(
    inverses: Tensor, right: Tensor, nodes: Nodes, after: Tensor, stored: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return multipliers `[node, size, column]` from the last node to the first.

    And the cotangent of the state before them.

    `after` is the cotangent `[size, column]` of the last state that later nodes have left.
    """
    s, taken = nodes.stages, _coupling(stored)
    if stored is None and s == right.shape[1] == 1:
        M1, total = inverses[:, 0].flip(0), right.flip(0)
        total[0] += after
        out = running(M1 * total, M1).flip(0)
        return out, out[0]
    out, work = torch.empty_like(right), torch.empty_like(inverses[0])
    x, M, r = out.unbind(), inverses.unbind(), right.unbind()
    for k in range(len(r) - 1, -1, -1):
        i, step = k % s, k - k % s
        v = r[k]
        if i == s - 1:
            v = v + after
        for j in range(i + 1, s):
            v = torch.add(v, taken(x[step + j]), alpha=nodes.other[j][i])
        torch.sum(torch.mul(M[k], v[:, None], out=work), 0, out=x[k])
        if i == 0:
            after = x[k] if s == 1 else sum(x[step + j] * nodes.own[j] for j in range(s))  # type: ignore[assignment]
            after = taken(after)
    return out, after


def running(values: Tensor, factors: Tensor) -> Tensor:
    """Return x_k = v_k + m_k x_(k-1) of values and factors `[node, ...]`, x before the first 0.

    By the BLAS on a CPU, where that is faster and all numbers stay in range.
    """
    if len(values) >= MANY and not values.is_cuda:
        x = one_after_another(values, factors)
        if bool(torch.isfinite(x.sum())):
            return x
    return _by_doubling(values, factors)


def one_after_another(values: Tensor, factors: Tensor) -> Tensor:
    """Return the same from node to node: x_k is a function of x_(k-1), v_k and m_k to the last bit,
    wherever it stands. A number out of range in one column spoils those behind it.
    """
    v = values.flatten(1).T.contiguous()  # one column below another: a band of two diagonals
    band = v.new_zeros(*v.shape, 2)
    torch.neg(factors.flatten(1).T[:, 1:], out=band[:, :-1, 1])
    (solve,) = get_blas_funcs(("tbsv",), (v.numpy(),))
    x = solve(1, band.view(-1, 2).numpy().T, v.view(-1).numpy(), lower=1, diag=1, overwrite_x=1)
    return torch.from_numpy(x).view(v.shape).T.reshape(values.shape)


def _by_doubling(values: Tensor, factors: Tensor) -> Tensor:
    """Return the same: after each pass x_k is right for twice as many nodes, and m_k the product of
    as many factors.
    """
    reach, count = 1, len(values)
    while reach < count:
        further = values.clone()
        further[reach:].addcmul_(factors[reach:], values[:-reach])
        values = further
        if 2 * reach < count:
            product = factors.clone()
            product[reach:] *= factors[:-reach]
            factors = product
        reach *= 2
    return values
