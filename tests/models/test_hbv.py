"""Bucket models: slopes, limits that the published thresholds have, the balance, and gradients to
every input.
"""

from __future__ import annotations

import pytest
import torch
from hbv_cases import F64, initial_state, random_parameters, weather

from pydiffgeo import HBV, MODELS, ExpHydro, ProcessModel, Solution, Solver, solve
from pydiffgeo.errors import ParameterError

BUCKETS = ("hbv", "exp_hydro")
DAILY = Solver("implicit_euler", step=1.0)


@pytest.fixture(params=BUCKETS)
def model(request: pytest.FixtureRequest) -> ProcessModel:
    return MODELS[request.param]()  # type: ignore[call-arg]


def run(
    model: ProcessModel,
    basins: int,
    days: int,
    solver: Solver = DAILY,
    engine: str = "torch",
    **changes: object,
) -> Solution:
    inputs = {**weather(basins, days), **random_parameters(model, basins), **changes}
    forcing = {k: inputs[k] for k in model.spec.forcings}
    parameters = {k: inputs[k] for k in model.spec.parameters}
    return solve(model, forcing, parameters, initial_state(model), range(days + 1), solver, engine)


def test_work_and_memory_grow_no_faster_than_the_days(model: ProcessModel) -> None:
    """The windows that are solved, each of at most the same number of days, and what is kept for
    the gradient.
    """
    windows, kept = [], []
    for days in (300, 1200):
        first = next(iter(model.spec.parameters))
        solution = run(
            model, 6, days, **{first: random_parameters(model, 6)[first].requires_grad_()}
        )
        windows.append(float(solution.stats["newton_iterations"].sum()))
        kept.append(int(solution.stats["recorded_bytes"]))
    assert windows[0] < windows[1] < 4.4 * windows[0]
    assert 3.8 < kept[1] / kept[0] < 4.2


def test_stores_at_zero_do_not_fall(model: ProcessModel) -> None:
    p = {k: v[:, None] for k, v in random_parameters(model, 300).items()}
    f = {k: v.T for k, v in weather(1, 300).items()}
    for store in range(model.size):
        state = initial_state(model).expand(300, -1).clone()
        state[:, store] = 0.0
        assert bool((model.rates(state, f, p)[:, store] >= 0).all()), store


def test_limits_of_hbv() -> None:
    """Far from the thresholds the formulas are those of the publication."""
    model = HBV()
    p = {k: torch.full((1, 1), s.default, dtype=F64) for k, s in model.spec.parameters.items()}

    def at(state: list[float], P: float = 0.0, T: float = 0.0, E: float = 0.0) -> dict[str, float]:
        forcing = dict(
            zip(
                model.spec.forcings,
                (torch.full((1, 1), x, dtype=F64) for x in (P, T, E)),
                strict=True,
            )
        )
        e = model.evaluate(torch.tensor([state], dtype=F64), forcing, p, fluxes=True)
        return dict(
            zip(
                [*model.spec.states, *model.spec.fluxes],
                torch.cat([e.rates[0], e.fluxes[0]]).tolist(),
                strict=True,
            )
        )

    cold = at([1e5, 0.0, 100.0, 10.0, 10.0], P=8.0, T=-10.0)
    assert cold["snow"] == pytest.approx(8.0, abs=1e-6)  # all precipitation is snow, nothing melts
    warm = at([1e5, 0.0, 100.0, 10.0, 10.0], P=8.0, T=10.0)
    assert warm["snow"] == pytest.approx(-3.0 * 10, rel=1e-4)  # CFMAX (T - TT)
    refreezing = at([1e5, 1e3, 100.0, 10.0, 10.0], T=-10.0)
    assert refreezing["melt_water"] == pytest.approx(-0.05 * 3 * 10, rel=2e-3)  # CFR CFMAX (TT - T)
    soil = at([0.0, 0.0, 100.0, 10.0, 10.0], P=8.0, T=10.0)
    assert soil["soil"] == pytest.approx(
        8 * (1 - (100 / 250) ** 2), rel=1e-6
    )  # recharge P (soil / FC)^BETA
    dry = at([0.0, 0.0, 60.0, 10.0, 10.0], T=10.0, E=4.0)
    assert dry["evapotranspiration"] == pytest.approx(
        4 * 60 / (0.7 * 250), rel=0.02
    )  # PET (soil / (LP FC))^BETAET
    wet = at([0.0, 0.0, 245.0, 10.0, 10.0], T=10.0, E=4.0)
    assert wet["evapotranspiration"] == pytest.approx(4, rel=0.02)  # PET above LP FC
    full = at([0.0, 0.0, 100.0, 70.0, 10.0], T=10.0)
    assert full["quick_flow"] == pytest.approx(0.3 * (70 - 20), rel=0.02)  # K0 (upper - UZL)
    assert full["lower"] == pytest.approx(1.5 - 0.02 * 10, rel=0.03)  # PERC - K2 lower
    assert full["discharge"] == pytest.approx(full["quick_flow"] + 0.1 * 70 + 0.02 * 10)


def test_melt_threshold_of_its_own(engine: str) -> None:
    """Equal thresholds are HBV as it is, to the last bit.

    Apart from each other, rain may fall on snow that does not melt.
    """
    plain, own, days = HBV(), HBV(melt_threshold=True), 60
    assert "TTM" not in plain.spec.parameters and "TTM" in own.spec.parameters
    p = random_parameters(plain, 5)
    a, b = (
        run(plain, 5, days, DAILY, engine, **p),
        run(own, 5, days, DAILY, engine, **p, TTM=p["TT"]),
    )
    torch.testing.assert_close(a.states, b.states, rtol=0, atol=0)
    forcing = {"precipitation": 8.0, "temperature": 0.0, "potential_evapotranspiration": 0.0}
    p = {"TT": torch.tensor([-10.0, 10.0]), "TTM": torch.tensor([10.0, -10.0]), "CFR": 0.0}
    snow = solve(own, forcing, p, [1000.0, 0.0, 100.0, 10.0, 10.0], [0, 1], DAILY, engine).states[
        :, 0, 0
    ]
    # rain on cold snow; snow on melting snow, CFMAX (T - TTM)
    assert snow.tolist() == [pytest.approx(1000, abs=1e-6), pytest.approx(1008 - 3 * 10, rel=1e-3)]


def test_gradcheck_of_both_thresholds(engine: str) -> None:
    model, days = HBV(melt_threshold=True), 6
    forcing, parameters = weather(2, days, seed=1), random_parameters(model, 2, seed=1)
    given = (forcing["temperature"], *(parameters[k] for k in ("TT", "TTM", "CFMAX")))
    leaves = [x.clone().requires_grad_() for x in given]

    def out(temperature: torch.Tensor, *values: torch.Tensor) -> torch.Tensor:
        given = parameters | dict(zip(("TT", "TTM", "CFMAX"), values, strict=True))
        state = initial_state(model)
        return solve(
            model,
            forcing | {"temperature": temperature},
            given,
            state,
            range(days + 1),
            DAILY,
            engine,
        ).states

    assert torch.autograd.gradcheck(out, leaves, eps=1e-6, atol=1e-6, rtol=1e-5)


def test_limits_of_exp_hydro() -> None:
    model = ExpHydro()
    p = {k: torch.full((1, 1), s.default, dtype=F64) for k, s in model.spec.parameters.items()}
    f = {
        k: torch.full((1, 1), x, dtype=F64)
        for k, x in zip(model.spec.forcings, (0.0, 10.0, 4.0), strict=True)
    }
    state = torch.tensor([[1e5, 400.0], [0.0, 550.0]], dtype=F64)
    evapotranspiration, discharge, base, spill = model.fluxes(state, f, p)[:, 1:].unbind(-1)
    assert float(model.rates(state, f, p)[0, 0]) == pytest.approx(
        -2.5 * 9, rel=1e-4
    )  # D_f (T - T_max)
    assert float(base[0]) == pytest.approx(20 * torch.tensor(-0.02 * 100).exp().item(), rel=1e-2)
    assert float(base[1]) == pytest.approx(20, rel=1e-2)
    assert float(spill[1]) == pytest.approx(50, rel=1e-2)
    assert float(evapotranspiration[0]) == pytest.approx(4 * 0.8, rel=0.03)
    torch.testing.assert_close(discharge, base + spill)


def test_stores_stay_positive_under_implicit_euler(model: ProcessModel, engine: str) -> None:
    """Cloudbursts, sudden thaw and long drought, with parameters at their bounds."""
    basins, days = 64, 200
    forcing = weather(basins, days)
    forcing["precipitation"][:, 50:60] = 150.0
    forcing["precipitation"][:, 90:] = 0.0
    forcing["temperature"][:, 60:70] = 35.0
    forcing["potential_evapotranspiration"][:, 90:] = 15.0
    corners = torch.rand(basins, len(model.spec.parameters)) < 0.5
    names = model.spec.parameters.values()
    extremes = {
        s.name: torch.where(corners[:, i], s.lower, s.upper).to(F64) for i, s in enumerate(names)
    }
    solution = run(model, basins, days, DAILY, engine, **forcing, **extremes)
    assert float(solution.states.min()) > -1e-12  # Newton ends within rounding of an empty store
    assert float(solution.balance_error().max()) < 1e-9


def test_negative_parameter_names_itself() -> None:
    with pytest.raises(ParameterError, match="'CWH' is -0.1 at column 1; it must not be negative"):
        run(HBV(), 2, 3, CWH=torch.tensor([0.1, -0.1]))
