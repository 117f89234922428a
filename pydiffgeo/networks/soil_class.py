"""Soils by USDA class: what trained columns are compared with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pydiffgeo.data.batch import Batch
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
        `hybrid.choose(windows)` gives each site that class of these, or `soil`, whose simulation fits its observations best;
        all 12 by default. A site that it was not chosen for has `soil`.
    best : bool
        Whether `hybrid.choose` chooses at all.
    """

    def __init__(
        self, soil: str = "loam", candidates: tuple[str, ...] | None = None, best: bool = False
    ):
        super().__init__()
        names = tuple(USDA_SOILS) if candidates is None else tuple(candidates)
        self.soil, self.best = soil, best
        self.candidates = tuple(dict.fromkeys((soil, *names)))
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
        """Return each parameter, [batch] or [batch, layer]."""
        names = [self.chosen.get(batch.sites[int(i)], self.soil) for i in batch.site]
        return self._of_classes(names, batch, learned)

    def _of_classes(self, names: list[str], batch: Batch, learned: Learned) -> dict[str, Tensor]:
        rows = [usda_soil(name, *learned.units) for name in names]
        found = {}
        for name in self.names:
            middle = learned.bounds[name].to_physical(torch.zeros((), dtype=torch.float64))
            start = learned.begin.get(name, float(middle))
            values = torch.tensor([row.get(name, start) for row in rows], dtype=torch.float64)
            layers = learned.layers.get(name)
            found[name] = values if layers is None else values[:, None].expand(-1, len(layers))
        return {k: v.to(batch.site.device) for k, v in found.items()}

    def choose(self, hybrid: Hybrid, windows: Windows) -> dict[str, str]:
        """Give each site the class whose simulation has the least squared error in the windows; a failed one has none.

        Each batch is one solve of all classes.
        """
        if not self.best:
            return {}
        errors: dict[str, Tensor] = {}
        assert hybrid.learned is not None
        for k in range(windows.steps_per_epoch):
            batch, count = windows.batch(k), len(self.candidates)
            names = [name for name in self.candidates for _ in range(len(batch.site))]
            wide = batch.tiled(count)
            with torch.no_grad():
                given = self._of_classes(names, wide, hybrid.learned.learned)
                layers = hybrid.learned.learned.layers
                series = hybrid.run(
                    wide, {n: x if n in layers else x[:, None] for n, x in given.items()}
                )
            total = torch.zeros(len(wide.site), dtype=torch.float64)
            for name, seen in wide.observed.items():
                if name in series:
                    error = (series[name] - seen)[:, batch.warm_up :].double().flatten(1)
                    total += error.square().nanmean(1).nan_to_num(0.0)
            total[list(series.failed)] = torch.inf
            for i, each in zip(batch.site, total.unflatten(0, (count, -1)).unbind(1), strict=True):
                site = batch.sites[int(i)]
                errors[site] = errors.get(site, torch.zeros(count).double()) + each
        self.chosen = {site: self.candidates[int(e.argmin())] for site, e in errors.items()}
        return dict(self.chosen)
