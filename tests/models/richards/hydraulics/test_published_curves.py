"""Soil hydraulic curves: values published with them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hydraulics_cases import PARAMETERS, heads, parameters

from pydiffgeo.errors import ParameterError, UnknownName
from pydiffgeo.models.richards.hydraulics import (
    USDA_SOILS,
    BrooksCorey,
    Gardner,
    Haverkamp,
    VanGenuchten,
    VanGenuchtenVogel,
    usda_soil,
)

F64 = torch.float64


def test_haverkamp_sand_of_celia_et_al() -> None:
    # Celia et al. (1990), section 4: heads of -61.5 and -20.7 cm are water contents of 0.10 and
    # 0.267
    raw = {k: torch.tensor(v[0], dtype=F64) for k, v in PARAMETERS["haverkamp"].items()}
    theta, K = Haverkamp().curves(torch.tensor([-61.5, -20.7], dtype=F64), Haverkamp().derive(raw))
    torch.testing.assert_close(theta, torch.tensor([0.0999, 0.2675], dtype=F64), rtol=0, atol=1e-4)
    expected = [33.984 * 1.175e6 / (1.175e6 + s**4.74) for s in (61.5, 20.7)]
    torch.testing.assert_close(K, torch.tensor(expected, dtype=F64), rtol=1e-12, atol=0)


def test_haverkamp_bends_within_its_entry_width_alone() -> None:
    """From three widths on water contents are those published; nearer to saturation they fall in a
    line, so that a soil that is hardly less than full stores something at every head."""
    raw = {k: torch.tensor(v[0], dtype=F64) for k, v in PARAMETERS["haverkamp"].items()}
    span, beta = raw["theta_s"] - raw["theta_r"], float(raw["beta"])
    for width in (0.1, 0.5, 2.0):
        model = Haverkamp(width)
        p = model.derive(raw)
        suction = width * torch.logspace(0.5, 4, 30, dtype=F64)
        drained = (raw["theta_s"] - model.curves(-suction, p)[0]) / span
        published = 1 - raw["A_theta"] / (raw["A_theta"] + suction**beta)
        assert float((drained / published - 1).abs().max()) < (beta - 1) / 324
        near = width * torch.logspace(-6, -1.5, 10, dtype=F64)
        line = span * width ** (beta - 1) / raw["A_theta"]
        torch.testing.assert_close(
            model.slopes(-near, p).capacity, line.expand(10), rtol=1e-4, atol=0
        )
        for theta in (raw["theta_s"], raw["theta_r"] + 0.3 * span, raw["theta_s"] - 1e-7):
            head = model.head(theta, raw)
            torch.testing.assert_close(model.curves(head, p)[0], theta, rtol=1e-13, atol=0)
    assert float(Haverkamp().head(raw["theta_s"], raw)) == 0.0
    with pytest.raises(ParameterError, match="entry_width must be above 0"):
        Haverkamp(0.0)


def test_van_genuchten_of_new_mexico() -> None:
    # Celia et al. (1990), section 5: -1000 cm is a water content of 0.110, -75 cm one of 0.200
    raw = {k: torch.tensor(v[3], dtype=F64) for k, v in PARAMETERS["van_genuchten"].items()}
    theta, K = VanGenuchten().curves(
        torch.tensor([-1000.0, -75.0], dtype=F64), VanGenuchten().derive(raw)
    )
    torch.testing.assert_close(theta, torch.tensor([0.110, 0.200], dtype=F64), rtol=0, atol=5e-4)
    for head, value in zip((1000.0, 75.0), K.tolist(), strict=True):
        x = 0.0335 * head  # n = 2, m = 1/2: eq. 8 of van Genuchten (1980) in its published form
        bracket = 1 - x * (1 + x**2) ** -0.5
        assert value == pytest.approx(33.192 * bracket**2 * (1 + x**2) ** -0.25, rel=1e-9)


def test_brooks_corey_exponents() -> None:
    # K / K_s at twice the air-entry suction: 2^-(2 + 3 lambda) of Burdine, 2^-(2 + 2.5 lambda) of
    # Mualem
    raw = {"theta_r": 0.1, "theta_s": 0.5, "psi_b": 25.0, "pore_index": 1.2, "K_s": 1.0}
    p = {k: torch.tensor(v, dtype=F64) for k, v in raw.items()}
    psi = torch.tensor([-50.0, -20.0, 0.0], dtype=F64)
    for kind, b in (("burdine", 3.0), ("mualem", 2.5)):
        for width in (1e-3, 0.03):
            model = BrooksCorey(kind, entry_width=width)
            theta, K = model.curves(psi, model.derive(p))
            expected = torch.tensor([2 ** -(2 + b * 1.2), 1, 1], dtype=F64)
            torch.testing.assert_close(K, expected, rtol=width**2 * (2 + b * 1.2), atol=0)
            expected = torch.tensor([0.4 * 2**-1.2, 0.4, 0.4], dtype=F64)
            torch.testing.assert_close(theta - 0.1, expected, rtol=width**2 * 1.2, atol=0)
    with pytest.raises(UnknownName, match="did you mean 'mualem'"):
        BrooksCorey("mualim")
    with pytest.raises(ParameterError, match="entry_width must be above 0"):
        BrooksCorey(entry_width=0.0)


def test_brooks_corey_stores_water_up_to_saturation() -> None:
    # as much below zero head as the specific storage takes over above it, so that no head jumps
    raw = {k: v[:3] for k, v in parameters("brooks_corey").items()}
    psi = torch.linspace(-100, -0.01, 5000, dtype=F64)
    slopes = BrooksCorey().slopes(psi, BrooksCorey().derive(raw))
    assert (slopes.capacity > 1e-7).all() and (slopes.dK > 0).all()


def test_pore_connectivity_of_mualem() -> None:
    # K is proportional to S^l: curves of l and of 1/2 differ by S^(l - 1/2), whatever the head
    raw, psi = parameters("van_genuchten"), heads()
    theta, K = VanGenuchten().curves(psi, VanGenuchten().derive(raw))
    S = (1 + (raw["alpha"] * (-psi).clamp_min(0)) ** raw["n"]) ** (1 / raw["n"] - 1)
    for power in (-1.0, 0.0, 0.5, 2.0):
        given = raw | {"pore_connectivity": torch.full_like(raw["n"], power)}
        other = VanGenuchten().curves(psi, VanGenuchten().derive(given))[1]
        torch.testing.assert_close(other, K * S ** (power - 0.5), rtol=1e-12, atol=0)
    half = raw | {"pore_connectivity": torch.full_like(raw["n"], 0.5)}
    general = VanGenuchten().derive(
        {k: v.clone().requires_grad_() for k, v in half.items()}
    )  # whose gradient is wanted
    for a, b in zip(
        (theta, K), VanGenuchten().curves(psi, VanGenuchten().derive(half)), strict=True
    ):
        assert torch.equal(a, b)
    for a, b in zip((theta, K), VanGenuchten().curves(psi, general), strict=True):
        assert torch.equal(a, b)


def test_air_entry_at_two_centimetres() -> None:
    # Vogel et al. (2001), eqs. 5 to 8, with theta_m from the air-entry head as model 3 of HYDRUS
    # has it
    raw = {k: v[:, 0].tolist() for k, v in parameters("van_genuchten_vogel").items()}
    model, p = VanGenuchtenVogel(entry_width=1e-4), parameters("van_genuchten_vogel")
    for i, h in enumerate(raw["air_entry"]):
        names = ("theta_r", "theta_s", "alpha", "n", "K_s", "pore_connectivity")
        theta_r, theta_s, alpha, n, K_s, power = (raw[k][i] for k in names)
        m = 1 - 1 / n
        theta_m = theta_r + (theta_s - theta_r) * (1 + (alpha * h) ** n) ** m
        psi = np.array([-0.5 * h, -1.5 * h, -30.0, -400.0])
        theta = np.where(
            psi < -h, theta_r + (theta_m - theta_r) * (1 + (alpha * -psi) ** n) ** -m, theta_s
        )
        S = (theta - theta_r) / (theta_s - theta_r)

        def F(
            S: np.ndarray, share: float = (theta_s - theta_r) / (theta_m - theta_r), m: float = m
        ) -> np.ndarray:
            return (1 - (share * S) ** (1 / m)) ** m

        K = K_s * S**power * ((1 - F(S)) / (1 - F(np.ones(1)))) ** 2
        ours = model.curves(
            torch.tensor(psi)[None], model.derive({k: v[i : i + 1] for k, v in p.items()})
        )
        np.testing.assert_allclose(ours[0][0], theta, rtol=1e-7)
        np.testing.assert_allclose(ours[1][0], K, rtol=1e-6)


def test_gardner_is_exponential() -> None:
    raw = {"theta_r": 0.06, "theta_s": 0.4, "alpha": 0.1, "K_s": 2.0}
    p = {k: torch.tensor(v, dtype=F64) for k, v in raw.items()}
    theta, K = Gardner().curves(torch.tensor([-10.0], dtype=F64), Gardner().derive(p))
    assert float(theta) == pytest.approx(0.06 + 0.34 / math.e, rel=1e-14)
    assert float(K) == pytest.approx(2 / math.e, rel=1e-14)


@pytest.mark.parametrize("soil", USDA_SOILS)
def test_entry_band_of_van_genuchten(soil: str) -> None:
    width = 0.1
    model = VanGenuchten(entry_width=width)
    raw = {k: torch.tensor(v, dtype=F64) for k, v in usda_soil(soil).items()}
    p = model.derive(raw)
    # the published curve below the band
    psi = -torch.logspace(math.log10(width * 1.0001), 4, 300, dtype=F64)
    x = (raw["alpha"] * psi.abs()).numpy()
    n, m = float(raw["n"]), 1 - 1 / float(raw["n"])
    S = (1 + x**n) ** -m
    published = float(raw["K_s"]) * np.sqrt(S) * (1 - (1 - S ** (1 / m)) ** m) ** 2
    K = model.curves(psi, p)[1]
    assert np.allclose(K.numpy(), published, rtol=1e-6, atol=1e-12 * float(raw["K_s"]))
    # continuous at both ends, equal to K_s at zero, and no slope beyond what the width allows
    for edge in (-width, 0.0):
        left, right = model.curves(torch.tensor([edge - 1e-10, edge + 1e-10], dtype=F64), p)[1]
        assert abs(float(left - right)) < 1e-7 * usda_soil(soil)["K_s"]
    band = torch.linspace(-2 * width, 0.01, 2001, dtype=F64)
    assert (model.slopes(band, p).dK <= 2.5 * raw["n"] * raw["K_s"] / width).all()
    assert (model.curves(band, p)[1].diff() >= -1e-15 * raw["K_s"]).all()
