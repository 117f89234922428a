"""Process models in training: routing and the explicit HBV lose no water, components are independent, failures are named."""

from __future__ import annotations

from pathlib import Path

import basin_runs
import numpy as np
import pytest
import torch
from pydantic import ValidationError

from pydiffgeo import NeuralClosure, Solver, solve
from pydiffgeo.errors import DataError, SettingsError, SolveFailed, UnknownName
from pydiffgeo.models import MODELS
from pydiffgeo.models.buckets import TYPICAL_RUNOFF
from pydiffgeo.parameters import BasinParameters, Bounds
from pydiffgeo.settings import load_tagged_settings
from pydiffgeo.training.basins.data import choose_basins, load_basins, make_sampler
from pydiffgeo.training.basins.explicit_hbv import ExplicitHBV
from pydiffgeo.training.basins.models import HybridModel, build_model, process_of
from pydiffgeo.training.basins.processes import SolvedProcess, build_process, simulate
from pydiffgeo.training.basins.settings import (
    BasinExperiment,
    DataSettings,
    ModelSettings,
    ProcessSettings,
)
from pydiffgeo.training.basins.trainer import BasinTrainer

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def basins(tmp_path_factory) -> Path:
    return basin_runs.write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture
def reservoir(tmp_path, monkeypatch):
    model = basin_runs.reservoir(tmp_path)
    monkeypatch.setitem(MODELS, "reservoir", model)
    return model


def weather(columns: int = 3, days: int = 400) -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    rain = 15 * torch.rand(columns, days, generator=random, dtype=torch.float64) ** 4
    season = torch.cos(torch.arange(days, dtype=torch.float64) * 2 * torch.pi / 365)
    warmth = 4 - 12 * season + 3 * torch.randn(columns, days, generator=random, dtype=torch.float64)
    return {
        "precipitation": rain,
        "temperature": warmth,
        "potential_evapotranspiration": (0.2 * warmth).clamp(min=0),
    }


def drawn(bounds: dict[str, Bounds], columns: int, seed: int = 0) -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    return {
        n: b.to_physical(torch.randn(columns, generator=random, dtype=torch.float64))
        for n, b in bounds.items()
    }


def test_explicit_hbv_closes_its_balance_and_has_a_gradient():
    forcing, hbv = weather(), ExplicitHBV()
    parameters = {n: v.requires_grad_() for n, v in drawn(hbv.bounds, 3).items()}
    series = hbv.simulate(forcing, parameters)
    stores = sum(series[name] for name in ("snow", "melt_water", "soil", "upper", "lower"))
    out = (series["discharge"] + series["evapotranspiration"]).cumsum(1)
    torch.testing.assert_close(
        out + stores, forcing["precipitation"].cumsum(1), rtol=1e-12, atol=1e-9
    )
    assert all((values >= 0).all() for values in series.values())
    series["discharge"].square().sum().backward()
    assert all(torch.isfinite(v.grad).all() for v in parameters.values())


def test_explicit_hbv_takes_parameters_that_vary_and_its_gradient_is_exact():
    forcing, hbv = weather(1, 8), ExplicitHBV()
    forcing["precipitation"] += 2.0  # no store is empty, where the updates have kinks
    static = drawn(hbv.bounds, 1, seed=1)
    daily = static | {"BETA": static["BETA"][:, None].expand(-1, 8)}
    for name, values in hbv.simulate(forcing, static).items():
        torch.testing.assert_close(hbv.simulate(forcing, daily)[name], values)

    def flow(fc: torch.Tensor, beta: torch.Tensor) -> torch.Tensor:
        return hbv.simulate(forcing, static | {"FC": fc, "BETA": beta})["discharge"][:, 4:]

    inputs = (static["FC"].clone().requires_grad_(), daily["BETA"].clone().requires_grad_())
    assert torch.autograd.gradcheck(flow, inputs, eps=1e-4, atol=1e-6)


def test_runs_start_with_slow_stores_in_balance():
    """Base flow and the outflow of EXP-HYDRO are the typical runoff, or what percolates where that is less."""
    hbv, exp_hydro = MODELS["hbv"](), MODELS["exp_hydro"]()
    p = {
        "PERC": torch.tensor([2.0, 0.1]),
        "K2": torch.tensor([0.001, 0.05]),
        "FC": torch.tensor([300.0, 80.0]),
    }
    stores = hbv.start(p)
    torch.testing.assert_close(p["K2"] * stores["lower"], torch.tensor([TYPICAL_RUNOFF, 0.1]))
    torch.testing.assert_close(stores["soil"], 0.5 * p["FC"])
    p = {
        "S_max": torch.tensor([500.0, 100.0]),
        "Q_max": torch.tensor([20.0, 20.0]),
        "f": torch.tensor([0.05, 0.0]),
    }
    water = exp_hydro.start(p)["water"]
    outflow = p["Q_max"] * torch.exp(-p["f"] * (p["S_max"] - water))
    assert float(outflow[0]) == pytest.approx(TYPICAL_RUNOFF, rel=1e-5) and float(water[1]) == 20.0

    half = MODELS["exp_hydro"](
        closures={"base_flow": NeuralClosure(1, (4,), output_range=(0.0, 1.0))}
    ).start({"S_max": 500.0})
    assert float(half["water"]) == 250.0 and float(half["snow"]) == 0.0

    process, forcing = (
        build_process(ModelSettings(name="hbv", process={"engine": "torch", "routing": False})),
        weather(2, 3),
    )
    parameters = drawn(process.bounds, 2) | {
        "K2": torch.tensor([[0.01, 0.1, 0.1], [0.1, 0.1, 0.1]], dtype=torch.float64)
    }
    first = {
        name: values[..., 0] if values.ndim == 2 else values for name, values in parameters.items()
    }
    solution = solve(
        hbv,
        forcing,
        parameters,
        hbv.start(first),
        range(4),
        Solver("implicit_euler", step=1.0),
        "torch",
    )
    found = process.simulate(forcing, parameters)["discharge"]
    torch.testing.assert_close(found, solution.fluxes["discharge"], rtol=1e-9, atol=1e-9)


def test_components_are_solved_apart_and_averaged(reservoir):
    process = SolvedProcess(reservoir(), ProcessSettings(engine="torch", routing=False))
    forcing = {name: values for name, values in weather(2, 6).items() if name in process.forcing}
    k = torch.tensor([[0.1, 0.5], [0.2, 0.9]], dtype=torch.float64)
    loss = torch.zeros(2, 2, 6, dtype=torch.float64)
    outputs = {"discharge": "discharge", "storage": "water"}
    both = simulate(process, forcing, {"k": k, "loss": loss}, outputs)
    single = [
        simulate(process, forcing, {"k": k[:, [c]], "loss": loss[:, [c]]}, outputs) for c in (0, 1)
    ]
    for name in outputs:
        torch.testing.assert_close(
            both[name], 0.5 * (single[0][name] + single[1][name]), rtol=1e-9, atol=1e-9
        )
    with pytest.raises(
        SettingsError, match="'flow' should be 'dischrge'.*did you mean 'discharge'"
    ):
        simulate(process, forcing, {"k": k, "loss": loss}, {"flow": "dischrge"})


@pytest.mark.parametrize("solver", ["implicit_euler", "explicit_loop"])
def test_a_factor_of_precipitation_is_that_of_scaled_precipitation(solver):
    """For each component, and for each day."""
    given = {"solver": solver, "engine": "torch", "routing": False, "correct_precipitation": True}
    process, forcing = build_process(ModelSettings(name="hbv", process=given)), weather(2, 30)
    forcing["temperature"] += 8.0  # some days of snow, some of rain
    outputs = {"discharge": "discharge", "snow": "snow"}
    bounds = {
        name: bound for name, bound in process.bounds.items() if name != "precipitation_factor"
    }
    parameters = {name: values.reshape(2, 2) for name, values in drawn(bounds, 4).items()}
    static = torch.tensor([[0.6, 1.9], [1.0, 1.3]], dtype=torch.float64)
    daily = 0.5 + torch.rand(
        2, 2, 30, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )
    for factor in (static, daily):
        found = simulate(process, forcing, parameters | {"precipitation_factor": factor}, outputs)
        scaled = []
        for c in (0, 1):
            more = factor[:, c].reshape(2, -1) * forcing["precipitation"]
            one = {name: values[:, [c]] for name, values in parameters.items()}
            scaled.append(simulate(process, forcing | {"precipitation": more}, one, outputs))
        for name in outputs:
            torch.testing.assert_close(
                found[name], 0.5 * (scaled[0][name] + scaled[1][name]), rtol=1e-8, atol=1e-8
            )
    without = simulate(process, forcing, parameters, outputs)
    unity = simulate(
        process, forcing, parameters | {"precipitation_factor": torch.ones_like(static)}, outputs
    )
    assert all(torch.equal(without[name], unity[name]) for name in outputs)
    assert (without["discharge"] != found["discharge"]).any()


@pytest.mark.parametrize("solver", ["implicit_euler", "explicit_loop"])
@pytest.mark.parametrize("daily", [False, True])
def test_the_factor_of_precipitation_has_the_gradient_of_central_differences(solver, daily):
    given = ModelSettings(
        name="hbv", process={"solver": solver, "engine": "torch", "correct_precipitation": True}
    )
    process, forcing = build_process(given), weather(2, 20)
    forcing["precipitation"] += (
        20.0  # no store of the explicit loop is empty, where its updates have kinks
    )
    forcing["temperature"] += 20.0
    outputs = {"discharge": "discharge", "evapotranspiration": "evapotranspiration"}
    random = torch.Generator().manual_seed(2)
    parameters = {
        name: values[:, None] for name, values in drawn(process.bounds, 2, seed=1).items()
    }
    factor = 0.8 + torch.rand(2, 1, *([20] if daily else []), generator=random, dtype=torch.float64)
    direction = torch.randn(factor.shape, generator=random, dtype=torch.float64)

    def loss(factor: torch.Tensor) -> torch.Tensor:
        found = simulate(process, forcing, parameters | {"precipitation_factor": factor}, outputs)
        return sum(series.square().sum() for series in found.values())

    factor.requires_grad_()
    along = (torch.autograd.grad(loss(factor), factor)[0] * direction).sum()
    assert abs(along) > 1
    step = 1e-4 * direction
    with torch.no_grad():
        assert float((loss(factor + step) - loss(factor - step)) / 2e-4) == pytest.approx(
            float(along), rel=1e-5
        )


@pytest.mark.parametrize("solver", ["implicit_euler", "explicit_loop"])
def test_the_factor_of_precipitation_starts_at_one_whatever_its_bounds(solver):
    def started(correct: bool = True, **bounds) -> dict[str, torch.Tensor]:
        process = {
            "solver": solver,
            "engine": "torch",
            "correct_precipitation": correct,
            "bounds": bounds,
        }
        built = build_process(ModelSettings(name="hbv", process=process))
        network = torch.nn.Linear(2, len(built.bounds))
        torch.nn.init.zeros_(network.weight)
        torch.nn.init.zeros_(network.bias)
        network.forward = lambda attributes, series: torch.nn.Linear.forward(network, attributes)
        return BasinParameters(network, built.bounds, built.default)(torch.ones(3, 2))

    one = torch.ones(3, 1)
    torch.testing.assert_close(started()["precipitation_factor"], one)
    torch.testing.assert_close(
        started(precipitation_factor=(0.9, 1.5))["precipitation_factor"], one
    )
    torch.testing.assert_close(
        started(precipitation_factor=(1.2, 1.5))["precipitation_factor"], 1.212 * one
    )  # 1 % inside
    assert "precipitation_factor" not in started(correct=False)


def test_a_run_with_a_mixed_network_has_static_and_daily_parameters(basins, reservoir):
    network = {"kind": "mixed", "hidden": [8, 6, 5], "varying": ["loss"]}
    model = {"network": network, "process": {"engine": "torch", "components": 2}}
    run = basin_runs.experiment(basins, "reservoir", model=model).run("run")
    process = process_of(run)
    data = load_basins(run, tuple(process.forcing.values()))
    hybrid = build_model(run, data.tensors, data.scaling, process)
    network = hybrid.learned.network
    widths = [
        layer.out_features for layer in network.static.layers if isinstance(layer, torch.nn.Linear)
    ]
    assert network.daily.lstm.hidden_size == 8 and widths == [
        6,
        5,
        2 * 3,
    ]  # k, route_a, route_b of two components
    early, late = (
        hybrid.parameters_of(data.tensors.windows([2, 7], [start, start], 40, 10))
        for start in (0, 300)
    )
    assert early["loss"].shape == (2, 2, 40) and (early["loss"] != late["loss"]).any()
    for name in ("k", "route_a", "route_b"):
        assert early[name].shape == (2, 2) and torch.equal(early[name], late[name])
    with pytest.raises(ValidationError, match="`varying` names none; take `kind: attributes`"):
        basin_runs.experiment(basins, "reservoir", model={"network": {"kind": "mixed"}})


def test_a_solve_that_fails_names_basin_and_window(basins, reservoir, monkeypatch):
    run = basin_runs.experiment(
        basins, "reservoir", model={"process": {"engine": "torch", "components": 2}}
    ).run("run")
    process = process_of(run)
    data = load_basins(run, tuple(process.forcing.values()))
    model = build_model(run, data.tensors, data.scaling, process)
    assert isinstance(model, HybridModel) and set(process.bounds) == {
        "k",
        "loss",
        "route_a",
        "route_b",
    }

    def failing(forcing, parameters):
        raise SolveFailed("2 columns failed", {5: "Newton did not converge"})

    monkeypatch.setattr(process, "simulate", failing)
    with pytest.raises(
        SolveFailed,
        match=r"basin b0007, 2000-01-01 to 2000-01-10 .*Newton did not converge.*bounds",
    ) as caught:
        model(data.tensors.windows([3, 5, 7], [92, 92, 92], 10))
    assert list(caught.value.failed) == [2]


def test_what_a_process_model_does_not_have_is_named(reservoir):
    def built(name: str = "reservoir", **process) -> object:
        return build_process(ModelSettings(name=name, process=process))

    assert built(bounds={"k": (0.1, 0.2)}).bounds["k"] == Bounds(0.1, 0.2, "log")
    assert "route_a" not in built(routing=False).bounds
    with pytest.raises(SettingsError, match="no parameter 'los'.*did you mean 'loss'"):
        built(bounds={"los": (0.1, 0.2)})
    with pytest.raises(SettingsError, match=r"bounds \[0.3, 0.2\] are not an interval"):
        built(bounds={"k": (0.3, 0.2)})
    with pytest.raises(
        UnknownName, match="unknown model .* 'reservoire'; did you mean 'reservoir'"
    ):
        built("reservoire")
    with pytest.raises(UnknownName, match="unknown method 'euler'"):
        built(solver="euler")
    with pytest.raises(SettingsError, match="explicit_loop is there for hbv only"):
        built(solver="explicit_loop")
    with pytest.raises(SettingsError, match="'richards' gives no discharge"):
        built("richards")


def test_basins_are_chosen_so_that_fewer_are_a_part_of_more():
    known = [f"{i:02d}" for i in range(40)]
    periods = {
        "train": {"start": "1990-01-01", "end": "1991-01-01"},
        "test": {"start": "1992-01-01", "end": "1993-01-01"},
    }

    def chosen(**choice) -> tuple[list[str], list[str]]:
        return choose_basins(known, DataSettings(path="x", **periods, **choice))

    few, held = chosen(basins=5, held_out=10)
    more, still = chosen(basins=20, held_out=10)
    rest, _ = chosen(held_out=10)
    assert (
        set(few) < set(more) < set(rest)
        and held == still
        and not set(rest) & set(held)
        and len(rest) == 30
    )
    assert more == sorted(more) and chosen(basins=5, split_seed=1)[0] != few
    assert chosen(basins=["03", "01"], held_out=["07"]) == (["01", "03"], ["07"])
    with pytest.raises(DataError, match="data.basins: no basin '99'"):
        chosen(basins=["99"])
    with pytest.raises(DataError, match="basin 03 is in data.basins and in data.held_out"):
        chosen(basins=["03"], held_out=["03"])
    with pytest.raises(
        DataError, match="asks for 35 basins and data.held_out for 10; the records have 40"
    ):
        chosen(basins=35, held_out=10)
    assert (
        chosen(basins=few, held_out=10)[1] == held
    )  # a number draws from basins that are not named
    mine, others = chosen(basins=held, held_out=10)
    assert mine == held and len(others) == 10 and not set(others) & set(held)
    with pytest.raises(
        DataError,
        match="asks for 10 basins and data.held_out for 31; the records have 40. Ask for fewer.",
    ):
        chosen(basins=held, held_out=31)


@pytest.mark.parametrize(("changes", "words"), [
    ({"data": {"test": {"start": "2000-06-01", "end": "2001-06-30"}}}, "test period shares days with the training period"),
    ({"data": {"validation": {"start": "2000-12-01", "end": "2001-01-30"}}}, "validation period shares days"),
    ({"data": {"train": {"start": "2000-12-31", "end": "1999-12-01"}}}, "the period ends on 1999-12-01, not after"),
    ({"training": {"window": 30}}, "have no day after a warm-up of 30"),
    ({"training": {"patience": 3}}, "patience needs data.validation"),
    ({"loss": [{"loss": "nse", "target": "snow"}]}, "'snow', which is not among data.targets"),
    ({"model": {"network": {"varying": ["k"]}}}, "need `kind: series`"),
    ({"model": {"network": {"past_discharge": 1}}}, "need `kind: series`"),
    ({"training": {"learning_rates": 1}}, "learning_rates"),
])  # fmt: skip
def test_settings_that_contradict_each_other_are_refused(changes, words):
    with pytest.raises(ValidationError, match=words):
        basin_runs.experiment(Path("x.nc"), **changes)


@pytest.mark.parametrize(("data", "words"), [
    ({"path": "absent.nc"}, "data.path: no file or folder 'absent.nc' in .*PYDIFFGEO_DATA"),
    ({"forcing": ["precipitation", "wind"]}, "data.forcing: no series in time 'wind' in the records. They have precip"),
    ({"attributes": ["geology"]}, "'geology' is text"),
    ({"attributes": ["slope"]}, "data.attributes: no attribute 'slope' in the records"),
    ({"train": {"start": "1970-01-01", "end": "1990-12-31"}}, "no days between|not in the record"),
])  # fmt: skip
def test_data_that_are_not_there_are_named(basins, data, words):
    with pytest.raises(DataError, match=words):
        load_basins(basin_runs.experiment(basins, data=data).run("run"))


def test_missing_forcing_is_an_error_unless_windows_may_avoid_it(tmp_path):
    import xarray as xr

    path = basin_runs.write_data(tmp_path, basins=4)
    with xr.open_dataset(path) as opened:
        records = opened.load()
    records.precipitation[2, 300] = np.nan
    records.to_netcdf(tmp_path / "gap.nc")
    with pytest.raises(DataError, match="b0002.*2000-07-27"):
        load_basins(basin_runs.experiment(tmp_path / "gap.nc").run("run"))
    skipped = load_basins(
        basin_runs.experiment(tmp_path / "gap.nc", data={"missing": "skip"}).run("run")
    )
    assert skipped.tensors.report.problems[0].site == "b0002"


def test_mistakes_in_a_settings_file_are_answered_with_their_line(tmp_path):
    from pydiffgeo.settings import SettingsError as Refused

    text = (
        (ROOT / "examples" / "camels_dpl.yaml")
        .read_text()
        .replace("hidden: 64, dropout: 0.1", "hiden: 64, dropout: 0.1")
    )
    (tmp_path / "c.yaml").write_text(text)
    line = next(i for i, row in enumerate(text.splitlines(), 1) if "hiden" in row)
    with pytest.raises(Refused, match=rf"line {line}: .*'hiden'; did you mean 'hidden'"):
        load_tagged_settings(tmp_path / "c.yaml", {"basins": BasinExperiment}, "experiment")


SERIES = {"kind": "series", "hidden": [8]}  # one network for all parameters


@pytest.mark.parametrize(("name", "network", "process"), [
    ("hbv_static", {}, {}),
    ("hbv_daily", {}, {}),
    ("hbv_daily", SERIES, {"correct_precipitation": False}),
    ("hbv_explicit", {}, {}),
    ("hbv_explicit", SERIES, {"correct_precipitation": False}),
    ("exp_hydro", {}, {}),
])  # fmt: skip
def test_models_of_the_example_have_the_gradient_of_their_loss(basins, name, network, process):
    """Along the gradient, by central differences; in float64, on the torch engine."""
    example = load_tagged_settings(
        ROOT / "examples" / "camels_dpl.yaml", {"basins": BasinExperiment}, "experiment"
    )[1]
    model = example.runs[name].model.model_dump()
    model["network"] |= {"hidden": [8, 8], "dropout": 0.0, "varying_dropout": 0.0} | network
    model["process"] |= {"components": 2, "engine": "torch"} | process
    training = {"batch_size": 3, "window": 60, "warm_up": 20, "dtype": "float64"}
    run = basin_runs.experiment(basins, name, model=model, training=training).run("run")
    process = process_of(run)
    data = load_basins(run, tuple(process.forcing.values()))
    sampler, std = make_sampler(run, data.tensors)
    trainer = BasinTrainer(build_model(run, data.tensors, data.scaling, process), sampler, std, run)
    batch, weights = sampler.batch(0), trainer.weights
    gradients = torch.autograd.grad(trainer._loss(batch)[0], weights)
    norm = torch.sqrt(sum(g.square().sum() for g in gradients))
    assert norm > 0

    def moved(by: float) -> float:
        with torch.no_grad():
            for weight, gradient in zip(weights, gradients, strict=True):
                weight.add_(gradient, alpha=by / float(norm))
            return float(trainer._loss(batch)[0])

    step = 1e-5
    assert (moved(step) - moved(-2 * step)) / (2 * step) == pytest.approx(float(norm), rel=1e-5)
