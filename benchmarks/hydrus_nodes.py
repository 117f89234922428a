"""A HYDRUS-1D project solved as HYDRUS solves it: what a difference to this package comes from.

    python benchmarks/hydrus_nodes.py FOLDER [--refine K] [--exact]

Heads stand on the nodes, and on the surface the first of them, which is held at hCritA while the
soil yields less than the evaporation demanded; implicit Euler takes the steps of T_LEVEL.OUT; rain
and evaporation of an interval are one flux; curves come from tables of 100 heads, or, with
`--exact`, are those of van Genuchten themselves. Of the project it has what `read_project` made of
it, so that an equal result says that the project was read right. For bare soils of iModel 0 with
free drainage, in equal distances between nodes.

Source: Simunek et al. (2013), The HYDRUS-1D software package, version 4.17, chapters 2 and 5.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from scipy.linalg import solve_banded

from pydiffgeo.hydrus import Project, read_levels, read_nodes, read_project

Curves = tuple[np.ndarray, np.ndarray]
HEADS = -(10 ** np.linspace(-6, 4, 100))
WET = 1e-6  # Newton stays below zero head


class Soil:
    """Water content and conductivity of the nodes, each of one material."""

    def __init__(self, project: Project, layer: np.ndarray, exact: bool):
        p = project.parameters
        names = ("theta_r", "theta_s", "alpha", "n", "K_s", "pore_connectivity")
        self.soils = [{k: float(p[k][0, i]) for k in names} for i in range(layer.max() + 1)]
        self.layer, self.exact = layer, exact
        self.tables = [of_soil(HEADS, s) for s in self.soils]

    def __call__(self, h: np.ndarray) -> Curves:
        theta, K = np.empty_like(h), np.empty_like(h)
        for i, soil in enumerate(self.soils):
            at = self.layer == i
            theta[at], K[at] = of_soil(h[at], soil)
            inside = at & (h > HEADS[-1]) & (h < HEADS[0])
            if self.exact or not inside.any():
                continue
            x = h[inside]
            entry = np.clip(((np.log10(-x) + 6) * 9.9).astype(int), 0, 98)
            share = (x - HEADS[entry]) / (HEADS[entry + 1] - HEADS[entry])
            for values, table in zip((theta, K), self.tables[i], strict=True):
                values[inside] = table[entry] * (1 - share) + table[entry + 1] * share
        return theta, K


def of_soil(h: np.ndarray, p: dict[str, float]) -> Curves:
    """Van Genuchten's curves."""
    m = 1 - 1 / p["n"]
    x = (p["alpha"] * -h) ** p["n"]
    S = (1 + x) ** -m
    V = np.where(x > 1e6, m / (1 + x), 1 - (x / (1 + x)) ** m)
    return p["theta_r"] + (p["theta_s"] - p["theta_r"]) * S, p["K_s"] * S ** p[
        "pore_connectivity"
    ] * V**2


class Column:
    """Nodes of a project, and the step from one time to the next."""

    def __init__(self, project: Project, refine: int, exact: bool):
        faces, cells = project.model.grid.faces.numpy(), project.model.grid.cells
        nodes = np.concatenate([[0.0], 0.5 * (faces[1:-2] + faces[2:-1]), faces[-1:]])
        if np.ptp(np.diff(nodes)) > 1e-9 * faces[-1]:
            raise SystemExit("the nodes are not at equal distances.")
        self.refine, self.dz = refine, float(nodes[1]) / refine
        count = (cells - 1) * refine + 1
        layer = project.model.grid.layer.numpy()
        near = np.minimum((np.arange(count) + refine // 2) // refine, cells - 1)
        self.soil = Soil(project, layer[near], exact)
        self.volume = np.full(count, self.dz)
        self.volume[[0, -1]] /= 2
        self.h = project.initial_state[0].numpy()[near].copy()
        self.driest = float(np.ravel(project.parameters["minimum_surface_head"])[0])
        self.held = False  # at hCritA, the surface node
        self.theta = self.soil(self.h)[0]

    def advance(self, dt: float, upward: float) -> tuple[float, float]:
        """One step under a flux demanded at the surface; amounts that left there and below."""
        while True:
            found = self._newton(dt, upward)
            if found is None:
                if dt < 1e-7:
                    raise SystemExit("no step is small enough.")
                halves = [self.advance(dt / 2, upward) for _ in range(2)]
                return halves[0][0] + halves[1][0], halves[0][1] + halves[1][1]
            h, theta, top, bottom = found
            if not self.held and h[0] < self.driest:
                self.held = True
            elif self.held and top > upward:
                self.held = False
            else:
                self.h, self.theta = h, theta
                return top * dt, bottom * dt

    def _newton(
        self, dt: float, upward: float
    ) -> tuple[np.ndarray, np.ndarray, float, float] | None:
        h = self.h.copy()
        if self.held:
            h[0] = self.driest
        for iteration in range(60):
            theta, K = self.soil(h)
            gradient = np.diff(h) / self.dz - 1
            mean = 0.5 * (K[1:] + K[:-1])
            down = -mean * gradient
            left = self.volume * (theta - self.theta) / dt
            left[:-1] += down
            left[1:] -= down
            left[-1] += K[-1]
            top = upward if not self.held else -left[0]
            left[0] = 0.0 if self.held else left[0] + upward
            if np.abs(left * dt / self.volume).max() < 1e-9:
                return h, theta, top, K[-1]
            shift = -1e-7 * np.abs(h) - 1e-9
            theta_2, K_2 = self.soil(h + shift)
            capacity, slope = (theta_2 - theta) / shift, (K_2 - K) / shift
            by_up = -0.5 * slope[:-1] * gradient + mean / self.dz
            by_low = -0.5 * slope[1:] * gradient - mean / self.dz
            J = np.zeros((3, len(h)))
            J[1] = self.volume * np.maximum(capacity, 1e-12) / dt
            J[1, :-1] += by_up
            J[1, 1:] -= by_low
            J[1, -1] += slope[-1]
            J[0, 1:], J[2, :-1] = by_low, -by_up
            if self.held:
                J[1, 0], J[0, 1] = 1.0, 0.0
            d = solve_banded((1, 1), J, -left)
            most = np.maximum(0.5 * np.abs(h), 5.0)
            low, high = (-2 * most, most) if iteration < 40 else (-0.3 * most, 0.3 * most)
            d = np.clip(d, low, high)
            if self.held:
                d[0] = 0.0
            h = np.minimum(h + d, -WET)
        return None


def run(folder: Path, refine: int, exact: bool) -> None:
    """Print differences of water content at the observation nodes, and sums of fluxes."""
    project, levels, nodes = read_project(folder), read_levels(folder), read_nodes(folder)
    column = Column(project, refine, exact)
    ends = project.times[1:][project.times[1:] <= levels.index[-1]]
    times = np.unique(np.concatenate([levels.index[levels.index <= ends[-1]], ends]))
    forcing = {k: project.forcing[k] for k in ("rain", "potential_evaporation")}
    theta, out, now = [], np.zeros(2), project.times[0]
    for then in times[times > now]:
        day = int(np.searchsorted(project.times, then) - 1)
        rain, demand = (float(x[day]) for x in forcing.values())
        top, bottom = column.advance(float(then - now), demand - rain)
        out += top + rain * (then - now), bottom
        if then in ends:
            theta.append(column.theta[::refine][project.observed])
        now = then
    for k, cell in enumerate(project.observed):
        theirs = np.interp(ends, nodes.index, nodes[cell + 1, "theta"])
        away = np.array(theta)[:, k] - theirs
        print(f"  node {cell + 1:4d}   water content: RMS {np.sqrt((away**2).mean()):.5f}")
    for name, own, label in zip(
        ("evaporation", "drainage"), out, ("sum(Evap)", "sum(vBot)"), strict=True
    ):
        hydrus = abs(np.interp(ends[-1], levels.index, levels[label]))
        print(f"  {name:15s} {own:10.4f}   HYDRUS {hydrus:10.4f}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--refine", type=int, default=1, help="distances in place of one")
    parser.add_argument("--exact", action="store_true", help="curves without tables")
    options = parser.parse_args()
    run(options.folder, options.refine, options.exact)


if __name__ == "__main__":
    main()
