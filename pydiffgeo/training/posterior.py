"""Posteriors of hybrids: how well records determine parameters, and what that means for series."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
import xarray as xr
from torch import Tensor
from torch.nn.utils import vector_to_parameters

from pydiffgeo.data.batch import Batch
from pydiffgeo.data.form import stamp
from pydiffgeo.data.windows import Windows
from pydiffgeo.errors import DataWarning, SettingsError, listed, lookup
from pydiffgeo.evaluation.evaluate import Evaluation, evaluate
from pydiffgeo.evaluation.probabilistic import QUANTILE
from pydiffgeo.files import write_netcdf
from pydiffgeo.hybrid import Hybrid
from pydiffgeo.members import Ensemble
from pydiffgeo.networks.table import Table
from pydiffgeo.stages.error_model import ErrorModel
from pydiffgeo.stages.parallel import flat
from pydiffgeo.training.laplace import Mode, find_mode
from pydiffgeo.training.likelihood import Errors, Likelihood
from pydiffgeo.training.nuts import effective_size, require_pyro, sample, split_r_hat
from pydiffgeo.training.priors import BoundedPriors, WeightPriors

METHODS = {
    "laplace": "a normal distribution around the mode",
    "hmc": "the No-U-Turn sampler",
    "ensemble": "the members of a trained ensemble",
}
MOST = {"laplace": 1000, "hmc": 60}  # numbers of a row
LEAST_DRAWS = 4  # of a chain, whose halves are compared
NEAR = 0.05  # of a bound, as a share of the interval
MIXED = 1.01  # R-hat, at most (Vehtari et al. 2021, doi:10.1214/20-BA1221)
SITES_AT_ONCE = 8  # of a predictive simulation, each with all draws


@dataclass(repr=False)
class Posterior:
    """Draws of parameters, how good they are, and the series that they give.

    Attributes
    ----------
    draws : xarray.Dataset
        Each parameter [chain, draw, site] in its unit; of samples ``r_hat`` and
        ``effective_size`` [parameter, site]; ``cpu_seconds``.
    ensemble : Ensemble
        A hybrid for each of some draws, for `pydiffgeo.evaluate` and `simulate`: its distribution
        is the posterior predictive one, errors included.
    prior : Ensemble or None
        The same of draws of the prior; None of a trained ensemble.
    posterior_predictive, prior_predictive : Evaluation or None
        Of the sites and days of the calibration.
    """

    draws: xr.Dataset
    ensemble: Ensemble
    prior: Ensemble | None
    posterior_predictive: Evaluation | None
    prior_predictive: Evaluation | None

    @property
    def summary(self) -> pd.DataFrame:
        """A row for each site and parameter: mean, sd, quantiles, R-hat, effective size."""
        table = []
        for name, values in self.draws.filter_by_attrs(role="parameter").items():
            flat_values = values.stack(every=("chain", "draw"))
            for site in self.draws["site"].values:
                one = flat_values.sel(site=site)
                row: dict[str, Any] = {"site": str(site), "parameter": str(name)}
                row |= {"mean": float(one.mean()), "sd": float(one.std(ddof=1))}
                row |= {f"q{q:g}": float(np.quantile(one, q / 100)) for q in (5, 50, 95)}
                for measure in ("r_hat", "effective_size"):
                    if measure in self.draws:
                        row[measure] = float(self.draws[measure].sel(site=site, parameter=name))
                table.append(row)
        return pd.DataFrame(table)

    def correlation(self, site: str | None = None) -> pd.DataFrame:
        """Return the correlation of the draws of the parameters of a site, the first by default."""
        own = self.draws.filter_by_attrs(role="parameter")
        own = own.isel(site=0) if site is None else own.sel(site=site)
        names = [str(name) for name in own]
        values = np.stack([own[name].values.ravel() for name in names])
        return pd.DataFrame(np.corrcoef(values), names, names)

    @property
    def data(self) -> xr.Dataset:
        """Draws and series: ``NAME_quantile`` of the posterior, ``NAME_prior_quantile``."""
        found = self.draws.copy()
        for which, run in (("", self.posterior_predictive), ("_prior", self.prior_predictive)):
            for name in run.observed if run is not None else ():
                assert run is not None
                kept = {name + QUANTILE: f"{name}{which}{QUANTILE}"}
                if not which:
                    kept |= {name: name, f"{name}_observed": f"{name}_observed"}
                found = found.assign({new: run.data[old] for old, new in kept.items()})
        return found

    def to_netcdf(self, path: str | Path) -> Path:
        """Write draws and predictive series, and return the path."""
        return write_netcdf(self.data, path)

    def __repr__(self) -> str:
        return f"Posterior by {self.draws.attrs['method']}\n{self.summary.to_string(index=False)}"


def posterior(
    hybrid: Hybrid | Ensemble, windows: Windows, method: str = "laplace", *,
    observed: str | None = None, of: Literal["sites", "weights"] = "sites",
    priors: Mapping[str, Any] | None = None, weight_spread: float = 1.0,
    noise: float | None = None, correlated: bool = False, samples: int = 500, warm_up: int = 200,
    chains: int = 2, starts: int = 4, predictive: int = 100, seed: int = 0,
) -> Posterior:  # fmt: skip
    """Find the posterior of the parameters of each site, or of the weights of a small hybrid.

    The likelihood is that of the hybrid's `ErrorModel` where it has one, whose parameters are part
    of the posterior. Otherwise errors are Gaussian: independent or, `correlated`, a first-order
    autoregression, with the spread and correlation that fit best at the mode, taken as known.

    Parameters
    ----------
    hybrid : Hybrid or Ensemble
        Its stages are run with parameters of each site and no network, as `calibrate` does; of
        "weights" it is trained and in float64. For "ensemble" a trained `Ensemble`.
    windows : Windows
        Of the whole period.
    method : {"laplace", "hmc", "ensemble"}
        Laplace's approximation by the generalised Gauss-Newton matrix, of first derivatives; NUTS
        of pyro-ppl through the gradient of the solver, site by site; the members of a trained
        ensemble, which is no posterior of any prior (Lakshminarayanan et al. 2017,
        arXiv:1612.01474).
    observed : str, optional
        Series; the first that is observed and given by default.
    of : {"sites", "weights"}
        What has a posterior.
    priors : mapping of str to torch.distributions.Distribution, optional
        Of single parameters in their units, cut off at their bounds; by default uniform in the
        bounds, on their scale.
    weight_spread : float
        Standard deviation of the normal prior of weights.
    noise : float, optional
        Standard deviation of the errors (of what is new, where they are correlated).
    correlated : bool
        Whether errors without an `ErrorModel` are a first-order autoregression.
    samples, warm_up, chains : int
        Draws of each chain, draws before them that are thrown away, and chains; Laplace's draws
        are `samples` times `chains`.
    starts : int
        Of the search for the mode.
    predictive : int
        Draws that become members of the ensembles and of the predictive series; 0 for none.
    seed : int
        Of all random numbers.

    Returns
    -------
    Posterior
        Draws, R-hat and effective sizes, and the predictive series.

    Raises
    ------
    SettingsError
        Windows of parts of the period; rivers; too many numbers for a method; nothing to sample.
    DataError
        Parameters that nothing tells apart.
    EngineUnavailable
        NUTS without pyro-ppl.
    """
    lookup(METHODS, method, "method of a posterior")
    begun = time.process_time()
    _require_whole(windows)
    if method == "ensemble":
        return _of_ensemble(hybrid, windows, observed, predictive)
    if isinstance(hybrid, Ensemble):
        raise SettingsError(f"{method!r} is of one hybrid, not of an ensemble: give one.")
    if windows.closed is not None or hybrid.closed is not None:
        raise SettingsError(
            "a posterior is site by site, and discharge of a river is of all sites above, what a "
            "satellite sees of all sites of its cell (Satellite(cells=False) where each is alone); "
            "train an ensemble instead, and take method='ensemble'."
        )
    if method == "hmc":
        require_pyro()
        if samples < LEAST_DRAWS:
            raise SettingsError(
                f"samples={samples}: R-hat needs chains of at least {LEAST_DRAWS} draws."
            )
    model = _model(hybrid, windows, of)
    name = observed or _first_observed(model, windows)
    windows, batch = _with_observations(model, windows, name)
    likelihood = Likelihood(model, batch, name, of == "weights")
    if likelihood.size > MOST[method]:
        raise SettingsError(
            f"{likelihood.size} numbers are too many for {method!r}, which takes at most "
            f"{MOST[method]}: learn fewer parameters (Process(learn=[...])), or take "
            f"{'laplace or ' if likelihood.size <= MOST['laplace'] else ''}method='ensemble'."
        )
    of_prior: Any = WeightPriors(likelihood.size, weight_spread)
    if of == "sites":
        of_prior = BoundedPriors(model.learns, priors)
    if of == "weights" and likelihood.kind is None:
        raise SettingsError(
            f"the posterior of weights needs to know the errors: add ErrorModel({name!r})."
        )
    mode = find_mode(likelihood, of_prior, correlated, noise, starts, seed)
    if of == "sites":
        _tell_bounds(torch.special.ndtr(mode.z), list(model.learns), windows.names)
    random = torch.Generator().manual_seed(seed)
    if method == "laplace":
        z = mode.draws(samples * chains, random)[None]
    else:
        z = sample(likelihood, of_prior, mode, samples, warm_up, chains, seed)
    draws = _dataset(likelihood, windows, z, mode, method, time.process_time() - begun)
    if method == "hmc":
        _tell_unmixed(draws)
    if not predictive:
        return Posterior(draws, Ensemble([]), None, None, None)
    every = z.flatten(0, 1)
    chosen = every[torch.linspace(0, len(every) - 1, min(predictive, len(every))).round().long()]
    first = of_prior.sample((predictive, likelihood.rows), random)
    ensembles = [_members(likelihood, windows, some, mode.errors) for some in (chosen, first)]
    judged = [_judged(ensemble, windows, name) for ensemble in ensembles]
    return Posterior(draws, ensembles[0], ensembles[1], judged[0], judged[1])


def _require_whole(windows: Windows) -> None:
    if windows.length is not None or windows.batch_size is not None:
        raise SettingsError(
            "a posterior needs windows of the whole period: leave length and batch out."
        )


def _model(hybrid: Hybrid, windows: Windows, of: str) -> Hybrid:
    """Return the hybrid whose numbers have a posterior."""
    if of == "weights":
        if hybrid.dtype != torch.float64 or not hybrid.prepared:
            raise SettingsError(
                "the posterior of weights is of a trained hybrid in double precision: "
                "Hybrid(..., dtype=torch.float64), trained before."
            )
        return hybrid.eval()
    if of != "sites":
        raise SettingsError(f"of={of!r} is neither 'sites' nor 'weights'.")
    if not hybrid.learns:
        raise SettingsError(
            "this hybrid has no parameters; take one with a process model, or of='weights'."
        )
    model = Hybrid(Table(windows.names), *flat(hybrid.stages), dtype=torch.float64)
    model.prepare(windows).eval()
    if any(True for _ in model.parameters()):
        raise SettingsError(
            "a posterior of parameters knows no weights of networks: take a hybrid without them in "
            "its stages, or of='weights'."
        )
    return model


def _tell_bounds(share: Tensor, parameters: list[str], sites: Sequence[str]) -> None:
    """Warn of modes [site, parameter], as shares of the interval, that are near a bound."""
    near = ((share < NEAR) | (share > 1 - NEAR)).nonzero().tolist()
    if near:
        named = [f"{parameters[k]} at {sites[row]}" for row, k in near]
        warnings.warn(
            f"{len(named)} modes are within {NEAR:.0%} of a bound: {listed(named, 5)}. A normal "
            "distribution is a poor one there, and a mode at another bound may have been missed: "
            "widen the bounds, take more starts, or compare with method='hmc'.",
            DataWarning,
            stacklevel=3,
        )


def _tell_unmixed(draws: xr.Dataset) -> None:
    """Warn of parameters whose chains do not agree."""
    worst = draws["r_hat"].max("parameter")
    found = [f"{site} ({float(worst.sel(site=site)):.3g})" for site in worst["site"].values
             if not float(worst.sel(site=site)) <= MIXED]  # fmt: skip
    if found:
        warnings.warn(
            f"R-hat is above {MIXED} at {len(found)} sites: {listed(found, 5)}. Their chains have "
            "not converged; take more samples and warm_up, or learn fewer parameters.",
            DataWarning,
            stacklevel=3,
        )


def _with_observations(model: Hybrid, windows: Windows, name: str) -> tuple[Windows, Batch]:
    """Return windows of the sites that have forcing and observations, and their batch."""
    batch = windows.reading(model.reads, (name,), model.needs).batch(0)
    lost = [site for site in windows.names if site not in batch.names]
    if lost:
        warnings.warn(
            f"{len(lost)} sites without complete forcing and observations of {name} have no "
            f"posterior: {listed(lost, 5)}",
            DataWarning,
            stacklevel=3,
        )
        windows = windows.only(batch.names)
    return windows, batch


def _first_observed(model: Hybrid, windows: Windows) -> str:
    names = [name for name in windows.observed if name in model.gives]
    if not names:
        raise SettingsError(
            f"nothing that the hybrid gives is observed ({', '.join(windows.observed) or 'none'}); "
            "name the observed series in Windows(observed=[...])."
        )
    return names[0]


def _dataset(
    likelihood: Likelihood, windows: Windows, z: Tensor, mode: Mode, method: str, seconds: float
) -> xr.Dataset:
    """Return draws [chain, draw, site] in units, and how good they are."""
    dims = ("chain", "draw", "site")
    if likelihood.weights:
        names = [f"weight_{k}" for k in range(z.shape[-1])]
        values = dict(zip(names, z.unbind(-1), strict=True))
        sites, units = ["all"], dict.fromkeys(names, "1")
    else:
        values, sites = likelihood.physical(z), list(windows.names)
        units = _units(likelihood.model)
    found = xr.Dataset(coords={"site": sites})
    for name, draws in values.items():
        attrs = {"role": "parameter", "units": units.get(name, "1")}
        found[name] = dims, draws.detach().numpy(), attrs
    if method == "hmc":
        found.coords["parameter"] = list(values)
        for measure, of_draws in (("r_hat", split_r_hat), ("effective_size", effective_size)):
            each = torch.stack([of_draws(draws) for draws in values.values()])
            found[measure] = ("parameter", "site"), each.detach().numpy()
    if mode.errors is not None:
        found["error_sd"] = "site", mode.errors.sd.numpy()
        found["error_correlation"] = "site", mode.errors.rho.numpy()
    found["converged"] = "site", mode.converged.numpy()
    found.attrs = {"method": method, "observed": likelihood.observed, "cpu_seconds": seconds}
    return found


def _units(model: Hybrid) -> dict[str, str]:
    units = dict(model.units)
    for stage in flat(model.stages):
        spec = getattr(getattr(stage, "model", None), "spec", None)
        units |= {n: p.unit for n, p in spec.parameters.items()} if spec is not None else {}
    return units


def _members(
    likelihood: Likelihood, windows: Windows, z: Tensor, errors: Errors | None
) -> Ensemble:
    """Return a hybrid for each of draws z [draw, row, z], with the errors that were fitted."""
    if likelihood.weights:
        members = []
        for one in z:
            member = deepcopy(likelihood.model)
            vector_to_parameters(one[0], member.parameters())
            members.append(member)
        return Ensemble(members)
    stages, name = flat(likelihood.model.stages), likelihood.observed
    extra = [] if errors is None else [ErrorModel(name)]
    own = Hybrid(Table(windows.names), *stages, *extra, dtype=torch.float64).prepare(windows).eval()
    values = {k: v.detach().numpy() for k, v in likelihood.physical(z).items()}
    if errors is not None:
        whole = errors.whole.expand(len(z), -1).numpy()
        values |= {f"{name}_error_floor": whole, f"{name}_error_share": 0 * whole}
    ensemble = own.ensemble(range(len(z))).eval()
    sites = [likelihood.batch.sites[k] for k in likelihood.batch.site.tolist()]
    for d in range(len(z)):
        table: Any = ensemble[d].network
        for row, site in enumerate(sites):
            table.set(site, {k: float(v[d, row]) for k, v in values.items()})
    return ensemble


def _judged(ensemble: Ensemble, windows: Windows, name: str) -> Evaluation:
    """Return the predictive distribution in the period of the windows."""
    days: tuple[Any, Any] = (None, None)
    if windows.interval:
        batch = windows.batch(0)
        first = int(batch.start[0])
        judged = (first + batch.warm_up, first + batch.length - 1)
        days = stamp(windows.times[judged[0]]), stamp(windows.times[judged[1]])
    return evaluate(
        ensemble, windows.sites, *days, warm_up=windows.warm_up, batch=SITES_AT_ONCE,
        observed=(name,), also=(), missing="skip",
    )  # fmt: skip


def _of_ensemble(
    hybrid: Hybrid | Ensemble, windows: Windows, observed: str | None, predictive: int
) -> Posterior:
    """Return the members of a trained ensemble as draws."""
    if not isinstance(hybrid, Ensemble):
        raise SettingsError(
            "method='ensemble' takes a trained ensemble: train one by `training.seeds: [0, 1, 2]` "
            "in settings, or Trainer(..., members=twins(...)), and give its `model`."
        )
    first = hybrid[0]
    name = observed or _first_observed(first, windows)
    batch = windows.reading(first.reads, (name,), first.needs).batch(0)
    found = xr.Dataset(coords={"site": [batch.sites[k] for k in batch.site.tolist()]})
    with torch.no_grad():
        each = [_site_means(member, batch) for member in hybrid.members]  # type: ignore[arg-type]
    units = _units(first)
    for parameter in each[0]:
        values = torch.stack([one[parameter] for one in each])[None].numpy()
        attrs = {"role": "parameter", "units": units.get(parameter, "1")}
        found[parameter] = ("chain", "draw", "site"), values, attrs
    found.attrs = {"method": "ensemble", "observed": name}
    judged = _judged(hybrid, windows, name) if predictive else None
    return Posterior(found, hybrid, None, judged, None)


def _site_means(member: Hybrid, batch: Batch) -> dict[str, Tensor]:
    """Return parameters [site], means over copies, layers and time."""
    found = member.parameters_of(batch)
    return {name: values.flatten(1).mean(1).double() for name, values in found.items()}
