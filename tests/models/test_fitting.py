"""Closures that begin as the formula whose place they take."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hbv_cases import F64, initial_state, weather
from slot_cases import SLOTS
from torch import nn

from pydiffgeo import HBV, MODELS, NeuralClosure, Solver, fit_closure, fit_slots, load_spec, solve
from pydiffgeo.errors import ParameterError, UnknownName


def pretrained(name: str, slot: str, **options: Any) -> tuple[NeuralClosure, float]:
    c = NeuralClosure(1, (16,), output_range=(0.0, 1.0), **options)
    return c, fit_slots(MODELS[name](closures={slot: c}))[slot].largest  # type: ignore[call-arg, arg-type]


@pytest.mark.parametrize(("name", "slot"), SLOTS)
def test_a_formula_is_learned(name: str, slot: str) -> None:
    c, largest = pretrained(name, slot)
    x = torch.linspace(*load_spec(name).slots[slot].domain, 77, dtype=F64)  # between the samples
    with torch.no_grad():
        away = float((c(x) - MODELS[name]().formula(slot)(x)).abs().max())  # type: ignore[attr-defined]
    assert largest < 0.03
    assert away < 1.5 * largest + 1e-3


def test_rising_networks_learn_rising_formulas() -> None:
    for name, slot in (
        ("hbv", "recharge"),
        ("hbv", "evapotranspiration"),
        ("exp_hydro", "base_flow"),
    ):
        assert pretrained(name, slot, monotone_in=(0,))[1] < 0.02


def test_the_same_start_gives_the_same_weights() -> None:
    (a, _), (b, _) = pretrained("hbv", "recharge"), pretrained("hbv", "recharge")
    assert torch.equal(a.weights, b.weights)


def test_small_shares_by_their_ratio() -> None:
    formula, x = (
        MODELS["exp_hydro"]().formula("base_flow"),
        torch.linspace(0.3, 1.1, 201, dtype=F64),
    )  # type: ignore[attr-defined]
    ratios = []
    for space in ("output", "logit"):
        torch.manual_seed(0)
        c = NeuralClosure(1, (32,), output_range=(0.0, 1.0))  # 16 units leave .18 at the bend
        fit_closure(c, formula, x, space=space)
        with torch.no_grad():
            ratios.append(float((c(x[:80]) / formula(x[:80])).log().abs().max()))
    assert ratios[1] < 0.05 and ratios[1] < 0.5 * ratios[0]


def test_a_model_trained_from_the_formula_gives_its_discharge() -> None:
    days = 400
    forcing, start = weather(4, days), initial_state(HBV())
    closures = {
        k: pretrained("hbv", k)[0] for k in ("recharge", "evapotranspiration", "percolation")
    }
    found = []
    for model in (HBV(), HBV(closures=closures)):
        with torch.no_grad():
            s = solve(
                model,
                forcing,
                {},
                start,
                range(days + 1),
                Solver("implicit_euler", step=1.0),
                "torch",
            )
        found.append(s.fluxes["discharge"])
    truth, q = found
    efficiency = 1 - (q - truth).square().sum(1) / (
        truth - truth.mean(1, keepdim=True)
    ).square().sum(1)
    assert float(efficiency.min()) > 0.995
    assert float((q.sum(1) / truth.sum(1) - 1).abs().max()) < 0.02


def test_any_module() -> None:
    net = nn.Sequential(nn.Linear(1, 8, dtype=F64), nn.Tanh(), nn.Linear(8, 1, dtype=F64))
    fit = fit_closure(net, torch.sin, torch.linspace(-2, 2, 100, dtype=F64), tolerance=1e-2)
    assert fit.rms <= fit.largest < 1e-2 and fit.iterations > 10


def test_what_cannot_be_fitted() -> None:
    x = torch.linspace(0, 1, 10, dtype=F64)
    with pytest.raises(ParameterError, match="up to .* away from its formula after"):
        fit_closure(
            NeuralClosure(1, (1,)), lambda x: torch.sin(20 * x), x, tolerance=1e-6, iterations=20
        )
    with pytest.raises(ParameterError, match="nothing to fit"):
        fit_closure(NeuralClosure(1, output_range=(0.0, 1.0), residual=True), torch.sin, x)
    with pytest.raises(ParameterError, match=r"\[sample, input\]"):
        fit_closure(NeuralClosure(2), torch.add, x)
    with pytest.raises(ParameterError, match='space="logit" needs'):
        fit_closure(NeuralClosure(1), torch.sin, x, space="logit")
    with pytest.raises(UnknownName, match="space"):
        fit_closure(NeuralClosure(1), torch.sin, x, space="log")
    with pytest.raises(UnknownName, match="slot of hbv"):
        HBV().formula("melt")


def test_state_dict_in_a_new_process(tmp_path: Path) -> None:
    options = {"output_range": (0.0, 1.0), "monotone_in": (0,)}
    c = NeuralClosure(1, (16,), seed=4, **options)  # type: ignore[arg-type]
    fit_closure(c, HBV().formula("recharge"), torch.linspace(0, 1, 50, dtype=F64), iterations=50)
    assert list(c.state_dict()) == ["weights"]
    torch.save(c.state_dict(), tmp_path / "closure.pt")
    x = torch.linspace(-0.5, 1.5, 40, dtype=F64)
    torch.save(x, tmp_path / "x.pt")
    code = f"""
import torch
from pydiffgeo import NeuralClosure
c = NeuralClosure(1, (16,), **{options!r})
c.load_state_dict(torch.load("closure.pt"))
torch.save(c(torch.load("x.pt")).detach(), "y.pt")
"""
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    assert torch.equal(torch.load(tmp_path / "y.pt"), c(x).detach())
