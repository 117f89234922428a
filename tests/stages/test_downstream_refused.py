"""Downstream: what it refuses, and what it says."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from downstream_cases import F64, GIVEN, batch_of, hybrid_of, sites_of

import pydiffgeo as pdg
from pydiffgeo import stages
from pydiffgeo.errors import DataError, ParameterError, SettingsError
from pydiffgeo.stages.base import Series


def test_only_a_process_goes_down_a_river() -> None:
    copies = stages.Parallel(2, stages.Process("muskingum"))
    with pytest.raises(SettingsError, match="takes a Process, not Parallel"):
        stages.Downstream(copies)  # type: ignore[arg-type]


def test_what_flows_down_the_river_is_among_the_fluxes_that_are_given() -> None:
    with pytest.raises(SettingsError, match=r"only=\['loss'\] leaves out 'discharge'"):
        stages.Downstream(stages.Process("muskingum", only=["loss"]))


def test_a_failure_goes_down_the_river_and_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    sites = sites_of()
    whole = hybrid_of(sites)
    expected = whole(batch_of(whole, sites))
    solved = stages.Process.forward

    def failing(self, series, parameters, batch):  # type: ignore[no-untyped-def]
        found = solved(self, series, parameters, batch)
        bad = batch.site == 3  # d, above e
        if not bool(bad.any()):
            return found
        lost = {k: torch.where(bad[:, None], torch.nan, v) for k, v in found.items()}
        return Series(lost, {int(bad.nonzero()[0]): f"{batch.where(int(bad.nonzero()[0]))}: dry"})

    monkeypatch.setattr(stages.Process, "forward", failing)
    series = whole(batch_of(whole, sites))
    assert sorted(series.failed) == [3, 4]
    assert series.failed[3].startswith("site d") and "a site above it failed" in series.failed[4]
    assert "site d" in series.failed[4]
    assert bool(series["discharge"][3:].isnan().all())
    assert torch.equal(series["discharge"][:3], expected["discharge"][:3])


def test_a_batch_without_the_sites_above_is_refused() -> None:
    sites = sites_of()
    hybrid = hybrid_of(sites)
    windows = pdg.Windows(sites, dtype=F64).reading(hybrid.reads, (), hybrid.needs)
    part = windows.tensors.windows([4, 2, 0, 1], [0] * 4, 12)
    with pytest.raises(DataError, match="needs all that flows into site e: 1 of 2 sites"):
        hybrid(part)
    with pytest.raises(DataError, match="needs the attribute 'downstream'"):
        hybrid(replace(part, below=None, tributaries=None))


def test_it_says_what_the_model_takes(caplog: pytest.LogCaptureFixture) -> None:
    """A default of all sites is shown, and warned of where the sites know better."""
    reach = stages.Process("muskingum_cunge", learn=(), given={"width": "bed", "slope": "slope"})
    hybrid = pdg.Hybrid(None, stages.Downstream(reach, "6h"), dtype=F64)
    sites = sites_of().assign(bed=("site", [5.0] * 5, {"units": "m"}))
    assert "takes  width from bed, slope, n = 0.04 by default, length = 5000" in repr(hybrid)
    assert "interval 6h" in repr(hybrid) and "step =" not in repr(hybrid)
    hybrid.prepare(sites)
    assert "length = 5000 for all sites, and the sites have their own: given={'length'" in (
        caplog.text
    )
    caplog.clear()
    hybrid_of(sites)
    assert not caplog.text


def test_steps_of_a_second_and_intervals_that_do_not_fit_are_refused() -> None:
    reach = stages.Process("muskingum", pdg.Solver("implicit_euler", step=1.0), learn=())
    with pytest.raises(SettingsError, match="steps of 1 s cut each interval of 1d into 86400"):
        pdg.Hybrid(None, stages.Downstream(reach)).prepare(sites_of())
    with pytest.raises(SettingsError, match="an interval of 36h does not divide .* series, 1d;"):
        pdg.Hybrid(None, stages.Downstream(stages.Process("muskingum", learn=()), "36h")).prepare(
            sites_of()
        )


def test_what_a_site_lacks_is_told_by_its_name() -> None:
    sites = sites_of()
    hybrid = hybrid_of(sites)
    dry = sites.assign(slope=sites.slope.where(sites.site != "d", 0.0))
    with pytest.raises(ParameterError, match="parameter 'slope' is 0 at site d, 2"):
        hybrid(batch_of(hybrid, dry))
    less = sites.assign(lateral_inflow=sites.lateral_inflow.where(sites.site != "b", -1.0))
    with pytest.raises(DataError, match="'lateral_inflow' is -1 m3 s-1 at site b, 2"):
        hybrid(batch_of(hybrid, less))


@pytest.mark.parametrize("method", ["FBDF", "Rodas5P", "KenCarp4"])
def test_methods_of_sciml_are_refused(method: str, julia: object) -> None:
    """They are checked with soil columns alone; the reason says so, and what to take instead."""
    solver = pdg.Solver(method, sensitivity="GaussAdjoint")
    reach = stages.Process("muskingum_cunge", solver, "julia", given=GIVEN, learn=())
    hybrid = pdg.Hybrid(None, stages.Downstream(reach, "1h"), dtype=F64)
    sites = sites_of()
    hybrid.prepare(sites)
    why = "models richards, not for muskingum_cunge; choose one of .*implicit_euler, kvaerno3"
    with pytest.raises(ParameterError, match=why):
        hybrid(batch_of(hybrid, sites))


def test_methods_of_sciml_need_julia() -> None:
    solver = pdg.Solver("FBDF", sensitivity="GaussAdjoint")
    reach = stages.Process("muskingum_cunge", solver, "torch", given=GIVEN, learn=())
    hybrid = pdg.Hybrid(None, stages.Downstream(reach, "1h"), dtype=F64)
    sites = sites_of()
    hybrid.prepare(sites)
    with pytest.raises(ParameterError, match="FBDF.*julia"):
        hybrid(batch_of(hybrid, sites))
