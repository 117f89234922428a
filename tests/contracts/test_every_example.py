"""Every example is valid, and takes two training steps on a synthetic truth drawn from its own
model.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from pydiffgeo.experiment.examples import EXAMPLES, FOLDER, write_example
from pydiffgeo.experiment.run import train
from pydiffgeo.experiment.schema import load_experiment

SCRIPTS = sorted(p.stem for p in FOLDER.glob("*.py"))
FILES = [name for name in EXAMPLES if name not in SCRIPTS]


def test_examples_are_found() -> None:
    assert set(EXAMPLES) == {p.stem for p in FOLDER.glob("*.yaml")} | set(SCRIPTS)


@pytest.mark.parametrize("name", FILES)
def test_an_example_is_valid(name: str, tmp_path: Path) -> None:
    (written,) = write_example(name, tmp_path)
    whole, short = load_experiment(written), load_experiment(written, demo=True)
    assert whole.runs and set(short.runs) <= {*whole.runs, *short.runs}


def few(name: str, folder: Path) -> Path:
    """The short form of an example with two sites, a few weeks and two steps."""
    data: dict[str, Any] = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    demo = data["demo"]
    if "train" not in data["data"]:
        return few_points(data, folder / f"{name}.yaml")
    demo["data"] = {
        **demo.get("data", {}),
        "path": None,
        "sites": None,
        "train": {"start": "2000-01-01", "end": "2000-02-10"},
        "test": {"start": "2000-02-11", "end": "2000-03-01"},
        "synthetic": {**demo.get("data", {}).get("synthetic", {}), "sites": 2, "seed": 1},
        "validation": {"start": "2000-04-16", "end": "2000-02-10"}
        if "validation" in data["data"]
        else None,
    }
    whole_record = data["training"].get("length") is None
    if "validation" in data["data"]:  # the last days of a whole record, or days after the windows
        demo["data"]["validation"] = {"start": "2000-02-01", "end": "2000-02-10"}
        demo["data"]["train"]["end"] = "2000-02-10" if whole_record else "2000-01-31"
    steps: dict[str, Any] = (
        {"epochs": 2}
        if whole_record
        else {"epochs": 1, "steps_per_epoch": 2, "batch": 2, "length": 20}
    )
    warm_up = 10
    demo["evaluation"] = {**demo.get("evaluation", {}), "warm_up": warm_up}
    for run in demo["runs"].values():
        training = {**run.get("training", {}), **steps, "warm_up": warm_up, "checkpoint_every": 1}
        run["training"] = training | ({"seeds": [0]} if "seeds" in data["training"] else {})
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(data, sort_keys=False))
    return path


def few_points(data: dict[str, Any], path: Path) -> Path:
    """The short form of an example of points, with eight sites and two steps."""
    demo = data["demo"]
    demo["data"] = {**demo.get("data", {}), "path": None, "synthetic": {"sites": 8, "seed": 1}}
    for run in demo["runs"].values():
        run["training"] = {**run.get("training", {}), "epochs": 2, "batch": None}
    path.write_text(yaml.safe_dump(data, sort_keys=False))
    return path


@pytest.mark.parametrize("name", FILES)
def test_an_example_takes_two_steps(name: str, tmp_path: Path) -> None:
    experiment = load_experiment(few(name, tmp_path), demo=True)
    folders = train(experiment, tmp_path / "runs", progress=False)
    assert [f.name for f in folders] == list(experiment.runs)
    trained = [f / "history.csv" for f in folders if (f / "history.csv").is_file()]
    assert trained
    for history in trained:
        table = pd.read_csv(history)
        assert len(table) >= 1 and table.filter(regex="loss").notna().any().all()
