"""The temperature of a leaf: its energy closes, by fluxes that know nothing of each other."""

from __future__ import annotations

from collections.abc import Callable

import torch
from leaf_cases import FORMS, leaves, residual
from torch import Tensor

from pydiffgeo import Photosynthesis, Solver, solve
from pydiffgeo.models.elementwise import along

F64 = torch.float64
REPORT = Solver("implicit_euler", step=1.0, on_failure="report")


def test_energy_closes_to_rounding() -> None:
    for name in ("energy_balance", "energy_balance of all", "energy_balance, measured"):
        model = Photosynthesis(**FORMS[name])
        weather, given = leaves(model, 400, seed=2)
        s = solve(model, weather, given, model.start({}), range(2), REPORT, "torch")
        q = {k: v[torch.isfinite(v)] for k, v in s.fluxes.items()}
        left = q["net_radiation"] - q["latent_heat"] - q["sensible_heat"]
        assert float(left.abs().max()) < 1e-8
        # and each by itself, from states and weather
        t = s.states[:, 0, 1][torch.isfinite(s.states[:, 0, 1])]
        f = {k: v[torch.isfinite(s.states[:, 0, 1]), 0] for k, v in weather.items()}
        emitted = 5.670374419e-8 * (t + 273.15) ** 4
        radiation = f["shortwave"] + 2 * 0.97 * (f["longwave"] - emitted)
        torch.testing.assert_close(q["net_radiation"], radiation, rtol=1e-10, atol=1e-8)
        warmth = 2 * 29.3 / 1.08 * f["boundary_layer_conductance"] * (t - f["air_temperature"])
        torch.testing.assert_close(q["sensible_heat"], warmth, rtol=1e-10, atol=1e-8)
        vapour = q["transpiration"] * 0.018015 * (2.501e6 - 2361 * t)
        torch.testing.assert_close(q["latent_heat"], vapour, rtol=1e-10, atol=1e-8)


def test_leaves_at_the_threshold_of_their_stomata_are_found(engine: str) -> None:
    """C4 leaves in still air, whose assimilation lives on the CO2 that it opens the stomata for: on
    one side of that threshold the flow goes on, on the other back.

    Their root is the only one, by a search that knows nothing of Newton: for each temperature the
    CO2 by halving, and the temperature by halving what is left of the energy.
    """
    model = Photosynthesis(**FORMS["energy_balance of all"])
    weather, given = leaves(model, 100_000)
    rows = [9221, 9372, 9758, 14153, 16089, 18661, 20159, 21757, 28466, 29688, 31550]
    rows += [146, 888, 1647, 1900, 1942, 3050, 3971, 5383]  # those that Julia's flow went around
    weather, given = ({k: v[rows] for k, v in x.items()} for x in (weather, given))
    s = solve(model, weather, given, model.start({}), range(2), REPORT, engine)
    assert not s.failed
    state = s.states[:, 0]
    co2, warming = by_temperature(model, weather, given)
    t = halved(torch.full((len(rows),), -20.0), torch.tensor(70.0), lambda t: warming(t) > 0)
    torch.testing.assert_close(state[:, 1], t, rtol=0, atol=1e-8)
    torch.testing.assert_close(state[:, 0], co2(t).exp(), rtol=1e-7, atol=0)


def halved(low: Tensor, high: Tensor, rises: Callable[[Tensor], Tensor], times: int = 70) -> Tensor:
    """Where what rises at `low` does so no longer, by halving."""
    a, b = low.to(F64), high.to(F64).expand_as(low)
    for _ in range(times):
        middle = (a + b) / 2
        up = rises(middle)
        a, b = torch.where(up, middle, a), torch.where(up, b, middle)
    return (a + b) / 2


def by_temperature(
    model: Photosynthesis, weather: dict[str, Tensor], given: dict[str, Tensor], times: int = 70
) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """The logarithm of the CO2 and the energy that is left, of leaves at some temperatures."""

    def left(log_co2: Tensor, t: Tensor) -> Tensor:
        return residual(model, torch.stack([log_co2.exp(), t], -1), weather, given)

    def co2(t: Tensor) -> Tensor:
        low = torch.full_like(t, -12.0, dtype=F64)
        return halved(low, torch.tensor(12.0), lambda x: left(x, t)[:, 0] > 0, times)

    return co2, lambda t: left(co2(t), t)[:, 1]


def test_of_two_stable_states_a_leaf_takes_that_with_its_stomata_open_widest(engine: str) -> None:
    """A search that knows nothing of Newton: what is left of the energy at temperatures .5 degC
    apart falls through zero more than once; where it does so first, the leaf is coolest and, as
    all of these transpire, its stomata are open widest.
    """
    model = Photosynthesis(**FORMS["energy_balance of all"])
    weather, given = leaves(model, 100_000)
    # those at which the engines ended apart, each by its own search
    rows = [6487, 11410, 12391, 13259, 14177, 20146, 21534, 22069, 24479, 31862, 32653, 33880]
    rows += [35075, 39740, 43504, 44980, 48793, 53618, 54272, 61566, 68601, 78083, 86879, 88816]
    rows += [89490, 90094, 93497, 95113]
    weather, given = ({k: v[rows] for k, v in x.items()} for x in (weather, given))
    s = solve(model, weather, given, model.start({}), range(2), REPORT, engine)
    assert not s.failed
    _, warming = by_temperature(model, weather, given, times=30)
    grid = weather["air_temperature"][:, 0] + torch.arange(-15.0, 30.0, 0.5, dtype=F64)[:, None]
    warms = torch.stack([warming(t) for t in grid]) > 0
    falls = warms[:-1] & ~warms[1:]
    first = falls.int().argmax(0)
    columns = torch.arange(len(rows))
    t = halved(grid[first, columns], grid[first + 1, columns], lambda t: warming(t) > 0, 30)
    two = falls.sum(0) > 1  # seen at these temperatures
    assert int(two.sum()) > 20
    torch.testing.assert_close(s.states[two, 0, 1], t[two], rtol=0, atol=1e-5)


def test_the_root_of_two_is_one_that_a_leaf_keeps_to(engine: str) -> None:
    """Leaves with several roots: du/dt = f(u) leads back to the one that is given."""
    model = Photosynthesis(**FORMS["energy_balance of all"])
    weather, given = leaves(model, 100_000)
    # at these Newton's method comes to a saddle first
    rows = [8108, 31862, 45731, 50759, 78083, 99567]
    weather, given = ({k: v[rows] for k, v in x.items()} for x in (weather, given))
    s = solve(model, weather, given, model.start({}), range(2), REPORT, engine)
    assert not s.failed
    u = s.states[:, 0].clone().requires_grad_()
    f = residual(model, u, weather, given)
    jacobian = torch.stack(
        [torch.autograd.grad(f[:, k].sum(), u, retain_graph=True)[0] for k in (0, 1)], 1
    )
    assert bool((torch.linalg.det(jacobian) > 0).all())
    assert bool((jacobian.diagonal(dim1=1, dim2=2).sum(1) < 0).all())


def test_a_leaf_is_warm_in_the_sun_cool_when_it_transpires_and_cold_at_night() -> None:
    model = Photosynthesis(energy_balance=True, stomata="measured")
    weather = {
        "par": 1000.0, "air_temperature": 25.0, "vapour_pressure": 1500.0, "longwave": 400.0,
        "co2": 400.0, "pressure": 1e5, "soil_water_stress": 1.0,
        "shortwave": torch.tensor([[400.0], [400.0], [0.0]], dtype=F64),
        "boundary_layer_conductance": 1.0,
        "stomatal_conductance": torch.tensor([[1e-5], [1.0], [1e-5]], dtype=F64),
    }  # fmt: skip
    s = solve(model, weather, {}, model.start({}), range(2), "implicit_euler", "torch")
    dry, wet, night = s.states[:, 0, 1].tolist()
    assert dry > 28 > 25 > night and wet < dry - 3


def test_the_temperature_given_is_that_found() -> None:
    """A leaf whose temperature is given assimilates as that which found the same."""
    warm, given_warm = Photosynthesis(energy_balance=True), Photosynthesis()
    weather, given = leaves(warm, 50, seed=4)
    s = solve(warm, weather, given, warm.start({}), range(2), REPORT, "torch")
    t = s.states[:, :, 1]
    vapour = 610.8 * torch.exp(17.27 * t / (t + 237.3))
    told = {k: v for k, v in weather.items() if k in given_warm.spec.forcings}
    vpd = (vapour - weather["vapour_pressure"]) / 1000
    good = torch.isfinite(t[:, 0]) & (vpd[:, 0] > 0)  # no deficit where dew falls
    told |= {"leaf_temperature": t, "vapour_pressure_deficit": vpd}
    told = {k: v[good] for k, v in told.items()}
    given = {k: v[good] for k, v in given.items()}
    again = solve(given_warm, told, given, 300.0, range(2), REPORT, "torch")
    for name in ("assimilation", "transpiration"):
        torch.testing.assert_close(again.fluxes[name], s.fluxes[name][good], rtol=1e-7, atol=1e-9)


def test_slopes_of_functions_of_one_number() -> None:
    x = torch.linspace(0.1, 2.0, 7, dtype=F64)
    values, slopes, others = along(lambda y: ([y.sin(), y * y, 0 * y], [y.exp()]), x)
    torch.testing.assert_close(slopes[0], x.cos())
    torch.testing.assert_close(slopes[1], 2 * x)
    torch.testing.assert_close(values[1], x * x)
    torch.testing.assert_close(others[0], x.exp())
    assert not values[0].requires_grad and not slopes[2].any()
