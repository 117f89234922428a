"""The result of a solve."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pydiffgeo.models.base import ProcessModel
from pydiffgeo.models.spec import ModelSpec
from pydiffgeo.units import product

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True, repr=False)
class Solution:
    """States, fluxes and storage of a batch of columns.

    Attributes
    ----------
    model : ProcessModel
    start : scalar of NumPy
        Start of the first interval, as given.
    times : ndarray, [time]
        Ends of the intervals, as given.
    states : Tensor, [batch, time, state]
        State at the interval ends.
    initial_state : Tensor, [batch, state]
    fluxes : dict of Tensor, [batch, time]
        Means over the intervals, in the units of `model.spec.fluxes`; of a flux of cells `[batch,
        time, cell]`.
    storage : Tensor, [batch, time + 1]
        Storage of the whole column at the start and at the interval ends.
    failed : dict of int to str
        Columns that did not reach the end, and why; their values are NaN from the interval of the
        failure on, or, in a model that stores nothing, in the intervals that failed.
    stats : dict of Tensor
        `accepted`, `rejected`, `newton_iterations`, each `[batch]`; `recorded_bytes`, memory kept
        for the gradient.
    engine : str
    inputs : dict of Tensor
        The parameters as they were read, `[batch or 1, (time,) width]`; see `parameters`.
    """

    model: ProcessModel
    start: Any
    times: np.ndarray
    lengths: Tensor
    states: Tensor
    initial_state: Tensor
    fluxes: dict[str, Tensor]
    storage: Tensor
    failed: dict[int, str]
    stats: dict[str, Tensor]
    engine: str
    inputs: dict[str, Tensor] = field(default_factory=dict)
    steps: list[Tensor] = field(default_factory=list)

    @property
    def parameters(self) -> dict[str, Tensor]:
        """All parameters, given or by default, as `solve` takes them.

        `[batch]`, `[batch, time]`, or with a layer or a cell besides.
        """
        layered = {k for k, p in self.model.spec.parameters.items() if p.per != "column"}
        return {k: v if k in layered else v[..., 0] for k, v in self.inputs.items()}

    def __repr__(self) -> str:
        """Return model, engine, batch, span, steps and failures, in a few lines."""
        spec, accepted = self.model.spec, self.stats["accepted"]
        unit = "" if self.times.dtype.kind in "mM" else f" {spec.time_unit}"
        cells = (
            f" in {self.model.size - len(spec.states) + 1} cells"
            if len(spec.states) < self.model.size
            else ""
        )
        steps = "-".join(dict.fromkeys(str(int(x)) for x in (accepted.min(), accepted.max())))
        reasons = "; ".join(f"column {c} {why}" for c, why in list(self.failed.items())[:3])
        lines = {
            "columns": f"{len(self.states)}, {str(self.states.dtype).removeprefix('torch.')}",
            "times": f"{self.start} to {self.times[-1]}{unit}, {len(self.times)} intervals",
            "states": ", ".join(spec.states) + cells,
            "fluxes": ", ".join(spec.fluxes) or "none",
            "steps": f"{steps} per column, {int(self.stats['rejected'].sum())} rejected in all",
            "failed": f"{len(self.failed)}: {reasons}{' ...' if len(self.failed) > 3 else ''}"
            if self.failed
            else "none",
        }
        head = f"Solution of {spec.name} by the {self.engine} engine"
        return "\n".join([head, *(f"  {name:8} {text}" for name, text in lines.items())])

    def balance_error(self) -> Tensor:
        """Return in minus out minus change of storage over the whole solve `[batch]`.

        Relative to the water moved.

        The water moved is the sum of the magnitudes of all fluxes that enter the balance. Where it
        is less than the rounding of the storage can tell (1e-8 of it in double precision), as in a
        closed column, the error is relative to the storage. NaN for a model that declares no
        balance, and for columns that failed.
        """
        balanced = {name: q.balance for name, q in self.model.spec.fluxes.items() if q.balance}
        storage, length = self.storage.detach(), self.lengths.to(self.states)
        if not balanced:
            return torch.full_like(storage[:, 0], torch.nan)
        signed = ((self.fluxes[name].detach(), sign) for name, sign in balanced.items())
        amounts = torch.cat(
            [sign * (q.movedim(-1, 0) if q.ndim == 3 else q[None]) * length for q, sign in signed]
        )
        left = amounts.sum((0, 2)) - (storage[:, -1] - storage[:, 0])
        moved, stored = amounts.abs().sum((0, 2)), storage.abs().amax(1)
        rounding = torch.finfo(storage.dtype).eps ** 0.5
        size = torch.where(moved > rounding * stored, moved, stored)
        return left.abs() / size.clamp_min(torch.finfo(storage.dtype).tiny)

    @torch.no_grad()
    def to_xarray(self) -> xr.Dataset:
        """The solution as a Dataset that follows the CF conventions.

        Returns
        -------
        Dataset
            A variable for each state, each flux, what the model derives from them (such as the
            water content of a soil), and the storage of the column; dimensions batch, time and, in
            a column of cells, cell. States hold at `time`, the ends of the intervals, fluxes are
            means over the intervals in `time_bounds`. Units are those of the specification.
        """
        import xarray as xr  # half a second, for those who ask for it

        spec = self.model.spec
        data = {
            name: (dims, _numpy(x), _attributes(**about))
            for name, dims, x, about in self._variables(spec)
        }
        starts = np.concatenate(
            [np.atleast_1d(self.start).astype(self.times.dtype), self.times[:-1]]
        )
        data["time_bounds"] = (("time", "bounds"), np.stack([starts, self.times], 1), {})
        dates = self.times.dtype.kind == "M"
        about_time = (
            {"standard_name": "time"} if dates else {"units": spec.time_unit, "long_name": "time"}
        )
        if self.times.dtype.kind == "m":
            about_time = {"long_name": "time since the start"}
        coords: dict[str, Any] = {
            "time": ("time", self.times, {**about_time, "axis": "T", "bounds": "time_bounds"})
        }
        if hasattr(self.model, "grid"):
            grid = self.model.grid
            depth = {
                "units": grid.unit,
                "positive": "down",
                "long_name": "depth of the centre of the cell",
                "axis": "Z",
            }
            coords["depth"] = ("cell", _numpy(grid.depth), depth)
        about = {
            "title": spec.title,
            "references": spec.source,
            "model": spec.name,
            "engine": self.engine,
            "time_unit": spec.time_unit,
        }
        out = xr.Dataset(data, coords, {"Conventions": "CF-1.11", **_attributes(**about)})
        if dates:  # in a file, those of the bounds must be the same
            out["time"].encoding["units"] = f"seconds since {starts.astype('datetime64[s]')[0]}"
        return out

    def _variables(
        self, spec: ModelSpec
    ) -> Iterator[tuple[str, tuple[str, ...], Tensor, dict[str, str]]]:
        """Name, dimensions, values and attributes of each variable."""
        point, mean = "time: point", "time: mean"
        cells = len(spec.states) < self.model.size or hasattr(self.model, "grid")
        dims: tuple[str, ...] = ("batch", "time", "cell") if cells else ("batch", "time")
        for name, place in spec.places(self.model.size).items():
            state, x = spec.states[name], self.states[..., place]
            about = {"units": state.unit, "long_name": state.description, "cell_methods": point}
            if cells and (state.per == "cell" or len(spec.states) == 1):
                yield name, dims, x, about
            else:
                yield name, ("batch", "time"), x[..., 0], about
        for name, (x, unit, what) in self.model.derived(self.states, self.parameters).items():
            yield name, dims, x, {"units": unit, "long_name": what, "cell_methods": point}
        for flux in spec.fluxes.values():
            about = {"units": flux.unit, "long_name": flux.description, "cell_methods": mean}
            yield flux.name, dims if flux.per == "cell" else dims[:2], self.fluxes[flux.name], about
        balanced = [q.unit for q in spec.fluxes.values() if q.balance]
        unit = product(balanced[0], spec.time_unit) if balanced else ""
        about = {"units": unit, "long_name": "storage of the column", "cell_methods": point}
        name = "total_storage" if "storage" in {**spec.states, **spec.fluxes} else "storage"
        yield name, ("batch", "time"), self.storage[:, 1:], about


def _attributes(**given: str) -> dict[str, str]:
    """Attributes without those that say nothing."""
    return {k: v for k, v in given.items() if v}


def _numpy(x: Tensor) -> np.ndarray:
    return x.detach().cpu().numpy()
