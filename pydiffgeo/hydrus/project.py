"""A HYDRUS-1D project as a Richards model with forcing, parameters and initial state."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from pydiffgeo.errors import DataError
from pydiffgeo.hydrus.output import read_nodes
from pydiffgeo.hydrus.project_files import Selector, find, read_profile, read_selector, read_weather
from pydiffgeo.models.richards.grid import Grid
from pydiffgeo.models.richards.hydraulics import (
    BrooksCorey,
    SoilHydraulics,
    VanGenuchten,
    VanGenuchtenVogel,
)
from pydiffgeo.models.richards.richards import Richards
from pydiffgeo.models.richards.root_uptake import Roots
from pydiffgeo.solution import Solution

HYDRAULICS: dict[int, type[SoilHydraulics]] = {
    0: VanGenuchten,
    2: BrooksCorey,
    3: VanGenuchtenVogel,
}
"""By iModel."""
UNREAD = {
    "lRoot": "root growth",
    "lSnow": "snow",
    "lMeteo": "meteorological data",
    "lVapor": "vapour flow",
    "lIrrig": "irrigation",
    "lHP1": "PHREEQC",
    "qGWLF": "deep drainage by the groundwater level",
    "DrainF": "horizontal drains",
    "iHyst": "hysteresis",
    "lDailyVar": "daily variation of the weather",
    "lSinusVar": "sinusoidal rain",
    "lLai": "leaf area index",
    "lInterc": "interception",
    "lBCCycles": "cycles of boundary conditions",
}


@dataclass(frozen=True)
class Project:
    """A HYDRUS-1D project, ready for `solve(**project.problem)`; units are those of the project.

    Attributes
    ----------
    folder : Path
    model : Richards
        A cell for each node of HYDRUS, from the middle between it and the node above to the middle
        below.
    forcing : dict of str to ndarray, [time] or []
    parameters : dict of str to ndarray, [1, layer], [1, time] or []
        A layer for each stretch of nodes of one material.
    initial_state : Tensor, [1, cell]
    times : ndarray, [time + 1]
    observed : list of int
        Cells of the observation nodes.
    """

    folder: Path
    model: Richards
    forcing: dict[str, Any]
    parameters: dict[str, Any]
    initial_state: Tensor
    times: np.ndarray
    observed: list[int]

    @property
    def problem(self) -> dict[str, Any]:
        """The arguments of `solve` by name."""
        return {
            k: getattr(self, k)
            for k in ("model", "forcing", "parameters", "initial_state", "times")
        }

    def compare(self, solution: Solution) -> pd.DataFrame:
        """Compare heads and water contents of a solution with those that HYDRUS printed.

        Parameters
        ----------
        solution : Solution
            Of `problem`, with whatever solver.

        Returns
        -------
        DataFrame, [time]
            Columns (node, name), with `h`, `theta` of the solution and `h_hydrus`, `theta_hydrus`:
            what OBS_NODE.OUT has, between its times by straight lines, at those times of the
            solution that it spans.

        Raises
        ------
        DataError
            There is no OBS_NODE.OUT, or it was printed for other nodes.
        """
        theirs = read_nodes(self.folder)
        times = np.asarray(solution.times, dtype=float)
        inside = (times >= theirs.index[0]) & (times <= theirs.index[-1])
        psi = solution.states.detach()[..., -self.model.grid.cells :]  # a pond is before them
        soil = {k: self.parameters[k] for k in self.model.hydraulics.parameters}
        ours = {"h": psi, "theta": self.model.water_content(psi, soil)}
        out = {}
        for cell in self.observed:
            node = cell + 1
            if node not in theirs.columns.get_level_values("node"):
                raise DataError(
                    f"OBS_NODE.OUT in {self.folder} has no node {node}, which PROFILE.DAT names; "
                    "run HYDRUS again."
                )
            for name, values in ours.items():
                out[node, name] = values[0, inside, cell].numpy()
                out[node, f"{name}_hydrus"] = np.interp(
                    times[inside], theirs.index, theirs[node, name]
                )
        return pd.DataFrame(out, pd.Index(times[inside], name="time")).rename_axis(
            columns=("node", "name")
        )


def read_project(folder: str | Path) -> Project:
    """Read a HYDRUS-1D project of version 4 and rebuild it.

    Water flow only: solutes and heat are left out.

    Parameters
    ----------
    folder : str or Path
        Where SELECTOR.IN, PROFILE.DAT and, with boundary conditions in time, ATMOSPH.IN lie.

    Raises
    ------
    DataError
        A file is missing or no HYDRUS-1D file, or the project has processes that this package has
        not; all of them are named.

    References
    ----------
    Simunek et al. (2013), The HYDRUS-1D software package, version 4.17, chapter 10.
    """
    folder = Path(folder)
    selector = read_selector(find(folder, "SELECTOR.IN"))
    nodes, observed = read_profile(find(folder, "PROFILE.DAT"), len(selector.soils))
    v, weather = dict(selector.values), None
    if v["TopInf"] or v["BotInf"] or v["AtmInf"]:
        weather, switches = read_weather(find(folder, "ATMOSPH.IN"))
        v |= switches
    _refuse(folder, selector, v, nodes)
    z = nodes.x.iloc[0] - nodes.x.to_numpy()
    faces = np.concatenate([[0.0], 0.5 * (z[1:] + z[:-1]), z[-1:]])
    begins = np.flatnonzero(np.diff(nodes.material, prepend=-1))  # the first cell of each layer
    grid = Grid.from_faces(faces, faces[begins].tolist(), selector.length_unit, selector.time_unit)
    model = Richards(grid, _hydraulics(v), top=_top(v), bottom=_bottom(v), roots=_roots(v, nodes))
    parameters = _parameters(v, selector, nodes.material.to_numpy(int)[begins] - 1, model)
    initial = torch.from_numpy(nodes.h.to_numpy())[None]
    if v["InitW"]:
        initial = model.head(initial, parameters)
    times, inside = _times(v, weather)
    if weather is not None:
        weather = weather[inside]
    if weather is not None and "minimum_surface_head" in model.spec.parameters:
        driest = -weather.hCritA.abs().to_numpy()
        parameters["minimum_surface_head"] = driest[None] if np.ptp(driest) else float(driest[0])
        parameters["ponding_height"] = v["hCritS"] * v["WLayer"]
    series = _forcing(v, nodes, weather)
    forcing = {k: np.asarray(series[k]) for k in model.spec.forcings}
    return Project(folder, model, forcing, parameters, initial, times, observed)


def _refuse(folder: Path, selector: Selector, v: dict[str, float], nodes: pd.DataFrame) -> None:
    """Raise DataError for everything in the project that cannot be rebuilt."""
    bad = [f"{what} ({name})" for name, what in UNREAD.items() if v.get(name)]
    if v["CosAlfa"] != 1:
        bad.append(f"a column that is not vertical (CosAlfa = {v['CosAlfa']:g})")
    if v["iModel"] not in HYDRAULICS:
        bad.append(
            f"soil hydraulic model {v['iModel']:g} (iModel; known: "
            f"{', '.join(map(str, HYDRAULICS))})"
        )
    if v["lSink"] and v["iMoSink"] != 0:
        bad.append("the S-shaped water stress (iMoSink)")
    if len(set(selector.optimum)) > 1:
        bad.append(
            "POptm that differs between materials "
            f"({', '.join(f'{x:g}' for x in selector.optimum)})"
        )
    if v["SeepF"] and v["hSeep"]:
        bad.append(f"a seepage face at another head than zero (hSeep = {v['hSeep']:g})")
    if v["KodTop"] == 0:
        bad.append("a top boundary that switches between head and flux (KodTop = 0)")
    if (nodes[["scale_h", "scale_K", "scale_theta"]] != 1).any(axis=None):
        bad.append("scaling factors of the nodes (Axz, Bxz, Dxz)")
    if bad:
        raise DataError(
            f"the HYDRUS-1D project {folder} has {'; '.join(bad)}. read_project rebuilds water "
            "flow without them: switch them off in HYDRUS, or build the model by hand."
        )


def _hydraulics(v: dict[str, float]) -> SoilHydraulics:
    kind = HYDRAULICS[int(v["iModel"])]
    return kind("mualem") if kind is BrooksCorey else kind()


def _top(v: dict[str, float]) -> str:
    if v["KodTop"] > 0 or not v["AtmInf"]:
        return "head" if v["KodTop"] > 0 else "flux"
    return "surface_layer" if v["WLayer"] and v["hCritS"] > 0 else "atmospheric"


def _bottom(v: dict[str, float]) -> str:
    if v["FreeD"] or v["SeepF"]:
        return "free_drainage" if v["FreeD"] else "seepage_face"
    return "head" if v["KodBot"] > 0 else "flux"


def _roots(v: dict[str, float], nodes: pd.DataFrame) -> Roots | None:
    if not v["lSink"]:
        return None
    density, by_demand = nodes.root_density.tolist(), v["P2H"] != v["P2L"]
    return Roots(density=density, demand_dependent=by_demand, compensated=v["OmegaC"] < 1)


def _parameters(
    v: dict[str, float], selector: Selector, materials: np.ndarray, model: Richards
) -> dict[str, Any]:
    """Parameters by their names here.

    Of each layer, and of the roots, whose heads HYDRUS takes for negative.
    """
    soils = selector.soils.iloc[materials]
    own: dict[str, Any] = {k: soils[k].to_numpy()[None] for k in soils}
    own["pore_connectivity"] = own.pop("l")
    if isinstance(model.hydraulics, BrooksCorey):
        own |= {"psi_b": 1 / own.pop("alpha"), "pore_index": own.pop("n")}
    if isinstance(model.hydraulics, VanGenuchtenVogel):
        own["air_entry"] = np.asarray(2.0 / model.units.factor("cm"))
    if v["lSink"]:
        own |= {
            "feddes_1": -abs(v["P0"]),
            "feddes_2": selector.optimum[0],
            "feddes_4": -abs(v["P3"]),
        }
        own |= {
            "feddes_3": -abs(v["P2H"]),
            "feddes_3_high": -abs(v["P2H"]),
            "feddes_3_low": -abs(v["P2L"]),
        }
        own |= {"demand_high": v["r2H"], "demand_low": v["r2L"], "omega_c": v["OmegaC"]}
    return {k: x for k, x in own.items() if k in model.spec.parameters}


def _times(v: dict[str, float], weather: pd.DataFrame | None) -> tuple[np.ndarray, slice]:
    """Times of the project, and which rows of the weather lie between its start and its end."""
    if weather is None:
        return np.array([v["tInit"], v["tMax"]]), slice(0)
    ends = weather.time.to_numpy()
    first, last = np.searchsorted(ends, v["tInit"], side="right"), np.searchsorted(ends, v["tMax"])
    inside = slice(first, last + 1)
    return np.concatenate([[v["tInit"]], np.minimum(ends[inside], v["tMax"])]), inside


def _forcing(
    v: dict[str, float], nodes: pd.DataFrame, weather: pd.DataFrame | None
) -> dict[str, Any]:
    """Every forcing that a boundary may need, downwards positive; of the weather HYDRUS takes
    magnitudes.
    """
    constant = {
        "top_head": nodes.h.iloc[0],
        "bottom_head": nodes.h.iloc[-1],
        "top_flux": -v.get("rTop", 0.0),
        "bottom_flux": -v.get("rBot", 0.0),
        "potential_transpiration": v.get("rRoot", 0.0),
    }
    if weather is None:
        return constant
    series = {
        "rain": weather.rain.abs(),
        "potential_evaporation": weather.evaporation.abs(),
        "potential_transpiration": weather.transpiration.abs(),
    }
    if v["TopInf"]:
        series |= {"top_head": weather.top_head}
    if v["BotInf"]:
        series |= {"bottom_head": weather.bottom_head, "bottom_flux": -weather.bottom_flux}
    return constant | series
