"""Process stages: what they learn, where they begin, closures inside, failures by site."""

from __future__ import annotations

import leaf_files
import numpy as np
import pytest
import torch
from hybrid_cases import basin_hybrid, basins, column_hybrid, column_process, stations

import pydiffgeo as pdg
from pydiffgeo import stages
from pydiffgeo.errors import ParameterError, SettingsError, SolveFailed, UnitError, UnknownName
from pydiffgeo.models.closures import NeuralClosure
from pydiffgeo.stages.base import Series
from pydiffgeo.stages.process import Process

F64 = torch.float64


def windows_of(hybrid: pdg.Hybrid, sites, **options):
    windows = pdg.Windows(sites, **{"dtype": F64, **options})
    hybrid.prepare(windows)
    observed = [name for name in windows.observed if name in hybrid.gives]
    return windows.reading(hybrid.reads, observed, hybrid.needs)


def test_bounds_and_starts_are_those_of_the_specification_or_replaced() -> None:
    process = stages.Process("hbv", bounds={"K2": (0.01, 0.2)}, begin={"FC": 300.0})
    spec = process.model.spec.parameters
    assert (process.learns["K2"].lower, process.learns["K2"].upper) == (0.01, 0.2)
    assert process.learns["FC"] == pdg.Bounds.of(spec["FC"]) and process.begin["FC"] == 300.0
    assert process.begin["K2"] == min(max(spec["K2"].default, 0.01), 0.2)
    assert process.reads == ("precipitation", "tair_mean", "potential_evapotranspiration")
    few = stages.Process(
        "hbv", learn=["FC"], bounds={"FC": (60, 70)}, forcing={"precipitation": "p"}
    )
    assert list(few.learns) == ["FC"] and few.reads[0] == "p"


def test_what_the_model_does_not_have_is_named() -> None:
    with pytest.raises(
        ParameterError, match="Process.hbv. has no parameter 'K22'; did you mean 'K2'"
    ):
        stages.Process("hbv", bounds={"K22": (0.1, 0.2)})
    with pytest.raises(ParameterError, match="no learned parameter 'K2'"):
        stages.Process("hbv", learn=["FC"], bounds={"K2": (0.1, 0.2)})
    with pytest.raises(ParameterError, match="bounds of 'K2'"):
        stages.Process("hbv", bounds={"K2": (0.2, 0.1)})
    with pytest.raises(UnknownName, match="did you mean 'hbv'"):
        stages.Process("hbvv")
    with pytest.raises(UnknownName, match="forcing of hbv"):
        stages.Process("hbv", forcing={"rain": "precipitation"})
    with pytest.raises(SettingsError, match="'discharge' should be 'discharg', .*did you mean"):
        stages.Process("hbv", outputs={"discharge": "discharg"})
    with pytest.raises(SettingsError, match="The new name comes first: .'q': 'discharge'"):
        stages.Process("hbv", outputs={"discharge": "q"})
    with pytest.raises(SettingsError, match="is for soil columns"):
        stages.Process("hbv", soil="loam")


def test_outputs_are_given_under_other_names_besides_their_own() -> None:
    hybrid = pdg.Hybrid(pdg.MLP(), stages.Process("hbv", engine="torch", outputs={"water": "soil"}))
    batch = windows_of(hybrid, basins(2, 20)).batch(0)
    series = hybrid(batch)
    assert torch.equal(series["water"], series["soil"]) and "water" in hybrid.gives


def test_fluxes_that_alone_are_given_are_those_of_the_whole() -> None:
    """Under their own names and others, with their gradients."""
    options = {"engine": "torch", "outputs": {"runoff": "discharge"}}
    found = []
    for only in (None, ["discharge", "quick_flow"]):
        torch.manual_seed(0)
        process = stages.Process("hbv", **options, only=only)
        hybrid = pdg.Hybrid(pdg.MLP(), process, dtype=F64)
        series = hybrid(windows_of(hybrid, basins(2, 20)).batch(0))
        series["runoff"].square().sum().backward()
        found.append((series, [w.grad for w in hybrid.parameters()]))
    assert process.gives == ("discharge", "quick_flow", "runoff") and "soil" not in found[1][0]
    for name in process.gives:
        assert torch.equal(found[0][0][name], found[1][0][name])
    assert all(torch.equal(a, b) for a, b in zip(found[0][1], found[1][1], strict=True))
    with pytest.raises(UnknownName, match="soil"):
        stages.Process("hbv", only=["soil"])
    with pytest.raises(SettingsError, match="'soil', which hbv does not give beside only="):
        stages.Process("hbv", only=["discharge"], outputs={"wetness": "soil"})
    for wrong in ("discharge", []):  # letters are no names, and none is not all
        with pytest.raises(ParameterError, match="one flux of hbv or more"):
            stages.Process("hbv", only=wrong)


def test_closures_are_trained_and_saved_with_the_hybrid() -> None:
    options = {"recharge": {"hidden": [4], "monotone_in": [0]}}
    process = stages.Process("hbv", engine="torch", closures=options)
    assert "BETA" not in process.learns
    hybrid = pdg.Hybrid(pdg.MLP(hidden=(4,)), process, dtype=F64)
    windows = windows_of(hybrid, basins(2, 20))
    closure = process.model.closures["recharge"]
    wet = torch.linspace(0.05, 0.95, 7, dtype=F64)
    formula = process.model.formula("recharge")(wet)
    assert float((closure(wet) - formula).detach().abs().max()) < 0.05  # begun as the formula
    hybrid(windows.batch(0))["discharge"].sum().backward()
    assert closure.weights.grad is not None and bool((closure.weights.grad != 0).any())
    assert any(p is closure.weights for p in hybrid.parameters())
    other = pdg.Hybrid(
        pdg.MLP(hidden=(4,)), stages.Process("hbv", engine="torch", closures=options)
    )
    other.to(F64).load_state_dict(hybrid.state_dict())
    again = other.double()(windows.batch(0))["discharge"]
    torch.testing.assert_close(again, hybrid(windows.batch(0))["discharge"], rtol=1e-6, atol=1e-6)


def test_closures_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UnknownName, match="slot of hbv"):
        stages.Process("hbv", closures={"rechrge": {}})
    with pytest.raises(SettingsError, match="stay within that"):
        stages.Process("hbv", closures={"recharge": {"output_range": (0.0, 2.0)}})
    with pytest.raises(SettingsError, match="'BETA' belongs to the formula .* 'recharge' replaces"):
        stages.Process("hbv", closures={"recharge": {}}, bounds={"BETA": (1.0, 3.0)})
    model = pdg.HBV(closures={"recharge": NeuralClosure(1, output_range=(0.0, 1.0))})
    with pytest.raises(SettingsError, match="'BETA' belongs to the formula"):
        pdg.Hybrid(pdg.LSTM(), stages.Process(model), varying=["BETA"])


def test_columns_learn_the_soil_of_each_layer_and_begin_at_a_class() -> None:
    process = column_process()
    assert list(process.learns) == ["theta_r", "theta_s", "alpha", "n", "K_s", "root_depth"]
    assert process.begin["K_s"] == 1.04 and process.begin["root_depth"] == 60.0
    assert process.layers["alpha"] == (7.5, 25.0, 57.5) and "root_depth" not in process.layers
    metres = pdg.Grid.graded(0.8, 8, 0.04, layers=(0.0, 0.15), unit="m", time_unit="d")
    other = stages.Process(pdg.Richards(metres, roots=pdg.Roots("exponential")), soil="loam")
    assert other.learns["root_depth"].lower == pytest.approx(0.1)
    assert other.begin["K_s"] == pytest.approx(1.04 * 24 / 100)
    assert other.learns["K_s"].upper == pytest.approx(100 * 24 / 100)


def test_columns_in_metres_and_days_are_those_in_centimetres_and_hours() -> None:
    sites, found = stations(2, 12), []
    for length, unit, time in ((1.0, "cm", "h"), (100.0, "m", "d")):
        grid = pdg.Grid.graded(
            80.0 / length, 8, 4.0 / length, layers=(0.0, 15.0 / length), unit=unit, time_unit=time
        )
        process = stages.Process(
            pdg.Richards(grid, roots=pdg.Roots("exponential")),
            pdg.Solver("implicit_euler", rtol=0.1),
            engine="torch",
            forcing={"rain": "precipitation"},
            start="soil_moisture_first",
        )
        hybrid = pdg.Hybrid(pdg.SoilClass(), stages.Canopy(), process, stages.Probes(), dtype=F64)
        table = windows_of(hybrid, sites)
        found.append(hybrid(table.batch(0)))
    torch.testing.assert_close(
        found[0]["soil_moisture"], found[1]["soil_moisture"], rtol=1e-6, atol=1e-8
    )
    torch.testing.assert_close(
        found[0]["drainage"] * 24 / 100, found[1]["drainage"], rtol=1e-5, atol=1e-9
    )


def test_failed_columns_are_named_and_leave_the_others_their_gradient() -> None:
    solver = pdg.Solver("implicit_euler", rtol=0.1, max_steps=100, on_failure="report")
    sites = stations(3, 12)
    sites["precipitation"][1] = 0.0
    sites["precipitation"][1, ::2] = 400.0  # storms that need more steps than are allowed
    hybrid = column_hybrid()
    process = hybrid.stages[2]
    process.solver = solver
    batch = windows_of(hybrid, sites).batch(0)
    series = hybrid(batch)
    assert list(series.failed) == [1] and "site b1, 2000-01-01" in series.failed[1]
    assert (
        torch.isnan(series["soil_moisture"][1]).all() and torch.isnan(series["drainage"][1]).all()
    )
    assert torch.isfinite(series["soil_moisture"][[0, 2]]).all()
    series["soil_moisture"][[0, 2]].sum().backward()
    assert all(bool(torch.isfinite(w.grad).all()) for w in hybrid.parameters())
    process.solver = pdg.Solver("implicit_euler", rtol=0.1, max_steps=100)
    with pytest.raises(SolveFailed, match="Process.richards. failed for 1 of 3 rows .*site b1"):
        hybrid(batch)


def test_a_failed_row_leaves_the_gradient_of_stages_after_it(monkeypatch) -> None:
    sites = basins(3, 20)
    hybrid = basin_hybrid()
    batch = windows_of(hybrid, sites).batch(0)
    solved = Process.forward

    def failing(self, series, parameters, given):
        found = solved(self, series, parameters, given)
        bad = torch.arange(len(given))[:, None] == 2  # a copy of the second row
        lost = {k: torch.where(bad, torch.nan, v) for k, v in found.items() if v.ndim == 2}
        return Series({**found, **lost}, {2: "too steep"})

    def gradients(rows) -> list[torch.Tensor]:
        hybrid.zero_grad()
        discharge = hybrid(batch)["discharge"]
        torch.where(rows, discharge, 0.0).square().sum().backward()
        return [w.grad.clone() for w in hybrid.parameters()]

    rows = torch.tensor([True, False, True])[:, None]
    expected = gradients(rows)
    monkeypatch.setattr(Process, "forward", failing)
    found = gradients(rows)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    series = hybrid(batch)
    assert series.failed == {1: "too steep"} and bool(series["discharge"][1].isnan().all())
    assert bool(series["discharge"][[0, 2]].isfinite().all())


def test_states_begin_where_they_are_told() -> None:
    sites = basins(2, 10)
    low, high = (
        pdg.Hybrid(pdg.MLP(), stages.Process("hbv", engine="torch", start=start), dtype=F64)
        for start in ({"lower": 5.0}, {"lower": 50.0})
    )
    a, b = (h(windows_of(h, sites).batch(0))["lower"] for h in (low, high))
    assert bool((b > a).all())
    heads = column_process(solver=pdg.Solver("implicit_euler", rtol=0.1))
    heads.start_from = -330.0
    hybrid = pdg.Hybrid(pdg.SoilClass(), stages.DegreeDay(), stages.Canopy(), heads, dtype=F64)
    series = hybrid(windows_of(hybrid, stations(2, 3)).batch(0))
    assert np.isclose(series["psi"][:, 0, -1].detach().numpy(), -330.0, rtol=0.1).all()


def test_bits_do_not_depend_on_what_else_is_computed() -> None:
    sites = basins(3, 20)
    hybrid = basin_hybrid(dtype=F64)
    batch = windows_of(hybrid, sites).batch(0)
    assert torch.equal(hybrid(batch)["discharge"], hybrid(batch)["discharge"])


@pytest.mark.parametrize(("model", "name", "meant"), [("hbv", "beta", "BETA")])
def test_a_parameter_that_is_not_there_is_told_those_of_the_model(model, name, meant) -> None:
    with pytest.raises(ParameterError, match=rf"did you mean '{meant}'\? Known: .*K0, .*K2"):
        Process(model, learn=("FC", name))


def test_points_of_a_leaf_do_not_know_of_each_other(tmp_path):
    """Of a model that stores nothing a point is a solve of its own: order and neighbours are no
    matter, and points that a site lacks change nothing.
    """
    curves = pdg.open_sites(leaf_files.curves(tmp_path))
    leaf = stages.Process(pdg.Photosynthesis(), forcing={"soil_water_stress": 1.0}, engine="torch")
    hybrid = pdg.Hybrid(pdg.MLP("LMA_g_m2", hidden=(4,)), leaf, dtype=torch.float64).prepare(curves)

    def simulated(sites):
        windows = pdg.Windows(sites, dtype=torch.float64)
        return hybrid(windows.reading(hybrid.reads, ("assimilation",), hybrid.needs).batch(0))

    whole = simulated(curves)["assimilation"]
    order = [3, 0, 2, 1, 4]  # the last one is lacking at some sites
    turned = simulated(curves.isel(point=order))["assimilation"]
    torch.testing.assert_close(turned[:, :4], whole[:, order[:4]], rtol=1e-9, atol=1e-9)
    alone = simulated(curves.isel(point=[1]))["assimilation"]
    torch.testing.assert_close(alone[:, 0], whole[:, 1], rtol=1e-9, atol=1e-9)
    assert torch.isfinite(whole).all()  # also where a site has no point: it is not compared


def test_observations_of_another_unit_are_converted_or_refused(tmp_path) -> None:
    """Transpiration of the instrument is in mmol, that of the leaf in mol."""
    curves = pdg.open_sites(leaf_files.curves(tmp_path))
    leaf = stages.Process(pdg.Photosynthesis(), forcing={"soil_water_stress": 1.0}, engine="torch")
    hybrid = pdg.Hybrid(pdg.MLP("LMA_g_m2", hidden=(4,)), leaf, dtype=F64).prepare(curves)
    windows = pdg.Windows(curves, observed=["transpiration"], dtype=F64)
    of_carbon = windows.reading(hybrid.reads, ("assimilation",), hybrid.needs).batch(0)
    mol = hybrid(of_carbon)["transpiration"]
    batch = windows.reading(hybrid.reads, ("transpiration",), hybrid.needs).batch(0)
    with pytest.raises(UnitError, match="observed in 'mmol m-2 s-1', and the hybrid gives 'mol"):
        hybrid(batch)
    hybrid.prepare(windows)
    torch.testing.assert_close(hybrid(batch)["transpiration"], 1000 * mol, rtol=1e-6, atol=0)
