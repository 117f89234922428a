"""Pages hold text, and load nothing."""

from __future__ import annotations

from pathlib import Path

from pydiffgeo.evaluation.page import Page


def test_text_of_a_page_cannot_become_markup(tmp_path: Path) -> None:
    page = Page("a < b")
    page.table([{"name": "<script>", "value": float("nan")}])
    text = page.write(tmp_path / "p.html").read_text()
    assert "&lt;script&gt;" in text and "<script" not in text and "nan" not in text
