"""Soils by USDA class: what trained columns are compared with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pydiffgeo.data.batch import Batch
from pydiffgeo.errors import DataError
from pydiffgeo.models.richards.hydraulics.usda import USDA_SOILS, usda_soil
from pydiffgeo.networks.table import Given

if TYPE_CHECKING:
    from pydiffgeo.data.windows import Windows
    from pydiffgeo.hybrid import Hybrid
    from pydiffgeo.networks.parameters import Learned


class SoilClass(Given):
    """The parameters of a USDA class in all layers; all others are where training would begin.

    Parameters
    ----------
    soil : str
        Class of all sites, such as "loam".
    candidates : sequence of str, optional
        `hybrid.choose(windows)` gives each site that class of these, or `soil`, whose simulation
        fits its observations best; all 12 by default. A site that it was not chosen for has `soil`.
    best : bool
        Whether `hybrid.choose` chooses at all.
    """

    def __init__(
        self, soil: str = "loam", candidates: tuple[str, ...] | None = None, best: bool = False
    ):
        super().__init__()
        self.soil, self.best = soil, best
        self.candidates = tuple(
            dict.fromkeys((soil, *(USDA_SOILS if candidates is None else candidates)))
        )
        for name in self.candidates:
            usda_soil(name)  # an unknown one is refused at once
        self.chosen: dict[str, str] = {}

    def get_extra_state(self) -> dict[str, str]:
        """Return the class chosen for each site."""
        return dict(self.chosen)

    def set_extra_state(self, state: dict[str, str]) -> None:
        """Take the classes of a saved one."""
        self.chosen = dict(state)

    def parameters_of(self, batch: Batch, learned: Learned) -> dict[str, Tensor]:
        """Return each parameter, [batch]."""
        names = [self.chosen.get(name, self.soil) for name in batch.names]
        return self._of_classes(names, batch, learned)

    def _of_classes(self, names: list[str], batch: Batch, learned: Learned) -> dict[str, Tensor]:
        rows = [usda_soil(name, *learned.units) for name in names]
        return {
            name: torch.tensor(
                [row.get(name, learned.start(name)) for row in rows],
                dtype=torch.float64,
                device=batch.site.device,
            )
            for name in self.names
        }

    def choose(self, hybrid: Hybrid, windows: Windows) -> dict[str, str]:
        """Give each site the class whose simulation has the least squared error in the windows.

        Errors of several observed series are over the spread of each, the root mean square over
        the sites, so that their units do not weigh. A failed class is not chosen.

        Each batch is one solve of all classes.
        """
        if not self.best:
            return {}
        errors: dict[str, Tensor] = {}
        assert hybrid.learned is not None
        learned, count = hybrid.learned.learned, len(self.candidates)
        scale = _variances(windows)
        for k in range(windows.steps_per_epoch):
            batch = windows.batch(k)
            names = [name for name in self.candidates for _ in range(len(batch.site))]
            wide = batch.tiled(count)
            with torch.no_grad():
                given = learned.shaped(self._of_classes(names, wide, learned))
                series = hybrid.run(wide, given)
            total = torch.zeros(len(wide.site), dtype=torch.float64)
            for name, seen in wide.observed.items():
                if name in series:
                    error = (series[name] - seen)[:, batch.warm_up :].double().flatten(1)
                    known = torch.isfinite(seen[:, batch.warm_up :]).flatten(1)
                    squares = torch.where(known, error.square(), 0.0).sum(1) / scale[name]
                    total += (squares / known.sum(1).clamp_min(1)).nan_to_num(torch.inf)
            total[list(series.failed)] = torch.inf
            of_sites = total.unflatten(0, (count, -1)).unbind(1)
            for site, each in zip(batch.names, of_sites, strict=True):
                errors[site] = errors.get(site, torch.zeros(count).double()) + each
        self.chosen = {site: self.candidates[int(e.argmin())] for site, e in errors.items()}
        return dict(self.chosen)


def _variances(windows: Windows) -> dict[str, float]:
    """Return the mean variance of each observed series; 1 where there is one alone."""
    spread = windows.tensors.spread
    if len(spread) == 1:
        return dict.fromkeys(spread, 1.0)
    found = {name: float(each.double().square().nanmean()) for name, each in spread.items()}
    for name, value in found.items():
        if not value > 0:
            raise DataError(
                f"{name!r} does not vary in the windows: soils cannot be chosen by it beside other "
                "series. Take it out of the losses, or choose another period."
            )
    return found
