"""SNTEMP's daily temperatures down a network of rivers."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from pydiffgeo.data.batch import Batch
from pydiffgeo.data.network import flows_between, levels
from pydiffgeo.errors import lookup
from pydiffgeo.models.streams import sntemp
from pydiffgeo.networks.reading import taken
from pydiffgeo.stages.base import Known, Named, Series, Stage, converted

SERIES = {
    "discharge": ("discharge", "m3 s-1"),
    "lateral_inflow": ("lateral_inflow", "m3 s-1"),
    "lateral_temperature": ("lateral_temperature", "degC"),
    "air": ("tair_mean", "degC"),
    "bed_temperature": ("groundwater_temperature", "degC"),
    "shortwave": ("shortwave_down", "W m-2"),
    "humidity": ("rh_mean", "1"),
    "cloud_cover": ("cloud_cover", "1"),
    "evaporation": ("potential_evapotranspiration", "m s-1"),
    "shade": ("shade", "1"),
    "leaf_shade": ("leaf_shade", "1"),
    "width": ("width", "m"),
}
"""What is read, by what it is: name of the series, and unit."""
SITE = {"length": "m", "slope": "1", "elevation": "m"}
"""Attributes that are read, and their units."""


class SteadyStreamTemperature(Stage):
    """Daily mean temperature of each reach, as SNTEMP has it: steady, without memory of its own.

    Gives "water_temperature" at the lower end of each reach, "inlet_temperature" at the upper end
    and "equilibrium_temperature" (degC). Water from above is mixed in parts of its discharge. A
    reach without water has no temperature: NaN, and so no water below is warmed by it. Gradients
    reach all series and attributes.

    Sources: Theurer, Voos & Miller (1984), FWS/OBS-84/15; Sanders et al. (2017),
    doi:10.3133/tm6D4; see `pydiffgeo.models.streams.sntemp`.

    Parameters
    ----------
    names : mapping of str to (str or float), optional
        Series that is read where the names differ, or a number that it always is, in the unit of
        `SERIES`: {"humidity": 0.7}.
    lateral_twice, inlet_as_air, kilometres : bool
        What pywatershed 3.0 does, each: mix lateral inflow into the water at the inlet, and let it
        enter along the reach as well, which does not conserve heat; take the temperature of the
        inlet for that of the air, which then is not read; count the length in km where all else is
        in m, which makes the exchange with the air a thousandth. See docs/stream_temperature.md.
    albedo : float
        Of the surface of the water.
    """

    whole_rivers = True
    gives = ("water_temperature", "inlet_temperature", "equilibrium_temperature")
    needs = tuple(SITE)

    def __init__(
        self,
        names: Mapping[str, str | float] | None = None,
        lateral_twice: bool = False,
        inlet_as_air: bool = False,
        kilometres: bool = False,
        albedo: float = 0.1,
    ) -> None:
        super().__init__()
        for name in names or {}:
            lookup(SERIES, name, "series of SteadyStreamTemperature")
        given = {k: (names or {}).get(k, default) for k, (default, _) in SERIES.items()}
        if inlet_as_air:
            del given["air"]
        self.names = {k: v for k, v in given.items() if isinstance(v, str)}
        self.numbers = {k: float(v) for k, v in given.items() if not isinstance(v, str)}
        self.reads = tuple(dict.fromkeys(self.names.values()))
        self.lateral_twice, self.inlet_as_air = lateral_twice, inlet_as_air
        self.kilometres, self.albedo = kilometres, albedo

    def bind(self, known: Known) -> dict[str, str]:
        """Check the units, and return degC."""
        self.factors = {
            k: known.factor(name, SERIES[k][1], self.who) for k, name in self.names.items()
        }
        self.site_factors = {k: known.factor(k, unit, self.who) for k, unit in SITE.items()}
        return dict.fromkeys(self.gives, "degC")

    def forward(self, series: Series, parameters: Named, batch: Batch) -> Named:
        """Return temperatures of all reaches.

        DataError: the sites have no network.
        """
        below = batch.require_whole_rivers(self.who)
        read = {
            k: converted(series[name], self.factors[k]).double() for k, name in self.names.items()
        }
        shape = next(iter(read.values())).shape
        for k, value in self.numbers.items():
            read[k] = torch.full(shape, value, dtype=torch.float64, device=below.device)
        for k in SITE:
            own = converted(taken(batch.attributes, k, "attribute"), self.site_factors[k])
            read[k] = own.double()[:, None].expand(shape)
        order = levels(below.cpu().numpy())
        rows = [torch.as_tensor(level, device=below.device) for level in order]
        found: list[dict[str, Tensor]] = []
        for level, sources in zip(rows, flows_between(order, below.tolist()), strict=True):
            given = {k: x[level] for k, x in read.items()}
            above = given["discharge"].new_zeros(len(level), shape[1])
            heat = torch.zeros_like(above)
            for part, source, target in sources:
                place = torch.as_tensor(target, device=below.device)
                above = above.index_add(0, place, found[part]["flow"][source])
                heat = heat.index_add(0, place, found[part]["heat"][source])
            found.append(self._level(given, above, heat))
        place = torch.cat(rows).argsort()
        return {k: torch.cat([x[k] for x in found])[place] for k in self.gives}

    def _level(self, x: dict[str, Tensor], above: Tensor, heat: Tensor) -> dict[str, Tensor]:
        """Return temperatures of reaches, and the water and its heat that leave them."""
        least, lateral = sntemp.LEAST, x["lateral_inflow"]
        flows, enters = above > 0, lateral > 0
        wet = (x["discharge"] > 0) & ((above > least) | (lateral > least))
        upper = heat / torch.where(flows, above, 1.0)
        together = torch.where(flows, above, 0.0) + torch.where(enters, lateral, 0.0)
        mixed = heat + torch.where(enters, lateral * x["lateral_temperature"], 0.0)
        mixed = mixed / torch.where(together > 0, together, 1.0)
        inlet = mixed if self.lateral_twice else torch.where(above > least, upper, mixed)
        names = sntemp.Surroundings._fields
        given = {k: x[k] for k in names if k in x}
        around = sntemp.Surroundings(**given, albedo=self.albedo)  # type: ignore[arg-type]
        air = inlet if self.inlet_as_air else x["air"]
        exchange = sntemp.exchange(inlet, sntemp.balance(air, above + lateral, around))
        length = x["length"] / 1000 if self.kilometres else x["length"]
        leaving = sntemp.reach_temperature(
            inlet, above, lateral, x["lateral_temperature"], exchange, x["width"], length
        )
        leaving = torch.where(wet, leaving, 0.0)
        flow = torch.where(wet, x["discharge"], 0.0)
        values = dict(zip(self.gives, (leaving, inlet, exchange.equilibrium), strict=True))
        missing = {k: torch.where(wet, v, torch.nan) for k, v in values.items()}
        return missing | {"flow": flow, "heat": flow * leaving}
