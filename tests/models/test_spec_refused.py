"""Specifications with an error are refused in the user's terms."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from own_model_cases import write

from pydiffgeo import load_spec
from pydiffgeo.errors import SpecError


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scale = 10.0\n": ""}, r"cascade\.toml: \[states\.upper\] lacks 'scale'"),
        (
            {"default = 1.0\n": "", "lower = 0.1\n": ""},
            r"\[parameters\.k\] lacks 'lower', 'default'",
        ),
        (
            {'[forcings.rain]\nunit = "mm d-1"\n': "[forcings.rain]\n"},
            r"\[forcings\.rain\] lacks 'unit'",
        ),
        ({"balance = -1\n": ""}, r"\[fluxes\.runoff\] lacks 'balance'"),
        (
            {"default = 1.0": "defualt = 1.0"},
            r"\[parameters\.k\] has an unknown key 'defualt'; did you mean 'default'",
        ),
        ({'time_unit = "d"\n': ""}, r"lacks 'time_unit'"),
        ({'time_unit = "d"': 'time_unit = "day"'}, "time_unit 'day' is none of s, min, h, d"),
        ({"balance = 1\n": "balance = 2\n"}, "flux 'rain_in': balance = 2 must be 1"),
        ({"balance = 1\n": "balance = 0.5\n"}, "balance = 0.5 must be a whole number"),
        ({'unit = "d-1"': 'unit = "per fortnight"'}, "parameter 'k': unknown unit 'per fortnight'"),
        ({"scale = 10.0": 'scale = "10"'}, "scale = '10' must be a number"),
        ({"scale = 10.0": "scale = 0.0"}, "state 'upper': scale = 0 must be .* a positive number"),
        ({"upper = 2.0": "upper = 0.5"}, "parameter 'k': needs lower < upper"),
        ({"[states.upper]": "[states]"}, r"\[states\] needs a table for each name"),
        ({"fluxes.runoff": "fluxes.lower"}, "'lower' is the name of a state and of a flux"),
        ({"fluxes.runoff": 'fluxes."run-off"'}, "letters, digits and underscores"),
        (
            {'unit = "mm d-1"\nbalance = -1': 'unit = "m3 s-1"\nbalance = -1'},
            "rain_in in mm d-1, runoff in m3 s-1",
        ),
        ({"[fluxes.rain_in]": "fluxes.rain_in ="}, "not valid TOML"),
    ],
    ids=lambda x: next(iter(x)).strip() if isinstance(x, dict) else "",
)
def test_specifications_with_an_error(
    tmp_path: Path, changes: dict[str, str], message: str
) -> None:
    with pytest.raises(SpecError, match=message) as error:
        load_spec(write(tmp_path, changes))
    assert str(error.value).endswith(".")


def test_a_path_is_relative_to_the_file_that_gives_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    write(tmp_path)
    (tmp_path / "own_cascade.py").write_text(
        'from pydiffgeo import load_spec\nspec = load_spec("cascade.toml")\n'
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path / "elsewhere")
    from own_cascade import spec  # type: ignore[import-not-found]

    assert list(spec.states) == ["upper", "lower"]
    del sys.modules["own_cascade"]
    with pytest.raises(
        SpecError, match=rf"no model specification {Path(__file__).parent}.*cascade\.toml"
    ):
        load_spec("cascade.toml")
    with pytest.raises(SpecError, match=r"'hvb'; did you mean 'hbv'"):
        load_spec("hvb")
