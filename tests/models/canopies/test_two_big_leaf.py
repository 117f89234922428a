"""A canopy: what it closes, limits with known answers, one root, gradients, clear errors."""

from __future__ import annotations

import pytest
import torch
from canopy_cases import flux, noon, solved, weather
from scipy.optimize import brentq

from pydiffgeo import NeuralClosure, Solver, TwoBigLeaf, solve
from pydiffgeo.errors import DataError, ParameterError, UnknownName
from pydiffgeo.models.vapour import saturation_pressure

F64 = torch.float64
MODEL = TwoBigLeaf()


def test_twenty_thousand_canopies() -> None:
    """Each is solved, and closes energy, water and CO2 by terms that are summed independently."""
    given = weather(20_000)
    s = solved(MODEL, given)
    assert not s.failed
    q = {k: v[:, 0] for k, v in s.fluxes.items()}
    left = q["net_radiation"] - q["latent_heat"] - q["sensible_heat"] - q["ground_heat_flux"]
    assert float(left.abs().max()) < 1e-7  # of W m-2 up to 1000
    parts = q["transpiration_sun"] + q["transpiration_shade"] + q["soil_evaporation"]
    torch.testing.assert_close(q["latent_heat"], parts)
    exchange = q["ecosystem_respiration"] - q["gross_primary_production"]
    torch.testing.assert_close(q["net_ecosystem_exchange"], exchange, rtol=1e-10, atol=1e-10)
    known = MODEL.spec.parameters.items()
    defaults = {k: torch.full((1, 1), p.default, dtype=F64) for k, p in known}
    rates = MODEL.rates(s.states[:, 0], given, defaults)
    scales = torch.tensor([x.storage_scale for x in MODEL.spec.states.values()])
    grown = (s.states[:, 0] / torch.tensor([x.scale for x in MODEL.spec.states.values()])).abs()
    assert float((rates / scales / grown.amax(-1, keepdim=True).clamp_min(1)).abs().max()) < 1e-10


@pytest.mark.parametrize(
    "leaf",
    [
        {"stomata": "ball_berry"},
        {"stomata": "leuning"},
        {"stomata": "buckley_mott_farquhar"},
        {"pathway": "c4"},
        {"pathway": "both"},
        {"ratios": False},
    ],
    ids=str,
)
def test_other_leaves(leaf: dict) -> None:
    model = TwoBigLeaf(**leaf)
    s = solved(model, weather(500, seed=11))
    assert not s.failed
    q = s.fluxes
    left = q["net_radiation"] - q["latent_heat"] - q["sensible_heat"] - q["ground_heat_flux"]
    assert float(left.abs().max()) < 1e-7
    own = solved(model, noon())
    assert 5 < flux(own, "gross_primary_production") < 80


def test_one_root() -> None:
    """Other guesses lead to the same canopy, one in its physical range."""
    given = weather(300, seed=1)
    first = solved(MODEL, given).states
    cold, air = TwoBigLeaf(), given["air_temperature"]
    cold.guess = lambda f, p: MODEL.guess(f, p) * torch.tensor([2.0, 0.3, 0.5, 1.5, 2.0, 0.4])  # type: ignore[method-assign]
    torch.testing.assert_close(solved(cold, given).states, first, rtol=1e-6, atol=1e-6)
    assert bool((first[..., (0, 1, 5)] > 0).all())
    windy = given["friction_velocity"] > 0.2
    off = (first[..., 2:4] - air[:, None]).abs().amax((1, 2))
    assert float(off[windy[:, 0]].max()) < 20


def test_without_leaves_it_is_a_bare_soil() -> None:
    """The energy balance of a surface, solved by itself."""
    f = noon(leaf_area_index=0.0)
    s = solved(MODEL, f, soil_albedo_par=0.15, soil_albedo_nir=0.15)
    density = 101000.0 / (8.3144598 * 297.15)
    ga = density * 0.35**2 / 3.0 * 1.0
    moving = (0.35**2 + 0.05**2) / (9.0 + 0.01) ** 0.5 * density
    assert moving == pytest.approx(ga, rel=0.03)  # what keeps calm air moving is of no weight here
    soil = density * (0.35**2 + 0.05**2) ** 0.5 * 0.12
    heat = 29.3 / (1 / moving + 1 / soil)
    resistance = torch.exp(torch.tensor(8.206 - 4.255 * 0.25 / 0.45)).item()
    vapour = (45064 - 42.54 * 24) / 101000 / (1 / moving + 1 / soil + resistance / density)

    def left(surface: float) -> float:
        net = 0.85 * 850 + 340 - 5.670374419e-8 * (surface + 273.15) ** 4
        wet = float(saturation_pressure(torch.tensor(surface, dtype=F64))) - 1500
        return net - heat * (surface - 24) - vapour * wet - 8 * (surface - 19)

    surface = brentq(left, 0, 80)
    assert float(s.states[0, 0, 4]) == pytest.approx(surface, abs=1e-4)
    assert flux(s, "sensible_heat") == pytest.approx(heat * (surface - 24), rel=1e-4)
    assert abs(flux(s, "gross_primary_production")) < 1e-4


def test_night() -> None:
    """No light, no uptake; the ground and the air warm what the sky cools."""
    f = noon(shortwave_down=0.0, par=0.0, sun_elevation=-30.0, diffuse_share=1.0)
    s = solved(MODEL, f)
    assert abs(flux(s, "gross_primary_production")) < 1e-6
    exchange = flux(s, "net_ecosystem_exchange")
    assert exchange == pytest.approx(flux(s, "ecosystem_respiration"), abs=1e-6)
    assert exchange > 2.0 * 2**0.4  # that of the soil
    assert flux(s, "net_radiation") < -30 and flux(s, "sensible_heat") < 0
    assert flux(s, "reflected_shortwave") == 0


def test_black_canopy_reflects_nothing() -> None:
    dark = {"leaf_absorptivity_nir": 1.0, "soil_albedo_par": 0.0, "soil_albedo_nir": 0.0}
    s = solved(MODEL, noon(), absorptance=1.0, **dark)
    assert flux(s, "reflected_shortwave") == pytest.approx(0, abs=1e-10)
    leaves = flux(solved(MODEL, noon()), "reflected_shortwave")
    assert 0.1 < leaves / 850 < 0.3  # the albedo of a meadow


def test_strong_wind_makes_leaves_as_warm_as_the_air() -> None:
    s = solved(MODEL, noon(wind_speed=60.0, friction_velocity=15.0))
    calm = solved(MODEL, noon(wind_speed=0.5, friction_velocity=0.05))
    assert abs(float(s.states[0, 0, 2]) - 24) < 1 < float(calm.states[0, 0, 2]) - 24


def test_sun_and_shade() -> None:
    """Sunlit leaves are warmer and assimilate more by area; with a high sun more are sunlit."""
    s = solved(MODEL, noon())
    lit = flux(s, "leaf_area_sun")
    sun, shade = (flux(s, f"assimilation_{k}") for k in ("sun", "shade"))
    assert sun / lit > 1.3 * shade / (3 - lit) > 0
    assert float(s.states[0, 0, 2]) > float(s.states[0, 0, 3])
    assert lit > flux(solved(MODEL, noon(sun_elevation=15.0)), "leaf_area_sun")
    whole = -flux(s, "net_ecosystem_exchange")
    assert 15 < whole < 45  # what meadows take up at noon, umol m-2 s-1


def test_dry_soil_turns_latent_into_sensible_heat() -> None:
    wet, dry = (solved(MODEL, noon(soil_water_stress=b)) for b in (1.0, 0.1))
    assert flux(dry, "latent_heat") < 0.6 * flux(wet, "latent_heat")
    assert flux(dry, "sensible_heat") > flux(wet, "sensible_heat") + 50
    assert flux(dry, "gross_primary_production") < 0.3 * flux(wet, "gross_primary_production")


def test_diffuse_light_is_used_better() -> None:
    """De Pury & Farquhar (1997): less saturation of sunlit leaves."""
    bright, hazy = (solved(MODEL, noon(diffuse_share=d)) for d in (0.15, 0.7))
    assert flux(hazy, "gross_primary_production") > 1.05 * flux(bright, "gross_primary_production")


def test_wind_by_the_law_of_the_wall() -> None:
    height = {"vegetation_height": 1.0}
    model = TwoBigLeaf(friction="log_law")
    assert "friction_velocity" not in model.spec.forcings
    f = {k: v for k, v in noon().items() if k != "friction_velocity"} | height
    s = solved(model, f, measurement_height=10.0)
    friction = 0.4 * 3.0 / torch.log(torch.tensor((10 - 0.67) / 0.1, dtype=F64))
    same = solved(MODEL, noon(friction_velocity=float(friction)))
    torch.testing.assert_close(s.states, same.states)
    below = solve(
        model, f | {"vegetation_height": 20.0}, {"measurement_height": 10.0}, model.start({}),
        range(2), Solver("implicit_euler", step=1.0, on_failure="report"),
    )  # fmt: skip
    assert list(below.failed) == [0]


def test_light_as_part_of_global_radiation() -> None:
    model = TwoBigLeaf(light="shortwave")
    s = solved(model, {k: v for k, v in noon().items() if k != "par"})
    same = solved(MODEL, noon(par=0.45 * 4.57 * 850))
    torch.testing.assert_close(s.states, same.states)
    assert flux(s, "net_radiation") == pytest.approx(flux(same, "net_radiation"))


def test_network_in_the_place_of_the_stomata() -> None:
    closure = NeuralClosure(1, (4,), output_range=(1.6, 60.0), monotone_in=(0,), seed=0)
    model = TwoBigLeaf(closures={"stomata": closure})
    assert "g1" not in model.spec.parameters
    given = weather(20, seed=3)
    s = solved(model, given)
    assert not s.failed
    s.fluxes["latent_heat"].sum().backward()
    assert bool(torch.isfinite(closure.weights.grad).all()) and bool(closure.weights.grad.any())


def test_gradients_of_what_is_learned() -> None:
    given, names = weather(6, seed=4), ("V_cmax25", "g1", "R_15", "Q10", "soil_heat_conductance")
    begin = {k: v.expand(6) for k, v in MODEL.start({}).items()}

    def outputs(stress: torch.Tensor, *values: torch.Tensor) -> torch.Tensor:
        f, p = given | {"soil_water_stress": stress}, dict(zip(names, values, strict=True))
        s = solve(MODEL, f, p, begin, range(2), Solver("implicit_euler", step=1.0))
        return torch.cat([s.fluxes[k].flatten() for k in MODEL.spec.fluxes])

    values = [torch.full((6,), v, dtype=F64) for v in (60.0, 3.0, 2.0, 2.0, 8.0)]
    leaves = [x.requires_grad_() for x in (torch.full((6, 1), 0.7, dtype=F64), *values)]
    assert torch.autograd.gradcheck(outputs, leaves, eps=1e-5, atol=1e-5, rtol=1e-4, fast_mode=True)


def test_errors() -> None:
    with pytest.raises(DataError, match="'vapour_pressure' is 1.5 Pa"):  # kPa
        solved(MODEL, noon(vapour_pressure=1.5))
    with pytest.raises(DataError, match="'pressure' is 101 Pa"):
        solved(MODEL, noon(pressure=101.0))
    with pytest.raises(DataError, match="'par' is -5"):
        solved(MODEL, noon(par=-5.0))
    with pytest.raises(DataError, match="'leaf_area_index' is -1"):
        solved(MODEL, noon(leaf_area_index=-1.0))
    with pytest.raises(DataError, match="'soil_water_stress' is 1.5"):
        solved(MODEL, noon(soil_water_stress=1.5))
    with pytest.raises(ParameterError, match="'soil_albedo_nir' is .* not be above 1"):
        solved(MODEL, noon(), soil_albedo_nir=1.4)
    with pytest.raises(ParameterError, match="R_15"):
        solved(MODEL, noon(), R_15=-1.0)
    with pytest.raises(UnknownName, match="log_law"):
        TwoBigLeaf(friction="loglaw")
    with pytest.raises(ParameterError, match="a canopy has two"):
        TwoBigLeaf(stomata="measured")
