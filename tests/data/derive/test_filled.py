"""Attributes that some sites lack are filled, and the log says where."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import xarray as xr

from pydiffgeo.data import derived
from pydiffgeo.errors import DataError, UnknownName

NAN = np.nan


def sites() -> xr.Dataset:
    """Reaches a and b flow into c, c into d."""
    return xr.Dataset(
        {
            "downstream": ("site", ["c", "c", "d", ""]),
            "ndvi": ("site", [0.2, 0.4, NAN, 0.9], {"units": "1"}),
            "clay": ("site", [NAN, NAN, NAN, 3.0]),
            "kind": ("site", list("xyxy")),
            "bare": ("site", [NAN] * 4),
        },
        {"site": list("abcd"), "time": range(2)},
    )


def test_filled_by_the_median_or_by_the_river(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "pydiffgeo"):
        found = derived(sites(), {"filled": "ndvi"})
    np.testing.assert_allclose(found.ndvi, [0.2, 0.4, 0.4, 0.9])
    assert found.ndvi.attrs["units"] == "1"
    assert "ndvi is missing at 1 of 4 sites and filled by the median: c" in caplog.text
    found = derived(sites(), {"filled": {"attributes": ["ndvi", "clay"], "by": "river"}})
    np.testing.assert_allclose(found.ndvi, [0.2, 0.4, (0.2 + 0.4 + 0.9) / 3, 0.9])
    np.testing.assert_allclose(found.clay, 3.0)  # a and b have no neighbour that knows: the median


def test_what_cannot_be_filled() -> None:
    with pytest.raises(DataError, match="no attribute 'ndvy'.*ndvi"):
        derived(sites(), {"filled": "ndvy"})
    with pytest.raises(DataError, match="no site has the attribute 'bare'"):
        derived(sites(), {"filled": "bare"})
    with pytest.raises(DataError, match="'kind' is no number"):
        derived(sites(), {"filled": "kind"})
    with pytest.raises(UnknownName, match="way to fill"):
        derived(sites(), {"filled": {"attributes": "ndvi", "by": "mode"}})
