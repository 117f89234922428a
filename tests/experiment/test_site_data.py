"""Experiments with records of points: sites are parted, trained on and judged, new predicted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import leaf_files
import numpy as np
import pandas as pd
import pytest
import xarray as xr
import yaml
from typer.testing import CliRunner

from pydiffgeo import cli
from pydiffgeo.errors import DataError, SettingsError
from pydiffgeo.experiment.build import build_hybrid, load_sites
from pydiffgeo.experiment.judge import judge
from pydiffgeo.experiment.prediction import predict
from pydiffgeo.experiment.run import run_experiment
from pydiffgeo.experiment.schema import load_experiment

SETTINGS: dict[str, Any] = {
    "data": {
        "forcing": ["intercellular_co2", "leaf_temperature"],
        "attributes": ["LMA_g_m2", "leaf_N_percent"],
        "observed": ["assimilation"],
        "select": {"pathway": "C3"},
        "split_by": ["genus", "species"],
        "held_out": 1,
        "validation_sites": 1,
        "missing": "skip",
    },
    "hybrid": {
        "network": None,
        "stages": [
            {
                "kind": "sequence",
                "gives": ["assimilation"],
                "network": {"kind": "step_mlp", "hidden": [8]},
            }
        ],
    },
    "loss": {"kind": "mse", "observed": "assimilation"},
    "training": {"epochs": 60, "learning_rate": 0.02, "batch": 2},
}


def experiment(folder: Path, **data: Any) -> Path:
    file = leaf_files.curves(folder)
    settings = {**SETTINGS, "data": {"path": str(file), **SETTINGS["data"], **data}}
    (folder / "leaves.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    return folder / "leaves.yaml"


def test_species_are_trained_on_choose_the_epoch_and_are_held_out(tmp_path: Path) -> None:
    loaded = load_experiment(experiment(tmp_path))
    settings = loaded.runs["run"]
    data = load_sites(settings, [build_hybrid(settings)])
    parts = [set(data.trained), set(data.validating), set(data.held_out)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 6
    assert list(data.groups or ()) == ["trained", "validation", "held out"]
    (found,) = run_experiment(loaded, tmp_path / "runs", progress=False, figures=False).values()
    table = found.pooled().set_index("group")
    assert table.loc["trained", "nse"] > 0.8 and table.points.sum() == 27
    history = pd.read_csv(tmp_path / "runs" / "run" / "history.csv")
    assert np.isfinite(history.validation).all()
    # what a site does not have is neither simulated nor scored
    last = found.data.assimilation.isel(point=-1)
    assert last.isnull().sum() == 3
    assert (found.data.assimilation.isnull() == found.data.assimilation_observed.isnull()).all()


def test_files_with_species_never_seen_are_predicted_and_judged(tmp_path: Path) -> None:
    """A file cut in two: the second half has species and points that the run never saw."""
    root = experiment(tmp_path, held_out=0, validation_sites=0).parent
    curves = pd.read_csv(root / "lce_aci_curves.csv")
    traits = pd.read_csv(root / "lce_leaf_traits.csv")
    apart = ["Fir_1", "Elm_1"]
    other = root / "elsewhere"
    other.mkdir()
    late = curves[curves.curve_id.isin(apart)].copy()
    late.loc[late.curve_id == "Fir_1", "species"] = "nova"
    grass = late[late.curve_id == "Elm_1"].assign(curve_id="Rye_1", pathway="C4")
    pd.concat([late, grass]).to_csv(other / "lce_aci_curves.csv", index=False)
    curves[~curves.curve_id.isin(apart)].to_csv(root / "lce_aci_curves.csv", index=False)
    traits[traits.curve_id.isin(apart)].to_csv(other / "lce_leaf_traits.csv", index=False)
    loaded = load_experiment(root / "leaves.yaml")
    run_experiment(loaded, root / "runs", progress=False, figures=False)
    run = root / "runs" / "run"
    asked = ["predict", str(run), "--data", str(other / "lce_aci_curves.csv")]
    told = CliRunner().invoke(cli.app, [*asked, "--output", str(root / "out.nc")])
    assert told.exit_code == 0, told.output
    assert "correlation" in told.output  # over all points
    data = xr.load_dataset(root / "out.nc")
    assert data.site.values.tolist() == apart  # C4 was not selected
    assert data.assimilation_observed.notnull().sum() == 9
    new = other / "lce_aci_curves.csv"
    (found,) = judge([run], progress=False, figures=False, data=new).values()
    np.testing.assert_allclose(found.data.assimilation, data.assimilation)
    assert (run / "evaluation_lce_aci_curves" / "scores.csv").is_file()
    # the traits may have another name there
    (other / "lce_leaf_traits.csv").rename(other / "traits.csv")
    told = CliRunner().invoke(
        cli.app, ["evaluate", str(run), "--data", str(new), "--option", "attributes=traits.csv",
                  "--no-figures", "--quiet"]
    )  # fmt: skip
    assert told.exit_code == 0, told.output
    (other / "traits.csv").rename(other / "lce_leaf_traits.csv")
    # a leaf without a trait is left out, since the settings say so
    traits.loc[traits.curve_id == "Elm_1", "LMA_g_m2"] = np.nan
    traits[traits.curve_id.isin(apart)].to_csv(other / "lce_leaf_traits.csv", index=False)
    found = predict(run, other / "lce_aci_curves.csv", root / "less.nc")
    assert found.data.site.values.tolist() == ["Fir_1"]
    (other / "lce_leaf_traits.csv").unlink()
    with pytest.raises(DataError, match="lacks the attribute 'LMA_g_m2'"):
        predict(run, other / "lce_aci_curves.csv", root / "none.nc")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"train": {"start": "2000-01-01", "end": "2001-01-01"}}, "data.test is missing"),
        ({"select": {"pathway": "C5"}}, "no site whose 'pathway' is 'C5'"),
        ({"split_by": ["genius"]}, "did you mean 'genus'"),
    ],
)
def test_settings_that_do_not_fit_points(tmp_path: Path, data: Any, words: str) -> None:
    with pytest.raises((SettingsError, DataError), match=words):
        settings = load_experiment(experiment(tmp_path, **data)).runs["run"]
        load_sites(settings, [build_hybrid(settings)])


def test_records_in_time_need_their_days(tmp_path: Path) -> None:
    path = leaf_files.towers(tmp_path)
    changes = {"path": str(path), "select": {}, "split_by": []}
    settings = load_experiment(experiment(tmp_path / "a", **changes)).runs["run"]
    with pytest.raises(DataError, match="has dates: give data.train and data.test"):
        load_sites(settings, [build_hybrid(settings)])


def test_days_never_seen_of_a_tower_are_predicted_and_judged(tmp_path: Path) -> None:
    """A file cut in two: the first days are trained on, the last ones lie elsewhere."""
    folder, other = tmp_path / "towers", tmp_path / "later"
    folder.mkdir(), other.mkdir()
    leaf_files.towers(folder, days=7)
    (folder / "US-Bb2_halfhourly.csv").unlink()
    table = pd.read_csv(folder / "US-Aa1_halfhourly.csv")
    table[: 5 * 48].to_csv(folder / "US-Aa1_halfhourly.csv", index=False)
    table[5 * 48 :].to_csv(other / "US-Aa1_halfhourly.csv", index=False)
    settings = {
        "data": {
            "path": str(folder),
            "forcing": ["par", "air_temperature"],
            "attributes": [],
            "observed": ["latent_heat"],
            "train": {"start": "2019-03-01", "end": "2019-03-03"},
            "test": {"start": "2019-03-04", "end": "2019-03-05"},
        },
        "hybrid": {
            "network": None,
            "stages": [
                {
                    "kind": "sequence",
                    "gives": ["latent_heat"],
                    "network": {"kind": "step_mlp", "reads": "series", "hidden": [8]},
                }
            ],
        },
        "loss": {"kind": "mse", "observed": "latent_heat"},
        "training": {"epochs": 60, "learning_rate": 0.03},
        "evaluation": {"warm_up": 0},
    }
    (tmp_path / "tower.yaml").write_text(yaml.safe_dump(settings))
    loaded = load_experiment(tmp_path / "tower.yaml")
    run_experiment(loaded, tmp_path / "runs", progress=False, figures=False)
    run = tmp_path / "runs" / "run"
    found = predict(run, other, tmp_path / "later.nc")
    assert found.data.sizes["time"] == 2 * 48 and float(found.scores.nse[0]) > 0.9
    (judged,) = judge([run], progress=False, figures=False, data=other).values()
    assert judged.scores.nse.values == found.scores.nse.values
