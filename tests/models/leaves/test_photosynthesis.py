"""The coupled leaf: residual and physical root, derivatives, FATES, and input that is wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from leaf_cases import FORMS, leaves, residual
from torch import Tensor

from pydiffgeo import (
    NeuralClosure,
    Photosynthesis,
    Solution,
    Solver,
    check_model,
    fit_slots,
    solve,
)
from pydiffgeo.errors import DataError, ParameterError, UnknownName

F64 = torch.float64
REPORT = Solver("implicit_euler", step=1.0, on_failure="report")


def solved(model: Photosynthesis, weather: Any, given: Any) -> Solution:
    start = model.start({})
    return solve(model, weather, given, start, range(2), REPORT, "torch")


@pytest.mark.parametrize("form", FORMS)
def test_random_leaves_have_the_physical_root(form: str) -> None:
    """The equations hold; the root is that to which CO2 would diffuse, which is the only one."""
    model = Photosynthesis(**FORMS[form])
    weather, given = leaves(model, 10_000 if model.form.energy_balance else 100_000)
    s = solved(model, weather, given)
    assert not s.failed
    state = s.states[:, 0]
    left = residual(model, state, weather, given)
    size = torch.tensor([[x.storage_scale for x in model.spec.states.values()]], dtype=F64)
    assert float((left.abs() / (size + state.abs())).max()) < 1e-10
    assert bool((state[:, 0] > 0).all())
    if model.form.stomata == "measured_ci" or model.form.energy_balance:
        return
    shares = torch.tensor([0.02, 0.3, 0.9, 1.1, 3.0, 30.0], dtype=F64)
    for share in shares:  # one change of sign: supply exceeds demand below the root alone
        at = residual(model, share * state, weather, given)
        far = (share < 1) == (at > 0)
        assert float(far.double().mean()) > 0.999, float(share)


@pytest.mark.parametrize("form", FORMS)
def test_gradcheck_of_every_form(form: str) -> None:
    model = Photosynthesis(**FORMS[form])
    weather, given = leaves(model, 3, seed=1)
    given |= {
        k: torch.full((3,), p.default, dtype=F64)
        for k, p in model.spec.parameters.items()
        if k not in given and k != "c4"
    }
    fixed = {k: given.pop(k) for k in ("c4",) if k in given}
    moved = {
        "par": 300.0,
        "co2": 150.0,
        "vapour_pressure_deficit": 0.3,
        "soil_water_stress": 0.2,
        "shortwave": 100.0,
    }
    weather |= {k: 0.7 * weather[k] + v for k, v in moved.items() if k in weather}
    if "c4" in fixed:
        fixed["c4"] = torch.tensor([0.0, 1.0, 0.0], dtype=F64)
    inputs = weather | given
    scale = {k: v.abs().mean() for k, v in inputs.items()}

    def outputs(*values: Tensor) -> Tensor:
        x = {k: v * scale[k] for k, v in zip(inputs, values, strict=True)}
        s = solved(model, {k: x[k] for k in weather}, {**{k: x[k] for k in given}, **fixed})
        return torch.cat([s.states.flatten() / 100, *(q.flatten() for q in s.fluxes.values())])

    leaves_ = [(v / scale[k]).requires_grad_() for k, v in inputs.items()]
    assert torch.autograd.gradcheck(
        outputs, leaves_, eps=1e-6, atol=2e-5, rtol=1e-4, fast_mode=True
    )


@pytest.mark.parametrize("form", ["both", "fates", "energy_balance of all"])
def test_check_model(form: str) -> None:
    assert "derivatives: slopes" in check_model(Photosynthesis(**FORMS[form]))


@pytest.mark.parametrize("name", ["onepar", "twopar"])
def test_fates(name: str, shared_data: Callable[[str], Path]) -> None:
    """446 leaves as the code of Aboelyazeed et al. (2023) solves them, C3 and C4.

    Assimilation, and its derivative in V_cmax25, which that code takes through its iterations in
    float32. Without stress (onepar), and with (twopar).
    """
    d = pd.read_csv(shared_data("photosynthesis/diffecosys_fates_twin_446.csv"))
    read = {k: torch.tensor(d[k].to_numpy(float)) for k in d.select_dtypes("number")}
    model = Photosynthesis(**FORMS["fates"])
    weather = {
        "par": read["PARin"],
        "leaf_temperature": read["Tleaf"],
        "vapour_pressure_deficit": read["VPD"],
        "co2": read["CO2S"],
        "pressure": 1000 * read["Patm"],
        "boundary_layer_conductance": read["BLCond"],
        "soil_water_stress": read["btran_synthetic"] if name == "twopar" else 1 + 0 * read["VPD"],
    }
    capacity = torch.tensor(d.vcmax_CLM45.round(2).to_numpy(float)).requires_grad_()
    c4 = torch.tensor((d.Pathway == "C4").to_numpy(float))
    given = {"V_cmax25": capacity, "g1": read["medslope"], "g1_c4": read["medslope"], "c4": c4}
    s = solved(model, {k: v[:, None] for k, v in weather.items()}, given)
    net = s.fluxes["assimilation"][:, 0]
    assert float((net - read[f"An_ref_{name}"]).detach().abs().max()) < 1e-3
    inside = s.states[:, 0, 0] * read["Patm"] / 1000
    assert float((inside - read[f"Ci_ref_{name}_Pa"]).abs().max()) < 0.05
    (slope,) = torch.autograd.grad(net.sum(), capacity)
    reference = read[f"dAn_dVcmax25_ref_{name}"]
    assert float(((slope - reference) / reference).abs().max()) < 1e-3


def test_assimilation_rises_with_light_co2_and_capacity() -> None:
    model = Photosynthesis()
    weather, given = leaves(model, 200, seed=3)
    x = {**weather, **given}
    names = ["par", "co2", "V_cmax25", "g1"]
    for name in names:
        x[name] = x[name].clone().requires_grad_()
    s = solved(model, {k: x[k] for k in weather}, {k: x[k] for k in given})
    grads = torch.autograd.grad(s.fluxes["gross_assimilation"].sum(), [x[k] for k in names[:2]])
    gains = s.fluxes["gross_assimilation"][:, 0] > 0  # below the compensation point light costs
    assert all(bool((g[gains] > -1e-9).all()) for g in grads)
    net, limits = s.fluxes["gross_assimilation"], ("rubisco_limited", "light_limited")
    least = torch.minimum(*(s.fluxes[k] for k in limits))
    assert bool((net <= least + 1e-9)[gains].all())
    assert bool((net >= 0.96 * least - 1e-9)[gains].all())
    q = s.fluxes
    torch.testing.assert_close(
        q["assimilation"], q["gross_assimilation"] - q["day_respiration"], rtol=1e-12, atol=1e-12
    )


def test_a_leaf_without_resistances_has_the_co2_of_the_air() -> None:
    """Ci given is Ci found; a wide open leaf has that of the air, and Cc is below Ci."""
    given = Photosynthesis(stomata="measured_ci")
    ci = torch.tensor([[50.0, 300.0, 900.0]], dtype=F64)
    weather = {"par": 1500.0, "leaf_temperature": 25.0, "intercellular_co2": ci, "pressure": 1e5}
    s = solve(given, weather, {}, 100.0, range(4), "implicit_euler", "torch")
    torch.testing.assert_close(s.states[..., 0], ci, rtol=1e-12, atol=0)
    open_ = Photosynthesis(stomata="measured", mesophyll=True)
    air = {
        "par": 1500.0, "leaf_temperature": 25.0, "vapour_pressure_deficit": 1.0, "co2": ci,
        "pressure": 1e5, "boundary_layer_conductance": 100.0, "soil_water_stress": 1.0,
        "stomatal_conductance": 10.0,
    }  # fmt: skip
    t = solve(open_, air, {"gm25": 0.2}, 100.0, range(4), "implicit_euler", "torch")
    inside, rate = t.fluxes["intercellular_co2"], t.fluxes["assimilation"]
    drop = rate * (1.6 / 10 + 1.4 / 100)
    torch.testing.assert_close(inside, ci - drop, rtol=1e-10, atol=1e-9)
    torch.testing.assert_close(t.states[..., 0], inside - rate / 0.2, rtol=1e-9, atol=1e-9)


def test_pathways_in_one_batch_are_those_alone() -> None:
    both = Photosynthesis(pathway="both")
    weather, given = leaves(both, 40, seed=5)
    s = solved(both, weather, given).fluxes["assimilation"][:, 0]
    for kind, flag in (("c3", 0.0), ("c4", 1.0)):
        alone = Photosynthesis(pathway=kind)
        own = {k: v for k, v in given.items() if k in alone.spec.parameters}
        rate = solved(alone, weather, own).fluxes["assimilation"][:, 0]
        rows = given["c4"] == flag
        torch.testing.assert_close(s[rows], rate[rows], rtol=1e-9, atol=1e-9)


def test_a_network_in_place_of_medlyn_begins_as_it() -> None:
    def made(seed: int = 0) -> NeuralClosure:
        return NeuralClosure(1, (12,), output_range=(1.6, 60.0), monotone_in=(0,), seed=seed)

    model = Photosynthesis(closures={"stomata": made()})
    assert "g1" not in model.spec.parameters
    fit = fit_slots(model)["stomata"]
    assert fit.rms < 0.1  # of 60; .03 to .06 after 500 evaluations, by the rounding of the CPU
    weather, given = leaves(Photosynthesis(), 60, seed=6)
    weather["vapour_pressure_deficit"] = weather["vapour_pressure_deficit"].clamp(0.1, 5.0)
    given["g1"] = torch.full((60,), 4.0, dtype=F64)
    one = solved(Photosynthesis(), weather, given).fluxes["stomatal_conductance"]
    del given["g1"]
    other = solved(model, weather, given).fluxes["stomatal_conductance"]
    torch.testing.assert_close(one, other, rtol=0.01, atol=1e-3)
    drier = {**weather, "vapour_pressure_deficit": 1.3 * weather["vapour_pressure_deficit"]}
    assert bool((solved(model, drier, given).fluxes["stomatal_conductance"] <= other + 1e-9).all())
    beside = NeuralClosure(1, (4,), output_range=(1.6, 60.0), monotone_in=(0,), residual=True)
    for kind in ("c3", "c4"):  # beside the formula, whose g1 stays
        plain = Photosynthesis(pathway=kind)
        weather, given = leaves(plain, 20, seed=7)
        one, other = (
            solved(m, weather, given).fluxes["assimilation"]
            for m in (plain, Photosynthesis(pathway=kind, closures={"stomata": beside}))
        )
        torch.testing.assert_close(one, other, rtol=0.05, atol=0.05)
    with pytest.raises(ParameterError, match="monotone_in"):
        Photosynthesis(closures={"stomata": NeuralClosure(1, (4,), output_range=(1.6, 60.0))})
    with pytest.raises(UnknownName, match="slot"):
        Photosynthesis(stomata="ball_berry", closures={"stomata": made()})


BAD = {
    "par": (-1.0, "par.* -1 umol m-2 s-1"),
    "co2": (0.0, "co2.* 0 umol mol-1"),
    "boundary_layer_conductance": (0.0, "boundary_layer_conductance.* 0 mol m-2 s-1"),
    "pressure": (101.3, r"pressure' is 101.3 Pa .*allowed: 20000 to 120000"),
    "leaf_temperature": (298.0, "leaf_temperature.* 298 degC"),
    "vapour_pressure_deficit": (1000.0, "vapour_pressure_deficit.* 1000 kPa"),
    "soil_water_stress": (1.5, "soil_water_stress.* 1.5"),
}


@pytest.mark.parametrize("name", BAD)
def test_input_that_is_wrong_is_refused_before_work(name: str) -> None:
    model = Photosynthesis()
    weather, given = leaves(model, 4)
    value, message = BAD[name]
    weather[name] = weather[name].clone()
    weather[name][2] = value
    with pytest.raises(DataError, match=message):
        solved(model, weather, given)


def test_measured_conductance_of_zero_and_bad_parameters() -> None:
    model = Photosynthesis(stomata="measured")
    weather, given = leaves(model, 4)
    weather["stomatal_conductance"] = torch.zeros(4, 1, dtype=F64)
    with pytest.raises(DataError, match=r"stomatal_conductance' is 0 mol m-2 s-1"):
        solved(model, weather, given)
    weather, given = leaves(Photosynthesis(), 4)
    with pytest.raises(ParameterError, match="V_cmax25"):
        solved(Photosynthesis(), weather, {**given, "V_cmax25": torch.zeros(4, dtype=F64)})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pathway": "c5"}, "pathway"),
        ({"stomata": "medlin"}, "did you mean"),
        ({"smoothing": 1.2}, "curvature"),
        ({"humidity_at": "surface", "stomata": "measured"}, "medlyn, ball_berry, leuning"),
        ({"energy_balance": True, "stomata": "measured_ci"}, "energy_balance=False"),
    ],
)
def test_options_that_are_not_there(options: dict[str, Any], message: str) -> None:
    with pytest.raises((UnknownName, ParameterError), match=message):
        Photosynthesis(**options)


def test_a_form_reads_only_what_it_needs() -> None:
    spec = Photosynthesis(stomata="measured_ci", kinetics="mole_fraction").spec
    assert list(spec.forcings) == ["par", "leaf_temperature", "intercellular_co2"]
    assert "g1" not in spec.parameters and "stomatal_conductance" not in spec.fluxes
    for options in FORMS.values():
        model = Photosynthesis(**options)
        weather, given = leaves(model, 2)
        asked: set[str] = set()

        class Spy(dict):  # type: ignore[type-arg]
            def __getitem__(self, name: str, asked: set[str] = asked) -> Any:
                asked.add(name)
                return super().__getitem__(name)

            def get(self, name: str, default: Any = None) -> Any:
                return self[name] if name in self else default

        p = {k: torch.tensor([s.default], dtype=F64) for k, s in model.spec.parameters.items()}
        f = {k: v[..., 0] for k, v in weather.items()}
        if model.form.energy_balance:
            model._warm(torch.full((2,), 20.0, dtype=F64), f, Spy(p))
        else:
            model._leaf(f, Spy(p))
        assert set(model.spec.parameters) == asked, options


@pytest.mark.parametrize(
    ("given", "message"),
    [({"c4": 0.5}, "'c4' is 0.5 at column 0"), ({"c4": torch.tensor([0.0, 2.0])}, "2 at column 1"),
     ({"theta_J": 1.3}, "not be above 1"), ({"absorptance": 1.2}, "not be above 1")],
)  # fmt: skip
def test_leaves_between_pathways_and_shares_above_one(given: Any, message: str) -> None:
    model = Photosynthesis("both")
    weather, _ = leaves(model, 2)
    with pytest.raises(ParameterError, match=message):
        solved(model, weather, given)
