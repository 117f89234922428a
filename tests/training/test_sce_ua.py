"""SCE-UA finds the minimum of a function that has others, and the parameters that made the
discharge of sites.
"""

from __future__ import annotations

from pathlib import Path

import hybrid_cases
import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

from pydiffgeo.data import Windows
from pydiffgeo.errors import DataError, SettingsError
from pydiffgeo.hybrid import Hybrid
from pydiffgeo.networks import LSTM, MLP, Bounds
from pydiffgeo.stages import Parallel, Sequence, Series, Stage
from pydiffgeo.training import sce_ua as training_sce_ua
from pydiffgeo.training.checkpoint import CHECKPOINT, load_checkpoint
from pydiffgeo.training.sce_ua import calibrate, sce_ua

pytest.importorskip("spotpy", reason="spotpy is not installed: pip install 'pydiffgeo[calibrate]'")
BOUNDS = {"x": Bounds(-2.0, 2.0), "k": Bounds(1e-3, 1e1, "log")}


def wavy(p: dict[str, float]) -> float:
    away = p["x"] - 0.7
    return away**2 + 0.3 * np.sin(6 * away) ** 2 + (np.log10(p["k"]) + 1.0) ** 2


def test_the_global_minimum_is_found_and_evaluations_are_counted(capsys):
    calls = []
    np.random.seed(3)
    expected = np.random.rand()
    np.random.seed(3)
    found = sce_ua(lambda p: calls.append(1) or wavy(p), BOUNDS, 600, complexes=3, seed=1)
    assert np.random.rand() == expected  # the global random state is put back
    assert found.parameters == pytest.approx({"x": 0.7, "k": 0.1}, rel=0.02) and found.loss < 1e-3
    assert found.evaluations == len(calls) == len(found.history) <= 700
    assert found.loss == found.history.min() == wavy(found.parameters)
    assert capsys.readouterr().out == ""
    again = sce_ua(wavy, BOUNDS, 600, complexes=3, seed=1)
    assert np.array_equal(again.history, found.history)


def test_each_parameter_is_made_once_not_in_every_run(monkeypatch):
    from spotpy import parameter

    made, make = [], parameter.Base.__init__
    monkeypatch.setattr(
        parameter.Base, "__init__", lambda self, *a, **k: made.append(a[2]) or make(self, *a, **k)
    )
    assert sce_ua(wavy, BOUNDS, 100, complexes=2).evaluations > 20
    assert made == ["x", "k"]  # each takes milliseconds, as long as a year of a model


def test_runs_that_fail_are_avoided_and_too_few_evaluations_refused():
    found = sce_ua(lambda p: wavy(p) if p["x"] > 0 else float("nan"), BOUNDS, 500, complexes=3)
    assert found.parameters["x"] == pytest.approx(0.7, abs=0.05)
    with pytest.raises(
        DataError, match="20 evaluations are fewer than the 25 .* 5 complexes of 5 points"
    ):
        sce_ua(wavy, BOUNDS, 20, complexes=5)
    with pytest.raises(DataError, match="none of .* runs gave a loss"):
        sce_ua(lambda p: float("inf"), BOUNDS, 60, complexes=2)


def test_a_run_that_is_no_number_on_some_days_is_no_result(sites):
    class Drying(Reservoir):
        def forward(self, series, parameters, batch) -> Series:
            found = super().forward(series, parameters, batch)
            flow = found["discharge"].clone()
            flow[:, 100:] = torch.where(parameters["k"][:, None] > 0.2, torch.nan, flow[:, 100:])
            return Series({"discharge": flow})

    windows = Windows(sites.isel(site=[1]), warm_up=30, dtype=torch.float64)  # whose k is 0.3
    _, table = calibrate(Hybrid(MLP(), Drying()), windows, evaluations=90, progress=False)
    assert (table.k <= 0.2).all()


class Reservoir(Stage):
    """Discharge of a linear reservoir in steps of implicit Euler."""

    reads, gives = ("precipitation",), ("discharge",)

    def __init__(self, failing: float = 2.0):
        super().__init__()
        self.failing = failing
        self.learns = {"k": Bounds(1e-2, 1.0, "log"), "loss": Bounds(0.0, 0.9)}
        self.begin = {"k": 0.1, "loss": 0.1}

    def bind(self, known) -> dict[str, str]:
        return {"discharge": "mm d-1"}

    def forward(self, series, parameters, batch) -> Series:
        water, flow = torch.full((len(batch),), 10.0).double(), []
        for rain in ((1 - parameters["loss"][:, None]) * series["precipitation"]).unbind(1):
            water = (water + rain) / (1 + parameters["k"])
            flow.append(parameters["k"] * water)
        failed = {0: "too fast"} if float(parameters["k"][0]) > self.failing else {}
        return Series({"discharge": torch.stack(flow, 1)}, failed)


@pytest.fixture
def sites() -> xr.Dataset:
    sites = hybrid_cases.basins(2, 150)
    k, water, flow = np.array([0.1, 0.3]), np.full(2, 10.0), []
    for rain in sites.precipitation.values.T:
        water = (water + 0.8 * rain) / (1 + k)
        flow.append(k * water)
    return sites.assign(discharge=(("site", "time"), np.stack(flow, 1), {"units": "mm d-1"}))


def search(sites: xr.Dataset, folder: Path | None = None, evaluations: int = 90, **options):
    windows = Windows(sites, warm_up=30, dtype=torch.float64)
    hybrid = Hybrid(MLP(), Parallel(3, Reservoir(options.pop("failing", 2.0))))
    return calibrate(
        hybrid,
        windows,
        folder,
        evaluations=evaluations,
        progress=False,
        settings={"a": 1},
        **options,
    )


def test_every_site_is_calibrated_and_a_resumed_calibration_keeps_those_that_are_done(
    sites, tmp_path, monkeypatch
):
    model, table = search(sites)
    assert list(table.site) == ["b0", "b1"] and (table.evaluations >= 20).all()
    assert (table.nse > 0.95).all() and table.k.to_numpy() == pytest.approx([0.1, 0.3], rel=0.3)
    batch = (
        Windows(sites, warm_up=30, dtype=torch.float64)
        .reading(("precipitation",), ("discharge",), ())
        .batch(0)
    )
    error = (model(batch)["discharge"] - batch.observed["discharge"])[:, 30:]
    variance = batch.observed["discharge"][:, 30:].var(1, correction=0)
    assert (1 - error.square().mean(1) / variance).tolist() == pytest.approx(table.nse.tolist())
    with monkeypatch.context() as patch:
        calls = []
        inner = training_sce_ua.sce_ua

        def once(*given, **options):
            if calls:
                raise KeyboardInterrupt
            calls.append(1)
            return inner(*given, **options)

        patch.setattr(training_sce_ua, "sce_ua", once)
        with pytest.raises(KeyboardInterrupt):
            search(sites, tmp_path)
    assert len(pd.read_csv(tmp_path / "calibration.csv")) == 1
    kept = (tmp_path / CHECKPOINT).read_bytes()
    for changed, options, words in (
        (sites, {"evaluations": 91}, "--evaluations is 91, those that are done had 90"),
        (
            sites.assign(discharge=3 * sites.discharge),
            {},
            "cannot resume: the records are not those of the run",
        ),
    ):
        with pytest.raises(SettingsError, match=words):
            search(changed, tmp_path, resume=True, **options)
    assert (tmp_path / CHECKPOINT).read_bytes() == kept
    again, resumed = search(sites, tmp_path, resume=True)
    columns = [name for name in table if name != "cpu_seconds"]
    assert resumed[columns].equals(table[columns])
    assert torch.equal(again.network.values, model.network.values)
    saved = load_checkpoint(tmp_path / CHECKPOINT)
    assert saved["calibrated"] and saved["sites"] == 2 and len(saved["rows"]) == 2


def test_runs_that_fail_are_counted_and_lose(sites):
    _, table = search(sites, failing=0.15)
    assert (table.failed > 0).all() and (table.k <= 0.15).all()


def test_what_cannot_be_calibrated_is_refused(sites):
    windows = Windows(sites)
    with pytest.raises(SettingsError, match="no parameters to calibrate"):
        calibrate(
            Hybrid(None, Sequence(LSTM(reads=("precipitation",), hidden=3), ("discharge",))),
            windows,
        )
    with pytest.raises(SettingsError, match="windows of the whole period"):
        calibrate(Hybrid(MLP(), Reservoir()), Windows(sites, length=20))
    lstm = Sequence(LSTM(reads=("precipitation",), hidden=3), ("discharge",))
    with pytest.raises(SettingsError, match="a calibration finds no weights of networks"):
        calibrate(Hybrid(MLP(), Reservoir(), lstm), windows)
