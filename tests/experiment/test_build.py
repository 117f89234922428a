"""From settings to sites, windows and hybrids."""

from __future__ import annotations

from pathlib import Path

import experiment_cases as cases
import pytest

from pydiffgeo.errors import DataError, PyDiffGeoError
from pydiffgeo.experiment.build import (
    build_hybrid,
    build_loss,
    build_windows,
    load_sites,
    open_records,
)


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
        ({"test": {"end": "2009-01-01"}}, (), "is not in the record"),
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
