"""Richards columns under the weather of stations: from parameters to soil moisture at the probes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pydiffgeo import Grid, Richards, Roots, Solver, solve, usda_soil
from pydiffgeo.errors import SettingsError, nearest
from pydiffgeo.models.soil_hydraulics import VanGenuchten
from pydiffgeo.parameters import Bounds
from pydiffgeo.training.record import Record
from pydiffgeo.training.settings import SoilMoistureSettings
from pydiffgeo.training.summary import first_profile

# Physical bounds of what is trained. Soil: narrower than the model's, wide enough for the 12 USDA classes and
# gravel.
SOIL: dict[str, Bounds] = {
    "theta_r": Bounds(0.005, 0.25),
    "theta_s": Bounds(0.26, 0.65),
    "alpha": Bounds(1e-3, 0.3, "log"),
    "n": Bounds(1.1, 4.0, "log"),
    "K_s": Bounds(1e-2, 1e2, "log"),
}
# Per column: share of the ground under plants, which divides potential evapotranspiration between
# transpiration and soil evaporation; the ratio of a stand's potential evapotranspiration to the reference
# (crop coefficient, FAO-56 ch. 5); and the depth of 95 % of the roots (20 to 200 cm in most biomes: Jackson
# et al. 1996, doi:10.1007/BF00333714).
STAND: dict[str, Bounds] = {
    "cover": Bounds(0.05, 0.98),
    "crop_coefficient": Bounds(0.3, 1.5),
    "root_depth": Bounds(10.0, 200.0, "log"),
}
INITIAL_RANGE = (
    -15000.0,
    -5.0,
)  # cm: a probe outside the retention curve starts at an end of this range
STAND_DEFAULT = {"cover": 0.7, "crop_coefficient": 1.0, "root_depth": 60.0}


def trained_bounds(settings: SoilMoistureSettings) -> tuple[dict[str, Bounds], dict[str, Bounds]]:
    """Return the bounds of the parameters of a layer and of a column, with those that the settings replace.

    Raises
    ------
    SettingsError
        The settings name a parameter that is not trained.
    ParameterError
        Bounds that are no interval.
    """
    for name in settings.bounds:
        if name not in SOIL | STAND:
            known = ", ".join(SOIL | STAND)
            hint = nearest(name, SOIL | STAND)
            raise SettingsError(f"bounds: no trained parameter {name!r}{hint} Known: {known}.")
    soil, stand = (
        {
            name: Bounds(*settings.bounds.get(name, (b.lower, b.upper)), b.transform)
            for name, b in group.items()
        }
        for group in (SOIL, STAND)
    )
    return soil, stand


@dataclass(frozen=True)
class Simulation:
    """What a solve of some columns gave.

    Attributes
    ----------
    theta : Tensor, [column, day, depth]
        Daily mean soil moisture at the probes (1): the mean of the day's first and last state. A failed
        column is NaN.
    failed : dict of int to str
        Column, and its station, day and reason in words.
    """

    theta: Tensor
    failed: dict[int, str]


class StationColumns:
    """The columns of an experiment: one grid and model, the forcing of every station.

    Parameters
    ----------
    record : Record
        Weather and probes.
    settings : SoilMoistureSettings
        Grid, boundaries, solver.
    """

    def __init__(self, record: Record, settings: SoilMoistureSettings):
        c = settings.column
        self.record, self.settings = record, settings
        self.grid = Grid.graded(c.depth, c.cells, c.top_cell, layers=c.layers)
        self.model = Richards(
            self.grid,
            VanGenuchten(c.entry_width),
            top="atmospheric",
            bottom=c.bottom,
            roots=Roots(c.root_profile),
            face_mean=c.face_mean,
        )
        self.solver = Solver(
            settings.solver.method,
            rtol=settings.solver.rtol,
            max_steps=settings.solver.max_steps,
            on_failure="report",
        )
        self.probes = probe_weights(self.grid, record.depths)
        self.profile = first_profile(record)
        self.soil_bounds, self.stand_bounds = trained_bounds(settings)

    def default_parameters(self, soil_class: str, columns: int) -> dict[str, Tensor]:
        """Return the parameters of a USDA class in every layer, and the default stand, for some columns."""
        soil = {
            k: torch.full((columns, self.grid.n_layers), v)
            for k, v in usda_soil(soil_class).items()
        }
        stand = {k: torch.full((columns,), v) for k, v in STAND_DEFAULT.items()}
        return {k: v.double() for k, v in (soil | stand).items()}

    def simulate(self, parameters: Mapping[str, Tensor], stations: Tensor, days: int) -> Simulation:
        """Solve columns from the first day on.

        Parameters
        ----------
        parameters : mapping
            Soil parameters `[column, layer]`, and cover, crop_coefficient, root_depth `[column]`.
        stations : Tensor of int, [column]
            Station whose weather and first profile a column takes.
        days : int
            Length of the simulation.

        Returns
        -------
        Simulation
            Differentiable in the parameters.
        """
        p = dict(parameters)
        demand = self.record.pet[stations, :days] * p.pop("crop_coefficient")[:, None]
        cover = p.pop("cover")[:, None]
        initial = self.initial_head(p, stations)
        solution = solve(
            self.model,
            forcing={
                "rain": self.record.rain[stations, :days],
                "potential_evaporation": (1 - cover) * demand,
                "potential_transpiration": cover * demand,
            },
            parameters=p,
            initial_state=initial,
            times=torch.arange(days + 1, dtype=torch.float64) * 24.0,
            solver=self.solver,
            engine=self.settings.solver.engine,
        )
        failed = {
            k: self._place(int(stations[k]), solution.states[k], why)
            for k, why in solution.failed.items()
        }
        psi = torch.cat([initial[:, None], solution.states], 1)
        if failed:  # NaN times the zero cotangent of an excluded column would still be NaN
            psi = torch.where(torch.isnan(psi), -100.0, psi)
        theta = self.model.water_content(psi, p) @ self.probes
        theta = 0.5 * (theta[:, 1:] + theta[:, :-1])
        if failed:
            bad = torch.zeros(len(stations), dtype=torch.bool)
            bad[list(failed)] = True
            theta = torch.where(bad[:, None, None], torch.nan, theta)
        return Simulation(theta, failed)

    def _place(self, station: int, states: Tensor, reason: str) -> str:
        """Return the reason of a failure with the station and the day of its first missing state."""
        day = int(torch.isnan(states).any(-1).to(torch.int8).argmax())
        return (
            f"station {self.record.stations[station]} on {self.record.days[day]:%Y-%m-%d}: {reason}"
        )

    def initial_head(self, parameters: Mapping[str, Tensor], stations: Tensor) -> Tensor:
        """Return the pressure head `[column, cell]`, cm, that fits the first observed profile."""
        columns = len(stations)
        if self.settings.column.initial == "head":
            return torch.full(
                (columns, self.grid.cells), self.settings.column.initial_head, dtype=torch.float64
            )
        centres = self.grid.depth.numpy()
        position = torch.tensor(_linear_weights(self.record.depths, centres))  # [probe, cell]
        theta = self.profile[stations] @ position
        layer = self.grid.layer
        low, high = parameters["theta_r"][:, layer], parameters["theta_s"][:, layer]
        saturation = ((theta - low) / (high - low)).clamp(0.01, 0.995)
        head = self.model.head(low + saturation * (high - low), parameters)
        return head.clamp(*INITIAL_RANGE)


def probe_weights(grid: Grid, depths: np.ndarray) -> Tensor:
    """Return the weights `[cell, probe]` that interpolate cells to probes within the layer of each probe."""
    centres, layer, faces = grid.depth.numpy(), grid.layer.numpy(), grid.faces.numpy()
    weights = np.zeros((grid.cells, len(depths)))
    for j, depth in enumerate(depths):
        cell = min(int(np.searchsorted(faces, depth, side="right")) - 1, grid.cells - 1)
        inside = np.flatnonzero(layer == layer[cell])
        weights[inside, j] = _linear_weights(centres[inside], np.array([depth]))[:, 0]
    return torch.tensor(weights)


def _linear_weights(nodes: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return `[node, wanted]` weights of linear interpolation, constant beyond the ends."""
    return np.stack([np.interp(wanted, nodes, row) for row in np.eye(len(nodes))])
