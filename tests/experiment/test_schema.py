"""The schema of experiments.

Runs are changes, mistakes have a line, old settings are answered with the new keys.
"""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import experiment_cases as cases
import pytest
import yaml
from typer.testing import CliRunner

from pydiffgeo import cli
from pydiffgeo.errors import SettingsError
from pydiffgeo.experiment.build import build_hybrid, build_loss
from pydiffgeo.experiment.examples import FOLDER
from pydiffgeo.experiment.schema import (
    FAMILIES,
    load_experiment,
    merged,
    plain_settings,
    run_class,
    run_settings,
)
from pydiffgeo.experiment.signatures import section_of

PACKAGE = Path(cli.__file__).parent

BASE = """\
data:
  path: few.nc
  train: {start: 2000-01-01, end: 2001-12-31}
  test: {start: 2002-01-01, end: 2002-12-31}
hybrid:
  network: {kind: mlp, hidden: [8]}
  stages:
    - {kind: process, model: hbv, solver: {method: implicit_euler, step: 1.0}}
loss: {kind: nse}
training: {epochs: 3}
"""


def load(tmp_path: Path, text: str):
    path = tmp_path / "a.yaml"
    path.write_text(textwrap.dedent(text))
    return load_experiment(path)


def test_runs_are_the_sections_with_changes(tmp_path: Path) -> None:
    runs = """\
    runs:
      first: {}
      second:
        training: {seed: 5}
        hybrid: {network: {hidden: [4]}}
      third:
        hybrid: {network: {kind: lstm, hidden: 4}, varying: [BETA]}
      lstm:
        hybrid: {network: null, stages: [{kind: sequence, network: lstm}]}
    """
    found = load(tmp_path, BASE + textwrap.dedent(runs)).runs
    assert list(found) == ["first", "second", "third", "lstm"]
    assert found["first"].hybrid.network.hidden == (8,) and found[
        "second"
    ].hybrid.network.hidden == (4,)
    assert found["second"].training.epochs == 3 and found["second"].training.seed == 5
    assert found["third"].hybrid.network.kind == "lstm", "another kind replaces a section"
    assert (
        found["lstm"].hybrid.network is None and found["lstm"].hybrid.stages[0].kind == "sequence"
    )
    assert list(load(tmp_path, BASE).runs) == ["run"]


def test_merging_replaces_lists_and_sections_of_another_kind() -> None:
    base = {"a": {"kind": "x", "p": 1}, "b": [1, 2], "c": {"d": 1, "e": 2}}
    change = {"a": {"kind": "y"}, "b": [3], "c": {"e": 3}}
    assert merged(base, change) == {"a": {"kind": "y"}, "b": [3], "c": {"d": 1, "e": 3}}


RUNS = (
    BASE
    + "runs:\n  one: {}\n  two:\n    training: {epochs: 4}\n    hybrid:\n      network: {kind: "
    "mlp, hidden: [4]}\n"
)


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        (
            "epochs: 3",
            "epohcs: 3",
            10,
            "unknown key in 'training': 'epohcs'; did you mean 'epochs'?",
        ),
        (
            "step: 1.0",
            "stpe: 1.0",
            8,
            "unknown key in 'hybrid.stages.0.solver': 'stpe'; did you mean 'step'?",
        ),
        (
            "model: hbv",
            "model: hvb",
            8,
            "hybrid.stages.0.model: unknown kind 'hvb'; did you mean 'hbv'?",
        ),
        ("kind: process", "kind: proces", 8, "unknown kind 'proces'; did you mean 'process'?"),
        ("kind: process, ", "", 8, "hybrid.stages.0: the key 'kind' is missing"),
        ("model: hbv, ", "", 8, "the key 'model' is missing in 'hybrid.stages.0'"),
        ("hidden: [8]", "hidden: [many]", 6, "hybrid.network.hidden.0: 'many' is not allowed"),
        ("hidden: [4]", "hiden: [4]", 16, "unknown key in 'runs.two.hybrid.network': 'hiden'"),
        ("epochs: 4", "epochs: few", 14, "runs.two.training.epochs: 'few' is not allowed"),
        ("  two:", "  a/b:", 13, "'a/b' cannot be the name of a folder"),
        (
            "kind: nse",
            "kind: nse, observed: runoff",
            9,
            "loss.observed: 'runoff' is not in data.observed. It has discharge. Add it there.",
        ),
        (
            "test: {start: 2002",
            "test: {start: 2001",
            4,
            "data.test: it shares days with data.train, 2000-01-01 to 2001-12-31. End one before",
        ),
        (
            "  test:",
            "  validation: {start: 2001-06-01, end: 2002-01-31}\n  test:",
            4,
            "data.validation: it shares days with data.train",
        ),
        (
            "end: 2001-12-31",
            "end: 1999-12-31",
            3,
            "data.train.end: the period ends on 1999-12-31, not after its start on 2000-01-01.",
        ),
        (
            "training: {epochs: 4}",
            "data: {test: {start: 2001-12-01}}",
            14,
            "runs.two.data.test: it shares days with data.train",
        ),
        (
            "training: {epochs: 4}",
            "loss: {kind: nse, observed: dischrge}",
            14,
            "runs.two.loss.observed: 'dischrge' is not in data.observed; did you mean 'discharge'?",
        ),
        ("epochs: 3", "epochs: 3, patience: 2", 10, "training.patience: it needs data.validation"),
        (
            "training: {epochs: 4}",
            "training: {patience: 4}",
            14,
            "runs.two.training.patience: it needs data.validation",
        ),
        ("epochs: 3", "epochs: yes", 10, "truth values"),
        ("kind: nse", "kind: my_losses:Mine", 9, "'my_losses:Mine' cannot be imported"),
        ("runs:", "ruins:", 11, "unknown key: 'ruins'"),
    ],
)
def test_mistakes_have_a_line_and_a_remedy(
    tmp_path: Path, old: str, new: str, line: int, words: str
) -> None:
    assert old in RUNS
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, RUNS.replace(old, new, 1))
    said = str(caught.value)
    assert words in said
    assert f"line {line}: " in said, said


def test_settings_are_kept_whole_and_read_back(tmp_path: Path) -> None:
    settings = load(tmp_path, BASE).runs["run"]
    kept = yaml.safe_load(yaml.safe_dump(plain_settings(settings)))
    assert plain_settings(run_settings(kept)) == kept
    assert kept["training"]["learning_rate"] == 0.003
    assert kept["search"] == [str(tmp_path), str(Path.cwd())]


OWN = '''
import torch
from pydiffgeo import HBV, MLP, Stage, losses


class Doubled(Stage):
    """Twice a series.

    Parameters
    ----------
    name : str
        Series.
    """

    def __init__(self, name: str):
        super().__init__()
        self.name = name
        self.reads = self.gives = (name,)

    def forward(self, series, parameters, batch):
        return {self.name: 2 * series[self.name]}


class Wide(MLP):
    pass


class MyModel(HBV):
    pass


class MyLoss(losses.MSE):
    pass
'''


def test_own_classes_are_found_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "of_my_own.py").write_text(OWN)
    text = BASE.replace("model: hbv", "model: of_my_own:MyModel").replace(
        "kind: mlp", "kind: of_my_own:Wide"
    )
    text = text.replace("kind: nse", "kind: of_my_own:MyLoss")
    text = text.replace(
        "  stages:\n", "  stages:\n    - {kind: of_my_own:Doubled, name: precipitation}\n"
    )
    settings = load(tmp_path, text).runs["run"]
    hybrid = build_hybrid(run_settings(plain_settings(settings)))
    made = [hybrid.network, hybrid.stages[0], hybrid.stages[1].model, build_loss(settings)[0]]
    assert [type(part).__name__ for part in made] == ["Wide", "Doubled", "MyModel", "MyLoss"]
    with pytest.raises(
        SettingsError, match="unknown key in 'hybrid.stages.0': 'nam'; did you mean 'name'"
    ):
        load(tmp_path, text.replace("name: precipitation", "nam: precipitation"))


def test_models_in_julia_are_named_by_their_file(tmp_path: Path) -> None:
    shipped = FOLDER / "julia" / "five_stores.jl"
    for path in (shipped, shipped.with_suffix(".toml")):
        (tmp_path / path.name).write_text(path.read_text())
    for text in ("model: five_stores.jl", "model: {kind: five_stores.jl}"):
        settings = load(tmp_path, BASE.replace("model: hbv", text)).runs["run"]
        assert settings.hybrid.stages[0].model.kind == "julia_model"
        model = build_hybrid(settings).stages[0].model
        assert model.file == (tmp_path / "five_stores.jl").resolve()


def test_old_settings_of_basins_are_answered_with_the_new_keys(tmp_path: Path) -> None:
    text = """\
    experiment: basins
    data: {path: x.nc, pet: oudin, targets: [discharge], traget: x}
    runs:
      hbv_static:
        model:
          name: hbv
          process: {solver: implicit_euler, components: 8}
        training: {batch_size: 64, window: 730}
    """
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, text)
    said = str(caught.value)
    for words in (
        "line 2: data.pet: data.derive: {potential_evapotranspiration: oudin}",
        "line 2: data.path: stays as it is",
        "line 2: data.targets: data.observed",
        "line 2: data.traget: is no key of that form; leave it out",
        "line 6: model.name: hybrid.stages: {kind: process, model: NAME}",
        "line 7: model.process.components: hybrid.stages: {kind: parallel, count: 8",
        "line 8: training.batch_size: training.batch",
        "line 8: training.window: training.length",
    ):
        assert words in said, said


def test_old_settings_of_stations_are_answered_too(tmp_path: Path) -> None:
    with pytest.raises(
        SettingsError, match=r"(?s)line 1: source: .*line 2: period.train_start: data.train.start"
    ):
        load(tmp_path, "source: file\nperiod: {train_start: 2020-01-01}\n")


def parts(text: str) -> list[dict]:
    """The sections in braces that a text has, whole ones."""
    found, depth, begin = [], 0, 0
    for k, letter in enumerate(text):
        begin = k if letter == "{" and depth == 0 else begin
        depth += (letter == "{") - (letter == "}")
        if letter == "}" and depth == 0:
            found.append(yaml.safe_load(text[begin : k + 1]))
    return found


def wrong_keys(section, kinds: dict) -> list[str]:
    """Keys that a section of some kind, or one in it, does not have."""
    if isinstance(section, list):
        return [key for part in section for key in wrong_keys(part, kinds)]
    if not isinstance(section, dict):
        return []
    known = set(section)
    if "kind" in section:
        known = {
            k
            for made in kinds[section["kind"]]
            for k in section_of(made, FAMILIES, "x").model_fields
        }
    wrong = sorted(set(section) - known)
    return wrong + [key for part in section.values() for key in wrong_keys(part, kinds)]


@pytest.mark.parametrize("form", ["basins", "soil_moisture"])
def test_what_old_keys_are_answered_with_is_there(form: str) -> None:
    """Each key and each part of a section that an answer names is one of the settings of today."""
    text = (PACKAGE / "experiment" / "old_keys.yaml").read_text()
    run = run_class()
    kinds: dict[str, list] = {}
    for family in FAMILIES.values():
        for kind, made in family.kinds.items():
            kinds.setdefault(kind, []).append(made)
    for old, new in yaml.safe_load(text)[form].items():
        plain = re.sub(r"\{.*\}", "", new)
        for section, key in re.findall(r"\b(data|hybrid|training|evaluation)\.(\w+)", plain):
            keys = run.model_fields[section].annotation.model_fields
            assert key in keys, f"{old}: {section}.{key}"
        for part in parts(new):
            assert wrong_keys(part, kinds) == [], f"{old}: {part}"


def test_examples_are_valid_in_their_long_and_short_forms() -> None:
    names = [path for path in FOLDER.glob("*.yaml") if not path.with_suffix(".py").is_file()]
    assert len(names) >= 3
    for path in names:
        assert load_experiment(path).runs and load_experiment(path, demo=True).runs


def test_settings_of_a_script_are_told_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "soil_functions.yaml"
    path.write_text((FOLDER / path.name).read_text())
    with pytest.raises(SettingsError, match="not the settings of an experiment.*init` writes one"):
        load_experiment(path)
    path.with_suffix(".py").write_text("")
    with pytest.raises(SettingsError, match=r"python \S*soil_functions.py reads them\."):
        load_experiment(path)


def test_a_mistake_is_one_line_of_the_command(tmp_path: Path) -> None:
    path = cases.write_settings(tmp_path, None, training={"epohcs": 2})
    result = CliRunner().invoke(cli.app, ["train", str(path)])
    assert result.exit_code == 1 and "did you mean 'epochs'" in result.stderr
    assert result.stderr.count("\n") == 1


def test_numbers_of_the_training_have_the_limits_of_the_trainer(tmp_path):
    for key, value in (
        ("epochs", -3),
        ("learning_rate", -0.01),
        ("final_rate", 2),
        ("patience", 0),
    ):
        with pytest.raises(
            SettingsError, match=rf"line \d+: training\.{key}: {value} is not allowed"
        ):
            cases.experiment(tmp_path, tmp_path / "sites.nc", training={key: value})
