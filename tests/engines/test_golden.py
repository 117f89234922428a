"""Both engines against results that a real Julia wrote."""

from __future__ import annotations

import json
from typing import Any

import golden
import pytest
import torch

pytestmark = pytest.mark.usefixtures("engine")


@pytest.fixture(scope="module")
def reference() -> dict[str, Any]:
    return json.loads(golden.FILE.read_text())


def test_the_file_says_what_wrote_it(reference: dict[str, Any]) -> None:
    assert set(reference) == {"versions", "New Mexico", *golden.CASES}
    assert tuple(map(int, reference["versions"]["julia"].split(".")[:2])) >= (1, 10)


@pytest.mark.parametrize("name", ["New Mexico", *golden.CASES])
def test_results_are_those_of_the_file(reference: dict[str, Any], name: str) -> None:
    found = golden.infiltration() if name == "New Mexico" else golden.small(name)
    for part, allowed in (("states", 1e-6), ("fluxes", 1e-6), ("gradients", 1e-4)):
        values, expected = found[part], reference[name][part]
        for key in expected if isinstance(expected, dict) else [None]:
            a, b = (
                torch.tensor(x if key is None else x[key], dtype=torch.float64)
                for x in (values, expected)
            )
            assert float((a - b).norm()) <= allowed * float(b.norm()) + 1e-12, (part, key)
