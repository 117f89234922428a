"""The structured linear systems against dense algebra."""

import pytest
import torch

from pydiffgeo.solvers.linear import Banded, Dense, Tridiagonal, cyclic_reduction, dense_from_bands

ROWS, SIZE = 5, 9


def random_bands(
    lower: int, upper: int, generator: torch.Generator, dtype: torch.dtype
) -> tuple[torch.Tensor, ...]:
    """Diagonals aligned by row, zero outside the matrix, the main one dominant."""
    out = []
    for offset in range(-lower, upper + 1):
        d = torch.rand(ROWS, SIZE, generator=generator, dtype=dtype) - 0.5
        if offset < 0:
            d[:, :-offset] = 0
        if offset > 0:
            d[:, SIZE - offset :] = 0
        out.append(d + (4 if offset == 0 else 0))
    return tuple(out)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("lower,upper", [(1, 1), (2, 1), (1, 3), (0, 2)])
def test_structured_solves_agree_with_dense(lower: int, upper: int, dtype: torch.dtype) -> None:
    g = torch.Generator().manual_seed(3)
    tolerance = (
        {"rtol": 1e-11, "atol": 1e-12} if dtype == torch.float64 else {"rtol": 1e-4, "atol": 1e-5}
    )
    J = random_bands(lower, upper, g, dtype)
    capacity, step = (
        torch.rand(ROWS, SIZE, generator=g, dtype=dtype),
        -torch.rand(ROWS, 1, generator=g, dtype=dtype) - 0.5,
    )
    r = torch.rand(ROWS, SIZE, generator=g, dtype=dtype)
    full = (dense_from_bands(J, lower),)
    dense = Dense.assemble(capacity, full, step)
    structures = [Banded(lower, upper), *([Tridiagonal()] if (lower, upper) == (1, 1) else [])]
    for s in structures:
        matrix = s.assemble(capacity, J, step)
        torch.testing.assert_close(s.solve(matrix, r), Dense.solve(dense, r), **tolerance)
        torch.testing.assert_close(
            s.solve_transposed(matrix, r), Dense.solve_transposed(dense, r), **tolerance
        )
        torch.testing.assert_close(
            s.transpose_apply(J, r), Dense.transpose_apply(full, r), **tolerance
        )


@pytest.mark.parametrize("size", [2, 7, 64, 101])
def test_cyclic_reduction_agrees_with_lapack(size: int) -> None:
    g = torch.Generator().manual_seed(size)
    lower, upper, r = (
        torch.rand(4, size, generator=g, dtype=torch.float64) - 0.5 for _ in range(3)
    )
    lower[:, 0] = upper[:, -1] = 0
    main = 1.5 + torch.rand(4, size, generator=g, dtype=torch.float64)
    expected = Tridiagonal.solve((lower, main, upper), r)
    torch.testing.assert_close(
        cyclic_reduction(lower, main, upper, r), expected, rtol=1e-11, atol=1e-12
    )


@pytest.mark.parametrize("structure", ["dense", "tridiagonal", "banded"])
def test_a_singular_column_is_nan_and_alone(structure: str) -> None:
    g = torch.Generator().manual_seed(0)
    J = random_bands(1, 1, g, torch.float64)
    for d in J:
        d[2] = 0.0
    r = torch.rand(ROWS, SIZE, generator=g, dtype=torch.float64)
    if structure == "dense":
        x = Dense.solve((dense_from_bands(J, 1),), r)
    else:
        x = (Tridiagonal() if structure == "tridiagonal" else Banded(1, 1)).solve(J, r)
    assert not torch.isfinite(x[2]).any()
    others = torch.tensor([0, 1, 3, 4])
    expected = torch.linalg.solve(dense_from_bands(J, 1)[others], r[others])
    torch.testing.assert_close(x[others], expected, rtol=1e-11, atol=1e-12)
