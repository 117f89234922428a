"""Every kind of mistake in a settings file is answered with its line and the remedy."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from typing import Literal

import pytest
from pydantic import Field, model_validator

from pydiffgeo.errors import SettingsError, lookup
from pydiffgeo.settings import Settings as Base
from pydiffgeo.settings import load_settings


class Strict(Base):
    """With what all settings of the package have."""


class Layer(Strict):
    depth: float = Field(gt=0)
    soil: Literal["sand", "loam", "clay"] = "loam"

    @model_validator(mode="after")
    def peat_is_shallow(self) -> Layer:
        if self.depth > 1000:
            raise ValueError("no soil layer is deeper than 1000 cm")
        return self


class Training(Strict):
    epochs: int = Field(10, ge=1)
    learning_rate: float = 1e-3


class Rain(Strict):
    rain: float


class Head(Strict):
    head: float


class Settings(Strict):
    name: str
    training: Training = Training()
    layers: list[Layer] = []
    sites: dict[str, Layer] = {}
    top: Rain | Head | None = None
    wind: float = Field(0.0, alias="wind_speed")
    method: str = "kvaerno3"

    @model_validator(mode="after")
    def method_is_known(self) -> Settings:
        lookup({"kvaerno3": 1, "trbdf2": 2}, self.method, "method")
        return self


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "settings.yaml"
    path.write_text(text)
    return path


def complaint(path: Path) -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings(path, Settings)
    assert str(path) in str(caught.value)
    assert all(
        line[-1] in ".?"
        for line in str(caught.value).splitlines()
        if not line.endswith(" problems")
    ), caught.value
    return str(caught.value)


def test_reads_nested_settings_with_defaults(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "name: a\ntraining:\n  learning_rate: 1e-2\nlayers:\n- depth: 20\n"
        "- {depth: 60, soil: clay}\nwind_speed: 2\ntop: {head: -75}\n",
    )
    settings = load_settings(path, Settings)
    assert settings.training == Training(epochs=10, learning_rate=0.01)
    assert [layer.soil for layer in settings.layers] == ["loam", "clay"]
    assert settings.wind == 2.0 and settings.top == Head(head=-75)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        # unknown and mistyped keys: top level, section, list, mapping of sections, alias, merged,
        # not a string
        ("name: a\n\nnmae: b\n", 3, "unknown key: 'nmae'; did you mean 'name'?"),
        (
            "name: a\nqqq: 1\n",
            2,
            "unknown key: 'qqq'. Known: layers, method, name, sites, top, training, wind_speed",
        ),
        (
            "name: a\ntraining:\n  epochs: 3\n  learning_rte: 0.1\n",
            4,
            "unknown key in 'training': 'learning_rte'; did you mean 'learning_rate'? Known: "
            "epochs, learning_rate",
        ),
        (
            "name: a\nlayers:\n  - depth: 20\n  - depth: 60\n    sil: clay\n",
            5,
            "unknown key in 'layers.1': 'sil'; did you mean 'soil'? Known: depth, soil",
        ),
        (
            "name: a\nsites:\n  north:\n    depth: 20\n    soli: clay\n",
            5,
            "in 'sites.north': 'soli'; did you mean 'soil'?",
        ),
        ("name: a\nwind_sped: 3\n", 2, "did you mean 'wind_speed'?"),
        (
            "name: a\nlayers:\n- &x\n  depth: 20\n- <<: *x\n  depht: 10\n",
            6,
            "did you mean 'depth'?",
        ),
        ("name: a\ntraining:\n  1: 3\n", 3, "unknown key in 'training': "),
        # wrong values: bound, type, choice, section instead of value and the reverse, a validator
        # of one section
        (
            "name: a\ntraining:\n  epochs: 0\n",
            3,
            "training.epochs: 0 is not allowed: input should be greater than or equal to 1",
        ),
        (
            "name: a\ntraining:\n  epochs: many\n",
            3,
            "training.epochs: 'many' is not allowed: input should be a valid integer",
        ),
        (
            "name: a\nlayers:\n- depth: 20\n- depth: 30\n  soil: clya\n",
            5,
            "layers.1.soil: 'clya' is not allowed: input should be 'sand', 'loam' or 'clay'; did "
            "you mean 'clay'?",
        ),
        (
            "name: a\ntraining: 5\n",
            2,
            "training: 5 is not allowed: it is a section with the keys: epochs, learning_rate",
        ),
        (
            "name: a\ntraining:\n",
            2,
            "training: None is not allowed: it is a section with the keys: epochs, learning_rate",
        ),
        (
            "name:\n  first: a\n",
            1,
            "name: a section is not allowed: input should be a valid string",
        ),
        (
            "name: a\nlayers:\n- depth: 2\n- depth: 2000\n",
            4,
            "no soil layer is deeper than 1000 cm",
        ),
        # missing keys
        ("training:\n  epochs: 3\n", 1, "the key 'name' is missing"),
        (
            "name: a\nlayers:\n- depth: 20\n- soil: clay\n",
            4,
            "the key 'depth' is missing in 'layers.1'",
        ),
        # YAML itself
        (
            "name: a\ntraining:\n  epochs: 3\n  epochs: 4\n",
            4,
            "the key 'epochs' was already given in line 3",
        ),
        ("- name\n- other\n", 1, "'key: value' lines"),
        ("just words\n", 1, "'key: value' lines"),
        ("name: a\ntraining: {epochs: 3\n", 3, "not valid YAML"),
        (
            "name: a\ntraining:\n\tepochs: 3\n",
            3,
            "column 1: a tab, which YAML does not allow there. Use spaces.",
        ),
        ("name: a\nmethod: *missing\n", 2, "not valid YAML: found undefined alias"),
        (
            "name: a\nmethod: !!python/object:os.system x\n",
            2,
            "not valid YAML: could not determine a constructor",
        ),
        ("name: a\n---\nname: b\n", 2, "not valid YAML"),
    ],
)
def test_complaint_has_line_and_remedy(tmp_path: Path, text: str, line: int, words: str) -> None:
    message = complaint(write(tmp_path, text))
    assert re.search(r"line (\d+)", message).group(1) == str(line), message  # type: ignore[union-attr]
    assert words in message


def test_all_problems_are_listed_by_line(tmp_path: Path) -> None:
    message = complaint(write(tmp_path, "nmae: a\ntraining:\n  epochs: 0\n  momentum: 1\n"))
    assert "4 problems" in message
    assert [int(n) for n in re.findall(r"^  line (\d+): ", message, re.M)] == [1, 1, 3, 4]


def test_union_lists_what_each_member_lacks(tmp_path: Path) -> None:
    message = complaint(write(tmp_path, "name: a\ntop:\n  raim: 1\n"))
    assert "line 3: unknown key in 'top': 'raim'; did you mean 'rain'? Known: rain" in message
    assert "line 2: the key 'head' is missing in 'top'" in message


def test_error_of_the_package_inside_a_validator_is_a_settings_error(tmp_path: Path) -> None:
    message = complaint(write(tmp_path, "name: a\nmethod: kvaerno4\n"))
    assert "did you mean 'kvaerno3'?" in message


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n"])
def test_empty_file(tmp_path: Path, text: str) -> None:
    assert "the file is empty" in complaint(write(tmp_path, text))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    assert "no such file" in complaint(tmp_path / "absent.yaml")
    assert "directory" in complaint(tmp_path)
    latin = tmp_path / "latin.yaml"
    latin.write_bytes("name: Württemberg".encode("latin-1"))
    assert "UTF-8" in complaint(latin)
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"name: \x00")
    assert "not valid YAML" in complaint(binary)


def test_alias_cycle_does_not_hang(tmp_path: Path) -> None:
    message = complaint(write(tmp_path, "name: a\nlayers: &x\n- *x\n"))
    assert "line " in message


class Sites(Strict):
    basins: tuple[str, ...] | int | None = None
    days: tuple[str, ...] = ()
    number: int = 1
    day: date = date(2000, 1, 1)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "basins: [01013500, x]",
            "line 1: 01013500 would be the octal number 268096. Put identifiers in quotes, "
            "'01013500', or",
        ),
        ("basins: 01013500", "line 1: 01013500 would be the octal number 268096"),
        ("number: 010", "line 1: 010 would be the octal number 8"),
        (
            "basins:\n- 'a'\n- 12:30",
            "line 3: 12:30 would be 750, a number in base 60. Put identifiers in quotes, '12:30'.",
        ),
        (
            "basins:\n- '01'\n- 1022500",
            "line 3: basins.1: 1022500 is read as a number. Put it in quotes: '1022500'.",
        ),
        ("basins: [NO]", "line 1: basins.0: NO is read as a truth value. Put it in quotes: 'NO'."),
        (
            "basins: [2001-01-31]",
            "line 1: basins.0: 2001-01-31 is read as a date. Put it in quotes: '2001-01-31'.",
        ),
        ("number: 1\nday: 2001-02-30", "line 2: 2001-02-30 is no date: day"),
        ("day: 20010131", "line 1: day: 20010131 is not allowed: it is a day, such as 2000-01-31."),
        (
            "day: 2001-01-31 06:00:00",
            "line 1: day: 2001-01-31 06:00:00 is not allowed: it is a day, such as 2000-01-31.",
        ),
        ("day: soon", "line 1: day: 'soon' is not allowed: it is a day, such as 2000-01-31."),
        ("days:", "line 1: days: None is not allowed: it is a list, such as [a, b]."),
    ],
)
def test_words_that_yaml_takes_for_something_else_are_said(
    text: str, words: str, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match=re.escape(words)) as error:
        load_settings(write(tmp_path, text), Sites)
    assert str(error.value).endswith(".") and len(str(error.value).splitlines()) == 1


def test_many_unquoted_identifiers_are_not_listed_one_by_one(tmp_path: Path) -> None:
    text = "basins: [" + ", ".join(str(1_000_000 + i) for i in range(500)) + "]"
    with pytest.raises(SettingsError, match="500 problems") as error:
        load_settings(write(tmp_path, text), Sites)
    assert len(str(error.value).splitlines()) == 22 and str(error.value).endswith("and 480 more")


def test_good_numbers_and_dates_are_what_they_were(tmp_path: Path) -> None:
    read = load_settings(
        write(tmp_path, "basins: ['01013500', 01022509]\nnumber: 0\nday: 2001-02-28"), Sites
    )
    assert read == Sites(basins=("01013500", "01022509"), number=0, day=date(2001, 2, 28))
    assert load_settings(write(tmp_path, "basins: 7\nnumber: 1_000"), Sites).number == 1000


class Numbers(Strict):
    count: int | tuple[str, ...] = 1
    rate: float | None = None
    hidden: tuple[int, ...] = ()
    bounds: dict[str, tuple[float, float]] = {}
    figures: bool = True


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("count: yes", "count: yes"),
        ("rate: off", "rate: off"),
        ("hidden: [8, on]", "hidden: [8, True]"),
        ("bounds: {k: [no, 1]}", "bounds: a section"),
    ],
)
def test_a_truth_value_is_no_number(tmp_path: Path, text: str, shown: str) -> None:
    said = (
        f"line 2: {shown} is not allowed: it takes numbers, and yes, no, on, off, true and "
        "false are truth values."
    )
    with pytest.raises(SettingsError, match=re.escape(said)):
        load_settings(write(tmp_path, f"figures: no\n{text}\n"), Numbers)
    good = load_settings(
        write(tmp_path, "figures: no\ncount: 2\nhidden: [8]\nbounds: {k: [0, 1]}\n"), Numbers
    )
    assert good == Numbers(count=2, hidden=(8,), bounds={"k": (0.0, 1.0)}, figures=False)
