"""Soil hydraulic curves: derivatives, inverses, limits."""

from __future__ import annotations

import mpmath
import pytest
import torch
from hydraulics_cases import MODELS, PARAMETERS, autograd_slopes, heads, parameters
from torch import Tensor

from pydiffgeo.models.richards.hydraulics import (
    HYDRAULICS,
    VanGenuchten,
)

F64 = torch.float64


@pytest.mark.parametrize("name", MODELS)
def test_slopes_are_the_derivatives_of_the_curves(name: str) -> None:
    model, psi = MODELS[name], heads()
    p = model.derive(parameters(name))
    slopes = model.slopes(psi, p)
    theta, K = model.curves(psi, p)
    torch.testing.assert_close(slopes.theta, theta, rtol=1e-13, atol=0)
    torch.testing.assert_close(slopes.K, K, rtol=1e-12, atol=1e-300)
    capacity, dK = autograd_slopes(model, psi, p)
    torch.testing.assert_close(slopes.capacity, capacity, rtol=1e-10, atol=1e-300)
    torch.testing.assert_close(slopes.dK, dK, rtol=1e-10, atol=1e-300)


@pytest.mark.parametrize(
    ("dtype", "bound"), [(F64, 1e-12), (torch.float32, 2e-4)], ids=["double", "single"]
)
@pytest.mark.parametrize("n", [1.1, 1.56, 2.68, 5.0])
def test_conductivity_keeps_its_digits_in_dry_soil(
    n: float, dtype: torch.dtype, bound: float
) -> None:
    # 1 - (1 - S^(1/m))^m as a difference of doubles is noise, or zero, where (alpha psi)^n is 1e16
    psi = -torch.logspace(-1, 6, 60, dtype=dtype)
    soil = {"theta_r": 0.0, "theta_s": 0.4, "alpha": 0.1, "n": n, "K_s": 1.0}
    p = {k: torch.tensor([v], dtype=dtype) for k, v in soil.items()}
    p["pore_connectivity"] = torch.tensor([0.5], dtype=dtype)
    model = VanGenuchten(entry_width=1e-3)
    derived = model.derive(p)
    with mpmath.workdps(60):
        alpha, n_ = mpmath.mpf(float(p["alpha"])), mpmath.mpf(float(p["n"]))
        m = 1 - 1 / n_
        r = [1 / (1 + (-alpha * mpmath.mpf(float(x))) ** n_) for x in psi]
        exact = [float(x ** (m / 2) * (1 - (1 - x) ** m) ** 2) for x in r]
    reference = torch.tensor(exact, dtype=F64)
    for K in (model.curves(psi, derived)[1], model.slopes(psi, derived).K):
        seen = reference > torch.finfo(dtype).tiny
        assert float((K.double() / reference - 1)[seen].abs().max()) < bound


@pytest.mark.parametrize("name", MODELS)
def test_gradcheck_in_head_and_every_parameter(name: str) -> None:
    model = MODELS[name]
    raw = parameters(name)
    psi = torch.tensor(
        [-2e4, -300.0, -45.0, -3.0, -0.04, 4.0], dtype=F64
    )  # no kink within a difference step
    # logarithms: one difference step then suits A_theta = 1e6 as well as theta_r = 0.05
    names = [k for k in raw if bool((raw[k] > 0).all())]
    logs = [raw[k].log().requires_grad_() for k in names]

    def curves(x: Tensor, *values: Tensor) -> tuple[Tensor, Tensor]:
        given = {k: v.exp() for k, v in zip(names, values, strict=True)}
        return model.curves(x, model.derive({**raw, **given}))

    assert torch.autograd.gradcheck(
        curves, (psi.requires_grad_(), *logs), eps=1e-6, atol=1e-7, rtol=1e-5
    )


@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize("name", MODELS)
def test_gradients_and_slopes_are_finite_everywhere(name: str, dtype: torch.dtype) -> None:
    model = MODELS[name]
    raw = {k: v.requires_grad_() for k, v in parameters(name, dtype).items()}
    edges = [-1e6, -15000.0, -37.3, -20.0, -7.26, -0.5, -0.1, -1e-13, -0.0, 0.0, 1e-13, 10.0]
    psi = torch.tensor(edges, dtype=dtype).expand(4, -1).clone().requires_grad_()
    theta, K = model.curves(psi, model.derive(raw))
    assert theta.dtype == K.dtype == dtype
    grads = torch.autograd.grad(theta.sum() + K.sum(), [psi, *raw.values()])
    assert all(torch.isfinite(g).all() for g in (theta, K, *grads))
    slopes = model.slopes(psi.detach(), model.derive({k: v.detach() for k, v in raw.items()}))
    assert all(torch.isfinite(v).all() and v.dtype == dtype for v in slopes[:4])
    saturated = psi.detach()[0] >= 0
    assert (slopes.capacity[:, saturated] == 0).all() and (slopes.dK[:, saturated] == 0).all()


@pytest.mark.parametrize("name", MODELS)
def test_head_inverts_the_retention_curve(name: str) -> None:
    model, raw = MODELS[name], parameters(name)
    psi = -torch.logspace(-1, 5, 200, dtype=F64).expand(4, -1)
    p = model.derive(raw)
    slopes = model.slopes(psi, p)
    # where the soil holds water that its water content can show: not above air entry, not at
    # theta_r
    S = (slopes.theta - raw["theta_r"]) / (raw["theta_s"] - raw["theta_r"])
    inside = (slopes.capacity > 0) & (S > 1e-9) & (S < 1 - 1e-9)
    assert inside.sum() > 150
    back = model.head(slopes.theta, raw)
    # rounding theta by one unit in the last place moves psi by eps theta / capacity
    allowed = 1e-12 * psi.abs() + 8 * torch.finfo(F64).eps * slopes.theta / slopes.capacity
    assert ((back - psi).abs() <= allowed)[inside].all()


@pytest.mark.parametrize("name", MODELS)
def test_limits_monotony_and_positivity(name: str) -> None:
    model, raw = MODELS[name], parameters(name)
    p = model.derive(raw)
    theta, K = model.curves(heads(), p)
    wet = heads() >= 0
    torch.testing.assert_close(
        theta[:, wet], raw["theta_s"].expand_as(theta[:, wet]), rtol=1e-12, atol=0
    )
    torch.testing.assert_close(K[:, wet], raw["K_s"].expand_as(K[:, wet]), rtol=1e-12, atol=0)
    assert (theta.diff(dim=-1) >= -1e-15).all()
    assert (K.diff(dim=-1) >= -1e-13 * K[:, 1:] - 1e-24).all()
    assert (theta >= raw["theta_r"]).all() and (K >= 0).all()
    slopes = model.slopes(heads(), p)
    assert (slopes.capacity >= 0).all() and (slopes.dK >= 0).all()
    # a soil at -1e12 cm holds theta_r only; n = 1.09 gets there slowly: S = (alpha psi)^-0.09
    theta_dry, K_dry = model.curves(torch.tensor([-1e12], dtype=F64), p)
    span = raw["theta_s"] - raw["theta_r"]
    slow = {"van_genuchten": 0.2, "van_genuchten_vogel": 0.2, "brooks_corey": 0.05}.get(
        model.name, 1e-5
    )
    assert ((theta_dry - raw["theta_r"]) / span < slow).all()
    assert (K_dry / raw["K_s"] < 1e-7).all()


@pytest.mark.parametrize("name", [n for n in MODELS if n != "gardner"])
def test_conductivity_stays_positive_down_to_air_dry(name: str) -> None:
    # Gardner's exponential underflows beyond 745 / alpha cm, all others are powers of psi
    model = MODELS[name]
    _, K = model.curves(heads(), model.derive(parameters(name)))
    assert (K > 0).all()


@pytest.mark.parametrize("name", MODELS)
def test_float32_follows_float64(name: str) -> None:
    model = MODELS[name]
    psi = heads()[heads() > -1e4]
    theta, K = model.curves(psi, model.derive(parameters(name)))
    theta32, K32 = model.curves(psi.float(), model.derive(parameters(name, torch.float32)))
    torch.testing.assert_close(theta32.double(), theta, rtol=1e-5, atol=0)
    assert ((K32 - K).abs() <= 1e-3 * K + 1e-6 * parameters(name)["K_s"]).all()


def test_family_names() -> None:
    assert set(HYDRAULICS) == {
        "van_genuchten",
        "van_genuchten_vogel",
        "brooks_corey",
        "gardner",
        "haverkamp",
    }
    for name, kind in HYDRAULICS.items():
        table = PARAMETERS["van_genuchten_l" if name == "van_genuchten" else name]
        assert kind.name == name and set(table) == set(kind().parameters)
