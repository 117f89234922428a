"""Arrays with names and with masks.

Compared by name and date, never silently taken by position; and rounding at bounds.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

from pydiffgeo import HBV, Grid, Richards, Solution, Solver, solve, usda_soil
from pydiffgeo.errors import DataError, ParameterError, PyDiffGeoError

DATES = pd.date_range("2020-06-01", periods=4)
RAIN = np.array([[0.1, 0.0, 0.3], [0.0, 0.2, 0.0], [0.05, 0.0, 0.0]])  # three columns, three days
SITES = ["a", "b", "c"]
LOAM = usda_soil("loam")


def run(
    rain: Any,
    parameters: Any = LOAM,
    initial_state: Any = -100.0,
    times: Any = DATES,
    layers: Any = (0.0,),
) -> Solution:
    model = Richards(Grid.uniform(20.0, 4, layers=layers))
    forcing = {"rain": rain, "potential_evaporation": 0.0}
    return solve(
        model,
        forcing,
        parameters,
        initial_state,
        times,
        Solver("implicit_euler", step=24.0),
        engine="torch",
    )


def named(
    x: np.ndarray = RAIN, dims: tuple[str, ...] = ("site", "time"), **coordinates: Any
) -> xr.DataArray:
    return xr.DataArray(
        x,
        dims=dims,
        coords={k: v for k, v in {"time": DATES[1:], **coordinates}.items() if k in dims},
    )


@pytest.mark.parametrize(
    "rain",
    [
        named(),
        named(RAIN.T, ("time", "site")),
        named(RAIN.T, ("time", "plot"), plot=SITES),
        xr.DataArray(RAIN.T, dims=("when", "where"), coords={"when": DATES[1:]}),
        pd.DataFrame(RAIN.T, index=DATES[1:], columns=SITES),
        pd.DataFrame(RAIN, columns=DATES[1:], index=SITES),
        xr.DataArray(RAIN.T, dims=("t", "x")),
        xr.DataArray(RAIN.T, dims=("x", "reach")),
    ],
)
def test_a_square_array_is_turned_by_its_names(rain: Any) -> None:
    assert torch.equal(run(rain).fluxes["infiltration"], run(RAIN).fluxes["infiltration"])


@pytest.mark.parametrize(
    "rain", [xr.DataArray(RAIN, dims=("x", "y")), pd.DataFrame(RAIN), pd.DataFrame(RAIN.T)]
)
def test_a_square_array_without_a_name_that_tells_is_refused(rain: Any) -> None:
    with pytest.raises(DataError, match="forcing 'rain' has as many rows as columns, and its"):
        run(rain)
    two = rain[:2] if isinstance(rain, xr.DataArray) else rain.iloc[:2]
    assert torch.equal(run(two).fluxes["infiltration"], run(two.values).fluxes["infiltration"])


@pytest.mark.parametrize("key", ["scale_factor", "add_offset", "_FillValue", "missing_value"])
def test_values_as_they_were_packed_in_a_file_are_refused(key: str) -> None:
    with pytest.raises(DataError, match=rf"'rain' is as it was packed in its file \({key}\)"):
        run(named().assign_attrs({key: 0.3}))
    if "value" in key.lower():  # where nothing is missing the values are what they seem
        rain = named().assign_attrs({key: -999.0})
        assert torch.equal(run(rain).fluxes["infiltration"], run(RAIN).fluxes["infiltration"])


def test_parameters_and_states_are_turned_by_their_names() -> None:
    layers, three = (
        (0.0, 5.0, 10.0),
        np.array([[0.02, 0.03, 0.04], [0.05, 0.06, 0.07], [0.08, 0.09, 0.1]]),
    )
    wanted = run(RAIN, LOAM | {"alpha": torch.tensor(three)}, layers=layers).states
    turned = xr.DataArray(three.T, dims=("layer", "site"))
    assert torch.equal(run(named(), LOAM | {"alpha": turned}, layers=layers).states, wanted)
    # one row of values in time, for a soil with as many layers as there are days
    in_time = xr.DataArray(three[0], dims="time", coords={"time": DATES[1:]})
    wanted = run(RAIN, LOAM | {"alpha": torch.tensor(three[:1])[..., None]}, layers=layers).states
    assert torch.equal(run(RAIN, LOAM | {"alpha": in_time}, layers=layers).states, wanted)
    psi = -np.arange(100.0, 116.0).reshape(4, 4)
    rain = np.tile(RAIN[:1], (4, 1))
    assert torch.equal(
        run(rain, initial_state=named(psi.T, ("depth", "site"))).states,
        run(rain, initial_state=psi).states,
    )


@pytest.mark.parametrize(
    ("rain", "words"),
    [
        (named(time=DATES[1:] + pd.Timedelta("365D")), ["2021-06-02", "2020-06-02"]),
        (named()[:, ::-1], ["2020-06-04", "2020-06-02", "interval 0"]),
        (pd.Series(RAIN[0], DATES[1:][[0, 2, 1]]), ["2020-06-04", "2020-06-03", "interval 1"]),
        (named(time=DATES[:-1]), ["starts of the intervals", "assign_coords"]),
        (pd.Series(RAIN[0, :2], DATES[1:3]), ["2 values", "3 intervals"]),
        (named(dims=("site", "depth")), ["site, depth", "batch, time"]),
        (xr.DataArray(RAIN[0], dims="basin"), ["basin", "needs time"]),
        (xr.DataArray(RAIN, dims=("site", "station")), ["site, station", "select one"]),
    ],
)
def test_other_dates_and_dimensions_are_named(rain: Any, words: list[str]) -> None:
    with pytest.raises(DataError) as error:
        run(rain)
    assert all(word in str(error.value) for word in ["'rain'", *words]), str(error.value)


def test_dates_beside_times_that_are_numbers_have_the_same_steps() -> None:
    assert torch.equal(run(named(), times=24.0 * np.arange(4)).states, run(RAIN).states)
    with pytest.raises(DataError, match="'rain' has 24 h from 2020-06-02.* where times has 1 "):
        run(named(), times=np.arange(4.0))
    with pytest.raises(DataError, match="has the time 0.* where the interval of times ends at 24"):
        run(named(time=[0.0, 24.0, 49.0]), times=24.0 * np.arange(4))


def test_columns_are_those_of_the_other_inputs() -> None:
    K_s = xr.DataArray([1.0, 2.0, 3.0], dims="site", coords={"site": SITES})
    same = run(named(site=SITES), LOAM | {"K_s": K_s}).states
    assert torch.equal(same, run(RAIN, LOAM | {"K_s": K_s.values}).states)
    with pytest.raises(
        DataError, match="'K_s' and forcing 'rain' name different columns: column 0 is c and a"
    ):
        run(named(site=SITES), LOAM | {"K_s": K_s[::-1]})


MASK = [0.0, 1.0, 0.0]


@pytest.mark.parametrize(
    ("given", "kind", "words"),
    [
        (
            {"rain": np.ma.masked_array(RAIN, [MASK] * 3)},
            DataError,
            ["'rain'", "nan", "2020-06-03"],
        ),
        ({"rain": np.ma.masked_array([1, -9999, 2], MASK)}, DataError, ["'rain'", "nan"]),
        (
            {"parameters": LOAM | {"K_s": np.ma.masked_array([1.0, 1e20, 1.0], MASK)}},
            ParameterError,
            ["'K_s'", "column 1"],
        ),
        (
            {"initial_state": np.ma.masked_values([-100.0, -9999.0, -1.0, -1.0], -9999.0)},
            DataError,
            ["cell 1"],
        ),
        (
            {"rain": [np.ma.masked_array(row, MASK) for row in RAIN]},
            DataError,
            ["'rain'", "nan", "2020-06-03"],
        ),
        (
            {"rain": (np.ma.masked_array(RAIN[0], MASK),)},
            DataError,
            ["'rain'", "nan", "2020-06-03"],
        ),
        (
            {"rain": np.array([[0.1, np.ma.masked, 0.2]], dtype=object)},
            DataError,
            ["'rain'", "nan", "2020-06-03"],
        ),
        (
            {"parameters": LOAM | {"K_s": [1.0, np.ma.masked]}},
            ParameterError,
            ["'K_s'", "column 1"],
        ),
        (
            {"initial_state": [np.ma.masked_values([-100.0, -9999.0, -1.0, -1.0], -9999.0)]},
            DataError,
            ["cell 1"],
        ),
        (
            {"times": np.ma.masked_array([0.0, 1.0, 2.0, 3.0], [0, 0, 1, 0])},
            DataError,
            ["times[2] is masked"],
        ),
    ],
)
def test_masked_values_are_gaps(
    given: dict[str, Any], kind: type[PyDiffGeoError], words: list[str]
) -> None:
    with pytest.raises(kind) as error:
        run(**{"rain": RAIN, **given})
    assert all(word in str(error.value) for word in words), str(error.value)


def test_lists_of_tensors() -> None:
    k = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    assert torch.equal(
        run(RAIN, LOAM | {"K_s": list(k)}).states, run(RAIN, LOAM | {"K_s": k}).states
    )
    assert torch.equal(run(list(torch.tensor(RAIN))).states, run(RAIN).states)
    k.requires_grad_()
    for several in (list(k), tuple(k), [[x] for x in k]):
        with pytest.raises(
            DataError,
            match=r"parameter 'K_s' is a list of tensors that require gradients.*torch\.stack",
        ):
            run(RAIN, LOAM | {"K_s": several})
    with pytest.raises(DataError, match="'rain' is of type torch.complex64: give real numbers"):
        run(torch.tensor([0.1 + 1j, 0.0, 0.2]))


def test_masked_arrays_without_a_gap_are_arrays() -> None:
    assert torch.equal(run([np.ma.masked_array(row) for row in RAIN]).states, run(RAIN).states)
    assert torch.equal(run(np.ma.masked_array(RAIN)).states, run(RAIN).states)


def test_rounding_at_a_bound_is_the_bound() -> None:
    rain = torch.tensor([[0.1, -1e-18, 0.3]], dtype=torch.float64, requires_grad=True)
    rounded = run(rain)
    assert torch.equal(rounded.states, run([0.1, 0.0, 0.3]).states)
    (slope,) = torch.autograd.grad(rounded.fluxes["infiltration"].sum(), rain)
    assert slope[0, 1] > 0.9  # rain that begins is taken up
    assert torch.equal(run(-1e-18).states, run(0.0).states)
    for below in (-1e-8, [0.1, 0.1, -1e-8]):
        with pytest.raises(DataError, match="'rain' is -1e-08"):
            run(below)


def test_tables_by_their_columns() -> None:
    model, sites = (
        Richards(Grid.uniform(20.0, 4)),
        pd.DataFrame([LOAM, usda_soil("clay")], index=["a", "b"]),
    )
    weather = pd.DataFrame({"rain": RAIN[0], "potential_evaporation": 0.01}, index=DATES[1:])

    def states(forcing: Any, parameters: Any) -> torch.Tensor:
        return solve(
            model, forcing, parameters, -100.0, DATES, Solver("implicit_euler", step=24.0), "torch"
        ).states

    wanted = states(*({k: v.to_numpy() for k, v in table.items()} for table in (weather, sites)))
    assert torch.equal(states(weather, sites), wanted)
    assert torch.equal(states(weather.to_xarray().rename(index="time"), sites), wanted)
    for bad, words in (
        (0.1, "must be a mapping"),
        ({**weather, "rain": weather["rain"].to_period()}, "Period"),
        ({**weather, "rain": DATES[1:].to_numpy()}, "give real numbers"),
    ):
        with pytest.raises(DataError, match=words):
            states(bad, sites)


def test_models_of_basins_too() -> None:
    weather = {
        "precipitation": RAIN * 100,
        "temperature": RAIN * 0 + 5,
        "potential_evapotranspiration": RAIN,
    }
    spec = HBV().spec
    names = dict(zip(spec.forcings, weather.values(), strict=True))
    turned = {k: named(v.T, ("time", "basin")) for k, v in names.items()}
    one, other = (
        solve(HBV(), f, {}, 1.0, DATES, "implicit_euler", "torch") for f in (names, turned)
    )
    assert torch.equal(one.states, other.states)
