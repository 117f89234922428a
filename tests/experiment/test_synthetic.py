"""Sites with a known truth."""

from __future__ import annotations

from pathlib import Path

import experiment_cases as cases
import numpy as np
import pytest
import torch

from pydiffgeo import Photosynthesis, solve
from pydiffgeo.errors import UnknownName
from pydiffgeo.experiment.build import build_hybrid
from pydiffgeo.experiment.data_schema import SyntheticSettings
from pydiffgeo.experiment.examples import FOLDER
from pydiffgeo.experiment.schema import load_experiment
from pydiffgeo.experiment.synthetic import synthetic_sites


def test_the_truth_is_that_of_the_model_with_noise_and_the_same_for_a_seed(tmp_path) -> None:
    def made(**changes):
        synthetic = {"sites": 3, **changes}
        settings = cases.experiment(
            tmp_path, None, hybrid=cases.PROCESS, data={"synthetic": synthetic}
        )
        return synthetic_sites(settings.runs["run"], build_hybrid(settings.runs["run"]))

    exact, again, noisy, other = (
        made(noise=0.0),
        made(noise=0.0),
        made(noise=0.1),
        made(noise=0.0, seed=2),
    )
    assert exact.equals(again) and not exact.discharge.equals(other.discharge)
    error = (noisy.discharge - exact.discharge).std("time") / exact.discharge.std("time")
    assert np.allclose(error, 0.1, rtol=0.3)
    assert len(eval(exact.attrs["truth"], {})["f"]) == 3
    # water is conserved: what rains evaporates, runs off, or is stored
    rain = exact.precipitation.sum("time")
    assert (exact.discharge.sum("time") < rain).all()


def test_what_is_observed_is_what_the_hybrid_gives(tmp_path) -> None:
    process = {"kind": "process", "model": "exp_hydro", "engine": "torch", "only": ["base_flow"]}
    settings = cases.experiment(tmp_path, None, hybrid={**cases.PROCESS, "stages": [process]})
    with pytest.raises(UnknownName, match="'discharge'. Known: base_flow"):
        synthetic_sites(settings.runs["run"], build_hybrid(settings.runs["run"]))


def test_forcing_that_is_no_weather_is_made_up_in_its_range(tmp_path, monkeypatch) -> None:
    """Of the lake of the documentation; and its observations have the units of the model."""
    lake = Path(__file__).parents[2] / "docs" / "tutorials" / "lake"
    monkeypatch.syspath_prepend(str(lake))
    settings = load_experiment(lake / "lake.yaml").runs["lake"]
    hybrid = build_hybrid(settings)
    sites = synthetic_sites(settings, hybrid)
    (process,) = hybrid.stages
    for own in ("inflow", "inflow_temperature", "evaporation"):
        known, values = process.model.spec.forcings[own], sites[own]
        assert values.attrs["units"] == known.unit
        assert known.lower <= values.min() < values.max() <= known.upper
    assert sites["outflow"].attrs["units"] == "mm d-1"


def test_what_other_runs_take_as_measured_is_that_of_the_truth() -> None:
    """The leaves of an example: with their CO2 inside, another form of the model finds what they
    assimilate."""
    runs = load_experiment(FOLDER / "leaf_curves.yaml").runs
    settings, others = runs["learned_v"], [build_hybrid(runs["defaults_ci"])]
    settings = settings.model_copy(
        update={
            "data": settings.data.model_copy(
                update={"synthetic": SyntheticSettings(sites=4, noise=0.0)}
            )
        }
    )
    sites = synthetic_sites(settings, build_hybrid(settings), others=others)
    truth = eval(sites.attrs["truth"], {})
    model = Photosynthesis(stomata="measured_ci")
    forcing = {k: torch.tensor(sites[k].values) for k in model.spec.forcings}
    given = {k: torch.tensor(v)[:, 0] for k, v in truth.items() if k in model.spec.parameters}
    s = solve(model, forcing, given, model.start({}), range(11), "implicit_euler", "torch")
    np.testing.assert_allclose(s.fluxes["assimilation"], sites.assimilation, rtol=1e-4, atol=1e-3)
    assert "intercellular_co2" not in synthetic_sites(settings, build_hybrid(settings))
