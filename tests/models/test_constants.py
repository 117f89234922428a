"""Constants of the equations: each stands in one file, which both engines read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pydiffgeo import load_spec
from pydiffgeo.errors import SpecError
from pydiffgeo.models.spec_files import load_constants, shipped_specs

ROOT = Path(__file__).parents[2]
WITH_CONSTANTS = [k for k in shipped_specs() if load_spec(k).constants]
SPEC = """name = "own"
time_unit = "d"
[states.water]
unit = "mm"
scale = 1.0
storage = "water"
storage_unit = "mm"
storage_scale = 1.0
[constants]
"""


@pytest.mark.parametrize("name", WITH_CONSTANTS)
def test_described_and_written_once(name: str) -> None:
    spec = load_spec(name)
    assert all(c.unit and c.description for c in spec.constants.values())
    sources = [*(ROOT / "pydiffgeo/models").rglob("*.py"), *(ROOT / "julia_src/src").rglob("*.jl")]
    for constant in spec.constants:
        again = [
            f.name
            for f in sources
            if re.search(rf"^(const )?{constant} = [-\d.]", f.read_text(), re.MULTILINE)
        ]
        assert not again, f"{constant} stands in {name}.toml"


@pytest.mark.parametrize("name", WITH_CONSTANTS)
def test_every_constant_is_read(name: str) -> None:
    """By the equations in either language."""
    for folder, ending in (("pydiffgeo/models", "py"), ("julia_src/src", "jl")):
        code = "\n".join(f.read_text() for f in (ROOT / folder).rglob(f"*.{ending}"))
        for constant in load_constants(name):
            assert re.search(rf"\b{constant}\b", code), f"{constant} in {ending}"


def test_of_a_file_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text(SPEC + 'WIDTH = { value = 0.5, unit = "mm" }\n')
    assert load_spec(file).constants["WIDTH"].value == 0.5
    for wrong, message in (
        ("WIDTH = 0.5", "needs a table for each name"),
        ('WIDTH = { value = "wide", unit = "mm" }', "must be a number"),
        ('WIDTH = { value = 0.5, unit = "smoots" }', "unknown unit"),
        ("WIDTH = { value = 0.5 }", "lacks 'unit'"),
    ):
        file.write_text(SPEC + wrong + "\n")
        with pytest.raises(SpecError, match=message):
            load_spec(file)


def test_in_the_units_of_a_grid() -> None:
    """Constants follow the user's units as parameters do."""
    from pydiffgeo.units import Units

    spec = load_spec("richards")
    other = spec.in_units(Units(length="m", time="d"))
    assert other.constants["POND_RELEASE"].value == pytest.approx(60 * 24)
    assert other.constants["TINY_FLUX"].value == pytest.approx(1e-24 * 24**2 / 100**2)
