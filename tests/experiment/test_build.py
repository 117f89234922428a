"""From settings to sites, windows and hybrids."""

from __future__ import annotations

import re
from pathlib import Path

import experiment_cases as cases
import numpy as np
import pytest
import xarray as xr

from pydiffgeo.data import write_sites
from pydiffgeo.data.form import times_of
from pydiffgeo.errors import DataError, PyDiffGeoError, SettingsError
from pydiffgeo.experiment.build import (
    build_hybrid,
    build_loss,
    build_members,
    build_windows,
    load_sites,
    open_records,
    short_warm_up,
)
from pydiffgeo.experiment.examples import FOLDER
from pydiffgeo.experiment.run import of_records, train
from pydiffgeo.experiment.schema import load_experiment

WHOLE = {"length": None, "batch": None, "steps_per_epoch": None, "warm_up": 20}


@pytest.fixture(scope="module")
def records(tmp_path_factory) -> Path:
    return cases.write_records(tmp_path_factory.mktemp("data"))


@pytest.mark.parametrize(
    ("data", "place", "words"),
    [
        (
            {"forcing": ["precipitation", "tair"]},
            ("data", "forcing", 1),
            "no series in time 'tair'",
        ),
        ({"observed": ["dischrge"]}, ("data", "observed", 0), "did you mean 'discharge'"),
        ({"attributes": ["areas"]}, (), "areas"),
        ({"attributes": ["geology"]}, ("data", "attributes", 0), "is text"),
        ({"sites": ["b0000", "b9"]}, ("data", "sites", 1), "no site 'b9'"),
        (
            {"sites": 4, "held_out": 2},
            ("data", "sites"),
            "asks for 4 sites and data.held_out for 2",
        ),
        ({"exclude": [f"b000{i}" for i in range(5)]}, ("data", "exclude"), "exclude"),
        ({"path": "nowhere.nc"}, ("data", "path"), "PYDIFFGEO_DATA"),
        ({"test": {"end": "2009-01-01"}}, ("data", "test"), "is not in the record"),
        ({"train": {"start": "1990-01-01"}}, ("data", "train"), "the training period, 1990"),
        ({"attributes": ["aridty"]}, ("data", "attributes", 0), "did you mean 'aridity'"),
        (
            {"forcing": ["rain_and_melt"]},
            ("data", "forcing", 0),
            r"derive: \{potential_evapotranspiration: hamon, rain_and_melt: \{\}\}` below",
        ),
        (
            {"attributes": ["area", "climate_rain"]},
            ("data", "attributes", 1),
            r"write `derive: \{potential_evapotranspiration: hamon, climate: \{\}\}` below `data:`",
        ),
    ],
)
def test_what_does_not_fit_the_records_has_its_place(records, tmp_path, data, place, words) -> None:
    loss = {"loss": {"kind": "nse", "observed": data["observed"][0]}} if "observed" in data else {}
    settings = cases.experiment(tmp_path, records, data=data, **loss).runs["run"]
    with pytest.raises(DataError, match=words) as caught:
        data = load_sites(settings, [build_hybrid(settings)])
        hybrid = build_hybrid(settings)
        windows = build_windows(data.sites, settings, hybrid, settings.data.train)
        windows.reading(hybrid.prepare(windows).reads)
    assert not place or caught.value.setting == place


@pytest.mark.parametrize(
    ("training", "evaluation", "place", "words"),
    [
        ({"length": 1000}, {}, ("training", "length"), r"10 \+ 1000 steps .* which has 407"),
        ({"warm_up": 1000}, {}, ("training", "warm_up"), r"1000 \+ 30 steps .* which has 458"),
        ({**WHOLE, "warm_up": 900}, {}, ("training", "warm_up"), r"900 \+ some steps"),
        ({}, {"warm_up": 700}, ("evaluation", "warm_up"), "longer than the validation period"),
    ],
)
def test_windows_longer_than_their_period_are_one_line(
    records, tmp_path, training, evaluation, place, words
) -> None:
    data = {"validation": {"start": "2001-01-01", "end": "2001-02-28"},
            "test": {"start": "2001-03-01", "end": "2001-06-30"}}  # fmt: skip
    given = {"data": data, "training": training, "evaluation": evaluation}
    settings = cases.experiment(tmp_path, records, **given).runs["run"]
    with pytest.raises(DataError, match=words) as caught:
        load_sites(settings, [build_hybrid(settings)])
    assert caught.value.setting == place and "\n" not in str(caught.value)


def test_a_warm_up_that_the_records_lack_is_told_before_the_training(records, tmp_path) -> None:
    """The test period comes first here, 61 days after the records begin."""
    data = {"train": {"start": "2000-06-01", "end": "2001-01-31"},
            "test": {"start": "1999-12-01", "end": "2000-05-31"}}  # fmt: skip
    for asked, told in ((60, ""), (61, ""), (62, "asks for 62 steps before data.test, .* have 61")):
        given = {"data": data, "evaluation": {"warm_up": asked}}
        settings = cases.experiment(tmp_path, records, **given).runs["run"]
        said = short_warm_up(times_of(open_records(settings.data, ())), settings)
        assert re.search(told, said) if told else said == ""


def test_a_series_that_a_model_reads_is_named_with_its_line(records, tmp_path) -> None:
    made = cases.experiment(tmp_path, records, hybrid=cases.PROCESS).runs["run"]
    settings = made.model_copy(update={"data": made.data.model_copy(update={"derive": {}})})
    words = (
        r"no series 'tair_mean', which Process\(exp_hydro\) reads, in .*"
        r"write `derive: \{potential_evapotranspiration: oudin\}` below `data:`\."
    )
    with pytest.raises(DataError, match=words) as caught:
        load_sites(settings, [build_hybrid(settings)])
    assert caught.value.setting == ("data", "derive")


def test_runs_on_another_file_need_not_find_their_series_in_this_one(records, tmp_path) -> None:
    with xr.open_dataset(records) as whole:
        windy = whole.assign(wind_speed=whole.precipitation.assign_attrs(units="m s-1"))
        write_sites(windy, tmp_path / "windy.nc")
    wind = {"path": str(tmp_path / "windy.nc"), "forcing": ["precipitation", "wind_speed"]}
    runs = {"rain": {}, "wind": {"data": wind}}
    made = cases.experiment(tmp_path, records, runs=runs)
    assert [folder.name for folder in train(made, tmp_path / "out", progress=False)] == [*runs]


def test_a_part_of_a_hybrid_that_does_not_fit_has_its_place(tmp_path) -> None:
    stages = [*cases.PROCESS["stages"], {"kind": "scale", "name": "x", "between": [2.0, 1.0]}]
    made = cases.experiment(tmp_path, None, hybrid={**cases.PROCESS, "stages": stages})
    with pytest.raises(PyDiffGeoError, match="lower < upper") as caught:
        build_hybrid(made.runs["run"])
    assert caught.value.setting == ("hybrid", "stages", 1)
    assert made.place("run", caught.value.setting) == ("hybrid", "stages", 1)


def test_seeds_and_losses_are_those_of_the_training(tmp_path) -> None:
    changes = {"training": {"seed": 7}, "loss": [{"kind": "nse"}, {"kind": "rmse", "weight": 0.5}]}
    settings = cases.experiment(tmp_path, None, **changes).runs["run"]
    assert build_hybrid(settings).seed == 7
    assert [loss.weight for loss in build_loss(settings)] == [1.0, 0.5]


def test_the_same_sites_are_held_out_whatever_is_trained_on(records, tmp_path) -> None:
    def groups(**data: object) -> tuple[tuple[str, ...], tuple[str, ...]]:
        settings = cases.experiment(tmp_path, records, data=data).runs["run"]
        found = load_sites(settings, [build_hybrid(settings)])
        return found.trained, found.held_out

    few, many = groups(sites=1, held_out=2), groups(sites=3, held_out=2)
    assert few[1] == many[1] and set(few[0]) < set(many[0]) and not set(many[0]) & set(many[1])


def test_records_are_found_from_another_folder_than_that_of_the_training(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "settings").mkdir()
    cases.write_records(tmp_path / "here", sites=2, days=500)
    monkeypatch.chdir(tmp_path / "here")
    run = cases.experiment(tmp_path / "settings", Path("sites.nc")).runs["run"]
    monkeypatch.chdir(tmp_path)
    assert open_records(run.data, run.search).sizes["site"] == 2
    beside = run.data.model_copy(update={"path": Path("few.csv")})
    with pytest.raises(DataError, match="no file or folder 'few.csv'"):
        open_records(beside, run.search)


# train, validation, test; position of the first step of training, number of its steps, those held
DAILY = ("1999-11-01/2000-01-29", "2000-01-10/2000-01-29", "2000-02-01/2000-03-01", 31, 90, 20)
HOURLY = ("1999-10-02/1999-10-08", "1999-10-07/1999-10-08", "1999-10-09/1999-10-20", 24, 168, 48)


@pytest.mark.parametrize("plan", [{}, {"seeds": [3, 4]}, {"folds": "site"}])
@pytest.mark.parametrize("given", [DAILY, HOURLY])
def test_members_are_judged_by_summaries_of_the_days_trained_on(tmp_path, plan, given):
    """What a kept member was told of a site in training it is told again: nothing of other days,
    and for folds nothing of the days held out, which none of them is trained on."""
    *periods, begin, count, held = given
    path = cases.write_records(tmp_path, sites=4, days=600)
    sites = xr.load_dataset(path)
    pet = 0.1 * sites.tair_max.assign_attrs(units="mm d-1")
    sites = sites.assign(potential_evapotranspiration=pet)
    if given is HOURLY:
        times = np.datetime64("1999-10-01T01", "ns") + np.arange(600) * np.timedelta64(1, "h")
        sites = sites.assign_coords(time=times)
    sites.to_netcdf(path)
    days = {
        name: dict(zip(("start", "end"), text.split("/"), strict=True))
        for name, text in zip(("train", "validation", "test"), periods, strict=True)
    }
    data = {**days, "derive": {"climate": {}}, "attributes": ["climate_rain", "area"]}
    made = cases.experiment(tmp_path, path, training={**WHOLE, **plan}, data=data)
    settings = made.runs["run"]
    hybrid = build_hybrid(settings)
    loaded = load_sites(settings, [hybrid]).sites
    members = build_members(settings, loaded, hybrid)
    folds = "folds" in plan
    seeds = [0] * 4 if folds else plan.get("seeds", [0])
    assert [member.seed for member in members if member.kept] == list(seeds)

    rain = sites.precipitation.values[:, begin : begin + count]
    told = rain[:, : count - held if folds else count].mean(1)
    np.testing.assert_allclose(loaded.climate_rain, told, rtol=1e-6)
    for member in members:
        last = count - held if member.held else count
        own = member.seen.sites
        rows = [list(sites.site.values).index(name) for name in own.site.values]
        np.testing.assert_allclose(own.climate_rain, rain[rows, :last].mean(1), rtol=1e-6)
        assert own.sizes["time"] == last
        # no day and no site comes twice, whatever the seed
        batch = member.windows.reading(("precipitation",), ("discharge",), ("area",)).batch(0)
        assert sorted(batch.site.tolist()) == list(range(len(rows)))
        assert batch.length == count and set(batch.start.tolist()) == {0}
        seen = np.isfinite(sites.discharge.values[rows, begin : begin + count])
        early = np.arange(count) < last
        trained = np.isfinite(batch.observed["discharge"].numpy())
        np.testing.assert_array_equal(trained, seen & early)
        if member.held:
            judged = np.isfinite(member.held["discharge"].numpy())
            np.testing.assert_array_equal(judged, seen & ~early)


def test_gauges_are_held_out_and_their_river_stays_whole(tmp_path) -> None:
    settings = cases.river_experiment(tmp_path, data={"held_out": ["c"]}).runs["run"]
    hybrid = build_hybrid(settings)
    data = load_sites(settings, [hybrid])
    assert data.trained == ("e",) and data.held_out == ("c",)
    assert data.groups == {"trained": ("e",), "held out": ("c",), "ungauged": ("a", "b", "d")}
    training = data.training
    assert training.site.values.tolist() == list("abcde")
    seen = training.discharge.notnull().any("time").values
    assert seen.tolist() == [False] * 4 + [True]  # nothing of c is trained on
    windows = build_windows(training, settings, hybrid, settings.data.train)
    batch = windows.batch(0)
    assert [batch.sites[i] for i in batch.site] == list("abcde")
    assert batch.below.tolist() == [2, 2, 4, 4, -1]
    judged = data.judged("test").discharge.notnull().any("time").values
    assert judged.tolist() == [False, False, True, False, True]


def test_a_river_needs_a_gauge(tmp_path) -> None:
    with pytest.raises(DataError, match="no site of the river has any discharge"):
        settings = cases.river_experiment(tmp_path).runs["run"]
        path = Path(settings.data.path)
        dry = xr.load_dataset(path)
        dry["discharge"] = dry.discharge * np.nan
        dry.to_netcdf(path)
        load_sites(settings, [build_hybrid(settings)])


def test_folds_would_cut_a_river_and_basins_need_none(tmp_path) -> None:
    settings = cases.river_experiment(tmp_path).runs["run"]
    hybrid = build_hybrid(settings)
    training = settings.training.model_copy(update={"folds": True})
    with pytest.raises(SettingsError, match="folds leaves sites out, through which water flows"):
        records = load_sites(settings, [hybrid]).training
        build_members(settings.model_copy(update={"training": training}), records, hybrid)
    data = settings.data.model_copy(update={"missing": "skip", "forcing": ("lateral_inflow",)})
    alone = load_sites(settings.model_copy(update={"data": data}), [])
    assert alone.trained == ("c", "e") and "downstream" not in alone.sites


@pytest.mark.parametrize("name", ["brandywine", "stream_oxygen", "swiss_rivers"])
def test_all_numbers_of_the_stream_examples_have_units(name, shared_data) -> None:
    shared_data("stream_temperature")
    shared_data("water_quality")
    made = load_experiment(FOLDER / f"{name}.yaml")
    every = {k: build_hybrid(settings) for k, settings in made.runs.items()}
    for run, settings in made.runs.items():
        sites = load_sites(settings, of_records(made, run, every).values()).sites
        numbers = {n: v.attrs for n, v in sites.variables.items() if v.dtype.kind == "f"}
        assert numbers and [n for n, attrs in numbers.items() if "units" not in attrs] == []
