"""Dry reaches: missing, said, and harmless in training."""

from __future__ import annotations

import logging

import pytest
import torch
from stream_cases import stream

import pydiffgeo as pdg
from pydiffgeo import stages


def test_dry_reaches_are_missing_and_said(caplog: pytest.LogCaptureFixture) -> None:
    sites = stream(10)
    sites["discharge"].values[1, 4:6] = 0.0
    stage = stages.WhereWet("lateral_temperature", by="discharge", least=1e-3)
    hybrid = pdg.Hybrid(None, stage, dtype=torch.float64)
    hybrid.prepare(sites)
    windows = pdg.Windows(sites, dtype=torch.float64)
    batch = windows.reading(hybrid.reads, (), hybrid.needs).batch(0)
    with caplog.at_level(logging.WARNING, "pydiffgeo"):
        found = hybrid.eval()(batch)["lateral_temperature"]
    assert torch.isnan(found).nonzero().tolist() == [[1, 4], [1, 5]]
    assert "2 of 50 steps are dry, at 1 of 5 sites (discharge below 0.001)" in caplog.text
    given = batch.series["lateral_temperature"]
    assert torch.equal(found.nan_to_num(0.0) != 0, ~torch.isnan(found))
    assert torch.equal(hybrid.train()(batch)["lateral_temperature"], given)
