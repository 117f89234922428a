"""The code in README and CONTRIBUTING runs as it is printed."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import site_files
import torch

ROOT = Path(__file__).parents[1]


def blocks(document: str, language: str) -> list[str]:
    """Code blocks of a language in a document, indented or not."""
    found = re.findall(
        rf"^( *)```{language}\n(.*?)^\1```$", (ROOT / document).read_text(), re.M | re.S
    )
    return [textwrap.dedent(code) for _, code in found]


def test_readme_example(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, object] = {}
    exec(blocks("README.md", "python")[0], names)
    assert "torch.Size([3, 10, 50])" in capsys.readouterr().out
    gradient = names["soil"]["K_s"].grad  # type: ignore[index]
    assert torch.isfinite(gradient).all() and (gradient != 0).all()


def test_examples_of_hbv() -> None:
    for code in blocks("docs/hbv.md", "python"):
        names: dict[str, Any] = {}
        exec(code, names)
        assert torch.isfinite(names["discharge"]).all()


def test_example_of_closures() -> None:
    names: dict[str, Any] = {}
    exec(blocks("docs/closures.md", "python")[0], names)
    assert names["fit"].largest < 0.02
    gradient = names["recharge"].weights.grad
    assert torch.isfinite(gradient).all() and (gradient != 0).any()


def test_contributing_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pydiffgeo import Solver, solve
    from pydiffgeo.models import spec_files

    specification, *_ = blocks("CONTRIBUTING.md", "toml")
    (tmp_path / "reservoir.toml").write_text(specification)
    monkeypatch.setitem(spec_files.shipped_specs(), "reservoir", tmp_path / "reservoir.toml")
    names: dict[str, type] = {}
    exec(blocks("CONTRIBUTING.md", "python")[0], names)
    solution = solve(
        names["Reservoir"](),
        forcing={"rain": 2.0},
        parameters={"k": 0.3},
        initial_state=10.0,
        times=torch.arange(6.0),
        solver=Solver("kvaerno3", rtol=1e-7),
    )
    t = torch.as_tensor(solution.times).double()
    exact = 2 / 0.3 + (10 - 2 / 0.3) * torch.exp(-0.3 * t)
    assert torch.allclose(solution.states[0, :, 0], exact, rtol=1e-5)
    runoff = solution.fluxes["runoff"][0].sum()  # intervals of one day
    assert torch.isclose(10 + 2 * 5 - runoff, solution.states[0, -1, 0], rtol=1e-10)


def test_contributing_tableau() -> None:
    names: dict[str, object] = {}
    exec(blocks("CONTRIBUTING.md", "python")[1], names)
    tableau = names["TABLEAU"]
    b, c = tableau.b, tableau.c  # type: ignore[attr-defined]
    assert sum(b) == pytest.approx(1) and sum(
        x * y for x, y in zip(b, c, strict=True)
    ) == pytest.approx(0.5)
    assert sum(tableau.b_hat) == pytest.approx(1)  # type: ignore[attr-defined]


def test_data_from_archive_to_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = site_files.camels_us(
        tmp_path / "data" / "camels_us", pd.date_range("1980-10-01", "2008-09-30")
    )
    (root / "camels_attributes_v2.0" / "camels_clim.txt").write_text(
        "gauge_id;aridity\n01010101;0.8\n02020202;1.2\n"
    )
    monkeypatch.chdir(tmp_path)
    for code in blocks("docs/data.md", "python"):
        exec(code, {})
    assert "torch.Size([100, 730]) torch.Size([100, 730])" in capsys.readouterr().out
    assert [p.name for p in (tmp_path / "runs").iterdir()] == ["scaling.json"]


def test_own_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "my_basins"
    folder.mkdir()
    # the lines that the page shows
    lines = (ROOT / "docs/own_data.md").read_text().splitlines()
    start = next(i for i, line in enumerate(lines) if "series.csv" in line)
    table = [
        line.split()[-1] if ".csv" not in line else line.split(maxsplit=1)[1]
        for line in lines[start : start + 4]
    ]
    (folder / "series.csv").write_text("\n".join([*table[:2], "007,2001-01-02,0,275,0.7"]) + "\n")
    (folder / "attributes.csv").write_text("\n".join(table[2:]) + "\n")
    monkeypatch.chdir(tmp_path)
    exec(blocks("docs/own_data.md", "python")[0], {})
    assert capsys.readouterr().out == "['007'] K\n"


def test_own_network_of_basin_parameters(capsys: pytest.CaptureFixture[str]) -> None:
    exec(blocks("docs/basins.md", "python")[0], {})
    assert "torch.Size([64, 8])" in capsys.readouterr().out


def test_links_between_documents_exist() -> None:
    for document in (
        *ROOT.glob("*.md"),
        ROOT / "docs" / "data.md",
        ROOT / "docs" / "own_data.md",
        ROOT / "docs" / "basins.md",
    ):
        for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name} points to {target}"
