"""A simulation goes on with the water under way: in unit hydrographs, and behind delays."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from downstream_cases import F64, GIVEN, batch_of, sites_of

import pydiffgeo as pdg
from pydiffgeo import stages
from pydiffgeo.errors import DataError, SettingsError
from pydiffgeo.evaluation.simulate import simulate

STORES = ("snow", "melt_water", "soil", "upper", "lower")
HYDROGRAPH = 14  # steps back that a unit hydrograph of 15 days looks
EXACT = pdg.Solver("implicit_euler", step=1.0, newton_tolerance=1e-12, max_newton=60)


def parts(whole: xr.Dataset, found: xr.Dataset) -> float:
    """Return the largest difference in discharge, in parts of the largest discharge."""
    same = whole.discharge.sel(time=found.time)
    return float(np.abs(found.discharge - same).max() / same.max())


def delayed_river(engine: str, start_after: int, interval: str | None) -> pdg.Hybrid:
    reach = stages.Process(
        "muskingum_cunge", engine=engine, given=GIVEN, learn=(), start={"volume": "water"}
    )
    down = stages.Downstream(reach, interval, (25.0, 39.0), start_after=start_after)
    return pdg.Hybrid(pdg.MLP(hidden=(4,)), down, spread=2.0, dtype=F64)


@pytest.mark.parametrize("interval", [None, "6h"])
def test_delayed_inflow_arrives_after_a_restart(engine: str, interval: str | None) -> None:
    """Delays of a day and more look back two days; with one of them, or none, water is lost."""
    sites = sites_of(24).assign(water=("site", np.full(5, 2e3), {"units": "m3"}))
    hybrid = delayed_river(engine, 0, interval).prepare(sites)
    hours = hybrid.parameters_of(batch_of(hybrid, sites))["delay"].detach()
    assert bool((hours > 24).all()), "back to the second day before"
    whole = simulate(hybrid, sites, warm_up=0, also=["discharge", "volume"])
    begin = sites.assign(water=whole.volume.isel(time=9, drop=True))  # after ten days
    away = []
    for back in (2, 1, 0):
        rest = delayed_river(engine, back, interval).prepare(sites)
        rest.load_state_dict(hybrid.state_dict())
        later = begin.isel(time=slice(10 - back, None))
        found = simulate(rest, later, warm_up=back, also=["discharge", "volume"])
        assert found.sizes["time"] == 14
        away.append(parts(whole, found))
    assert away[0] < 1e-11 and away[1] > 1e-4 and away[2] > 1e-4


def basins() -> xr.Dataset:
    """Five pieces of land, each with a reach."""
    random, sites = np.random.default_rng(0), sites_of(60)
    rain = random.gamma(0.4, 15.0, (5, 60))
    warm = 8 + 10 * np.sin(np.arange(60) / 9) * np.ones((5, 1))
    return sites.drop_vars(["lateral_inflow", "discharge"]).assign(
        precipitation=(("site", "time"), rain, {"units": "mm d-1"}),
        tair_mean=(("site", "time"), warm, {"units": "degC"}),
        potential_evapotranspiration=(("site", "time"), 0 * rain + 2.0, {"units": "mm d-1"}),
        own_area=("site", [40.0, 60.0, 80.0, 30.0, 90.0], {"units": "km2"}),
        water=("site", np.full(5, 2e3), {"units": "m3"}),
        **{f"{k}_then": ("site", np.full(5, 20.0), {"units": "mm"}) for k in STORES},
    )


def land(engine: str) -> stages.Process:
    return stages.Process(
        "hbv", EXACT, engine, learn=("K1",), start={k: f"{k}_then" for k in STORES}
    )


def ended(found: xr.Dataset, day: int, names: tuple[str, ...]) -> dict[str, xr.DataArray]:
    """Return states at the end of a day as attributes of sites."""
    return {f"{k}_then": found[k].isel(time=day, drop=True) for k in names}


def test_a_unit_hydrograph_gives_what_it_holds_after_a_restart(engine: str) -> None:
    """A warm-up of 14 days from the stores before it; one of 13 lacks the tail of one day."""
    sites = basins()
    hybrid = pdg.Hybrid(
        pdg.MLP(hidden=(4,)), land(engine), stages.UnitHydrograph(), dtype=F64
    ).prepare(sites)
    whole = simulate(hybrid, sites, warm_up=0, also=["discharge", *STORES])
    away = []
    for back in (HYDROGRAPH, HYDROGRAPH - 1, 0):
        begin = sites.assign(ended(whole, 29 - back, STORES)).isel(time=slice(30 - back, None))
        away.append(parts(whole, simulate(hybrid, begin, warm_up=back, also=["discharge"])))
    assert away[0] < 1e-12 and away[1] > 1e-5 and away[2] > 0.1


def test_land_hydrograph_delay_and_river_go_on_together(engine: str) -> None:
    """Stores of the land 16 days before, volumes of the river at the restart itself."""
    sites, back = basins(), HYDROGRAPH + 2

    def made(start_after: int) -> pdg.Hybrid:
        reach = stages.Process(
            "muskingum_cunge", engine=engine, given=GIVEN, learn=(), start={"volume": "water"}
        )
        return pdg.Hybrid(
            pdg.MLP(hidden=(4,)), land(engine), stages.UnitHydrograph(),
            stages.Lateral("discharge", "own_area"),
            stages.Downstream(reach, "6h", (25.0, 39.0), start_after=start_after),
            spread=2.0, dtype=F64,
        ).prepare(sites)  # fmt: skip

    first, rest = made(0), made(back)
    rest.load_state_dict(first.state_dict())
    names = ["discharge", "volume", *STORES]
    whole = simulate(first, sites, warm_up=0, also=names)
    begin = sites.assign(ended(whole, 29 - back, STORES) | ended(whole, 29, ("volume",)))
    begin = begin.drop_vars("water").rename(volume_then="water").isel(time=slice(30 - back, None))
    found = simulate(rest, begin, warm_up=back, also=["discharge"])
    assert pd.Timestamp(found.time.values[0]) == pd.Timestamp(whole.time.values[30])
    assert parts(whole, found) < 1e-11
    kept = simulate(rest, begin, warm_up=back, also=["discharge"], keep_warm_up=True)
    assert bool(kept.discharge[:, :back].isnull().all()), "nothing is known before"


def test_a_process_that_starts_later_is_one_of_fewer_steps(engine: str) -> None:
    sites = basins()
    series = []
    for start_after, part in ((4, sites), (0, sites.isel(time=slice(4, None)))):
        process = stages.Process(
            "hbv", engine=engine, learn=("K1",), start={k: f"{k}_then" for k in STORES},
            start_after=start_after,
        )  # fmt: skip
        hybrid = pdg.Hybrid(pdg.MLP(hidden=(4,)), process, varying=("K1",), dtype=F64)
        hybrid.prepare(part)
        days = torch.linspace(0.05, 0.4, 60, dtype=F64)[-part.sizes["time"] :]
        found = hybrid.run(batch_of(hybrid, part), {"K1": days.expand(5, 1, -1)})
        series.append(found["discharge"])
    assert bool(series[0][:, :4].isnan().all())
    torch.testing.assert_close(series[0][:, 4:], series[1], rtol=0, atol=0)


def test_a_start_that_cannot_be_is_refused() -> None:
    reach = stages.Process("muskingum", learn=(), start_after=1)
    with pytest.raises(SettingsError, match="start_after=1 is an option of Downstream"):
        stages.Downstream(reach)
    with pytest.raises(SettingsError, match="start_after=-1 must be a whole number"):
        stages.Process("hbv", start_after=-1)
    sites = sites_of(6).assign(water=("site", np.full(5, 2e3), {"units": "m3"}))
    hybrid = delayed_river("torch", 6, None).prepare(sites)
    with pytest.raises(DataError, match="starts after 6 steps of a window, which has 6"):
        hybrid(batch_of(hybrid, sites))
