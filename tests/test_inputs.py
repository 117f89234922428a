"""Bad input: a typed error that names it and the remedy, before any solving."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from input_cases import DATES, attempt, check

from pydiffgeo import HBV, Grid, Richards, Roots, Solver, solve, usda_soil
from pydiffgeo.errors import (
    DataError,
    DataWarning,
    ParameterError,
    PyDiffGeoError,
    SolveFailed,
    SpecError,
    UnitError,
    UnknownName,
)
from pydiffgeo.models.richards.hydraulics import UserHydraulics
from pydiffgeo.named import Names


def test_the_attempt_itself_reaches_the_engine() -> None:
    with pytest.raises(AssertionError, match="the solve was started"):
        attempt()


# ---- model and solver --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"hydraulics": "van_genuchte"}, ["van_genuchte", "did you mean 'van_genuchten'"]),
        ({"top": "atmosperic"}, ["atmosperic", "did you mean 'atmospheric'"]),
        ({"bottom": "free_drain"}, ["free_drain", "did you mean 'free_drainage'"]),
        ({"face_mean": "arithmetical"}, ["arithmetical", "did you mean 'arithmetic'"]),
    ],
)
def test_unknown_choices_of_the_model(given: dict[str, str], words: list[str]) -> None:
    with pytest.raises(UnknownName) as error:
        Richards(Grid.uniform(50.0, 10), **given)  # type: ignore[arg-type]
    assert all(word in str(error.value) for word in words), str(error.value)


def test_boundaries_at_the_wrong_end() -> None:
    grid = Grid.uniform(50.0, 10)
    with pytest.raises(SpecError, match="free_drainage.*top"):
        Richards(grid, top="free_drainage")
    with pytest.raises(SpecError, match="atmospheric.*bottom"):
        Richards(grid, bottom="atmospheric")
    with pytest.raises(UnknownName, match="did you mean 'exponential'"):
        Roots(profile="exponental")


def test_unknown_soil() -> None:
    with pytest.raises(UnknownName, match="'lome'; did you mean 'loam'"):
        usda_soil("lome")


def test_unknown_parameter_of_user_functions() -> None:
    user = UserHydraulics(lambda psi, p: psi, lambda psi, p: psi, parameters=["K_sat"])
    with pytest.raises(UnknownName, match="K_sat"):
        Richards(Grid.uniform(50.0, 10), hydraulics=user)


def test_unknown_method_engine_and_options() -> None:
    with pytest.raises(UnknownName, match="did you mean 'kvaerno3'"):
        Solver("kvaerno")
    with pytest.raises(UnknownName, match="did you mean 'report'"):
        Solver(on_failure="reports")
    for name in ("rtol", "atol", "step", "max_steps", "newton_tolerance"):
        with pytest.raises(ParameterError, match=f"{name}=-1"):
            Solver(**{name: -1})
    with pytest.raises(ParameterError, match="float16"):
        Solver(dtype=torch.float16)
    check(UnknownName, "tourch", "did you mean 'torch'", engine="tourch")
    check(UnknownName, "did you mean 'implicit_euler'", solver="implicit_euleer")


# ---- forcing, state and times
# ----------------------------------------------------------------------


def test_gap_in_the_forcing_is_dated() -> None:
    rain = xr.DataArray(
        [[0.1, 0.2, 0.3], [0.1, np.nan, 0.3]], dims=("station", "time"), coords={"time": DATES[1:]}
    )
    check(DataError, "'rain'", "nan", "column 1", "2020-06-03", forcing={"rain": rain}, times=DATES)
    check(DataError, "'rain'", "column 1", "2020-06-03", forcing={"rain": rain.values}, times=DATES)
    check(DataError, "'rain'", "column 0", "48", forcing={"rain": [0.1, float("nan"), 0.1]})


def test_impossible_forcing() -> None:
    check(DataError, "'rain'", "-0.5", "72", forcing={"rain": [0.0, 0.0, -0.5]})
    check(DataError, "'rain'", "inf", forcing={"rain": float("inf")})


def test_forcing_of_the_wrong_shape() -> None:
    check(DataError, "'rain'", "[4]", "3 intervals", forcing={"rain": [0.0] * 4})
    check(DataError, "'rain'", "[2, 2, 3]", forcing={"rain": torch.zeros(2, 2, 3)})
    check(PyDiffGeoError, "'rain'", forcing={"rain": "heavy"})


def test_inputs_that_disagree_on_the_batch() -> None:
    check(
        DataError,
        "rain has 2",
        "alpha has 3",
        forcing={"rain": torch.zeros(2, 3)},
        parameters={"alpha": torch.full((3,), 0.02)},
    )


@pytest.mark.parametrize("times", [[0.0, 24.0, 12.0, 72.0], [0.0, 24.0, 24.0, 72.0]])
def test_times_out_of_order(times: list[float]) -> None:
    check(DataError, "times must increase", f"times[2]={times[2]}", times=times)


def test_impossible_times() -> None:
    dates = DATES[[0, 2, 1, 3]]
    check(DataError, "times must increase", "2020-06-02", times=dates)
    check(DataError, "times[1]", times=[0.0, float("nan"), 48.0, 72.0])
    check(
        DataError,
        "times[1]",
        times=np.array(["2020-06-01", "NaT", "2020-06-03", "2020-06-04"], dtype="M8[D]"),
    )
    check(DataError, "times", times=[0.0])


def test_wrong_units() -> None:
    def rain(unit: str) -> xr.DataArray:
        return xr.DataArray([1.0, 2.0, 0.0], dims="time", attrs={"units": unit})

    check(UnitError, "'rain'", "mm", "cm h-1", forcing={"rain": rain("mm")})
    wrong = {"alpha": xr.DataArray(3.6, attrs={"units": "m"})}
    # all at once
    words = ("'rain'", "furlong", "'alpha'", "'m'", "cm-1")
    check(UnitError, *words, forcing={"rain": rain("furlong")}, parameters=wrong)
    check(
        UnitError, "initial_state", "kPa", initial_state=xr.DataArray(-10.0, attrs={"units": "kPa"})
    )
    with pytest.raises(AssertionError, match="the solve was started"):
        attempt(forcing={"rain": rain("cm/h")})


def test_other_units_are_converted_and_said() -> None:
    names = Names(None, "h")
    rain = xr.DataArray([24.0, 0.0], dims="time", attrs={"units": "mm/day"})
    with pytest.warns(DataWarning, match="rain is converted from 'mm/day' to 'cm h-1'"):
        values = names.drop(rain, ("batch", "time"), "cm h-1", "rain")
    np.testing.assert_allclose(values, [[0.1, 0.0]])
    warm = xr.DataArray([280.15], dims="time", attrs={"units": "K"})
    with pytest.warns(DataWarning, match="from 'K' to 'degC'"):
        np.testing.assert_allclose(names.drop(warm, ("batch", "time"), "degC", "tair"), [[7.0]])


def test_bad_initial_states() -> None:
    check(DataError, "initial_state", "[7]", "[10]", initial_state=torch.full((7,), -100.0))
    bad = torch.full((2, 10), -100.0)
    bad[1, 4] = float("nan")
    check(DataError, "initial_state", "column 1", "cell 4", initial_state=bad)


@pytest.mark.parametrize(
    ("initial", "words"),
    [
        (
            [10.0, 2.0, 50.0, 5.0, -999.0],
            ["'lower' is -999 mm at column 0", "least of 0 mm", "fill"],
        ),
        (
            torch.tensor([[10.0, 2.0, 50.0, 5.0, 9.0], [10.0, 2.0, -11.0, 5.0, 9.0]]),
            ["'soil' is -11 mm at column 1"],
        ),
        (-9999.0, ["'snow' is -9999 mm at column 0"]),
        (
            {"snow": 1.0, "melt_water": 0.0, "soil": [9.0, -999.0], "upper": 1.0, "lower": 1.0},
            ["'soil'", "column 1"],
        ),
    ],
)
def test_stores_less_than_empty(initial: Any, words: list[str]) -> None:
    weather = {"precipitation": 1.0, "temperature": 5.0, "potential_evapotranspiration": 1.0}
    with pytest.raises(DataError) as error:
        solve(HBV(), weather, {}, initial, [0.0, 1.0], engine="torch")
    assert all(word in str(error.value) for word in words), str(error.value)


def test_a_pond_is_not_less_than_empty_and_a_restart_may_be() -> None:
    pond, weather = (
        Richards(Grid.uniform(30.0, 3), top="surface_layer"),
        {"rain": 0.0, "potential_evaporation": 0.0},
    )
    with pytest.raises(
        DataError, match=r"'pond' is -5 cm at column 0, below its least of 0 cm.*\.$"
    ):
        solve(pond, weather, {}, {"pond": -5.0, "psi": -100.0}, [0.0, 1.0], engine="torch")
    dry = {
        "precipitation": 0.0,
        "temperature": [5.0, 20.0, 25.0],
        "potential_evapotranspiration": 8.0,
    }
    solver = Solver("sdirk2", step=1.0)
    last = solve(
        HBV(), dry, {}, [3.0, 1.0, 2.0, 1.0, 1.0], range(4), solver, engine="torch"
    ).states[:, -1]
    assert torch.equal(
        solve(HBV(), dry, {}, last, range(4), solver, engine="torch").initial_state, last
    )
    below = torch.tensor([[0.0, -0.5, -9.0, 0.0, -1e-12]])
    assert torch.equal(
        solve(HBV(), dry, {}, below, range(4), solver, engine="torch").initial_state, below.double()
    )


def test_heads_and_water_contents_of_any_kind() -> None:
    model, loam = Richards(Grid.uniform(20.0, 2)), usda_soil("loam")
    psi = torch.tensor([[-100.0, -50.0]], dtype=torch.float64)
    theta = model.water_content(psi, loam)
    for given in (psi.numpy(), psi.tolist(), psi.int(), psi.numpy().astype(int)):
        assert torch.equal(model.water_content(given, loam), theta)
        assert torch.equal(model.conductivity(given, loam), model.conductivity(psi, loam))
    assert torch.equal(model.head(theta.numpy(), loam), model.head(theta, loam))
    assert model.water_content(psi.float(), loam).dtype == torch.float32
    for whole in (torch.tensor([[0, 1]]), np.array([[0, 1]]), [[0, 1]]):
        with pytest.raises(
            ParameterError,
            match=r"no head has the water content 0 at \[0, 0\].*theta_r=0.078 to theta_s=0.43",
        ):
            model.head(whole, loam)
    with pytest.raises(DataError, match="theta is not numeric"):
        model.head("wet", loam)  # type: ignore[arg-type]


def test_replay_takes_a_solution() -> None:
    arguments = (
        HBV(),
        {"precipitation": 1.0, "temperature": 5.0, "potential_evapotranspiration": 1.0},
        {},
        10.0,
        [0.0, 1.0],
    )
    steps: Any = solve(*arguments, engine="torch").steps
    with pytest.raises(
        ParameterError, match="replay takes the Solution .*, got list: give what solve returned"
    ):
        solve(*arguments, engine="torch", replay=steps)


# ---- failures of the solve itself
# -------------------------------------------------------------------


def test_a_failed_solve_says_which_columns_and_what_to_do() -> None:
    model = Richards(Grid.uniform(50.0, 10), top="flux")
    forcing = {"top_flux": [[0.1], [50.0]]}
    solver = Solver(max_steps=40)
    with pytest.raises(
        SolveFailed, match="1 of 2 columns of the richards model failed: column 1 .*raise max_steps"
    ) as error:
        solve(model, forcing, usda_soil("loam"), -100.0, [0.0, 24.0], solver=solver, engine="torch")
    assert list(error.value.failed) == [1]
