"""The code in README and on the pages of docs runs as it is printed."""

from __future__ import annotations

import pkgutil
import re
import textwrap
from pathlib import Path
from typing import Any

import hybrid_cases
import leaf_files
import pandas as pd
import pytest
import river_files
import site_files
import torch
import xarray as xr
import yaml

import pydiffgeo as pdg
from pydiffgeo.data import write_sites

ROOT = Path(__file__).parents[1]


def blocks(document: str, language: str) -> list[str]:
    """Code blocks of a language in a document, indented or not."""
    found = re.findall(
        rf"^( *)```{language}\n(.*?)^\1```$", (ROOT / document).read_text(), re.M | re.S
    )
    return [textwrap.dedent(code) for _, code in found]


def test_the_hybrid_of_the_readme(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As printed, but for fewer copies, basins and steps."""
    sites = hybrid_cases.basins(3, 7305).drop_vars("potential_evapotranspiration")
    sites = sites.assign_coords(
        time=pd.date_range("1980-10-01", periods=7305), lat=("site", [40.0, 45.0, 50.0])
    )
    sites["lat"].attrs["units"] = "degrees_north"
    sites.to_netcdf(tmp_path / "camels_us_daymet_500.nc")
    monkeypatch.chdir(tmp_path)
    code = blocks("README.md", "python")[0]
    assert len([line for line in code.splitlines() if line.strip()]) <= 22
    for old, new in (
        ("8,", "2,"),
        ("batch=64", "batch=3"),
        ('folder="runs/hbv"', 'folder="runs/hbv", epochs=1, steps_per_epoch=2'),
        (".run()", ".run(progress=False)"),
    ):
        assert old in code
        code = code.replace(old, new)
    exec(code, {})
    assert "nse" in capsys.readouterr().out and (tmp_path / "runs/hbv/history.csv").exists()


def test_the_solve_of_the_readme(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, object] = {}
    exec(blocks("README.md", "python")[1], names)
    assert "torch.Size([3, 10, 50])" in capsys.readouterr().out
    gradient = names["soil"]["K_s"].grad  # type: ignore[index]
    assert torch.isfinite(gradient).all() and (gradient != 0).all()


def test_the_first_page(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    exec(blocks("docs/index.md", "python")[0], names)
    assert names["result"].scores["nse"].sizes == {"site": 6}


def test_a_loop_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    own, lightning = blocks("docs/own_loop.md", "python")
    names: dict[str, Any] = {}
    exec(own, names)
    assert torch.isfinite(names["value"]) and (tmp_path / "hybrid.pt").exists()
    pytest.importorskip("lightning", reason="the second part needs lightning")
    exec(lightning, names)


def test_photosynthesis(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    for code in blocks("docs/photosynthesis.md", "python"):
        exec(code, names)
    dark, shade, sun = names["solution"].fluxes["assimilation"][0].tolist()
    assert dark < 0 < shade < sun < 20 and float(names["capacity"].grad) > 0
    assert names["fates"].form.kinetics == "mole_fraction" and 0.6 < float(names["chi"]) < 0.8


def test_a_canopy(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    exec(blocks("docs/canopies.md", "python")[0], names)
    assert 200 < float(names["day"].fluxes["latent_heat"]) < 500
    assert "net_ecosystem_exchange" in capsys.readouterr().out


def test_examples_of_hbv() -> None:
    for code in blocks("docs/hbv.md", "python"):
        names: dict[str, Any] = {}
        exec(code, names)
        assert torch.isfinite(names["discharge"]).all()


def test_example_of_rivers(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    exec(blocks("docs/rivers.md", "python")[0], names)
    assert "torch.Size([5, 30])" in capsys.readouterr().out
    weights = [w.grad for w in names["hybrid"].parameters()]
    assert all(torch.isfinite(w).all() for w in weights) and any((w != 0).any() for w in weights)


def test_example_of_stream_temperature() -> None:
    names: dict[str, Any] = {}
    exec(blocks("docs/stream_temperature.md", "python")[0], names)
    weights = [w.grad for w in names["hybrid"].parameters()]
    assert all(torch.isfinite(w).all() for w in weights) and any((w != 0).any() for w in weights)
    water = names["series"]["water_temperature"]
    assert water.shape == (3, 60) and 0 <= float(water.min()) and float(water.max()) < 30


def test_how_sure_a_model_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"sites": hybrid_cases.basins(3, 200)}
    for code in blocks("docs/uncertainty.md", "python"):
        exec(code, names)
    assert "coverage_90" in capsys.readouterr().out
    data = xr.load_dataset(tmp_path / "posterior.nc")
    assert {"S_max", "discharge_quantile", "discharge_prior_quantile"} <= set(data)


def test_gauss_newton() -> None:
    def simulate(parameters: torch.Tensor) -> torch.Tensor:
        model, solver = pdg.HBV(), pdg.Solver("implicit_euler", step=1.0)
        known = {"FC": 200 * parameters[:1], "K1": 0.1 * parameters[1:]}
        weather = {"precipitation": rain, "temperature": 10.0, "potential_evapotranspiration": 2.0}
        start = [0.0, 0.0, 100.0, 10.0, 20.0]
        solution = pdg.solve(model, weather, known, start, range(61), solver, "torch")
        return solution.fluxes["discharge"][0]

    rain = 12 * torch.rand(60, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    parameters = torch.tensor([1.05, 0.95], dtype=torch.float64)
    truth = torch.ones(2, dtype=torch.float64)
    names = {"torch": torch, "simulate": simulate, "parameters": parameters}
    names["observed"] = simulate(truth)
    exec(blocks("docs/gradients.md", "python")[0], names)
    left = parameters + names["step"] - truth  # type: ignore[operator]
    assert left.norm() < 0.1 * (parameters - truth).norm()


def test_example_of_closures() -> None:
    names: dict[str, Any] = {}
    exec(blocks("docs/closures.md", "python")[0], names)
    assert names["fit"].largest < 0.02
    gradient = names["recharge"].weights.grad
    assert torch.isfinite(gradient).all() and (gradient != 0).any()


def test_data_from_archive_to_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = site_files.camels_us(
        tmp_path / "data" / "camels_us", pd.date_range("1980-10-01", "2008-09-30")
    )
    (root / "camels_attributes_v2.0" / "camels_clim.txt").write_text(
        "gauge_id;aridity\n01010101;0.8\n02020202;1.2\n"
    )
    for name in ("camels_us_daymet_500", "era5land_us"):  # two products of the same basins
        write_sites(hybrid_cases.basins(2, 20), tmp_path / f"{name}.nc")
    monkeypatch.chdir(tmp_path)
    for code in blocks("docs/data.md", "python"):
        exec(code, {})
    assert "torch.Size([100, 730]) torch.Size([100, 730])" in capsys.readouterr().out


def test_two_teachers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As printed, with two cells of two sites each and three stations."""
    pixels = hybrid_cases.stations(4, 24).drop_vars(["discharge"], errors="ignore")
    smap = pixels.soil_moisture.isel(depth=0, drop=True)
    smap[1::2] = float("nan")  # what is seen of a cell stands at one of its sites
    own = [n for n in pixels if "depth" in pixels[n].dims]
    pixels = pixels.drop_vars([*own, "depth", "potential_evapotranspiration"]).assign(
        smap=smap, cell=("site", ["A", "A", "B", "B"])
    )
    pixels = pixels.rename(tair_mean="tair").assign_coords(lat=("site", [40.0] * 4))
    stations = hybrid_cases.stations(3, 24, seed=5)
    stations = stations.assign_coords(
        site=["s0", "s1", "s2"], lat=("site", [45.0] * 3), time=stations.time + pd.Timedelta("50d")
    )
    write_sites(pixels, tmp_path / "smap.nc")
    write_sites(stations[["precipitation", "tair_mean", "soil_moisture"]], tmp_path / "stations.nc")
    monkeypatch.chdir(tmp_path)
    exec(blocks("docs/two_teachers.md", "python")[0], {})
    assert capsys.readouterr().out == blocks("docs/two_teachers.md", "text")[0]


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
    leaf_files.curves(tmp_path)
    exec(blocks("docs/own_data.md", "python")[1], names := dict[str, Any]())
    assert dict(names["sites"].sizes) == {"site": 6, "point": 5} and "pft" in names["sites"]
    river_files.table(tmp_path, "t-route", days=200)
    (tmp_path / "inflow.csv").rename(tmp_path / "lateral_inflow.csv")
    exec(blocks("docs/own_data.md", "python")[2], names)
    assert names["sites"].sizes["site"] == 5 and len(names["windows"].batch(0)) == 3
    (settings,) = (yaml.safe_load(t) for t in blocks("docs/own_data.md", "yaml")[1:])
    again = pdg.open_sites(**settings["data"])
    xr.testing.assert_identical(again, names["sites"])


def test_curves_of_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    leaf_files.curves(tmp_path)
    monkeypatch.chdir(tmp_path)
    exec(blocks("docs/leaves.md", "python")[0], names := dict[str, Any]())
    assert len(names["table"]) == 6 and "V_cmax25_error" in capsys.readouterr().out


def test_closures_in_settings() -> None:
    (section,) = yaml.safe_load(blocks("docs/closures.md", "yaml")[0])["stages"]
    assert section.pop("kind") == "process"
    process = pdg.stages.Process(**section)
    assert set(process.closures) == {"recharge", "evapotranspiration"}
    assert "BETA" not in process.learns and "BETAET" in process.learns


def pages() -> list[Path]:
    own = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    return [page for page in own if "generated" not in page.parts]


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_files_and_names_that_pages_mention_exist(page: Path) -> None:
    text = page.read_text()
    places = (ROOT, ROOT / "pydiffgeo", ROOT / "julia_src" / "src")
    files = re.findall(r"`([a-z_]+/[a-z0-9_/.]+\.(?:py|jl|toml|yaml))`", text)
    lost = [f for f in files if not any((place / f).exists() for place in places)]
    for name in re.findall(r"`(pydiffgeo\.[\w.]*\w)", text):
        try:
            pkgutil.resolve_name(name)
        except (ImportError, AttributeError):
            lost.append(name)
    assert not lost


def test_links_between_documents_exist() -> None:
    for document in ROOT.glob("*.md"):  # `make docs` looks at those of the site
        for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name} points to {target}"
