"""Posteriors against closed forms: a linear reservoir, weights of a line, and what is refused."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from posterior_cases import (
    NOISE,
    TRUE,
    Columns,
    closed_form,
    hybrid,
    records,
    windows,
    with_columns,
)

import pydiffgeo as pdg
from pydiffgeo import stages
from pydiffgeo.errors import DataWarning, SettingsError, UnknownName
from pydiffgeo.training import posterior
from pydiffgeo.training.laplace import find_mode
from pydiffgeo.training.likelihood import Errors, Likelihood
from pydiffgeo.training.posterior import _tell_unmixed
from pydiffgeo.training.priors import BoundedPriors

F64 = torch.float64


def moments(found, site: str) -> tuple[np.ndarray, np.ndarray]:
    table = found.summary.query("site == @site").set_index("parameter")
    names = ["share", "spring"]
    return table.loc[names, "mean"].to_numpy(), table.loc[names, "sd"].to_numpy()


def test_laplace_of_a_linear_reservoir_is_its_closed_form(tmp_path: Path) -> None:
    """Mean within 1 %, standard deviation within 3 %, of each site; solved by implicit Euler."""
    sites = records()
    found = posterior(
        hybrid(tmp_path), windows(sites), noise=NOISE, samples=10_000, chains=1, predictive=0
    )
    for k, site in enumerate(("r0", "r1")):
        mean, covariance = closed_form(sites, k)
        sd = np.sqrt(np.diag(covariance))
        assert np.allclose(moments(found, site)[0], mean, rtol=0.01)
        assert np.allclose(moments(found, site)[1], sd, rtol=0.03)
        expected = covariance[0, 1] / sd.prod()
        assert found.correlation(site).loc["share", "spring"] == pytest.approx(expected, abs=0.02)
    assert bool(found.draws["converged"].all())


def test_nuts_of_the_same_is_its_closed_form() -> None:
    pytest.importorskip("pyro")
    sites = with_columns(records(1))
    made = pdg.Hybrid(pdg.MLP(reads=(), hidden=()), Columns())
    options = {"noise": NOISE, "samples": 1500, "warm_up": 150, "chains": 2, "predictive": 0}
    found = posterior(made, windows(sites), "hmc", seed=2, **options)
    mean, covariance = closed_form(sites, 0)
    assert np.allclose(moments(found, "r0")[0], mean, rtol=0.01)
    assert np.allclose(moments(found, "r0")[1], np.sqrt(np.diag(covariance)), rtol=0.03)
    assert (found.draws["r_hat"] < 1.01).all() and (found.draws["effective_size"] > 1000).all()


def test_nuts_goes_through_the_solver(tmp_path: Path) -> None:
    """A recession that is learned, too; as exact as so few draws can be."""
    pytest.importorskip("pyro")
    sites = records(1, 40)
    found = posterior(
        hybrid(tmp_path), windows(sites), "hmc", noise=NOISE, samples=60, warm_up=30, chains=1,
        predictive=0,
    )  # fmt: skip
    mean, covariance = closed_form(sites, 0)
    sd = np.sqrt(np.diag(covariance))
    error = sd / np.sqrt(found.draws["effective_size"].values[:, 0].clip(20, 60))
    assert (np.abs(moments(found, "r0")[0] - mean) < 3.5 * error).all()
    assert np.allclose(moments(found, "r0")[1], sd, rtol=0.4)


def test_errors_that_are_not_known_are_those_of_the_best_fit(tmp_path: Path) -> None:
    sites = records(2, 400)
    options = {"samples": 2000, "chains": 1, "predictive": 0}
    found = posterior(hybrid(tmp_path), windows(sites), **options)
    assert np.allclose(found.draws["error_sd"], NOISE, rtol=0.08)
    assert (found.draws["error_correlation"] == 0).all()
    own = posterior(
        hybrid(tmp_path, ("share", "spring"), stages.ErrorModel()), windows(sites), **options
    )
    table = own.summary.query("parameter == 'discharge_error_floor'")
    assert np.allclose(table["mean"], NOISE, rtol=0.2)
    assert "error_sd" not in own.draws and own.draws["discharge_error_floor"].units == "mm d-1"
    for site in ("r0", "r1"):
        assert np.allclose(moments(found, site)[0], moments(own, site)[0], rtol=0.03)


def test_a_prior_that_knows_more_than_the_record(tmp_path: Path) -> None:
    """A narrow normal prior of a parameter that a record tells little of: the product of both."""
    sites = with_columns(records(1, 40))
    made = pdg.Hybrid(pdg.MLP(reads=(), hidden=()), Columns())
    mean, covariance = closed_form(sites, 0)
    width = float(np.sqrt(covariance[1, 1])) / 2
    prior = torch.distributions.Normal(mean[1] + 2 * width, width)
    flat = torch.distributions.Uniform(0.0, 3.0)
    found = posterior(
        made, windows(sites), noise=NOISE, samples=10_000, chains=1, predictive=0,
        priors={"spring": prior, "share": flat},
    )  # fmt: skip
    precision = np.linalg.inv(covariance) + np.diag([0, width**-2])
    shifted = np.linalg.solve(
        precision, np.linalg.solve(covariance, mean) + [0, (mean[1] + 2 * width) / width**2]
    )
    assert np.allclose(moments(found, "r0")[0], shifted, rtol=0.01)
    sd = np.sqrt(np.diag(np.linalg.inv(precision)))
    assert np.allclose(moments(found, "r0")[1], sd, rtol=0.03)


def test_the_curvature_at_a_bound_is_that_of_the_scale_too() -> None:
    """Less than no spring would fit: Laplace's matrix is the second derivative at the mode."""
    sites = with_columns(records(1))
    sites["discharge"] = (sites.discharge - 2.0 * sites.of_spring).assign_attrs(units="mm d-1")
    made = pdg.Hybrid(pdg.MLP(reads=(), hidden=()), Columns())
    made.prepare(windows(sites))
    batch = windows(sites).reading(made.reads, ("discharge",), made.needs).batch(0)
    likelihood, priors = Likelihood(made, batch, "discharge"), BoundedPriors(made.learns)
    mode = find_mode(likelihood, priors, noise=NOISE)
    assert float(torch.special.ndtr(mode.z[0, 1])) < 0.05

    def potential(z: torch.Tensor) -> torch.Tensor:
        misfit = likelihood.misfit(likelihood.simulated(z[None, None]), mode.errors)
        return misfit.sum() - priors.log_density(z).sum()

    second = torch.func.hessian(potential)(mode.z[0])
    found = torch.cholesky_inverse(mode.root[0])
    torch.testing.assert_close(found, second, rtol=1e-3, atol=1e-2)


def test_laplace_keeps_the_prior_of_what_a_record_tells_nothing_of() -> None:
    """A spring whose discharge is not seen stays uniform in its bounds, 0 to 10 mm/d."""
    sites = with_columns(records(1, 40))
    sites["of_spring"] = 0.0 * sites["of_spring"]
    made = pdg.Hybrid(pdg.MLP(reads=(), hidden=()), Columns())
    found = posterior(
        made, windows(sites), noise=NOISE, samples=10_000, chains=1, predictive=0
    ).draws["spring"]
    levels = [0.05, 0.25, 0.5, 0.75, 0.95]
    assert np.allclose(found.quantile(levels), 10 * np.array(levels), atol=0.2)


def test_predictive_series_cover_what_was_observed(tmp_path: Path) -> None:
    sites = records(2, 300)
    found = posterior(
        hybrid(tmp_path, ("share", "spring", "k")), windows(sites, 30), samples=200, predictive=40
    )
    judged = found.posterior_predictive
    assert np.allclose(judged.scores["coverage_90"], 0.9, atol=0.05)
    assert judged.data.sizes["time"] == 270 and found.prior_predictive is not None
    before, after = (
        run.scores["width_90"].mean()
        for run in (found.prior_predictive, found.posterior_predictive)
    )
    assert after < 0.3 * before
    path = found.to_netcdf(tmp_path / "posterior.nc")
    data = xr.load_dataset(path)
    assert data["discharge_quantile"].dims == ("site", "time", "quantile")
    assert {"discharge_prior_quantile", "discharge_observed", "share"} <= set(data)
    later = pdg.evaluate(found.ensemble, records(2, 300, seed=1), warm_up=30)
    assert np.allclose(later.scores["coverage_90"], 0.9, atol=0.06)


def test_the_truth_lies_inside_as_often_as_it_should() -> None:
    """90 % intervals of 200 made-up records hold their parameters in 85 to 95 % of cases."""
    inside = []
    sites = with_columns(records(200, 60, seed=5))
    made = pdg.Hybrid(pdg.MLP(reads=(), hidden=()), Columns())
    found = posterior(made, windows(sites), samples=400, chains=1, predictive=0)
    for name in ("share", "spring"):
        ends = found.draws[name].quantile([0.05, 0.95], ("chain", "draw"))
        share = float(((ends[0] <= TRUE[name]) & (TRUE[name] <= ends[1])).mean())
        inside.append(share)
    assert all(0.85 <= share <= 0.95 for share in inside), inside


def test_weights_of_a_line_have_the_posterior_of_ridge_regression() -> None:
    """A network without hidden layers whose output is a discharge: normal prior, normal errors."""

    class Linear(stages.Stage):
        reads, gives = ("x",), ("discharge",)

        def __init__(self) -> None:
            super().__init__()
            self.line = torch.nn.Linear(1, 1).double()

        def forward(self, series, parameters, batch):
            return {"discharge": self.line(series["x"][..., None])[..., 0]}

    random = np.random.default_rng(0)
    sites = records(2, 50)
    x = random.normal(size=(2, 50))
    sites["x"] = ("site", "time"), x, {"units": "1"}
    y = 5 + 0.7 * x + 0.5 * random.normal(size=x.shape)
    sites["discharge"] = ("site", "time"), y, {"units": "mm d-1"}
    made = pdg.Hybrid(None, Linear(), stages.ErrorModel(scale=0.5), dtype=F64).prepare(sites)
    found = posterior(
        made,
        windows(sites),
        of="weights",
        weight_spread=3.0,
        samples=10_000,
        chains=1,
        predictive=5,
    )
    a = np.stack([x.ravel(), np.ones(x.size)], 1)
    precision = a.T @ a / 0.5**2 + np.eye(2) / 9
    mean = np.linalg.solve(precision, a.T @ y.ravel() / 0.5**2)
    assert np.allclose(found.summary["mean"], mean, rtol=0.01)
    assert np.allclose(found.summary["sd"], np.sqrt(np.diag(np.linalg.inv(precision))), rtol=0.03)
    assert len(found.ensemble) == 5 and np.isfinite(found.posterior_predictive.scores["crps"]).all()


def test_the_members_of_an_ensemble(tmp_path: Path) -> None:
    sites = records(2, 40)
    made = pdg.Hybrid(
        pdg.MLP(reads=("precipitation_mean",), hidden=(3,)),
        *hybrid(tmp_path).stages,
    )
    sites["precipitation_mean"] = sites["precipitation"].mean("time")
    ensemble = made.prepare(sites).ensemble([0, 1, 2])
    found = posterior(ensemble, windows(sites), "ensemble")
    assert found.draws["share"].sizes == {"chain": 1, "draw": 3, "site": 2}
    assert found.prior is None and "crps" in found.posterior_predictive.scores


def test_what_cannot_be_done_is_refused(tmp_path: Path) -> None:
    sites = records(1, 40)
    own, whole = hybrid(tmp_path), windows(sites)
    with pytest.raises(UnknownName, match="laplace"):
        posterior(own, whole, "mcmc")
    with pytest.raises(SettingsError, match="windows of the whole period"):
        posterior(own, pdg.Windows(sites, length=10, dtype=F64))
    with pytest.raises(SettingsError, match="takes a trained ensemble"):
        posterior(own, whole, "ensemble")
    with pytest.raises(SettingsError, match="double precision"):
        posterior(own, whole, of="weights")
    with pytest.raises(UnknownName, match="spring"):
        posterior(own, whole, priors={"sprin": torch.distributions.Uniform(0.0, 1.0)})
    wide = pdg.Hybrid(
        pdg.MLP(reads=(), hidden=(60, 60)), *own.stages, stages.ErrorModel(), dtype=F64
    )
    with pytest.raises(SettingsError, match="too many for 'laplace'.*'ensemble'"):
        posterior(wide.prepare(sites), whole, of="weights")
    with pytest.raises(SettingsError, match="no parameters"):
        posterior(pdg.Hybrid(None, stages.Sequence(pdg.LSTM(hidden=2))), whole)


def test_correlated_errors_have_the_density_of_their_covariance(tmp_path: Path) -> None:
    """Two gaps in a record of an autoregression: differences of the log-density are exact."""
    sites = with_columns(records(1, 30))
    made = pdg.Hybrid(pdg.MLP(reads=(), hidden=()), Columns(), dtype=F64).prepare(sites)
    batch = windows(sites).reading(made.reads, ("discharge",), ()).batch(0)
    likelihood = Likelihood(made, batch, "discharge")
    rho, sd = 0.6, 0.2
    errors = Errors(torch.tensor([sd], dtype=F64), torch.tensor([rho], dtype=F64))
    assert float(errors.whole) == pytest.approx(sd / np.sqrt(1 - rho**2))
    seen = sites["discharge"].values[0, :20]  # before the gap, whose end begins anew
    days = np.arange(20)
    covariance = float(errors.whole) ** 2 * rho ** np.abs(days[:, None] - days)
    found, expected = [], []
    for shift in (0.0, 0.7):
        simulated = torch.full((1, 1, 1, 30, 1), 2.0 + shift, dtype=F64)
        simulated[..., 20:, 0] = torch.tensor(sites["discharge"].values[0, 20:]).nan_to_num()
        found.append(float(likelihood.misfit(simulated, errors)[0, 0]))
        apart = 2.0 + shift - seen
        expected.append(0.5 * apart @ np.linalg.solve(covariance, apart))
    assert found[1] - found[0] == pytest.approx(expected[1] - expected[0], rel=1e-9)


def test_the_gradient_of_correlated_errors_is_that_of_differences(tmp_path: Path) -> None:
    """Through the solver, with a gap in the record: what NUTS follows."""
    sites = records()
    sites["discharge"][:, 15:20] = np.nan
    made = hybrid(tmp_path).prepare(sites)
    batch = windows(sites).reading(made.reads, ("discharge",), made.needs).batch(0)
    likelihood = Likelihood(made, batch, "discharge")
    errors = Errors(torch.tensor([0.2, 0.4], dtype=F64), torch.tensor([0.6, 0.3], dtype=F64))
    z = likelihood.start() + torch.tensor([[0.3, -0.2], [-0.5, 0.4]], dtype=F64)

    def misfit(at: torch.Tensor) -> torch.Tensor:
        return likelihood.misfit(likelihood.simulated(at[None]), errors).sum()

    [found] = torch.autograd.grad(misfit(z.requires_grad_()), z)
    step = 1e-5
    for place in np.ndindex(*z.shape):
        apart = torch.zeros_like(z)
        apart[place] = step
        with torch.no_grad():
            slope = float(misfit(z + apart) - misfit(z - apart)) / (2 * step)
        assert float(found[place]) == pytest.approx(slope, rel=1e-6), place


def test_correlated_errors_are_found() -> None:
    random = np.random.default_rng(3)
    sites = with_columns(records(1, 3000))
    noise = np.zeros(3000)
    for day in range(1, 3000):
        noise[day] = 0.7 * noise[day - 1] + 0.1 * random.normal()
    flow = TRUE["share"] * sites["of_share"] + TRUE["spring"] * sites["of_spring"] + 1 + noise
    sites["discharge"] = flow.assign_attrs(units="mm d-1")
    sites["of_spring"] += 0.5  # so that the flow is positive, and known
    made = pdg.Hybrid(pdg.MLP(reads=(), hidden=()), Columns())
    options = {"samples": 500, "chains": 1, "predictive": 20}
    found = posterior(made, windows(sites), correlated=True, **options)
    assert float(found.draws["error_correlation"][0]) == pytest.approx(0.7, abs=0.05)
    assert float(found.draws["error_sd"][0]) == pytest.approx(0.1, rel=0.1)
    plain = posterior(made, windows(sites), **options)
    wider = moments(found, "r0")[1] / moments(plain, "r0")[1]
    assert wider[1] > 1.5, "correlated errors tell less"
    assert float(found.posterior_predictive.scores["coverage_90"][0]) == pytest.approx(
        0.9, abs=0.05
    )


def test_a_site_without_observations_has_no_posterior(tmp_path: Path) -> None:
    """The others have what they have without it."""
    sites = records()
    sites["discharge"][0] = np.nan
    options = {"noise": NOISE, "samples": 40, "chains": 1, "predictive": 2}
    with pytest.warns(DataWarning, match="1 sites without.*observations of discharge.*r0"):
        found = posterior(hybrid(tmp_path), windows(sites), **options)
    alone = posterior(hybrid(tmp_path), windows(sites.isel(site=[1])), **options)
    assert found.data.site.values.tolist() == ["r1"]
    xr.testing.assert_allclose(found.draws.drop_attrs(), alone.draws.drop_attrs())


def test_sites_that_share_a_cell_have_no_posterior_of_their_own(tmp_path: Path) -> None:
    made = hybrid(tmp_path)
    shared = pdg.Hybrid(
        pdg.MLP(reads=(), hidden=()), *made.stages, stages.Satellite("water", "seen"), dtype=F64
    )
    with pytest.raises(SettingsError, match="of all sites of its cell"):
        posterior(shared, windows(records()), noise=NOISE)


def test_a_mode_at_a_bound_is_told(tmp_path: Path) -> None:
    """Twice the largest share of rain would fit."""
    sites = records(1)
    sites["discharge"] = 6 / TRUE["share"] * sites["discharge"]
    sites.discharge.attrs = {"units": "mm d-1"}
    with pytest.warns(DataWarning, match="of a bound: share at r0"):
        posterior(hybrid(tmp_path), windows(sites), noise=NOISE, samples=5, predictive=0)
    with pytest.raises(SettingsError, match="at least 4 draws"):
        pytest.importorskip("pyro")
        posterior(hybrid(tmp_path), windows(sites), "hmc", samples=2)


def test_chains_that_do_not_agree_are_told() -> None:
    r_hat = ("parameter", "site"), [[1.001, 1.0], [1.0, 1.21]]
    draws = xr.Dataset({"r_hat": r_hat}, {"parameter": ["a", "b"], "site": ["r0", "r1"]})
    with pytest.warns(DataWarning, match=r"R-hat is above 1.01 at 1 sites: r1 \(1.21\)"):
        _tell_unmixed(draws)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _tell_unmixed(draws.isel(site=[0]))
