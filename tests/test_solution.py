"""What a solution says of itself.

Variables with their own names and units, a balance that means something, a short summary.
"""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from pydiffgeo import (
    HBV,
    Grid,
    ProcessModel,
    Richards,
    Solution,
    Solver,
    load_spec,
    solve,
    usda_soil,
)
from pydiffgeo.errors import DataError, UnitError, UnknownName

DATES = np.arange("2001-02-27", "2001-03-04", dtype="datetime64[D]")
WEATHER = {
    "precipitation": [4.0, 0.0, 9.0, 1.0],
    "temperature": 8.0,
    "potential_evapotranspiration": 2.0,
}
DAILY = Solver("implicit_euler", step=1.0)
STORES = {
    "snow": 1.0,
    "melt_water": 2.0,
    "soil": torch.tensor([50.0, 80.0]),
    "upper": 3.0,
    "lower": 20.0,
}


def basin() -> Solution:
    return solve(
        HBV(), WEATHER, {"FC": torch.tensor([100.0, 300.0])}, STORES, DATES, DAILY, "torch"
    )


def column(**options: object) -> Solution:
    model = Richards(Grid.uniform(50.0, 5, layers=(0.0, 20.0)), top="flux", bottom="flux")
    soil = usda_soil("loam") | {"K_s": torch.tensor([[1.0, 0.5], [2.0, 0.1]])}
    flows = {"top_flux": 0.0, "bottom_flux": 0.0}
    return solve(
        model, flows, soil, torch.linspace(-100, -20, 5), [0.0, 1.0, 6.0], engine="torch", **options
    )  # type: ignore[arg-type]


def test_each_store_is_a_variable_of_its_own(tmp_path: Path) -> None:
    import xarray as xr

    s = basin()
    data = s.to_xarray()
    for i, (name, spec) in enumerate(s.model.spec.states.items()):
        np.testing.assert_array_equal(data[name], s.states[..., i].numpy())
        assert data[name].attrs == {
            "units": "mm",
            "long_name": spec.description,
            "cell_methods": "time: point",
        }
        assert data[name].dims == ("batch", "time")
    assert len({data[name].attrs["long_name"] for name in s.model.spec.states}) == 5
    assert (
        data["discharge"].attrs["units"] == "mm d-1"
        and data["discharge"].attrs["cell_methods"] == "time: mean"
    )
    assert data["storage"].attrs["units"] == "mm"
    np.testing.assert_allclose(
        data["storage"], sum(data[name] for name in s.model.spec.states), rtol=1e-9
    )
    np.testing.assert_array_equal(data["time"], DATES[1:])
    np.testing.assert_array_equal(data["time_bounds"], np.stack([DATES[:-1], DATES[1:]], 1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data.to_netcdf(tmp_path / "basin.nc")
    with xr.open_dataset(tmp_path / "basin.nc") as again:
        np.testing.assert_array_equal(again["time"], data["time"])
        np.testing.assert_array_equal(again["time_bounds"], data["time_bounds"])
        np.testing.assert_array_equal(again["soil"], data["soil"])


def test_water_content_comes_with_a_column() -> None:
    s = column()
    data = s.to_xarray()
    assert data["psi"].dims == data["water_content"].dims == ("batch", "time", "cell")
    assert (
        data["psi"].attrs["units"] == s.model.spec.states["psi"].unit
        and data["water_content"].attrs["units"] == "1"
    )
    cells = 10.0 * data["water_content"].sum("cell")  # cm
    np.testing.assert_allclose(cells, data["storage"], rtol=1e-9)  # nothing is saturated
    assert data["storage"].attrs["units"] == "cm" and data["depth"].values.tolist() == [
        5.0,
        15.0,
        25.0,
        35.0,
        45.0,
    ]
    assert data["time"].attrs["units"] == "h" and data["time_bounds"].values.tolist() == [
        [0.0, 1.0],
        [1.0, 6.0],
    ]


def test_balance_of_a_closed_column_is_rounding() -> None:
    s = column()
    assert float((s.states[:, -1] - s.initial_state).abs().max()) > 1.0  # it moved inside
    assert float(s.balance_error().max()) < 1e-13


class Tank(ProcessModel):
    """A tank that loses what its fluxes do not tell; named as the total would be."""

    size = 1

    def __init__(self, file: Path, balance: int) -> None:
        file.write_text(
            'name = "tank"\ntime_unit = "d"\n[states.storage]\nunit = "mm"\nscale = 10.0\nstorage '
            '= "storage"\nstorage_unit = "mm"\nstorage_scale = 10.0\n[fluxes.outflow]\nunit = "mm '
            f'd-1"\nbalance = {balance}\n'
        )
        self.spec = load_spec(file)

    def rates(self, state, forcing, parameters):  # type: ignore[no-untyped-def]
        return -0.1 * state

    def fluxes(self, state, forcing, parameters):  # type: ignore[no-untyped-def]
        return 0.1 * state


def test_a_balance_is_relative_to_what_moved_or_to_the_storage(tmp_path: Path) -> None:
    tank = Tank(tmp_path / "tank.toml", -1)
    s = solve(tank, {}, {}, 10.0, [0.0, 1.0, 2.0], DAILY, "torch")
    assert float(s.balance_error()[0]) < 1e-15
    moved = 10.0 - float(s.states[0, -1, 0])
    tenth = {"outflow": 0.9 * s.fluxes["outflow"]}  # a tenth of the outflow is not told
    altered = Solution(**{**vars(s), "fluxes": tenth})
    assert float(altered.balance_error()[0]) == pytest.approx(0.1 / 0.9, rel=1e-9)
    nothing = Solution(**{**vars(s), "fluxes": {"outflow": torch.zeros(1, 2, dtype=torch.float64)}})
    assert float(nothing.balance_error()[0]) == pytest.approx(moved / 10.0, rel=1e-9)
    none = solve(Tank(tmp_path / "tank.toml", 0), {}, {}, 10.0, [0.0, 1.0], DAILY, "torch")
    assert math.isnan(float(none.balance_error()[0]))
    assert set(s.to_xarray()) == {"storage", "outflow", "total_storage", "time_bounds"}


def test_the_summary_is_short() -> None:
    text = repr(basin())
    assert text.splitlines()[0] == "Solution of hbv by the torch engine" and len(text) < 600
    assert (
        "2001-02-27 to 2001-03-03, 4 intervals" in text
        and "4 per column, 0 rejected" in text
        and "failed   none" in text
    )
    failed = repr(column(solver=Solver(max_steps=5, on_failure="report")))
    assert (
        "psi in 5 cells" in failed
        and "0.0 to 6.0 h" in failed
        and "failed   2: column 0 in the interval that ends at" in failed
    )


def test_initial_states_by_name() -> None:
    s = basin()
    by_name = [[1.0, 2.0, 50.0, 3.0, 20.0], [1.0, 2.0, 80.0, 3.0, 20.0]]
    assert s.initial_state.tolist() == by_name
    in_order = solve(
        HBV(), WEATHER, {"FC": torch.tensor([100.0, 300.0])}, by_name, DATES, DAILY, "torch"
    )
    assert torch.equal(s.states, in_order.states)
    soil = torch.tensor(60.0, dtype=torch.float64, requires_grad=True)
    solution = solve(HBV(), WEATHER, {}, STORES | {"soil": soil}, DATES, DAILY, "torch")
    (g,) = torch.autograd.grad(solution.states[0, -1].sum(), soil)
    assert 0.0 < float(g) < 1.0
    assert column().initial_state.tolist() == _named_column().initial_state.tolist()


def _named_column() -> Solution:
    s = column()
    flows = {"top_flux": 0.0, "bottom_flux": 0.0}
    return solve(
        s.model,
        flows,
        s.parameters,
        {"psi": torch.linspace(-100, -20, 5)},
        [0.0, 1.0],
        engine="torch",
    )


def test_what_a_model_starts_with_is_what_solve_takes() -> None:
    learned = {"FC": torch.tensor([100.0, 300.0], requires_grad=True)}
    start = HBV().start(learned)
    s = solve(HBV(), WEATHER, learned, start, DATES, DAILY, "torch")
    assert (
        s.initial_state[:, 2].tolist() == [50.0, 150.0]
        and list(start) != []
        and set(start) == set(HBV().spec.states)
    )


def test_states_that_do_not_fit() -> None:
    import xarray as xr

    def attempt(**states: object) -> None:
        solve(HBV(), WEATHER, {}, states, DATES, DAILY, "torch")

    with pytest.raises(UnknownName, match="unknown state 'snwo'; did you mean 'snow'"):
        attempt(**STORES, snwo=1.0)
    with pytest.raises(DataError, match=r"lacks the states upper \(mm\), lower \(mm\)"):
        attempt(**{k: v for k, v in STORES.items() if k not in ("upper", "lower")})
    with pytest.raises(
        DataError,
        match=r"initial_state 'soil' has shape \[2, 3\]; give a number or \[batch\] \(mm\)",
    ):
        attempt(**{**STORES, "soil": torch.ones(2, 3)})
    with pytest.raises(
        DataError, match="disagree on the number of columns.*'soil' has 2.*'lower' has 3"
    ):
        attempt(**{**STORES, "lower": [1.0, 2.0, 3.0]})
    with pytest.raises(UnitError, match="initial_state soil has units 'kPa', the model needs 'mm'"):
        attempt(
            **{**STORES, "soil": xr.DataArray([5.0, 8.0], dims="basin", attrs={"units": "kPa"})}
        )
    with pytest.raises(DataError, match="not finite at column 0 .state 'lower'"):
        attempt(**{**STORES, "lower": float("nan")})
