"""Series that arrive some hours later."""

from __future__ import annotations

from pydiffgeo.data.batch import Batch
from pydiffgeo.engines.whole_rivers import delayed
from pydiffgeo.errors import SettingsError
from pydiffgeo.networks.bounds import Bounds
from pydiffgeo.stages.base import Known, Named, Range, Series, Stage, nearest_inside


class Delay(Stage):
    """A series that arrives later by a learned part of a step, such as rain of days that begin at
    another hour.

    A step gets the part of itself and of the one before that falls into it, as if each were spread
    evenly over its step: the sum stays, but for what crosses the ends of the window, and peaks are
    spread, which is the price of the shift. Before the first step, and after the last one where
    the delay is negative, its value goes on. `Downstream(delay=...)` does the same to the inflow of
    reaches. The parameter is NAME_delay, in hours.

    Parameters
    ----------
    name : str
        Series, whose place the delayed one takes.
    between : (float, float)
        Bounds of the delay (h), below zero where the series may arrive earlier. It begins at zero
        or at the bound that is nearest to it.
    """

    def __init__(self, name: str, between: Range = (-12.0, 12.0)):
        super().__init__()
        self.of, self.parameter = name, f"{name}_delay"
        self.reads = self.gives = (name,)
        self.learns = {self.parameter: Bounds(*between)}
        self.begin = nearest_inside({self.parameter: 0.0}, self.learns)

    def bind(self, known: Known) -> dict[str, str]:
        """Take the step, and return the unit of the series."""
        self.hours = known.length("h")
        return known.unit_of(self.of, self.gives)

    def forward(self, series: Series, parameters: Named, batch: Batch) -> Named:
        """Return the series, delayed."""
        delay = parameters[self.parameter]
        if delay.ndim != 1:
            raise SettingsError(
                f"Delay: {self.parameter!r} is one number for each site; take it out of `varying`."
            )
        return {self.of: delayed(series[self.of], delay / self.hours)}
