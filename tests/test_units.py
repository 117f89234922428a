"""Units of a column: everything follows those of the grid, on both engines, with gradients.

And units as text.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from torch import Tensor

from pydiffgeo import (
    Grid,
    NeuralClosure,
    Richards,
    Roots,
    Solution,
    Solver,
    check_model,
    load_spec,
    solve,
    usda_soil,
)
from pydiffgeo.errors import DataError, DataWarning, GridError, UnitError, UnknownName
from pydiffgeo.models.richards.hydraulics import UserHydraulics
from pydiffgeo.units import Units, conversion, conversions, is_unit, same_unit

F64 = torch.float64
OTHER = [("m", "d"), ("mm", "min")]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("cm h-1", "cm/h"),
        ("cm h-1", "cm hour^-1"),
        ("mm d-1", "mm/day"),
        ("cm-1", "1/cm"),
        ("1", "m3 m-3"),
        ("1", "-"),
        ("degC", "Celsius"),
    ],
)
def test_spellings_of_one_unit(one: str, other: str) -> None:
    assert same_unit(one, other) and same_unit(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [("cm h-1", "cm"), ("cm h-1", "mm h-1"), ("cm", "cm-1"), ("m d-1", "m min-1"), ("%", "1")],
)
def test_units_that_are_others(one: str, other: str) -> None:
    assert not same_unit(one, other)


@pytest.mark.parametrize(
    ("given", "wanted", "change"),
    [
        ("m s-1", "mm d-1", (86400000.0, 0.0)),
        ("K", "degC", (1.0, -273.15)),
        ("degF", "degC", (5 / 9, -160 / 9)),
        ("kg m-2 s-1", "mm/day", (86400.0, 0.0)),
        ("W m-2", "MJ m-2 d-1", (0.0864, 0.0)),
        ("percent", "m3 m-3", (0.01, 0.0)),
        ("%", "1", (0.01, 0.0)),
        ("mbar", "Pa", (100.0, 0.0)),
        ("inches/day", "mm d-1", (25.4, 0.0)),
        ("kg m-2", "mm", (1.0, 0.0)),
        ("°C", "degC", (1.0, 0.0)),
        ("mm day-1 (sum)", "mm d-1", (1.0, 0.0)),
        ("cfs", "m3 s-1", (0.3048**3, 0.0)),
        ("degC d-1", "K h-1", (1 / 24, 0.0)),
        ("µmol m-2 s-1", "mol m-2 d-1", (0.0864, 0.0)),
        ("m", "degC", None),
        ("mm", "mm d-1", None),
        ("furlong", "m", None),
        ("mg L-1", "1", None),
        ("Pa", "m", None),
        ("log10(m2)", "m2", None),
    ],
)
def test_what_converts(given: str, wanted: str, change: tuple[float, float] | None) -> None:
    found = conversion(given, wanted)
    assert found == (None if change is None else pytest.approx(change, rel=1e-15))
    if found is not None:
        back = conversion(wanted, given)
        assert back is not None
        assert back[0] * (found[0] * 3.7 + found[1]) + back[1] == pytest.approx(3.7, rel=1e-12)


def test_units_that_do_not_convert_are_named_together() -> None:
    given = {"P": ("mm", "mm d-1"), "T": ("K", "degC"), "Q": (None, "mm d-1")}
    with pytest.raises(
        UnitError, match="a.nc: 'P' has unit 'mm', expected.*'Q' has no unit"
    ) as error:
        conversions(given, "a.nc")
    assert "'T'" not in str(error.value)
    assert conversions({"T": given["T"]}, "a.nc") == {"T": (1.0, -273.15)}
    assert is_unit("MJ m-2 d-1") and is_unit("%") and not is_unit("furlong d-1")


def test_every_quantity_of_the_specification_follows_from_its_unit() -> None:
    whole = load_spec("richards")
    units = Units("m", "days")
    spec = whole.in_units(units)
    assert spec.time_unit == "d"
    for kind in ("states", "parameters", "forcings", "fluxes"):
        for name, entry in getattr(whole, kind).items():
            other = getattr(spec, kind)[name]
            size = {"cm": 100.0, "cm-1": 0.01, "cm h-1": 100 / 24, "1": 1.0}[entry.unit]
            assert other.unit == entry.unit.replace("cm", "m").replace("h", "d")
            assert units.factor(entry.unit) == pytest.approx(size, rel=1e-15)
            for field in ("lower", "upper", "default", "minimum", "scale"):
                if hasattr(entry, field):
                    assert getattr(other, field) * size == pytest.approx(
                        getattr(entry, field), rel=1e-15, nan_ok=True
                    )
    assert spec.states["psi"].storage_scale == 1.0 and spec.states["pond"].storage_scale == 0.01
    assert whole.in_units(Units()) == whole


class Case:
    """A storm, a drought and rain on two soils with plants, all numbers in cm and h turned into the
    units of a grid.
    """

    def __init__(self, unit: str = "cm", time_unit: str = "h", **model: Any):
        self.units = units = Units(unit, time_unit)
        f = units.factor
        grid = Grid.graded(
            60 / f("cm"), 8, 2 / f("cm"), layers=(0.0, 20 / f("cm")), unit=unit, time_unit=time_unit
        )
        self.model = Richards(grid, **model)
        loam, clay = (usda_soil(k, unit, time_unit) for k in ("sandy loam", "clay loam"))
        values = (
            {k: [[loam[k], clay[k]]] for k in loam}
            if model.get("hydraulics") is None
            else {"alpha": [[0.02 * f("cm")]]}
        )
        weather = {"rain": [2.0, 0.0, 0.1], "potential_evaporation": [0.0, 0.03, 0.0]}
        weather |= {"potential_transpiration": [0.0, 0.05, 0.0]} if model.get("roots") else {}
        self.leaves = {
            k: torch.tensor(v, dtype=F64)
            for k, v in values.items()
            if k in self.model.spec.parameters
        }
        self.leaves |= {k: torch.tensor([v], dtype=F64) / f("cm h-1") for k, v in weather.items()}
        heads = [-200.0] * 8
        # with the depth of a pond
        state = [0.5, *heads] if model.get("top") == "surface_layer" else heads
        self.leaves["initial"] = torch.tensor([state], dtype=F64) / f("cm")
        for x in self.leaves.values():
            x.requires_grad_()

    def solve(self, solver: Solver, **options: Any) -> Solution:
        spec, hour = self.model.spec, self.units.factor("h")
        inputs = [
            {k: v for k, v in self.leaves.items() if k in names}
            for names in (spec.forcings, spec.parameters)
        ]
        atol = 0.2 / self.units.factor("cm")
        solver = replace(
            solver, step=solver.step and solver.step / hour, initial_step=0.01 / hour, atol=atol
        )
        return solve(
            self.model,
            *inputs,
            self.leaves["initial"],
            np.array([0.0, 6.0, 30.0, 36.0]) / hour,
            solver,
            **options,
        )

    def results(self, solution: Solution) -> dict[str, Tensor]:
        """States, fluxes and storage, in cm and h."""
        f, spec = self.units.factor, self.model.core.spec
        out = {k: x * f(spec.fluxes[k].unit) for k, x in solution.fluxes.items()}
        return out | {"psi": solution.states * f("cm"), "storage": solution.storage * f("cm")}

    def gradients(self, results: dict[str, Tensor]) -> dict[str, Tensor]:
        """Those of a sum of all results, per cm and h."""
        found = torch.autograd.grad(
            sum(x.sum() for x in results.values()), list(self.leaves.values())
        )
        spec = self.model.core.spec
        # all states are lengths
        known = {**spec.parameters, **spec.forcings, "initial": spec.states["psi"]}
        return {
            k: g / self.units.factor(known[k].unit)
            for (k, g) in zip(self.leaves, found, strict=True)
        }


PLANTS = Roots(density=[1.0, 0.5, 0.1], depth=[0.0, 10.0, 40.0], demand_dependent=True)


def plants(length: float) -> Roots:
    return replace(PLANTS, depth=tuple(z / length for z in PLANTS.depth or ()))


@pytest.mark.parametrize("other", OTHER, ids="/".join)
@pytest.mark.parametrize(
    "solver", [Solver("implicit_euler", step=1.0), Solver()], ids=["fixed", "adaptive"]
)
def test_results_and_gradients_are_those_in_cm_and_h(
    engine: str, other: tuple[str, str], solver: Solver
) -> None:
    top = "surface_layer" if solver.step else "atmospheric"
    cases = [Case(*u, roots=plants(Units(*u).factor("cm")), top=top) for u in (("cm", "h"), other)]
    solutions = [c.solve(solver) for c in cases]
    results = [c.results(s) for c, s in zip(cases, solutions, strict=True)]
    for k, x in results[0].items():
        torch.testing.assert_close(results[1][k], x, rtol=1e-8, atol=1e-10)
    gradients = [c.gradients(r) for c, r in zip(cases, results, strict=True)]
    for k, g in gradients[0].items():
        torch.testing.assert_close(gradients[1][k], g, rtol=1e-6, atol=1e-8 * float(g.abs().max()))
    assert solutions[1].balance_error().item() < 1e-12
    torch.testing.assert_close(
        cases[1].solve(solver, replay=solutions[1]).states,
        solutions[1].states,
        rtol=1e-4,
        atol=1e-9,
    )


def test_heads_and_curves_of_the_model_are_in_the_units_of_its_grid() -> None:
    cm, m = Case(), Case("m", "d")
    psi = -torch.logspace(0.5, 3.5, 8, dtype=F64)[None]
    soils = [{k: v for k, v in c.leaves.items() if k in c.model.spec.parameters} for c in (cm, m)]
    theta = cm.model.water_content(psi, soils[0])
    torch.testing.assert_close(
        m.model.water_content(psi / 100, soils[1]), theta, rtol=1e-13, atol=0
    )
    K = cm.model.conductivity(psi, soils[0])
    torch.testing.assert_close(
        m.model.conductivity(psi / 100, soils[1]), K * 0.24, rtol=1e-12, atol=0
    )
    torch.testing.assert_close(m.model.head(theta, soils[1]), psi / 100, rtol=1e-9, atol=0)
    dryness = torch.linspace(0.3, 4.0, 5, dtype=F64)
    given = [{k: v[0, 0].item() for k, v in soil.items()} for soil in soils]
    for slot in ("retention", "conductivity"):
        one, other = (
            c.model.formula(slot, p)(dryness) for c, p in zip((cm, m), given, strict=True)
        )
        torch.testing.assert_close(other, one, rtol=1e-12, atol=0)


def gardner(K_s: float) -> UserHydraulics:
    """Curves that a user writes in the units of the grid."""
    return UserHydraulics(
        lambda psi, p: 0.1 + 0.3 * torch.exp(p["alpha"] * psi.clamp(max=0)),
        lambda psi, p: K_s * torch.exp(p["alpha"] * psi.clamp(max=0)),
        parameters=["alpha"],
        head_fn=lambda theta, p: torch.log((theta - 0.1) / 0.3) / p["alpha"],
    )


def test_functions_of_a_user_are_called_in_the_units_of_the_grid() -> None:
    cases = Case(hydraulics=gardner(2.0)), Case("m", "d", hydraulics=gardner(0.48))
    results = [
        c.results(c.solve(Solver("implicit_euler", step=3.0), engine="torch")) for c in cases
    ]
    for k, x in results[0].items():
        torch.testing.assert_close(results[1][k], x, rtol=1e-8, atol=1e-10)
    gradients = [c.gradients(r) for c, r in zip(cases, results, strict=True)]
    torch.testing.assert_close(gradients[1]["alpha"], gradients[0]["alpha"], rtol=1e-7, atol=0)
    psi, soil = results[1]["psi"] / 100, {"alpha": cases[1].leaves["alpha"]}
    theta = cases[1].model.water_content(psi, soil)
    torch.testing.assert_close(cases[1].model.head(theta, soil), psi, rtol=1e-10, atol=0)


def test_networks_read_the_same_dryness() -> None:
    def network() -> NeuralClosure:
        return NeuralClosure(1, (4,), output_range=(0.0, 20.0), monotone_in=(0,), seed=1)

    cases = [Case(*u, closures={"conductivity": network()}) for u in (("cm", "h"), ("m", "d"))]
    psi = -torch.logspace(0.5, 3.5, 8, dtype=F64)[None]
    soils = [{k: v for k, v in c.leaves.items() if k in c.model.spec.parameters} for c in cases]
    K = [
        c.model.conductivity(psi / c.units.factor("cm"), soil)
        for c, soil in zip(cases, soils, strict=True)
    ]
    torch.testing.assert_close(K[1], K[0] * 0.24, rtol=1e-12, atol=0)


def test_units_that_are_stated_are_the_grids() -> None:
    grid = Grid.uniform(1.0, 4, unit="metre", time_unit="day")
    assert (grid.unit, grid.time_unit) == ("m", "d")
    model = Richards(grid, top="flux")

    def rain(unit: str) -> dict[str, Any]:
        return {"top_flux": xr.DataArray([0.01], dims="time", attrs={"units": unit})}

    soil, dates = usda_soil("loam", "m", "d"), np.array(["2000-01-01", "2000-01-03"], "M8[D]")
    solution = solve(model, rain("m/day"), soil, -1.0, dates, engine="torch")
    assert solution.lengths.tolist() == [2.0]
    assert solution.fluxes["infiltration"].item() == pytest.approx(0.01)
    assert solution.to_xarray()["depth"].attrs["units"] == "m"
    with pytest.warns(DataWarning, match="converted from 'cm/d' to 'm d-1'"):
        same = solve(model, rain("cm/d"), soil, -1.0, dates, engine="torch")
    assert same.fluxes["infiltration"].item() == pytest.approx(0.0001)
    with pytest.raises(UnitError, match="'mm', the model needs 'm d-1'"):
        solve(model, rain("mm"), soil, -1.0, dates)
    with pytest.raises(DataError, match="3000 m d-1.*-2400 to 2400"):
        solve(model, {"top_flux": 3000.0}, soil, -1.0, dates)
    with pytest.raises(UnknownName, match="unit of length 'ft'"):
        Grid.uniform(1.0, 4, unit="ft")
    with pytest.raises(GridError, match="0.55 m is not a face"):
        Grid.uniform(1.0, 4, layers=(0.0, 0.55), unit="m")


def test_classes_of_soils_in_other_units() -> None:
    cm, m = usda_soil("clay"), usda_soil("clay", "m", "d")
    per = {"alpha": 100.0, "K_s": 0.24}
    assert m == {k: pytest.approx(v * per.get(k, 1.0)) for k, v in cm.items()}
    assert cm["alpha"] == 0.008 and cm["K_s"] == 0.2


def test_a_model_in_other_units_is_checked_as_any_other() -> None:
    model = Richards(Grid.uniform(0.5, 4, unit="m", time_unit="d"), roots=Roots())
    assert "linearise as by automatic differentiation" in check_model(model, initial_state=-0.8)
