"""Objects remember how they were made, and say it in plain types.

Classes are found by their names.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pydiffgeo import HBV, Solver, losses
from pydiffgeo.errors import SettingsError
from pydiffgeo.recorded import Recorded, arguments_of, class_of, describe, kind_of, written


class Kettle(Recorded):
    def __init__(self, size: float, *parts: object, lid: bool = True, **more: object):
        self.size = size * 2  # what was given is told, not what became of it


def test_arguments_are_those_given() -> None:
    kettle = Kettle(1.5, "spout", lid=False, colour="red")
    assert arguments_of(kettle) == {"size": 1.5, "parts": ("spout",), "lid": False, "colour": "red"}
    assert arguments_of(Kettle(2.0)) == {"size": 2.0}  # defaults are left out


def test_descriptions_are_plain() -> None:
    inner = Kettle(torch.tensor([1.0, 2.0]), np.float64(3.0), dtype=torch.float64)  # type: ignore[arg-type]
    told = describe({"where": Path("a/b"), "what": (inner, HBV(melt_threshold=True)), "none": None})
    first, second = told["what"]
    assert told["where"] == "a/b" and told["none"] is None
    assert first["kind"] == kind_of(Kettle) and first["kind"].endswith(":Kettle")
    assert first["size"] == [1.0, 2.0] and first["parts"] == [3.0] and first["dtype"] == "float64"
    assert second == {"kind": "hbv", "melt_threshold": True}
    solver = Solver("sdirk2", rtol=1e-5)
    assert describe(solver)["rtol"] == 1e-5 and Solver(**describe(solver)) == solver
    with pytest.raises(SettingsError, match="cannot be written into settings"):
        describe(Kettle(1.0, lambda: 1))


def test_classes_are_found_by_what_they_are_called() -> None:
    assert class_of("pydiffgeo.models.hbv:HBV") is HBV
    assert class_of(kind_of(Kettle)) is Kettle
    for name, words in (
        ("pydiffgeo.models.hbv:HBW", "no attribute 'HBW'"),
        ("nowhere:HBV", "No module named 'nowhere'"),
        ("pydiffgeo.solving:solve", "is no class"),
        (":HBV", "cannot be imported"),
    ):
        with pytest.raises(SettingsError, match=words):
            class_of(name)


class _Volume:
    """A loss that is a plain callable."""

    observed = "discharge"

    def __call__(self, series, observed, batch):
        return 0.0


def test_what_cannot_be_described_is_written_by_name_or_noted():
    class Local(_Volume):
        pass

    own = losses.Sum(losses.NSE(), _Volume(), Local())
    first, importable, local = written(own)["losses"]
    assert first == {"kind": "nse"} and importable == {"kind": f"{__name__}:_Volume"}
    assert "cannot be made again from settings" in local["note"]
    loaded = written(torch.nn.Linear(2, 1))
    assert "Linear" in loaded["note"]  # its arguments are not known
