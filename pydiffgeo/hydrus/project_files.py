"""The input files of a HYDRUS-1D project.

SELECTOR.IN, PROFILE.DAT and ATMOSPH.IN of version 4, as numbers by name.

Source of the formats: Simunek, J., Sejna, M., Saito, H., Sakai, M., van Genuchten, M. Th. (2013),
The HYDRUS-1D software package, version 4.17, chapter 10; names are those of the manual.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from pydiffgeo.errors import DataError

SOIL = "theta_r theta_s alpha n K_s l"
WEATHER = "time rain evaporation transpiration hCritA bottom_flux bottom_head top_head"
NODE = "node x h material layer root_density"
SCALES = "scale_h scale_K scale_theta"
TRUTH = {"t": 1.0, "true": 1.0, "f": 0.0, "false": 0.0}  # as Fortran writes them, without the dots


@dataclass(frozen=True)
class Selector:
    """What SELECTOR.IN says of the water flow.

    Attributes
    ----------
    length_unit, time_unit : str
        As written.
    values : dict of str to float
        Switches (0 or 1) and numbers by their names in the manual: lSink, TopInf, KodTop, hSeep,
        tMax, P0 ...
    soils : DataFrame, [material]
        theta_r, theta_s, alpha, n, K_s, l, in the units of the project.
    optimum : list of float
        POptm of each material: the head below which roots have air enough; empty without roots.
    """

    length_unit: str
    time_unit: str
    values: dict[str, float]
    soils: pd.DataFrame
    optimum: list[float]


class Lines:
    """The lines of a file, one after another; errors name the file and the line."""

    def __init__(self, path: Path):
        self.path = path
        self._lines = path.read_text(errors="replace").splitlines()
        self._next = 0

    def error(self, what: str) -> DataError:
        """An error at the line that was read last."""
        return DataError(f"{self.path}, line {self._next}: {what}.")

    def line(self) -> str:
        """The next line."""
        if self._next >= len(self._lines):
            raise self.error(
                "the file ends too early: it is no whole file of HYDRUS-1D, version 4; write it "
                "again with HYDRUS"
            )
        self._next += 1
        return self._lines[self._next - 1]

    def peek(self) -> str:
        """The next line, which stays the next; empty at the end of the file."""
        return self._lines[self._next] if self._next < len(self._lines) else ""

    def go_behind(self, text: str) -> None:
        """Skip everything up to the next line that has `text` in it."""
        while text.lower() not in self.line().lower():
            pass

    def row(self, names: str) -> dict[str, float]:
        """The values of the next line under these names; what stands behind them is left out."""
        wanted, words = names.split(), self.line().split()
        if len(words) < len(wanted):
            raise self.error(f"expected {', '.join(wanted)}, got {' '.join(words)!r}")
        return {name: self.value(word, name) for name, word in zip(wanted, words, strict=False)}

    def labelled(self, names: str) -> dict[str, float]:
        """The values of the next line but one; the line before has their labels."""
        self.line()
        return self.row(names)

    def value(self, word: str, name: str) -> float:
        """A number or a switch as Fortran writes it: 1.5d-3, t, .false."""
        if (switch := TRUTH.get(word.strip(".").lower())) is not None:
            return switch
        try:
            return float(word.lower().replace("d", "e"))
        except ValueError:
            raise self.error(f"{name} should be a number or a switch, got {word!r}") from None


def find(folder: Path, name: str) -> Path:
    """Return a file of the project, whatever the case of its name.

    Raises
    ------
    DataError
        There is none.
    """
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.name.lower() == name.lower():
            return path
    raise DataError(
        f"there is no file {name} in {folder}; give the folder of a HYDRUS-1D project, where "
        "SELECTOR.IN lies."
    )


def read_selector(path: Path) -> Selector:
    """Read blocks A (basic information), B (water flow), C (time) and G (roots) of SELECTOR.IN."""
    lines = Lines(path)
    lines.go_behind("BLOCK A")
    for _ in range(3):  # heading and labels
        lines.line()
    length, time, _ = (lines.line().strip() for _ in range(3))
    v = lines.labelled("lWat lChem lTemp lSink lRoot lShort lWDep lScreen AtmInf lEquil lInverse")
    v |= lines.labelled("lSnow lHP1 lMeteo lVapor lActRSU lFlux lIrrig")
    v |= lines.labelled("NMat NLay CosAlfa")
    materials = range(int(v["NMat"]))

    lines.go_behind("BLOCK B")
    lines.labelled("MaxIt TolTh TolH")
    v |= lines.labelled("TopInf WLayer KodTop InitW")
    v |= lines.labelled("BotInf qGWLF FreeD SeepF KodBot DrainF hSeep")
    prescribed = not any(v[k] for k in ("BotInf", "qGWLF", "FreeD", "SeepF", "DrainF"))
    if (v["KodTop"] < 0 and not v["TopInf"]) or (v["KodBot"] < 0 and prescribed):
        v |= lines.labelled("rTop rBot rRoot")
    if v["qGWLF"]:
        v |= lines.labelled("GWL0L Aqh Bqh")
    lines.labelled("ha hb")
    v |= lines.labelled("iModel iHyst")
    if v["iHyst"]:
        lines.labelled("iKappa")
    lines.line()
    soils = pd.DataFrame([_soil(lines, i, len(materials)) for i in materials])

    lines.go_behind("BLOCK C")
    lines.labelled("dt dtMin dtMax")
    v |= lines.labelled("tInit tMax")
    optimum: list[float] = []
    if v["lSink"]:
        solutes = 0
        if v["lChem"]:
            lines.go_behind("BLOCK F")
            solutes = int(
                lines.labelled("Epsi lUpW lArtD lTDep cTolA cTolR MaxItC PeCr solutes")["solutes"]
            )
        lines.go_behind("BLOCK G")
        # a cRootMax for each solute; phydrus writes one where there is none, and HYDRUS takes it
        # for OmegaC
        v |= lines.labelled(
            " ".join(["iMoSink", *(f"cRootMax({i + 1})" for i in range(solutes)), "OmegaC"])
        )
        if v["iMoSink"] == 0:
            v |= lines.labelled("P0 P2H P2L P3 r2H r2L")
            optimum = list(lines.labelled(" ".join(f"POptm({i + 1})" for i in materials)).values())
    return Selector(length, time, v, soils, optimum)


def _soil(lines: Lines, material: int, count: int) -> dict[str, float]:
    """The next row of soil parameters; DataError where the next block begins before it."""
    if (words := lines.peek().split()) and words[0].startswith("***"):
        raise lines.error(
            f"block B ends after {material} rows of soil parameters, but NMat is {count}: write "
            "the others, or correct NMat"
        )
    return lines.row(SOIL)


def _node(lines: Lines, materials: int) -> dict[str, float]:
    """The next node; DataError where SELECTOR.IN has no soil of its material."""
    node = lines.row(f"{NODE} {SCALES}")
    if node["material"] not in range(1, materials + 1):
        raise lines.error(
            f"the node has material {node['material']:g}, but SELECTOR.IN has materials 1 to "
            f"{materials} (NMat)"
        )
    return node


def read_profile(path: Path, materials: int) -> tuple[pd.DataFrame, list[int]]:
    """Read PROFILE.DAT: nodes from the surface down, and the numbers of the observation nodes.

    `x` is positive upwards from the surface.

    Each node has one of so many `materials`.
    """
    lines = Lines(path)
    if "version" in (first := lines.line()).lower():
        first = lines.line()
    for _ in range(int(lines.value(first.split()[0], "number of fixed points"))):
        lines.line()
    count = int(lines.value(lines.line().split()[0], "number of nodes"))
    nodes = pd.DataFrame([_node(lines, materials) for _ in range(count)])
    if not (np.diff(nodes.x) < 0).all():
        raise lines.error("nodes must go from the surface downwards, with x upwards")
    observed = int(lines.value(lines.line().split()[0], "number of observation nodes"))
    places: list[int] = []
    while len(places) < observed:
        places += [int(word) - 1 for word in lines.line().split()]
    return nodes, places[:observed]


def read_weather(path: Path) -> tuple[pd.DataFrame, dict[str, float]]:
    """Read ATMOSPH.IN: a row for each interval, named by its end; and the switches and hCritS."""
    lines = Lines(path)
    lines.go_behind("BLOCK I")
    v = lines.labelled("MaxAL")
    v |= lines.labelled("lDailyVar lSinusVar lLai lBCCycles lInterc")
    v |= lines.labelled("hCritS")
    lines.line()
    return pd.DataFrame([lines.row(WEATHER) for _ in range(int(v["MaxAL"]))]), v
