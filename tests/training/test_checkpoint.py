"""Checkpoints: weights fit, hashes tell weights apart, and other records are named."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import pytest
import torch

from pydiffgeo.errors import SettingsError
from pydiffgeo.training.checkpoint import load_weights, require_same_records, weights_hash

FACTS = {"inputs": [{"mean": [1.5, 2.0], "series": ["rain"]}], "seconds": 86400.0}


def test_load_weights_changes_nothing_where_one_differs():
    module = torch.nn.Linear(2, 1)
    before = module.weight.detach().clone()
    with pytest.raises(
        SettingsError,
        match=r"it has no 'bias', the model of the settings has 'bias' of shape \[1\], and",
    ):
        load_weights(module, {"weight": torch.zeros(1, 2)}, Path("last.pt"))
    assert torch.equal(module.weight, before)


def test_the_hash_knows_names_types_shapes_values_and_scaling():
    one = {"a": torch.tensor([1.0, 2.0]), "_extra_state": FACTS}
    others = [
        {"b": one["a"], "_extra_state": FACTS},
        {"a": one["a"].double(), "_extra_state": FACTS},
        {"a": one["a"][None], "_extra_state": FACTS},
        {"a": one["a"] * (1 + 1e-6), "_extra_state": FACTS},
        {"a": one["a"], "_extra_state": {**FACTS, "seconds": 3600.0}},
    ]
    assert weights_hash(deepcopy(one)) == weights_hash(one)
    assert len({weights_hash(weights) for weights in (one, *others)}) == 6


def test_other_records_are_named_and_rounding_is_none():
    def state(mean: float, series: str = "rain", records: str = "") -> dict:
        facts = {"inputs": [{"mean": [mean, 2.0], "series": [series]}], "seconds": 86400.0}
        return {"model": {"_extra_state": facts}, "records": records}

    require_same_records(state(1.5), state(1.5 * (1 + 1e-6)))
    for now, words in (
        (state(1.6), "inputs mean is 1.6, the checkpoint has 1.5"),
        (state(1.5, "snow"), "inputs series is 'snow', the checkpoint has 'rain'"),
        (state(1.5, records="ab"), "values of the days trained on differ"),
    ):
        with pytest.raises(
            SettingsError, match=f"cannot resume: the records are not those of the run.*{words}"
        ):
            require_same_records(now, state(1.5))
