"""HYDRUS-1D projects: files as HYDRUS and phydrus write them, the column they mean, and what cannot
be rebuilt.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pydiffgeo import solve
from pydiffgeo.errors import DataError
from pydiffgeo.hydrus import Project, read_levels, read_project

SELECTOR = """Pcp_File_Version=4
*** BLOCK A: BASIC INFORMATION ***************************
Heading
A column of two soils
LUnit  TUnit  MUnit
cm
days
mmol
lWat lChem lTemp lSink lRoot lShort lWDep lScreen lVariabBC lEquil lInverse
 t    {chem}     f     t     f     f      f     t       t         t       f
lSnow  lHP1  lMeteo  lVapor  lActiveU  lFluxes lIrrig lDummy
 {snow}      f      f       f       f         t      f     f
NMat NLay CosAlpha
  2   1   {slope}
*** BLOCK B: WATER FLOW INFORMATION **********************
MaxIt TolTh TolH
 10  0.001  1
TopInf WLayer KodTop InitCond
 t      {layer}      -1     {initial}
BotInf qGWLF FreeD SeepF KodBot DrainF hSeep
{bottom}
{rates}    hTab1   hTabN
    1e-006   10000
    Model   Hysteresis
      {model}          {hysteresis}
   thr     ths    Alfa      n         Ks       l
  0.078   0.43   3.6d-2    1.56     24.96     0.5
  0.065   0.41   0.075     1.89     106.1     0.5
*** BLOCK C: TIME INFORMATION ****************************
dt dtMin dtMax DMul DMul2 ItMin ItMax MPL
 0.01 1e-5 1 1.3 0.7 3 7 1
tInit tMax
 0    2.5
{solutes}*** BLOCK G: ROOT WATER UPTAKE INFORMATION ***************
Model  cRootMax OmegaC
 0  {omega}
P0 P2H P2L P3 r2H r2L
-10 -300 {P2L} -8000 0.5 0.1
POptm(1),POptm(2),...,POptm(NMat)
-25 -25
*** END OF INPUT FILE 'SELECTOR.IN' **********************
"""
SOLUTES = """*** BLOCK F: SOLUTE TRANSPORT INFORMATION ****************
Epsi lUpW lArtD lTDep cTolA cTolR MaxItC PeCr No.Solutes lTort
 0.5   f    f     f    0     0     1      2       1       t
"""
PLAIN = {
    "chem": "f",
    "snow": "f",
    "slope": "1",
    "initial": "f",
    "bottom": " f f t f -1 f 0",
    "rates": "",
    "hysteresis": "0",
    "solutes": "",
    "omega": "1",
    "P2L": "-300",
    "layer": "f",
    "model": "0",
}
WEATHER = """Pcp_File_Version=4
*** BLOCK I: ATMOSPHERIC INFORMATION *********************
MaxAL
4
DailyVar SinusVar lLay lBCCycles lInterc
 f f f f f
hCritS
0
 tAtm Prec rSoil rRoot hCritA rB hB ht
 1  1.2 0.1  0.2   15000  0  0  0
 2  0.0 0.3 -0.25  15000  0.4 -40  0
 3  0.0 0.3  0.3   15000  0.6 -60  0
 4  9.0 9.0  9.0   15000  0  0  0
end*** END OF INPUT FILE 'ATMOSPH.IN' ********************
"""
X = -np.array([0.0, 2, 4, 7, 10, 15, 20, 30])
HEADS = np.array([-120.0, -115, -110, -100, -90, -80, -70, -60])
MATERIAL = np.array([1, 1, 1, 1, 2, 2, 2, 2])
BETA = np.array([1.0, 1, 1, 0.5, 0.5, 0.25, 0, 0])


def write(folder: Path, heads: np.ndarray = HEADS, weather: str = WEATHER, **changes: str) -> Path:
    """A project of eight nodes; file names in lower case, as some systems leave them."""
    (folder / "selector.in").write_text(SELECTOR.format(**PLAIN | changes))
    (folder / "ATMOSPH.IN").write_text(weather)
    nodes = enumerate(zip(X, heads, MATERIAL, BETA, strict=True), start=1)
    rows = [f"{i:5d} {x:.6e} {h:.6e} {m} 1 {b:.6e} 1 1 1 20.0" for i, (x, h, m, b) in nodes]
    lines = [
        "Pcp_File_Version=4",
        "2",
        "1 0.0 1.0 1.0",
        "2 -30.0 1.0 1.0",
        "8 0 0 1 x h Mat Lay Beta Axz Bxz Dxz Temp",
    ]
    (folder / "PROFILE.DAT").write_text("\n".join([*lines, *rows, "2", "  3", "  6", ""]))
    return folder


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return read_project(write(tmp_path))


def test_a_cell_for_each_node(project: Project) -> None:
    grid = project.model.grid
    assert grid.faces.tolist() == [0, 1, 3, 5.5, 8.5, 12.5, 17.5, 25, 30]
    assert grid.layer.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert project.initial_state[0].tolist() == HEADS.tolist() and project.observed == [2, 5]
    assert (
        project.model.spec.parameters["K_s"].unit == "cm d-1"
        and project.model.spec.time_unit == "d"
    )
    assert project.parameters["alpha"].tolist() == [[0.036, 0.075]] and project.parameters[
        "K_s"
    ].tolist() == [[24.96, 106.1]]
    assert project.parameters["minimum_surface_head"] == -15000
    stress = {k: project.parameters[k] for k in ("feddes_1", "feddes_2", "feddes_3", "feddes_4")}
    assert stress == {"feddes_1": -10, "feddes_2": -25, "feddes_3": -300, "feddes_4": -8000}


def test_weather_ends_with_the_project(project: Project) -> None:
    """tMax cuts the third interval.

    HYDRUS takes the magnitude of rain, evaporation and transpiration.
    """
    assert project.times.tolist() == [0, 1, 2, 2.5]
    assert {k: x.tolist() for k, x in project.forcing.items()} == {
        "rain": [1.2, 0, 0],
        "potential_evaporation": [0.1, 0.3, 0.3],
        "potential_transpiration": [0.2, 0.25, 0.3],
    }


def test_water_goes_where_the_project_says(project: Project) -> None:
    """The balance in cm; roots take water in the proportions of PROFILE.DAT, where nothing stresses
    them.
    """
    s = solve(**project.problem)
    assert float(s.balance_error().max()) < 1e-9
    amounts = {k: float((x[0] * s.lengths).sum()) for k, x in s.fluxes.items()}
    assert (
        amounts["infiltration"] == pytest.approx(1.2, rel=0.01)
        and 0.3 < amounts["transpiration"] <= 0.6
    )
    assert project.model.total_storage(project.model.water_content(s.states, project.parameters))[
        0, -1
    ] == pytest.approx(float(s.storage[0, -1]), rel=1e-9)


def test_comparison_with_what_was_printed(project: Project) -> None:
    """OBS_NODE.OUT and T_LEVEL.OUT as HYDRUS prints them, from a solution.

    No difference but that of the digits.
    """
    s = solve(**project.problem)
    theta = project.model.water_content(s.states, project.parameters)[0]
    head = [
        " ******* Program HYDRUS",
        " Units: L = cm   , T = days",
        "",
        "        Node(  3)          Node(  6)",
        "",
        "  time      h        theta    Flux       h        theta    Flux",
    ]
    rows = [
        f"{t:.4f} " + " ".join(f"{s.states[0, k, c]:.2f} {theta[k, c]:.4f} 0.1E-01" for c in (2, 5))
        for k, t in enumerate([1.0, 2.0, 2.5])
    ]
    (project.folder / "Obs_Node.out").write_text("\n".join([*head, *rows, "end", ""]))
    table = project.compare(s)
    assert table.index.tolist() == [1, 2, 2.5] and set(table.columns.get_level_values("node")) == {
        3,
        6,
    }
    for node in (3, 6):
        assert np.abs(table[node, "theta"] - table[node, "theta_hydrus"]).max() < 6e-5
        assert np.abs(table[node, "h"] - table[node, "h_hydrus"]).max() < 6e-3
    level = " ".join(["0.1"] * 18)
    (project.folder / "T_Level.out").write_text(
        f"header\n\n Time rTop\n [T] [L/T]\n\n 1.0 {level} 14\n 2.5 {level} 20\nend\n"
    )
    assert read_levels(project.folder).loc[2.5, "sum(vBot)"] == 0.1
    (project.folder / "T_Level.out").write_text(
        f"header\n\n Time rTop\n [T] [L/T]\n\n 1.0 {level}\n 2.5 0.1 *****\n"
    )
    with pytest.raises(
        DataError, match=r"T_Level.out, line 7: expected 19 numbers, got '2.5 0.1 \*\*\*\*\*'"
    ):
        read_levels(project.folder)


def test_initial_water_contents(tmp_path: Path, project: Project) -> None:
    theta = project.model.water_content(project.initial_state, project.parameters)[0].numpy()
    again = read_project(write(tmp_path, heads=theta, initial="t"))
    torch.testing.assert_close(again.initial_state, project.initial_state, rtol=1e-4, atol=0)


@pytest.mark.parametrize(
    "bottom, rates, forcing",
    [
        ("t f f f 1 f 0", "", {"bottom_head": [0, -40, -60]}),
        ("t f f f -1 f 0", "", {"bottom_flux": [0, -0.4, -0.6]}),
        ("f f f f 1 f 0", "", {"bottom_head": -60}),
        ("f f f f -1 f 0", "rTop rBot rRoot\n0 0.02 0\n", {"bottom_flux": -0.02}),
        ("f f f t -1 f 0", "", {}),
    ],
    ids=["heads", "fluxes", "head", "flux", "seepage"],
)
def test_bottom_boundaries(
    tmp_path: Path, bottom: str, rates: str, forcing: dict[str, object]
) -> None:
    """HYDRUS counts fluxes upwards, this package downwards."""
    project = read_project(write(tmp_path, bottom=f" {bottom}", rates=rates))
    assert {k: x.tolist() for k, x in project.forcing.items() if "bottom" in k} == forcing
    assert project.model.bottom_name == (
        "seepage_face" if "f t" in bottom else "head" if " 1 " in bottom else "flux"
    )


def test_a_surface_that_stores_water_and_other_soils(tmp_path: Path) -> None:
    """WLayer with hCritS; models 2 and 3; P2H and P2L apart.

    Each is solved, and water balances with the pond in it.
    """
    weather = WEATHER.replace("hCritS\n0", "hCritS\n4.5").replace("1.2 0.1", "60 0.1")
    project = read_project(write(tmp_path, weather=weather, layer="t", model="3", P2L="-1000"))
    assert project.parameters["ponding_height"] == 4.5 and project.parameters["air_entry"] == 2
    assert (
        project.parameters["feddes_3_high"] == -300 and project.parameters["feddes_3_low"] == -1000
    )
    s = solve(**project.problem)
    assert float(s.balance_error().max()) < 1e-9 and float(s.states[0, 0, 0]) == pytest.approx(
        4.5, abs=0.02
    )
    soil = read_project(write(tmp_path, model="2"))
    assert (
        soil.parameters["psi_b"][0] == pytest.approx([1 / 0.036, 1 / 0.075])
        and soil.parameters["pore_index"][0, 1] == 1.89
    )
    assert float(solve(**soil.problem).balance_error().max()) < 1e-9


def test_stress_index_stands_behind_the_solutes(tmp_path: Path) -> None:
    """A cRootMax for each solute stands before OmegaC.

    Without solutes the first number is OmegaC, whatever phydrus writes.
    """
    assert "omega_c" not in read_project(write(tmp_path, omega="100 0")).parameters
    project = read_project(write(tmp_path, chem="t", solutes=SOLUTES, omega="0.5 0.7 1"))
    assert (
        project.parameters["omega_c"] == 0.7
        and float(solve(**project.problem).balance_error().max()) < 1e-9
    )


def test_everything_that_cannot_be_rebuilt_is_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        read_project(write(tmp_path, snow="t", slope="0.5", hysteresis="1\niKappa\n-1"))
    for what in (
        "snow (lSnow)",
        "hysteresis (iHyst)",
        "a column that is not vertical (CosAlfa = 0.5)",
    ):
        assert what in str(error.value)


def test_broken_files_name_file_and_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no file SELECTOR.IN"):
        read_project(tmp_path)
    write(tmp_path, weather=WEATHER.replace("9.0 9.0", "9.0 n/a"))
    with pytest.raises(
        DataError,
        match=r"ATMOSPH.IN, line 13: evaporation should be a number or a switch, got 'n/a'",
    ):
        read_project(tmp_path)
    write(tmp_path, weather=WEATHER.replace(" 4  9.0 9.0  9.0   15000  0  0  0\n", ""))
    with pytest.raises(
        DataError, match=r'ATMOSPH.IN, line 13: expected time, rain, .*, got "end\*\*\* END'
    ):
        read_project(tmp_path)
    write(tmp_path)
    text = (tmp_path / "selector.in").read_text()
    (tmp_path / "selector.in").write_text(text[: text.index("*** BLOCK C")])
    with pytest.raises(DataError, match=r"selector.in, line 28: the file ends too early"):
        read_project(tmp_path)


@pytest.mark.parametrize("material", [0, 3, -1, 1.5])
def test_a_material_without_a_soil_is_refused(tmp_path: Path, material: float) -> None:
    write(tmp_path)
    path = tmp_path / "PROFILE.DAT"
    path.write_text(
        path.read_text().replace(
            "-2.000000e+01 -7.000000e+01 2", f"-2.000000e+01 -7.000000e+01 {material}"
        )
    )
    message = (
        f"PROFILE.DAT, line 12: the node has material {material}, but SELECTOR.IN has "
        "materials 1 to 2"
    )
    with pytest.raises(DataError, match=message):
        read_project(tmp_path)


def test_fewer_soils_than_materials_are_refused(tmp_path: Path) -> None:
    write(tmp_path)
    text = (tmp_path / "selector.in").read_text()
    (tmp_path / "selector.in").write_text(
        text.replace("  0.065   0.41   0.075     1.89     106.1     0.5\n", "")
    )
    with pytest.raises(
        DataError,
        match="selector.in, line 27: block B ends after 1 rows of soil parameters, but NMat is 2",
    ):
        read_project(tmp_path)
