"""The soil-moisture experiment: training lowers the loss, resumes to the last bit, and reports."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from pydiffgeo import Grid
from pydiffgeo.errors import DataError, OutputError, SettingsError, SolveFailed
from pydiffgeo.evaluation.plots import matplotlib_missing
from pydiffgeo.evaluation.profiles import profile_table
from pydiffgeo.training.checkpoint import load_checkpoint, save_checkpoint
from pydiffgeo.training.columns import StationColumns, probe_weights
from pydiffgeo.training.members import Member, ensemble, fitted_days, folds
from pydiffgeo.training.models import column_inputs, column_network, lstm_inputs, lstm_network
from pydiffgeo.training.predictors import through_columns, through_lstm
from pydiffgeo.training.record import Record, build_record
from pydiffgeo.training.run_folder import check_run, run_folder
from pydiffgeo.training.settings import TrainingSettings
from pydiffgeo.training.soil_moisture import (
    FREE,
    SoilMoistureSettings,
    demo_settings,
    load_records,
    run_experiment,
)
from pydiffgeo.training.summary import summarise
from pydiffgeo.training.trainer import Prediction, series_loss, train

TINY = {
    "source": "synthetic",
    "synthetic_stations": 2,
    "period": {
        "train_start": "2020-04-01",
        "train_end": "2020-05-05",
        "test_start": "2020-05-06",
        "test_end": "2020-05-20",
        "warm_up_days": 3,
        "validation_days": 10,
    },
    "column": {
        "cells": 10,
        "depth": 150.0,
        "top_cell": 5.0,
        "layers": [0.0, 30.0],
        "candidate_classes": ["loam", "sandy_loam"],
    },
    "solver": {"method": "implicit_euler", "rtol": 0.03},
    "network": {"epochs": 4, "learning_rate": 0.05, "hidden": [8]},
    "lstm": {"epochs": 3, "hidden": 4},
    "seeds": [0],
    "leave_one_out": False,
    "checkpoint_every": 2,
}


def tiny(**changes: object) -> SoilMoistureSettings:
    return SoilMoistureSettings.model_validate({**TINY, **changes})


@pytest.fixture(scope="module")
def settings() -> SoilMoistureSettings:
    return tiny()


@pytest.fixture(scope="module")
def record(settings) -> Record:
    return build_record(load_records(settings), settings)


def members_of(
    record: Record, settings: SoilMoistureSettings
) -> tuple[list[Member], StationColumns]:
    columns = StationColumns(record, settings)
    return ensemble(
        record, settings, column_inputs, lambda g, seed: column_network(columns, g, seed)
    ), columns


def run_training(record, settings, path, predict=None, resume=False, epochs=None, members=None):
    if members is None:
        members, columns = members_of(record, settings)
        predict = predict or through_columns(columns, record.training_days)
    training = settings.network.model_copy(update={} if epochs is None else {"epochs": epochs})
    observed = record.observed[:, : record.training_days]
    done = train(members, predict, observed, training, "test", path, 2, resume, progress=False)
    return members, done


def test_training_lowers_the_loss_and_an_interrupted_one_resumes_to_the_last_bit(
    record, settings, tmp_path
):
    straight, done = run_training(record, settings, tmp_path / "straight.pt")
    losses = [row["loss"] for row in done.history]
    assert losses[-1] < 0.8 * losses[0] and not done.failures
    members, columns = members_of(record, settings)
    inner = through_columns(columns, record.training_days)
    calls = 0

    def interrupted(given):
        nonlocal calls
        calls += 1
        if calls == 4:  # in the middle of the fourth epoch, after the checkpoint of the second
            raise KeyboardInterrupt
        return inner(given)

    with pytest.raises(KeyboardInterrupt):
        run_training(record, settings, tmp_path / "cut.pt", interrupted, members=members)
    assert (
        load_checkpoint(tmp_path / "cut.pt")["epoch"] == 3
    )  # the last whole epoch, not the last multiple of two
    again, resumed = run_training(record, settings, tmp_path / "cut.pt", resume=True)
    assert [row["loss"] for row in resumed.history] == [row["loss"] for row in done.history]
    assert resumed.chosen == done.chosen
    for a, b in zip(straight, again, strict=True):
        for key, value in a.network.state_dict().items():
            assert torch.equal(value, b.network.state_dict()[key]), key


def test_lstm_resumes_with_its_dropout(record, settings, tmp_path):
    def run(path, resume=False, stop=None):
        members = ensemble(
            record, settings, lstm_inputs, lambda g, seed: lstm_network(settings, g, seed)
        )
        inner, calls = through_lstm(record.training_days), 0

        def predict(given):
            nonlocal calls
            calls += torch.is_grad_enabled()
            if calls == stop:
                raise KeyboardInterrupt
            return inner(given)

        torch.manual_seed(0)
        observed = record.observed[:, : record.training_days]
        done = train(
            members, predict, observed, settings.lstm, "lstm", path, 1, resume, progress=False
        )
        return [row["loss"] for row in done.history]

    straight = run(tmp_path / "a.pt")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "b.pt", stop=2)
    torch.rand(5)  # the state of the random numbers is part of the checkpoint
    assert run(tmp_path / "b.pt", resume=True) == straight


def test_whole_experiment_writes_its_report(tmp_path, capsys):
    drawn = matplotlib_missing() is None
    settings = tiny(
        leave_one_out=True, leave_one_out_epochs=1, network={**TINY["network"], "epochs": 2}
    )
    report = run_experiment(settings, tmp_path, progress=False)
    assert "synthetic truth" in capsys.readouterr().out.replace("\n", " ")
    assert {row["model"] for row in report["scores"]} == {
        "Richards, trained",
        "Richards, loam",
        "Richards, best class",
        "LSTM",
        "climatology",
        "Richards, station out",
        "LSTM, station out",
        "climatology of others",
    }
    assert report["failures"] == [] and set(report["best_class"]) == {"S01", "S02"}
    assert all(row["stations"] == 2 and np.isfinite(row["rmse"]) for row in report["scores"])
    for name in (
        "settings.yaml",
        "provenance.json",
        "table.csv",
        "predictions.nc",
        "parameters.csv",
    ):
        assert (tmp_path / name).is_file()
    assert (
        json.loads((tmp_path / "report.json").read_text())["judged"] == "2020-05-06 to 2020-05-20"
    )
    assert (
        len(report["figures"]) == 6 * drawn
    )  # scores, training, two stations, retention, conductivity
    assert all((tmp_path / figure).stat().st_size > 1000 for figure in report["figures"])
    assert {p.stem for p in (tmp_path / "checkpoints").iterdir()} == {
        "richards",
        "lstm",
        "richards_station_out",
        "lstm_station_out",
    }
    records = {load_checkpoint(path)["records"] for path in (tmp_path / "checkpoints").iterdir()}
    assert records == {build_record(load_records(settings), settings).training_hash}
    with pytest.raises(OutputError, match="holds a run already.*--resume.*--overwrite"):
        run_experiment(settings, tmp_path, progress=False)
    (tmp_path / "settings.yaml").unlink()  # the checkpoints hold the settings, too
    check_run(tmp_path, settings.model_dump(mode="json"), resume=True, free=FREE)
    with pytest.raises(SettingsError, match="'network.epochs' is 4, the run in the folder has 2"):
        run_experiment(
            tiny(leave_one_out=True, leave_one_out_epochs=1), tmp_path, progress=False, resume=True
        )


def test_a_run_does_not_go_on_with_other_records(settings, record, tmp_path, monkeypatch):
    with run_folder(tmp_path, settings.model_dump(mode="json")):
        save_checkpoint(tmp_path / "checkpoints" / "richards.pt", {"records": record.training_hash})
    kept = {
        path: (path.read_bytes(), path.stat().st_mtime_ns)
        for path in tmp_path.rglob("*.*")
        if path.is_file()
    }
    records = load_records(settings)
    exchanged = records.soil_moisture.copy(deep=True)  # of the same mean and standard deviation
    exchanged[:, 20:22] = records.soil_moisture[:, [21, 20]].values
    for change in ({"precipitation": records.precipitation * 1.01}, {"soil_moisture": exchanged}):
        monkeypatch.setattr(
            "pydiffgeo.training.soil_moisture.load_records", lambda _, c=change: records.assign(c)
        )
        with pytest.raises(
            SettingsError, match="cannot resume: the records are not those of the run.*richards.pt"
        ):
            run_experiment(settings, tmp_path, progress=False, resume=True)
        assert kept == {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in kept}
    rounded = records.assign(
        soil_moisture=records.soil_moisture * (1 + 1e-15)
    )  # as another machine may
    assert build_record(rounded, settings).training_hash == record.training_hash


def test_resume_refuses_other_settings(tmp_path):
    def resume(**changes: object) -> None:
        check_run(tmp_path, tiny(**changes).model_dump(mode="json"), resume=True, free=FREE)

    with run_folder(tmp_path, tiny().model_dump(mode="json")):
        pass
    resume(checkpoint_every=5)  # does not change the result
    with pytest.raises(SettingsError, match="'seeds'"):
        resume(seeds=[1])
    with pytest.raises(SettingsError, match="'network.epochs' is 5, the run in the folder has 4"):
        resume(network={**TINY["network"], "epochs": 5})


def test_nothing_after_the_fitted_days_reaches_the_networks(record, settings):
    days = fitted_days(record, settings, whole=False)
    changed = Record(
        **{**vars(record), "weather": record.weather.clone(), "observed": record.observed.clone()}
    )
    changed.weather[:, ~days] += 5.0
    changed.observed[:, int(days.nonzero()[-1]) + 1 :] += 0.2
    for a, b in zip(
        vars(summarise(record, days)).values(), vars(summarise(changed, days)).values(), strict=True
    ):
        assert torch.equal(a, b)


def test_members_fit_and_validate_on_separate_training_days(record, settings):
    members, columns = members_of(record, settings)
    whole, twin = members
    assert (whole.judge, twin.judge) == (1, 1)
    assert not (twin.fit & twin.validate).any() and not whole.validate.any()
    assert not (whole.fit | twin.fit | twin.validate)[:, record.test].any()
    for k, fold in enumerate(
        folds(record, settings, column_inputs, lambda g, s: column_network(columns, g, s))
    ):
        assert not fold.fit[k].any() and not fold.validate[k].any()
        assert fold.fit.any() and fold.validate.any()


def test_series_loss_is_mean_square_with_equal_weights():
    random = torch.Generator().manual_seed(0)
    theta, observed = torch.rand(2, 3, 7, 4, generator=random, dtype=torch.float64)
    mask = torch.ones(3, 7, 4, dtype=torch.bool)
    assert float(series_loss(theta, observed, mask, 1, 1)) == pytest.approx(
        float((theta - observed).square().mean()) / 0.05**2
    )
    shifted = observed + 0.05
    assert float(series_loss(shifted, observed, mask, 0, 1)) == pytest.approx(0, abs=1e-12)
    assert float(series_loss(shifted, observed, mask, 1, 0)) == pytest.approx(1)


def test_columns_start_at_the_first_profile(record, settings):
    columns = StationColumns(record, settings)
    stations = torch.arange(2)
    parameters = columns.default_parameters("loam", 2)
    parameters = {k: v for k, v in parameters.items() if k in columns.model.spec.parameters}
    theta = (
        columns.model.water_content(columns.initial_head(parameters, stations), parameters)
        @ columns.probes
    )
    torch.testing.assert_close(theta, columns.profile.clamp(0.09, 0.42), atol=0.02, rtol=0)


def test_failed_columns_are_recorded_and_too_many_stop_the_training(record, settings, tmp_path):
    days = record.training_days
    observed = record.observed[:, :days]

    class Constant(nn.Module):
        def __init__(self):
            super().__init__()
            self.level = nn.Parameter(torch.tensor(0.2, dtype=torch.float64))

    def member() -> Member:
        mask = torch.isfinite(record.observed)
        return Member("m", Constant(), {}, mask, mask, 0)

    def predict(members):
        theta = members[0].network.level.expand(1, *observed.shape).clone()
        theta[0, 1] = torch.nan
        return Prediction(theta, {(0, 1): "station S02 on 2020-04-03: too steep"})

    training = TrainingSettings(epochs=2)
    done = train(
        [member()],
        predict,
        observed,
        training,
        "t",
        tmp_path / "a.pt",
        max_failed=0.5,
        progress=False,
    )
    assert (
        len(done.failures) == 2
        and "epoch 1, m, station S02 on 2020-04-03: too steep" in done.failures[0]
    )
    assert all(np.isfinite(row["loss"]) for row in done.history)
    with pytest.raises(SolveFailed, match="1 of 2 columns failed in epoch 1"):
        train(
            [member()],
            predict,
            observed,
            training,
            "t",
            tmp_path / "b.pt",
            max_failed=0.4,
            progress=False,
        )


def test_a_column_that_fails_is_named_and_leaves_the_others_alone(record, settings):
    hasty = settings.model_copy(
        update={"solver": settings.solver.model_copy(update={"max_steps": 100})}
    )
    columns = StationColumns(record, hasty)
    parameters = columns.default_parameters("loam", 3)
    parameters["n"][1] = 1.1  # a steep conductivity needs many steps
    parameters["K_s"] = parameters["K_s"].requires_grad_()
    result = columns.simulate(parameters, torch.tensor([0, 1, 0]), 25)
    assert list(result.failed) == [1]
    assert re.match(r"station S02 on 2020-04-\d\d: .*100 steps", result.failed[1])
    assert torch.isnan(result.theta[1]).all() and torch.isfinite(result.theta[[0, 2]]).all()
    result.theta[[0, 2]].sum().backward()
    assert torch.isfinite(parameters["K_s"].grad).all() and (parameters["K_s"].grad[1] == 0).all()


def test_probe_weights_stay_inside_the_layer():
    grid = Grid.from_faces([0.0, 4.0, 8.0, 20.0, 40.0], layers=[0.0, 8.0])
    weights = probe_weights(grid, np.array([4.0, 7.9, 8.1, 20.0])).numpy()
    np.testing.assert_allclose(weights[:, 0], [0.5, 0.5, 0, 0])
    np.testing.assert_allclose(
        weights[:, 1], [0, 1, 0, 0]
    )  # below the last centre of the layer: no extrapolation
    np.testing.assert_allclose(weights[:, 2], [0, 0, 1, 0])
    np.testing.assert_allclose(weights[:, 3], [0, 0, 10 / 16, 6 / 16])


def test_profile_table_by_hand():
    observed = np.zeros((2, 2, 1)) + np.array([0.1, 0.3])[None, :, None]
    simulated = observed + np.array([0.0, 0.2])[:, None, None]
    row = profile_table({"m": simulated}, observed, np.array([True, True]), [5.0])[1]
    assert row["depth"] == "all" and row["stations"] == 2
    assert row["rmse"] == pytest.approx(np.sqrt(0.02)) and row["ubrmse"] == pytest.approx(
        0, abs=1e-12
    )
    assert row["bias"] == pytest.approx(0.1) and row["correlation"] == pytest.approx(1)
    simulated[1] = np.nan  # a failed column shows in the count
    assert (
        profile_table({"m": simulated}, observed, np.array([True, True]), [5.0])[1]["stations"] == 1
    )


def test_settings_refuse_what_they_do_not_know():
    with pytest.raises(ValidationError, match="learning_rates"):
        SoilMoistureSettings.model_validate({"network": {"learning_rates": 0.1}})
    with pytest.raises(ValidationError, match="follow each other"):
        SoilMoistureSettings.model_validate({"period": {"train_end": "2020-10-31"}})
    assert demo_settings().leave_one_out is False


def test_records_that_are_not_there_are_an_error(monkeypatch, tmp_path):
    monkeypatch.setenv("PYDIFFGEO_DATA", str(tmp_path))
    with pytest.raises(DataError, match="PYDIFFGEO_DATA"):
        load_records(tiny(source="file"))
    assert "synthetic truth" in load_records(tiny(source="auto")).attrs["source"]


def test_period_outside_the_records_is_an_error(record, settings):
    records = load_records(settings)
    late = settings.period.model_copy(
        update={"test_end": settings.period.test_end.replace(month=6)}
    )
    with pytest.raises(DataError, match="2020-06-20"):
        build_record(records, settings.model_copy(update={"period": late}))


def test_example_settings_are_valid():
    from pydiffgeo.settings import load_tagged_settings

    path = Path(__file__).parents[1] / "examples" / "soil_moisture_uscrn.yaml"
    _, settings = load_tagged_settings(
        path, {"soil_moisture": SoilMoistureSettings}, key="experiment"
    )
    assert settings.leave_one_out and settings.stations is None


def test_stations_that_cannot_be_used_are_named_or_left_out(settings):
    few = settings.model_copy(update={"source": "synthetic", "synthetic_stations": 5})
    records = load_records(few)
    day = {
        date: int(records.indexes["time"].get_loc(date)) for date in ("2020-04-10", "2020-04-20")
    }
    whole = build_record(records, few)
    records.soil_moisture[1, day["2020-04-10"], 1] = 43.0
    records.tair_max[2, day["2020-04-20"] : day["2020-04-20"] + 8] = np.nan
    records.soil_moisture[3, :, 4] = np.nan
    with pytest.raises(
        DataError,
        match="1 of 5 stations(.|\n)*soil_moisture is 43 m3 m-3, .* station S02 on 2020-04-10",
    ):
        build_record(records, few.model_copy(update={"missing": "skip"}))
    with pytest.raises(
        DataError,
        match="2 of 5 stations(.|\n)*tair_max of station S03 .*2020-04-20(.|\n)*S04 has 0 training",
    ):
        build_record(records, few.model_copy(update={"impossible": "missing"}))
    kept = build_record(
        records, few.model_copy(update={"impossible": "missing", "missing": "skip"})
    )
    assert kept.stations == ("S01", "S02", "S05") and list(kept.left_out) == ["S03", "S04"]
    assert torch.equal(kept.weather, whole.weather[[0, 1, 4]]) and torch.isnan(
        kept.observed[1, day["2020-04-10"], 1]
    )
    assert load_records(
        few.model_copy(update={"exclude": ("S02", "S05")})
    ).station.values.tolist() == ["S01", "S03", "S04"]
    with pytest.raises(DataError, match="exclude: no station 'S9' in the records"):
        load_records(few.model_copy(update={"exclude": ("S9",)}))


def test_what_no_period_touches_does_not_matter(settings):
    few = settings.model_copy(update={"source": "synthetic"})
    records = load_records(few)
    whole = build_record(records, few)
    more = records.reindex(
        time=pd.date_range("2019-11-01", records.indexes["time"][-1] + pd.Timedelta(90, "D"))
    )
    more.soil_moisture[0, :20] = -999.0
    more.shortwave_down[1, -5:] = -9999.0
    again = build_record(more, few)
    assert again.fills == whole.fills and again.left_out == {}
    for name in ("rain", "pet", "weather"):
        assert torch.equal(getattr(again, name), getattr(whole, name))


def test_no_real_station_is_left_out(shared_data):
    whole = SoilMoistureSettings(
        source="file", data=shared_data("soil_moisture/uscrn_2020_daily_profiles.nc")
    )
    record = build_record(load_records(whole), whole)
    assert len(record.stations) == 15 and record.left_out == {}
