"""Grids that cannot be."""

from __future__ import annotations

import pytest

from pydiffgeo import Grid
from pydiffgeo.errors import (
    GridError,
)


@pytest.mark.parametrize(
    ("faces", "words"),
    [
        ([0.0, 1.0, 0.5, 2.0], ["cell 1", "between 1.0 and 0.5", "-0.5"]),
        ([0.0, 1.0, 1.0], ["cell 1", "thickness 0"]),
        ([1.0, 2.0, 3.0], ["surface", "1.0"]),
        ([0.0, 1.0, float("nan")], ["finite"]),
        ([0.0, 1.0], ["two cells"]),
    ],
)
def test_faces_that_do_not_go_down(faces: list[float], words: list[str]) -> None:
    with pytest.raises(GridError) as error:
        Grid.from_faces(faces)
    assert all(word in str(error.value) for word in words), str(error.value)


def test_other_impossible_grids() -> None:
    with pytest.raises(GridError, match="-10"):
        Grid.uniform(-10.0, 5)
    with pytest.raises(GridError, match="cells=1"):
        Grid.uniform(10.0, 1)
    with pytest.raises(GridError, match="top=5"):
        Grid.graded(10.0, 5, top=5.0)
    with pytest.raises(GridError, match="33.3.*nearest"):
        Grid.uniform(100.0, 10, layers=[0.0, 33.3])
    with pytest.raises(GridError, match="layers"):
        Grid.uniform(100.0, 10, layers=[0.0, 100.0])
