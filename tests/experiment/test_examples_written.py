"""The examples that come with the package."""

from __future__ import annotations

from pathlib import Path

import pytest

from pydiffgeo.errors import DataError, OutputError, UnknownName
from pydiffgeo.experiment.examples import EXAMPLES, FOLDER, demo_experiment, write_example
from pydiffgeo.experiment.schema import load_experiment


def test_all_examples_are_there_and_listed() -> None:
    assert {path.stem for path in FOLDER.glob("*.yaml")} | {
        p.stem for p in FOLDER.glob("*.py")
    } == set(EXAMPLES)


def test_an_example_is_written_with_its_data_where_they_are(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("PYDIFFGEO_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (path,) = write_example("camels_dpl", tmp_path / "a")
    assert load_experiment(path).runs["lstm"].data.path is None, "a synthetic truth"
    (tmp_path / "camels_us_daymet_500.nc").touch()
    (path,) = write_example("camels_dpl", tmp_path / "b")
    assert path.read_text() == (FOLDER / "camels_dpl.yaml").read_text()
    assert [p.name for p in write_example("soil_functions", tmp_path)] == [
        "soil_functions.py",
        "soil_functions.yaml",
    ]
    with pytest.raises(OutputError, match="--overwrite"):
        write_example("camels_dpl", tmp_path / "b")
    with pytest.raises(UnknownName, match="did you mean 'soil_moisture'"):
        write_example("soil_moistur", tmp_path)


def test_a_demo_is_the_short_form(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("PYDIFFGEO_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    runs = demo_experiment("soil_moisture").runs
    assert "richards_station_out" not in runs and runs["richards"].training.epochs < 60
    assert runs["richards"].data.path is None
    with pytest.raises(DataError, match="is a script"):
        demo_experiment("hydro_node")
