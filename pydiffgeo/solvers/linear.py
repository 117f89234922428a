"""Linear systems of Newton's iteration, (C - h gamma J) x = r, by the structure of the Jacobian.

Each structure is a class with the same four functions. `matrix` is what `assemble` returned: a
tuple of tensors with the columns of the batch in the first dimension. Systems that hold a number
that is not finite must be removed before `solve`: the columns share one call of LAPACK.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pydiffgeo.errors import lookup

Matrix = tuple[Tensor, ...]


class Dense:
    """Full matrices, for models with few states."""

    @staticmethod
    def assemble(capacity: Tensor, jacobian: Matrix, step: Tensor) -> Matrix:
        """C - step J, with the capacity `[..., size]` on the diagonal and the step `[..., 1]`."""
        return (torch.diag_embed(capacity) - step[..., None] * jacobian[0],)

    @staticmethod
    def solve(matrix: Matrix, right: Tensor) -> Tensor:
        """x from matrix x = right `[row, size]`."""
        return Dense._solve(matrix[0], right)

    @staticmethod
    def solve_transposed(matrix: Matrix, right: Tensor) -> Tensor:
        """x from matrix^T x = right."""
        return Dense._solve(matrix[0].mT, right)

    @staticmethod
    def _solve(matrix: Tensor, right: Tensor) -> Tensor:
        x, info = torch.linalg.solve_ex(matrix, right)
        return (
            torch.where(info[:, None] == 0, x, torch.full_like(x, float("nan")))
            if bool(info.any())
            else x
        )

    @staticmethod
    def transpose_apply(jacobian: Matrix, vector: Tensor) -> Tensor:
        """J^T vector."""
        return (jacobian[0].mT @ vector[..., None])[..., 0]


class Tridiagonal:
    """Three diagonals (lower, main, upper), aligned by row.

    The first lower and the last upper entry are zero.

    On the CPU all columns are chained to one system with zero coupling and solved by one LAPACK
    `gtsv`; on a GPU parallel cyclic reduction solves them side by side.
    """

    @staticmethod
    def assemble(capacity: Tensor, jacobian: Matrix, step: Tensor) -> Matrix:
        """C - step J."""
        lower, main, upper = jacobian
        minus = -step
        return minus * lower, torch.addcmul(capacity, minus, main), minus * upper

    @staticmethod
    def solve(matrix: Matrix, right: Tensor) -> Tensor:
        """x from matrix x = right `[row, size]`."""
        lower, main, upper = matrix
        if right.is_cuda:
            return cyclic_reduction(lower, main, upper, right)
        x = _gtsv(_flat(lower)[1:], main, _flat(upper)[:-1], right)
        return _row_by_row(Tridiagonal.solve, matrix, right) if x is None else x

    @staticmethod
    def solve_transposed(matrix: Matrix, right: Tensor) -> Tensor:
        """x from matrix^T x = right."""
        lower, main, upper = matrix
        if right.is_cuda:
            return cyclic_reduction(_shift(upper, 1), main, _shift(lower, -1), right)
        x = _gtsv(_flat(upper)[:-1], main, _flat(lower)[1:], right)
        return _row_by_row(Tridiagonal.solve_transposed, matrix, right) if x is None else x

    @staticmethod
    def transpose_apply(jacobian: Matrix, vector: Tensor) -> Tensor:
        """J^T vector."""
        lower, main, upper = jacobian
        out = main * vector
        out[..., 1:] += upper[..., :-1] * vector[..., :-1]
        out[..., :-1] += lower[..., 1:] * vector[..., 1:]
        return out


class TridiagonalRankOne:
    """Three diagonals as in `Tridiagonal`, and a column times a row.

    Solved by the formula of Sherman and Morrison.
    """

    @staticmethod
    def assemble(capacity: Tensor, jacobian: Matrix, step: Tensor) -> Matrix:
        """C - step J."""
        *diagonals, column, row = jacobian
        return (*Tridiagonal.assemble(capacity, tuple(diagonals), step), -step * column, row)

    @staticmethod
    def solve(matrix: Matrix, right: Tensor) -> Tensor:
        """x from matrix x = right `[row, size]`."""
        *diagonals, column, row = matrix
        return TridiagonalRankOne._corrected(
            Tridiagonal.solve, tuple(diagonals), right, column, row
        )

    @staticmethod
    def solve_transposed(matrix: Matrix, right: Tensor) -> Tensor:
        """x from matrix^T x = right."""
        *diagonals, column, row = matrix
        return TridiagonalRankOne._corrected(
            Tridiagonal.solve_transposed, tuple(diagonals), right, row, column
        )

    @staticmethod
    def transpose_apply(jacobian: Matrix, vector: Tensor) -> Tensor:
        """J^T vector."""
        *diagonals, column, row = jacobian
        return Tridiagonal.transpose_apply(tuple(diagonals), vector) + row * (column * vector).sum(
            -1, keepdim=True
        )

    @staticmethod
    def _corrected(
        solve: Callable[[Matrix, Tensor], Tensor],
        diagonals: Matrix,
        right: Tensor,
        column: Tensor,
        row: Tensor,
    ) -> Tensor:
        """x from (T + column row^T) x = right."""
        x, z = solve(diagonals, right), solve(diagonals, column)
        return x - z * ((row * x).sum(-1, keepdim=True) / (1 + (row * z).sum(-1, keepdim=True)))


class Banded:
    """Diagonals from the lowest to the uppermost, aligned by row.

    `jacobian[k][i]` multiplies x[i + k - lower].
    """

    def __init__(self, lower: int, upper: int):
        self.lower, self.upper = lower, upper

    def assemble(self, capacity: Tensor, jacobian: Matrix, step: Tensor) -> Matrix:
        """C - step J."""
        minus = -step
        out = [minus * diagonal for diagonal in jacobian]
        out[self.lower] = capacity + out[self.lower]
        return tuple(out)

    def solve(self, matrix: Matrix, right: Tensor) -> Tensor:
        """x from matrix x = right `[row, size]`."""
        x = self._solve(matrix, right, self.lower, self.upper)
        return _row_by_row(self.solve, matrix, right) if x is None else x

    def solve_transposed(self, matrix: Matrix, right: Tensor) -> Tensor:
        """x from matrix^T x = right."""
        x = self._solve(self._transpose(matrix), right, self.upper, self.lower)
        return _row_by_row(self.solve_transposed, matrix, right) if x is None else x

    def transpose_apply(self, jacobian: Matrix, vector: Tensor) -> Tensor:
        """J^T vector."""
        out = torch.zeros_like(vector)
        for offset, diagonal in zip(
            range(-self.upper, self.lower + 1), self._transpose(jacobian), strict=True
        ):
            out += diagonal * _shift(vector, -offset)
        return out

    def _transpose(self, diagonals: Matrix) -> Matrix:
        offsets = range(-self.lower, self.upper + 1)
        return tuple(_shift(d, k) for k, d in reversed(list(zip(offsets, diagonals, strict=True))))

    @staticmethod
    def _solve(matrix: Matrix, right: Tensor, lower: int, upper: int) -> Tensor | None:
        if (
            right.is_cuda
        ):  # no banded LAPACK there: blocks are small, a batched dense solve uses the device well
            return torch.linalg.solve(dense_from_bands(matrix, lower), right)
        n = right.numel()
        bands = np.zeros((2 * lower + upper + 1, n), dtype=right.numpy().dtype, order="F")
        for offset, diagonal in zip(range(-lower, upper + 1), matrix, strict=True):
            # LAPACK aligns bands by column: entry (i, i + offset) stands in column i + offset
            flat = _flat(diagonal)
            row = lower + upper - offset
            if offset >= 0:
                bands[row, offset:] = flat[: n - offset]
            else:
                bands[row, :offset] = flat[-offset:]
        gbsv = _lapack("gbsv", right.dtype)
        _, _, x, info = gbsv(lower, upper, bands, _flat(right), overwrite_ab=1)
        return None if info else torch.from_numpy(x).view(right.shape)


def dense_from_bands(diagonals: Matrix, lower: int) -> Tensor:
    """Full matrices `[row, size, size]` from diagonals aligned by row."""
    size = diagonals[0].shape[-1]
    out = diagonals[0].new_zeros(*diagonals[0].shape, size)
    for offset, diagonal in zip(range(-lower, len(diagonals) - lower), diagonals, strict=True):
        band = diagonal[..., : size - offset] if offset >= 0 else diagonal[..., -offset:]
        out += torch.diag_embed(band, offset)
    return out


def cyclic_reduction(lower: Tensor, main: Tensor, upper: Tensor, right: Tensor) -> Tensor:
    """Parallel cyclic reduction: log2(size) sweeps, all columns and cells at once."""
    a, c, d = lower / main, upper / main, right / main
    stride = 1
    while stride < main.shape[-1]:
        am, cm, dm = (_shift(x, stride) for x in (a, c, d))
        ap, cp, dp = (_shift(x, -stride) for x in (a, c, d))
        r = 1 / (1 - a * cm - c * ap)
        a, c, d = -a * am * r, -c * cp * r, (d - a * dm - c * dp) * r
        stride *= 2
    return d


def _shift(x: Tensor, by: int) -> Tensor:
    """x[i - by], zero beyond the ends."""
    if by == 0:
        return x
    if abs(by) >= x.shape[-1]:
        return torch.zeros_like(x)
    pad = (by, 0) if by > 0 else (0, -by)
    return torch.nn.functional.pad(x[..., :-by] if by > 0 else x[..., -by:], pad)


def _flat(x: Tensor) -> np.ndarray:
    return x.numpy().reshape(-1)


@cache
def _lapack(name: str, dtype: torch.dtype) -> Callable[..., Any]:
    from scipy.linalg import lapack  # a quarter of a second, which only the torch engine needs

    function: Callable[..., Any] = getattr(lapack, ("d" if dtype == torch.float64 else "s") + name)
    return function


def _gtsv(lower: np.ndarray, main: Tensor, upper: np.ndarray, right: Tensor) -> Tensor | None:
    gtsv = _lapack("gtsv", right.dtype)
    _, _, _, x, info = gtsv(lower, _flat(main), upper, _flat(right))
    return None if info else torch.from_numpy(x).view(right.shape)


def _row_by_row(solve: Callable[[Matrix, Tensor], Tensor], matrix: Matrix, right: Tensor) -> Tensor:
    """Solve the columns one by one, so that only the singular ones are lost (as NaN)."""
    if right.shape[0] == 1:
        return torch.full_like(right, float("nan"))
    return torch.cat(
        [
            solve(tuple(m[i : i + 1] for m in matrix), right[i : i + 1])
            for i in range(right.shape[0])
        ]
    )


Structure = Dense | Tridiagonal | TridiagonalRankOne | Banded


def structure(model_structure: str, bandwidth: tuple[int, int]) -> Structure:
    """The linear algebra of a model's declared structure."""
    if model_structure == "banded":
        return Banded(*bandwidth)
    plain: dict[str, type[Dense] | type[Tridiagonal] | type[TridiagonalRankOne]] = {
        "dense": Dense,
        "tridiagonal": Tridiagonal,
        "tridiagonal_rank_one": TridiagonalRankOne,
    }
    return lookup(plain, model_structure, "structure of a Jacobian")()
