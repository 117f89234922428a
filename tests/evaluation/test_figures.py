"""Figures leave the caller's matplotlib alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from pydiffgeo.evaluation.figures import colour, literal, new_figure, save_figure


def test_a_figure_is_written_and_no_window_knows_of_it(tmp_path: Path) -> None:
    plots = pytest.importorskip("matplotlib.pyplot")
    figure, axes = new_figure(2, 1, (3.0, 2.0))
    assert axes.shape == (2, 1) and not plots.get_fignums()
    assert save_figure(figure, tmp_path / "deep" / "a.png").read_bytes()[1:4] == b"PNG"


def test_names_and_colours() -> None:
    assert literal("a$b") == r"a\$b"
    assert colour(0) != colour(1) and colour(6) == colour(60)
