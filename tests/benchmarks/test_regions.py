"""The benchmark of regions: whose parameters a basin of a region left out takes."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from regions import most_alike, nearest  # noqa: E402


def test_the_donor_is_the_nearest_basin_of_another_region() -> None:
    """One degree of longitude is short in the north, and none is taken from the own region."""
    lat = np.array([60.0, 60.1, 60.0, 62.0])
    lon = np.array([10.0, 10.0, 13.0, 10.0])  # 13 E is 167 km away, 62 N is 222 km
    region = np.array(["a", "a", "b", "c"])
    assert nearest(lat, lon, region).tolist() == [2, 2, 0, 1]


def test_the_donor_has_the_nearest_attributes_whatever_their_units() -> None:
    attributes = np.array([[1.0, 1e6], [2.0, 2e6], [3.0, 3e6], [100.0, 9e6]])
    region = np.array(["a", "b", "b", "a"])
    assert most_alike(attributes, region).tolist() == [1, 0, 3, 2]
    scaled = attributes * np.array([1e3, 1e-9])
    assert most_alike(scaled, region).tolist() == [1, 0, 3, 2]
