"""Records for tests of the training."""

from __future__ import annotations

import pytest
import training_cases
import xarray as xr


@pytest.fixture(scope="module")
def sites() -> xr.Dataset:
    return training_cases.sites()
