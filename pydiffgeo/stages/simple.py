"""Stages of one line: factors, routing, snow, plants."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import numpy as np
import torch

from pydiffgeo.data.batch import Batch
from pydiffgeo.data.network import DOWNSTREAM, below
from pydiffgeo.data.windows import Windows
from pydiffgeo.networks.bounds import Bounds
from pydiffgeo.networks.reading import Facts, taken
from pydiffgeo.routing import SCALE_BOUNDS, SHAPE_BOUNDS, route
from pydiffgeo.stages.base import (
    Known,
    Named,
    Range,
    Series,
    Stage,
    converted,
    in_time,
    nearest_inside,
    with_bounds,
)

log = logging.getLogger("pydiffgeo")

MM_D_KM2 = 86.4  # mm d-1 over km2 that are one m3 s-1


class Scale(Stage):
    """A learned factor of one series, such as precipitation.

    Gauges catch too little snow and stand too low.

    Parameters
    ----------
    name : str
        Series; the parameter is NAME_factor.
    between : (float, float)
        Bounds of the factor, which is sampled on a logarithmic scale and begins at 1 or, where that
        is outside, at the nearest.
    """

    remembers = False

    def __init__(self, name: str, between: Range = (0.5, 2.0)):
        super().__init__()
        self.of, self.factor = name, f"{name}_factor"
        self.reads = self.gives = (name,)
        self.learns = {self.factor: Bounds(*between, "log")}
        self.begin = nearest_inside({self.factor: 1.0}, self.learns)

    def forward(self, series: Series, parameters: Named, batch: Batch) -> Named:
        """Return the series times its factor."""
        values = series[self.of]
        return {self.of: values * in_time(parameters[self.factor], values)}


class UnitHydrograph(Stage):
    """Routes a series to the outlet by a gamma unit hydrograph with learned shape and scale.

    What came in is kept as "runoff". The hydrograph is in days, whatever the step of the series.

    Source: Feng et al. (2022), doi:10.1029/2022WR032404; see `pydiffgeo.routing.route`.

    Parameters
    ----------
    series : str
        Runoff that is routed.
    between_a, between_b : (float, float)
        Bounds of the shape (1) and of the scale (d).
    """

    def __init__(
        self,
        series: str = "discharge",
        between_a: Range = SHAPE_BOUNDS,
        between_b: Range = SCALE_BOUNDS,
    ):
        super().__init__()
        self.of = series
        self.reads, self.gives = (series,), ("runoff", series)
        self.learns = {"route_a": Bounds(*between_a), "route_b": Bounds(*between_b)}

    def bind(self, known: Known) -> dict[str, str]:
        """Take the step, and return the unit of the runoff for both."""
        self.days = known.length()
        return known.unit_of(self.of, self.gives)

    def forward(self, series: Series, parameters: Named, batch: Batch) -> Named:
        """Return runoff and routed series."""
        runoff = series[self.of]
        a, b = (parameters[name].to(runoff.dtype) for name in self.learns)
        return {"runoff": runoff, self.of: route(runoff, a, b, step=self.days)}


class Lateral(Stage):
    """Runoff of the land along a reach, from a depth per time to a volume per time.

    Parameters
    ----------
    runoff : str
        Series, in mm d-1 or what converts.
    area : str
        Attribute: the land that drains to the reach itself, without that of the reaches above, in
        km2 or what converts.
    name : str
        What it is given as, in m3 s-1.
    """

    def __init__(
        self, runoff: str = "discharge", area: str = "area", name: str = "lateral_inflow"
    ) -> None:
        super().__init__()
        self.of, self.area = runoff, area
        self.reads, self.needs, self.gives = (runoff,), (area,), (name,)

    def fit(self, windows: Windows) -> Facts:
        """Warn of areas that look like those of whole basins, which would count water twice."""
        sites, area = windows.sites, self.area
        if DOWNSTREAM in sites.variables and area in sites and sites[area].dims == ("site",):
            into, own = below(sites), sites[area].values.astype(float)
            inner = into >= 0
            above = np.bincount(into[inner], own[inner], len(own))
            confluences = np.unique(into[inner])
            if len(confluences) > 1 and (own[confluences] >= above[confluences]).all():
                log.warning(
                    "Lateral: %r of each site is no less than that of the sites above it together, "
                    "as of whole basins, whose water would count again and again; Lateral needs "
                    "the land of the site alone: derive={'own_area': {'series': []}} gives it: "
                    "Lateral(area='own_area')", area,
                )  # fmt: skip
        return {}

    def bind(self, known: Known) -> dict[str, str]:
        """Check the units, and return m3 s-1."""
        self.factors = [
            known.factor(self.of, "mm d-1", self.who), known.factor(self.area, "km2", self.who)
        ]  # fmt: skip
        return {self.gives[0]: "m3 s-1"}

    def forward(self, series: Series, parameters: Named, batch: Batch) -> Named:
        """Return the runoff as a volume per time."""
        runoff = converted(series[self.of], self.factors[0])
        area = converted(taken(batch.attributes, self.area, "attribute"), self.factors[1])
        return {self.gives[0]: runoff * (area.to(runoff)[:, None] / MM_D_KM2)}


class DegreeDay(Stage):
    """Snow as a degree-day store.

    Precipitation below a threshold temperature waits, and melts above it.

    Gives "rain_and_melt" and "snow_store", which is empty at the start of a window.
    Source: Hock (2003), doi:10.1016/S0022-1694(03)00257-9, eq. 2.

    Parameters
    ----------
    threshold : float
        At or below it all precipitation is snow (degC).
    factor : float
        Melt per degree above the threshold (mm degC-1 d-1); where it begins, if it is learned.
    learn : (float, float), optional
        Bounds of the factor as the learned parameter "snow_factor" of each site.
    """

    reads = ("precipitation", "tair_mean")
    gives = ("rain_and_melt", "snow_store")

    def __init__(self, threshold: float = 0.0, factor: float = 3.0, learn: Range | None = None):
        super().__init__()
        self.threshold, self.factor = threshold, factor
        if learn is not None:
            self.learns, self.begin = {"snow_factor": Bounds(*learn)}, {"snow_factor": factor}

    def bind(self, known: Known) -> dict[str, str]:
        """Check the units, and return mm d-1 and mm."""
        wanted = zip(self.reads, ("mm d-1", "degC"), strict=True)
        self.factors = [known.factor(name, unit, self.who) for name, unit in wanted]
        self.days = known.length()
        return {"rain_and_melt": "mm d-1", "snow_store": "mm"}

    def forward(self, series: Series, parameters: Named, batch: Batch) -> Named:
        """Return rain and melt, mm d-1, and the store at the end of each day, mm."""
        read = zip(self.reads, self.factors, strict=True)
        fall, temperature = (converted(series[name], factor) for name, factor in read)
        warmth = (temperature - self.threshold).clamp_min(0.0)
        factor = in_time(parameters["snow_factor"].to(fall), fall) if self.learns else self.factor
        most, snow = (factor * warmth).unbind(1), torch.where(warmth > 0, 0.0, fall)
        rain = fall - snow
        store, liquid, stores = torch.zeros_like(fall[:, 0]), [], []
        for frozen, able in zip(snow.unbind(1), most, strict=True):
            store = store + frozen * self.days
            melt = torch.minimum(store, able * self.days)
            store = store - melt
            liquid.append(melt / self.days)
            stores.append(store)
        melted = torch.stack(liquid, 1)
        return {"rain_and_melt": rain + melted, "snow_store": torch.stack(stores, 1)}


class Canopy(Stage):
    """Divides potential evapotranspiration between plants and bare soil.

    The demand is the reference times the crop coefficient (FAO-56, chapter 5); the covered share of
    it is potential transpiration, the rest potential evaporation.

    Parameters
    ----------
    series : str
        Reference evapotranspiration.
    bounds : mapping of str to (float, float), optional
        Bounds that replace the defaults of cover and crop_coefficient.
    begin : mapping of str to float, optional
        Where they begin, in place of 0.7 and 1.0.
    """

    gives = ("potential_transpiration", "potential_evaporation")

    def __init__(
        self,
        series: str = "potential_evapotranspiration",
        bounds: Mapping[str, Range] | None = None,
        begin: Mapping[str, float] | None = None,
    ):
        super().__init__()
        self.of, self.reads = series, (series,)
        known = {"cover": Bounds(0.05, 0.98), "crop_coefficient": Bounds(0.3, 1.5)}
        self.learns = with_bounds(known, bounds)
        start = {"cover": 0.7, "crop_coefficient": 1.0} | dict(begin or {})
        self.begin = nearest_inside(start, self.learns)

    def bind(self, known: Known) -> dict[str, str]:
        """Return the unit of the reference for both."""
        return known.unit_of(self.of, self.gives)

    def forward(self, series: Series, parameters: Named, batch: Batch) -> Named:
        """Return potential transpiration and potential evaporation."""
        reference = series[self.of]
        cover, crop = (in_time(parameters[name], reference) for name in self.learns)
        demand = reference * crop
        return dict(zip(self.gives, (cover * demand, (1 - cover) * demand), strict=True))
