"""Many small matrices side by side, entry by entry.

Every operation works on one entry of all of them.

Entries that are zero everywhere are left out, so that the work follows the pattern of the model.
There is no pivoting: the matrices are I - a J with J of stores that pass on what they lose, which
need none; where a pivot vanishes the result is not finite, and the caller sees it. Equations of
states that store nothing may have zeros on the diagonal: their matrices are inverted by LAPACK.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pydiffgeo.models.base import Entries


def implicit_matrix(
    jacobian: Entries, a: float | Tensor, size: int, stored: Sequence[bool] | None = None
) -> Entries:
    """I - a J, with the rows -J where nothing is stored.

    `a` is a number, or broadcasts against the entries.
    """
    out = {
        (i, j): values * -a if stored is None or stored[i] else -values
        for (i, j), values in jacobian.items()
    }
    like = next(iter(out.values()))
    for i in range(size):
        if stored is not None and not stored[i]:
            continue
        out[i, i] = out[i, i].add_(1.0) if (i, i) in out else torch.ones_like(like)
    return out


def solved(m: Entries, right: Sequence[Tensor]) -> list[Tensor]:
    """Return x of m x = right by elimination; `right` has one value for each row."""
    size, m, x = len(right), dict(m), list(right)
    for k in range(size):
        for i in range(k + 1, size):
            if (i, k) not in m:
                continue
            factor = m[i, k] / m[k, k]
            for j in range(k + 1, size):
                if (k, j) in m:
                    m[i, j] = m.get((i, j), 0.0) - factor * m[k, j]
            x[i] = x[i] - factor * x[k]
    for k in reversed(range(size)):
        for j in range(k + 1, size):
            if (k, j) in m:
                x[k] = x[k] - m[k, j] * x[j]
        x[k] = x[k] / m[k, k]
    return x


def pivoted_inverse(m: Entries, size: int) -> Tensor:
    """As `inverse`, of matrices that need pivoting; not finite where they are singular."""
    like = next(iter(m.values()))
    rows = [[m.get((i, j), torch.zeros_like(like)) for j in range(size)] for i in range(size)]
    dense = torch.stack([torch.stack(row, -1) for row in rows], -2)
    out, info = torch.linalg.inv_ex(dense)
    if bool(info.any()):
        out = torch.where((info == 0)[..., None, None], out, float("nan"))
    return out.permute(0, 2, 3, 1).contiguous()


def inverse(m: Entries, size: int) -> Tensor:
    """Return the inverse `[node, size, size, column]` of matrices, which are overwritten.

    Gauss-Jordan elimination in place: after step k the first k columns are those of the inverse.
    """
    for k in range(size):
        pivot = m[k, k].reciprocal_()
        row = [j for j in range(size) if j != k and (k, j) in m]
        for j in row:
            m[k, j].mul_(pivot)
        for i in range(size):
            if i == k or (i, k) not in m:
                continue
            factor = m[i, k]
            for j in row:
                if (i, j) in m:
                    m[i, j].addcmul_(factor, m[k, j], value=-1)
                else:
                    m[i, j] = (factor * m[k, j]).neg_()
            m[i, k] = (factor * pivot).neg_()
    zero = torch.zeros_like(m[0, 0])
    out = [m.get((i, j), zero) for i in range(size) for j in range(size)]
    return torch.stack(out, 1).unflatten(1, (size, size))
