"""Unit hydrographs: mass, causality, known moments, gradients."""

from __future__ import annotations

import pytest
import torch
from hbv_cases import F64
from scipy.special import gammainc
from scipy.stats import triang

from pydiffgeo.errors import DataError, ParameterError
from pydiffgeo.routing import (
    LEAST_SCALE,
    LEAST_SHAPE,
    SCALE_BOUNDS,
    SHAPE_BOUNDS,
    gamma_unit_hydrograph,
    route,
    route_through,
    triangular_unit_hydrograph,
)


def grid(n: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    a, b = (torch.linspace(*bounds, n, dtype=F64) for bounds in (SHAPE_BOUNDS, SCALE_BOUNDS))
    return tuple(x.flatten() for x in torch.meshgrid(a, b, indexing="ij"))  # type: ignore[return-value]


def test_parts_are_those_of_the_gamma_distribution() -> None:
    a, b = grid()
    parts = gamma_unit_hydrograph(a, b, 15)
    assert float((parts.sum(-1) - 1).abs().max()) < 1e-14 and bool((parts >= 0).all())
    days = torch.arange(16, dtype=F64)
    cumulative = torch.from_numpy(
        gammainc((a + LEAST_SHAPE)[:, None].numpy(), (days / (b + LEAST_SCALE)[:, None]).numpy())
    )
    exact = cumulative.diff() / cumulative[:, -1:]
    assert float((parts - exact).abs().max()) < 1e-12


@pytest.mark.parametrize(
    ("dtype", "length", "tolerance"),
    [(torch.float32, 60, 5e-5), (F64, 60, 1e-13), (F64, 400, 1e-11)],
)
def test_long_hydrographs_do_not_overflow(
    dtype: torch.dtype, length: int, tolerance: float
) -> None:
    a, b = (x.to(dtype).requires_grad_() for x in grid(4))
    parts = gamma_unit_hydrograph(a, b, length)
    shape, scale = (x.detach().to(F64)[:, None].numpy() for x in (a + LEAST_SHAPE, b + LEAST_SCALE))
    cumulative = torch.from_numpy(
        gammainc(shape, torch.arange(length + 1, dtype=F64).numpy() / scale)
    )
    assert bool(((parts - cumulative.diff() / cumulative[:, -1:]).abs() < tolerance).all())
    (parts * torch.arange(length)).sum().backward()  # the mean delay grows with both
    for x in (a.grad, b.grad):
        assert x is not None and bool((x.isfinite() & (x > 0)).all())
    assert route(torch.ones(1, 3), torch.tensor(0.0), torch.tensor(0.0), length).isfinite().all()


def test_a_shape_beyond_the_numbers_is_refused() -> None:
    b = torch.tensor([6.5, 0.0])
    for shape in (45.0, 100.0, 1e4, 3e38):
        with pytest.raises(
            ParameterError, match="'a' of the unit hydrograph is up to .* in torch.float32"
        ):
            gamma_unit_hydrograph(torch.full((2,), shape), b, 60)
    exact = gammainc(45.1, 2.0 * torch.arange(61, dtype=F64).numpy())
    parts = gamma_unit_hydrograph(torch.tensor([45.0], dtype=F64), torch.zeros(1, dtype=F64), 60)[0]
    assert float((parts - torch.from_numpy(exact).diff() / exact[-1]).abs().max()) < 1e-12


def test_a_hydrograph_that_makes_or_loses_water_is_refused() -> None:
    inflow, whole = torch.ones(2, 5), triangular_unit_hydrograph(torch.tensor([2.0, 3.0]))
    for factor, total in ((1.091, "1.091"), (0.9, "0.9"), (float("nan"), "nan")):
        with pytest.raises(
            DataError,
            match=f"hydrograph of basin number 1 sums to {total} and its least part is .* sum to 1",
        ):
            route_through(inflow, whole * torch.tensor([[1.0], [factor]]))
    with pytest.raises(DataError, match=r"basin number 0 sums to 1 and its least part is -0.5"):
        route_through(inflow, torch.tensor([[1.5, -0.5]]))
    with pytest.raises(DataError, match="sums to 1"):
        route_through(inflow.double(), torch.tensor([[0.5, 0.5 + 1e-7]], dtype=F64))
    route_through(inflow.double(), torch.tensor([[0.5, 0.5 + 1e-7]]))
    with pytest.raises(
        DataError, match=r"inflow has shape \[2, 0\]; give \[batch, day\], with at least one day"
    ):
        route_through(inflow[:, :0], whole)


def test_water_is_conserved_and_never_early() -> None:
    a, b = grid(5)
    inflow = torch.zeros(25, 60, dtype=F64)
    inflow[:, 10] = 8.0
    out = route(inflow, a, b)
    assert bool((out[:, :10] == 0).all()) and bool((out >= 0).all())
    torch.testing.assert_close(out.sum(-1), inflow.sum(-1))
    torch.testing.assert_close(out[:, 10:25], 8 * gamma_unit_hydrograph(a, b))
    # a basin does not see its neighbours
    torch.testing.assert_close(route(inflow[3:4], a[3:4], b[3:4])[0], out[3])


def test_larger_scale_arrives_later() -> None:
    b = torch.linspace(0, 6.5, 20, dtype=F64)
    lag = (gamma_unit_hydrograph(torch.full_like(b, 1.5), b) * torch.arange(15)).sum(-1)
    assert bool((lag.diff() > 0).all())


def test_gradients() -> None:
    inflow = torch.rand(3, 20, dtype=F64, requires_grad=True)
    a = torch.tensor([0.0, 1.2, 2.9], dtype=F64, requires_grad=True)
    b = torch.tensor([0.3, 2.0, 6.5], dtype=F64, requires_grad=True)
    inside = (a + 1e-3).detach().requires_grad_()  # differences reach below
    assert torch.autograd.gradcheck(lambda *x: route(*x), (inflow, inside, b))
    route(inflow, a, b).square().sum().backward()
    assert a.grad is not None and bool(a.grad.isfinite().all())


def test_triangle_is_that_of_the_distribution() -> None:
    """Bases shorter than a day, whole and broken ones; the exact integral over each day."""
    maxbas = torch.tensor([0.4, 1.0, 2.0, 2.7, 5.0, 7.0, 10.0], dtype=F64)
    parts = triangular_unit_hydrograph(maxbas)
    exact = torch.from_numpy(
        triang(0.5, scale=maxbas[:, None].numpy()).cdf(torch.arange(11.0, dtype=F64).numpy())
    ).diff()
    assert (
        float((parts - exact).abs().max()) < 1e-14
        and float((parts.sum(-1) - 1).abs().max()) < 1e-14
    )
    inner = torch.tensor([0.7, 2.7, 5.3], dtype=F64, requires_grad=True)
    assert torch.autograd.gradcheck(triangular_unit_hydrograph, inner)


@pytest.mark.parametrize("cuts", [(7,), (30, 33), (3, 5, 9)], ids=str)
def test_a_record_cut_in_parts_gives_the_discharge_of_the_whole(cuts: tuple[int, ...]) -> None:
    """Also where a part is shorter than the hydrograph.

    And water is conserved with what is on its way.
    """
    torch.manual_seed(0)
    a, b = grid(4)
    hydrograph, inflow = gamma_unit_hydrograph(a, b), 12 * torch.rand(16, 40, dtype=F64)
    whole = route_through(inflow, hydrograph)
    torch.testing.assert_close(whole.discharge, route(inflow, a, b), rtol=0, atol=0)
    balance = inflow.sum(-1) - whole.discharge.sum(-1) - whole.in_transit.sum(-1)
    assert float(balance.abs().max()) < 1e-12
    in_transit, parts = None, []
    for part in inflow.tensor_split(cuts, dim=1):
        discharge, in_transit = route_through(part, hydrograph, in_transit)
        parts.append(discharge)
    torch.testing.assert_close(torch.cat(parts, 1), whole.discharge, rtol=1e-14, atol=1e-13)
    torch.testing.assert_close(in_transit, whole.in_transit, rtol=1e-14, atol=1e-13)


def test_nothing_is_on_its_way_after_one_day() -> None:
    routed = route_through(torch.ones(1, 3), torch.ones(1, 1))
    assert routed.discharge.tolist() == [[1, 1, 1]] and routed.in_transit.shape == (1, 0)


def test_gradient_goes_across_a_joint() -> None:
    torch.manual_seed(0)
    inflow, in_transit = (torch.rand(2, n, dtype=F64, requires_grad=True) for n in (4, 5))
    maxbas = torch.tensor([3.3, 5.2], dtype=F64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda q, m, w: tuple(route_through(q, triangular_unit_hydrograph(m, 6), w)),
        (inflow, maxbas, in_transit),
    )


def test_wrong_input_is_named() -> None:
    with pytest.raises(
        ParameterError, match="'maxbas' of the unit hydrograph lies between 2 and 12 days"
    ):
        triangular_unit_hydrograph(torch.tensor([2.0, 12.0]))
    with pytest.raises(DataError, match=r"in_transit has shape \[2, 3\]; give \[2, 9\]"):
        route_through(
            torch.zeros(2, 5), triangular_unit_hydrograph(torch.tensor([2.0])), torch.zeros(2, 3)
        )
    with pytest.raises(DataError, match=r"hydrograph has shape \[3, 10\]; give \[2, length\]"):
        route_through(torch.zeros(2, 5), triangular_unit_hydrograph(torch.ones(3)))
    with pytest.raises(DataError, match=r"inflow has shape \[5\]; give \[batch, day\]"):
        route(torch.zeros(5), torch.ones(1), torch.ones(1))
    with pytest.raises(
        ParameterError, match="'b' of the unit hydrograph must be finite and not negative"
    ):
        route(torch.zeros(1, 5), torch.ones(1), -torch.ones(1))
    with pytest.raises(
        ParameterError, match=r"'a' of the unit hydrograph has shape \[3\]; give \[2\]"
    ):
        route(torch.zeros(2, 5), torch.ones(3), torch.ones(2))
