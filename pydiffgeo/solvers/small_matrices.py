"""Many small matrices side by side, entry by entry.

Every operation works on one entry of all of them.

Entries that are zero everywhere are left out, so that the work follows the pattern of the model.
There is no pivoting: the matrices are I - a J with J of stores that pass on what they lose, which
need none; where a pivot vanishes the result is not finite, and the caller sees it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pydiffgeo.models.base import Entries


def implicit_matrix(jacobian: Entries, a: float | Tensor, size: int) -> Entries:
    """I - a J; `a` is a number, or broadcasts against the entries."""
    out = {at: values * -a for at, values in jacobian.items()}
    like = next(iter(out.values()))
    for i in range(size):
        out[i, i] = out[i, i].add_(1.0) if (i, i) in out else torch.ones_like(like)
    return out


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
    nodes, columns = m[0, 0].shape
    out = m[0, 0].new_empty(nodes, size, size, columns)
    for i in range(size):
        for j in range(size):
            out[:, i, j] = m.get((i, j), 0.0)
    return out
