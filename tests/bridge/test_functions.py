"""Julia functions as autograd functions: every backend, batches, dtypes, and errors."""

from __future__ import annotations

import traceback
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from richards_cases import F64

from pydiffgeo.errors import ParameterError, PyDiffGeoError, UnknownName
from pydiffgeo.julia import function

VECTOR = "x -> [sum(abs2, x), prod(x) + sin(x[1])]"


def in_torch(x: torch.Tensor) -> torch.Tensor:
    return torch.stack([x.square().sum(-1), x.prod(-1) + x[..., 0].sin()], -1)


@pytest.mark.parametrize("backend", ["ForwardDiff", "ReverseDiff", "Zygote"])
def test_values_and_gradients(julia: Any, backend: str) -> None:
    f = function(VECTOR, backend)
    x = torch.randn(4, 5, 3, dtype=F64, requires_grad=True)
    torch.testing.assert_close(f(x), in_torch(x), rtol=1e-14, atol=0)
    assert torch.autograd.gradcheck(f, x)


@pytest.mark.parametrize("backend", ["ForwardDiff", "ReverseDiff", "Zygote"])
def test_functions_are_first_called_from_several_threads(julia: Any, backend: str) -> None:
    """Packages of automatic differentiation are shared by functions that are compiled at once."""
    functions = [function(f"x -> [sum(abs2, x .+ {i}), prod(x)]", backend) for i in range(6)]
    x = torch.randn(20, 3, dtype=F64)

    def slopes(f: Any) -> torch.Tensor:
        row = x.clone().requires_grad_()
        return torch.autograd.grad(f(row)[:, 0].sum(), row)[0]

    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(slopes, functions))
    for i, slope in enumerate(found):
        torch.testing.assert_close(slope, 2 * (x + i), rtol=1e-13, atol=1e-13)


def test_a_number_as_result_and_single_precision(julia: Any) -> None:
    f = function("x -> sum(exp, x)")
    x = torch.randn(6, 3, dtype=torch.float32, requires_grad=True)
    y = f(x)
    assert y.shape == (6,) and y.dtype == torch.float32
    y.sum().backward()
    torch.testing.assert_close(x.grad, x.detach().exp())
    assert f(torch.empty(0, 3, dtype=F64)).shape == (0,)


def test_a_function_of_juliacall(julia: Any) -> None:
    f = function(julia.main.seval("x -> 2 .* x"))
    x = torch.arange(3, dtype=F64)
    torch.testing.assert_close(f(x), 2 * x)


def test_a_named_function_of_several_lines(julia: Any) -> None:
    f = function("""
        function g(x)
            y = similar(x)
            for i in eachindex(x)
                y[i] = i * x[i]^2
            end
            return y
        end
    """)
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=F64, requires_grad=True)
    (slope,) = torch.autograd.grad(f(x).sum(), x)
    torch.testing.assert_close(slope, 2 * x.detach() * torch.tensor([1.0, 2.0], dtype=F64))


def test_errors(julia: Any) -> None:
    with pytest.raises(UnknownName, match="ForwardDiff, ReverseDiff, Zygote"):
        function(VECTOR, "Enzyme")
    with pytest.raises(PyDiffGeoError, match="no_such_name"):
        function("x -> no_such_name(x)")(torch.ones(2, dtype=F64))
    with pytest.raises(ParameterError, match="int64"):
        function(VECTOR)(torch.ones(2, dtype=torch.long))


def test_errors_carry_the_backtrace_of_julia(julia: Any) -> None:
    f = function('well_named(x) = error("dry"); x -> x[1] < 0 ? well_named(x) : 2x')
    x = torch.ones(8, 2, dtype=F64)
    x[5] = -1.0  # not the first row, which is computed alone
    with pytest.raises(PyDiffGeoError, match="^Julia: dry") as raised:
        f(x)
    assert str(raised.value) == "Julia: dry" and "well_named" in raised.value.julia_backtrace
    # what Python prints of an error that nobody catches, as with --debug
    assert "well_named" in "".join(traceback.format_exception(raised.value))
    with pytest.raises(UnknownName) as foreseen:
        function(VECTOR, "Enzyme")
    assert foreseen.value.julia_backtrace == ""
