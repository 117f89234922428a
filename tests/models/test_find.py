"""Models by name: shipped ones, classes and Julia files from outside of the package."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pydiffgeo import HBV, Grid, Richards, solve
from pydiffgeo.errors import DataError, SettingsError, UnknownName
from pydiffgeo.models.find import find_model
from pydiffgeo.models.julia_model import JuliaModel
from pydiffgeo.recorded import class_of, kind_of

SPEC = """
name = "tank"
time_unit = "d"
[states.water]
unit = "mm"
scale = 10.0
storage = "water"
storage_unit = "mm"
storage_scale = 10.0
[parameters.k]
unit = "d-1"
lower = 0.01
upper = 1.0
default = 0.2
"""
MODEL = """
from pydiffgeo import ProcessModel, load_spec

class Tank(ProcessModel):
    size = 1

    def __init__(self, spec="tank.toml"):
        self.spec = load_spec(spec)

    def rates(self, state, forcing, parameters):
        return -parameters["k"] * state

class Kettle:
    pass
"""


@pytest.fixture
def tank(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of the user's in the working directory, which is not on Python's path."""
    (tmp_path / "my_tanks").mkdir()
    (tmp_path / "my_tanks" / "tank.toml").write_text(SPEC)
    (tmp_path / "my_tanks" / "tanks.py").write_text(MODEL)
    (tmp_path / "tank.toml").write_text(SPEC)
    (tmp_path / "tank.jl").write_text("rates(u, f, p) = -p.k .* u\n")
    monkeypatch.chdir(tmp_path)
    for name in ("my_tanks", "my_tanks.tanks"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


def test_shipped_models_and_models_themselves() -> None:
    assert isinstance(find_model("hbv", melt_threshold=True), HBV)
    column = Richards(Grid.uniform(10.0, 2))
    assert find_model(column) is column


def test_a_class_of_ones_own_solves(tank: Path) -> None:
    model = find_model("my_tanks.tanks:Tank")
    assert type(model) is class_of(kind_of(type(model)))
    solution = solve(model, {}, {"k": 0.2}, {"water": 10.0}, [0.0, 1.0, 2.0])
    assert float(solution.states[0, -1, 0]) == pytest.approx(10 * 2.718281828**-0.4, rel=1e-3)


def test_a_julia_file_of_ones_own(tank: Path) -> None:
    model = find_model("tank.jl")
    assert isinstance(model, JuliaModel) and list(model.spec.parameters) == ["k"]


@pytest.mark.parametrize(
    ("name", "arguments", "error", "words"),
    [
        ("hbw", {}, UnknownName, "did you mean 'hbv'"),
        ("my_tanks.tanks:Tnak", {}, SettingsError, "no attribute 'Tnak'"),
        ("my_boats:Tank", {}, SettingsError, "No module named 'my_boats'"),
        ("my_tanks.tanks:MODEL", {}, SettingsError, "cannot be imported"),
        ("my_tanks.tanks:Kettle", {}, SettingsError, "subclass of pydiffgeo.ProcessModel"),
        ("hbv", {"size": 3}, SettingsError, "size"),
        ("richards", {}, SettingsError, "grid"),
        ("pond.jl", {}, DataError, "there is no Julia file"),
    ],
)
def test_what_is_no_model_is_named(
    tank: Path, name: str, arguments: dict, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        find_model(name, **arguments)


def test_a_made_model_takes_no_arguments() -> None:
    with pytest.raises(SettingsError, match="melt_threshold"):
        find_model(HBV(), melt_threshold=True)
