"""Numbers that no training can take are refused by name, before anything is made."""

from __future__ import annotations

import math

import pytest
from training_cases import sites, trainer

from pydiffgeo.errors import SettingsError


@pytest.mark.parametrize(
    "name, value, told",
    [
        ("epochs", -1, "epochs=-1 must be at least 1"),
        ("steps_per_epoch", 0, "steps_per_epoch=0 must be at least 1"),
        ("patience", 0, "patience=0 must be at least 1"),
        ("checkpoint_every", -2, "checkpoint_every=-2 must be at least 1"),
        ("learning_rate", -0.01, "learning_rate=-0.01 must be more than 0"),
        ("learning_rate", math.nan, "learning_rate=nan must be more than 0"),
        ("final_rate", 1.5, "final_rate=1.5 must be at most 1"),
        ("gradient_clip", 0.0, "gradient_clip=0.0 must be more than 0"),
        ("weight_decay", -1.0, "weight_decay=-1.0 must be at least 0"),
        ("max_failed", 2, "max_failed=2 must be at most 1"),
        ("seed", -1, "seed=-1 must be at least 0"),
    ],
)
def test_numbers_out_of_range_are_named(name, value, told):
    with pytest.raises(SettingsError, match=told):
        trainer(sites(2), **{name: value})
