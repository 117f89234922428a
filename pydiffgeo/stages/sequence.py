"""Networks and records in the place of a process model: what hybrids are compared with."""

from __future__ import annotations

import warnings
from collections.abc import Sequence as Sequence_

import numpy as np
import torch
from torch import Tensor

from pydiffgeo.data.batch import Batch
from pydiffgeo.data.windows import Windows
from pydiffgeo.distributions import natural, of_kind, outputs, rescaled
from pydiffgeo.errors import DataError
from pydiffgeo.networks.base import Network
from pydiffgeo.networks.reading import Facts, Inputs, fit_inputs, seen, taken
from pydiffgeo.stages.base import Known, Named, Series, Stage

LEAST_SCALE = 0.005  # of attributes, in the unit of the series


class Sequence(Stage):
    """A network as the model: series and attributes to observed series, with nothing between.

    Its outputs are scaled by mean and standard deviation of the observations trained on, at each
    depth, or by attributes of the site. In evaluation mode discharge below zero is zero; in
    training it keeps its gradient.

    With a `distribution` the network gives its parameters, from NAME_gaussian to NAME_cmal, and the
    series is its mean: train with `losses.NLL`.

    Sources: Kratzert et al. (2019), doi:10.5194/hess-23-5089-2019; Klotz et al. (2022),
    doi:10.5194/hess-26-1673-2022, for distributions.

    Parameters
    ----------
    network : Network
        Such as `LSTM(hidden=64, dropout=0.1)`.
    gives : sequence of str
        Observed series.
    centre : str, optional
        Attribute that takes the place of the mean, such as "soil_moisture_q50"; for one series.
    scale : (str, str), optional
        Attributes whose difference takes the place of the standard deviation, such as
        ("soil_moisture_q05", "soil_moisture_q95").
    distribution : {"gaussian", "laplace", "cmal"}, optional
        Of what is observed; "cmal" is a mixture of asymmetric Laplacians.
    components : int
        Of "cmal".
    """

    def __init__(
        self,
        network: Network,
        gives: Sequence_[str] = ("discharge",),
        centre: str | None = None,
        scale: tuple[str, str] | None = None,
        distribution: str | None = None,
        components: int = 3,
    ):
        super().__init__()
        self.network, self.distribution = network, distribution
        self.series = (gives,) if isinstance(gives, str) else tuple(gives)
        self.gives, self.each = self.series, 1  # outputs of the network for a number
        if distribution is not None:
            self.each = outputs(distribution, components)
            self.gives += tuple(f"{name}_{distribution}" for name in self.series)
        self.centre, self.scale = centre, None if scale is None else tuple(scale)
        self.needs = tuple(name for name in (centre, *(scale or ())) if name)
        if self.needs and len(self.series) > 1:
            raise DataError("centre and scale are attributes of one series; leave them out.")

    @property
    def remembers(self) -> bool:  # type: ignore[override]
        """Whether its network does."""
        return self.network.remembers

    def fit(self, windows: Windows) -> Facts:
        """Return names and scaling of what the network reads, and the scaling of its outputs."""
        scalings = {}
        for name in self.series:
            values = seen(windows, name, self.who)
            scaling = (np.atleast_1d(f(values, (0, 1))).tolist() for f in (np.nanmean, np.nanstd))
            scalings[name] = [*scaling, values.ndim == 3]
        return {"inputs": fit_inputs(self.network, windows, ()), "outputs": scalings}

    def build(self, facts: Facts, known: Known, dtype: torch.dtype) -> None:
        """Make the network."""
        means, stds, self.profile = zip(*facts["outputs"].values(), strict=True)
        self.widths = [len(mean) for mean in means]
        self.register_buffer("mean", torch.tensor(sum(means, []), dtype=dtype))
        self.register_buffer("std", torch.tensor(sum(stds, []), dtype=dtype))
        self.inputs = Inputs(facts["inputs"], (), dtype)
        self.network.build(self.inputs.sizes, sum(self.widths) * self.each, known.seed)
        self.network.to(dtype)

    def forward(self, series: Series, parameters: Named, batch: Batch) -> Named:
        """Return the observed series, in their units."""
        out = self.network(self.inputs(batch))
        centre, scale = self.get_buffer("mean"), self.get_buffer("std")
        if self.centre is not None:
            centre = _column(taken(batch.attributes, self.centre, "attribute")).to(out)
        if self.scale is not None:
            low, high = (taken(batch.attributes, name, "attribute") for name in self.scale)
            scale = _column(high - low).clamp_min(LEAST_SCALE).to(out)
        out, change = out.unflatten(-1, (-1, self.each)), (scale[..., None], centre[..., None])
        known: list[Tensor] = []
        if self.distribution is None:
            values = (out * change[0] + change[1])[..., 0]
        else:
            out = rescaled(self.distribution, natural(self.distribution, out), change)
            values = of_kind(self.distribution, out).mean
            known += out.split(self.widths, -2)
        found = {}
        for name, x, profile in zip(
            self.series, values.split(self.widths, -1), self.profile, strict=True
        ):
            x = x if self.training or name != "discharge" else x.clamp_min(0.0)
            found[name] = x if profile else x[..., 0]
        for name, x, profile in zip(
            self.gives[len(self.series) :], known, self.profile, strict=False
        ):
            found[name] = x if profile else x[..., 0, :]
        return found


class Climatology(Stage):
    """The mean of the observations trained on, on every step.

    Parameters
    ----------
    gives : str
        Observed series.
    of_others : bool
        Whether each site gets the mean over all other sites in place of its own. Sites that were
        not there in training get that over all.
    """

    def __init__(self, gives: str = "soil_moisture", of_others: bool = False):
        super().__init__()
        self.gives, self.of_others = (gives,), of_others

    def fit(self, windows: Windows) -> Facts:
        """Return the mean of each site, a list by site and depth."""
        values = seen(windows, self.gives[0], self.who)
        with warnings.catch_warnings():  # a site without observations has no mean
            warnings.simplefilter("ignore", RuntimeWarning)
            rows = mean = np.nanmean(values, 1)
            whole = np.asarray(np.nanmean(mean, 0))
            if self.of_others:
                rows = np.stack([np.nanmean(np.delete(mean, k, 0), 0) for k in range(len(mean))])
        sites = [str(site) for site in windows.sites.site.values]
        return {"sites": sites, "rows": rows.tolist(), "whole": whole.tolist()}

    def build(self, facts: Facts, known: Known, dtype: torch.dtype) -> None:
        """Keep the means."""
        self.known = {site: k for k, site in enumerate(facts["sites"])}
        rows = torch.tensor([*facts["rows"], facts["whole"]], dtype=dtype)
        self.register_buffer("rows", rows)

    def forward(self, series: Series, parameters: Named, batch: Batch) -> Named:
        """Return the mean, [batch, time] or [batch, time, depth]."""
        rows = self.get_buffer("rows")[[self.known.get(name, -1) for name in batch.names]]
        return {self.gives[0]: rows[:, None].expand(-1, batch.length, *rows.shape[1:])}


class Persistence(Stage):
    """What was observed some steps before, on every step: the least that a forecast must beat.

    It knows the observations of the days that it is judged on, up to so many steps before. Where
    there is none, it gives the mean of the observations trained on.

    Parameters
    ----------
    gives : sequence of str
        Observed series.
    steps : int
        How many steps before; 48 half-hours are the day before.

    Raises
    ------
    DataError
        Fewer steps than one.
    """

    def __init__(self, gives: str | Sequence_[str] = ("discharge",), steps: int = 1):
        super().__init__()
        self.gives, self.steps = (gives,) if isinstance(gives, str) else tuple(gives), steps
        if steps < 1:
            raise DataError(f"steps = {steps} is not of the past; give at least 1.")

    def fit(self, windows: Windows) -> Facts:
        """Return the mean of each series, and that the past of it is read."""
        means = {name: float(np.nanmean(seen(windows, name, self.who))) for name in self.gives}
        read = {"past": dict.fromkeys(self.gives, self.steps)}
        return {"means": means, "inputs": {"attributes": [], "profiles": [], "series": []} | read}

    def build(self, facts: Facts, known: Known, dtype: torch.dtype) -> None:
        """Keep the means."""
        self.means = facts["means"]

    def forward(self, series: Series, parameters: Named, batch: Batch) -> Named:
        """Return what was observed before, [batch, time, ...]."""
        found = {}
        for name in self.gives:
            past = taken(batch.observed, name, "observed series").roll(self.steps, 1)
            past[:, : self.steps] = torch.nan
            found[name] = torch.where(torch.isfinite(past), past, self.means[name])
        return found


def _column(values: Tensor) -> Tensor:
    """Return attributes [batch] or [batch, depth] as [batch, 1, depth]."""
    return values.reshape(len(values), 1, -1)
