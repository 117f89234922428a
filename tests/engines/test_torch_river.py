"""Fronts are taken where they are faster."""

from __future__ import annotations

from whole_river_cases import chain, inputs, together, tree


def test_fronts_where_levels_are_many_and_steps_few() -> None:
    assert chain(30, 4) is not None
    assert chain(3, 40) is None
    assert together(inputs(), tree(), "torch", delay=False) is None
