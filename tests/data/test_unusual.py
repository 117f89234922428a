"""Series that are possible and hardly in their unit are told by their site; usual ones are not."""

from __future__ import annotations

import leaf_files
import numpy as np
import pandas as pd
import pytest

from pydiffgeo.data import Span, check_sites, open_sites, select_sites
from pydiffgeo.data.unusual import USUAL, unusual_problems

HOURS = pd.date_range("2020-06-01 01:00", periods=24, freq="h")
SUN = np.clip(np.sin(2 * np.pi * (HOURS.hour.to_numpy() - 6) / 24), 0, None)
GOOD = {
    "co2": np.full(24, 410.0),
    "vapour_pressure_deficit": 0.1 + 2.5 * SUN,
    "vapour_pressure": np.full(24, 900.0),
    "relative_humidity": 90 - 60 * SUN,
    "air_temperature": 10 + 15 * SUN,
    "par": 1900 * SUN,
    "shortwave_down": 900 * SUN * 0.0864,
}


def found(**changes: np.ndarray) -> list[str]:
    return [p.message for p in unusual_problems(GOOD | changes, "US-Xx1", HOURS)]


@pytest.mark.parametrize(
    ("name", "factor", "unit"),
    [
        ("co2", 0.1, "Pa"),
        ("vapour_pressure_deficit", 10.0, "hPa"),
        ("vapour_pressure", 1e-3, "kPa"),
        ("relative_humidity", 0.01, "parts of one"),
    ],
)
def test_another_unit_is_told_by_the_median(name: str, factor: float, unit: str) -> None:
    assert found() == []
    (text,) = found(**{name: GOOD[name] * factor + (5.0 if "deficit" in name else 0.0)})
    assert text.startswith(f"{name} of site US-Xx1 is ") and "are usual; convert it if" in text
    assert text.endswith(f"{unit}.")
    gap = GOOD[name].copy()
    gap[3:7], gap[8] = np.nan, USUAL[name][1] * 1.2  # a single value is no unit
    assert found(**{name: gap}) == []
    assert found(**{name: np.full(24, np.nan)}) == []


def test_light_without_radiation_is_told_with_its_date() -> None:
    dark = GOOD["shortwave_down"].copy()
    dark[11:13] = 0.0
    (text,) = found(shortwave_down=dark)
    assert text == (
        f"par of site US-Xx1 is more than its shortwave_down holds in 2 of 24 steps, first on "
        f"2020-06-01 12:00: {GOOD['par'][11]:g} umol m-2 s-1 beside 0 W m-2; correct one of them, "
        "or their units."
    )
    assert found(shortwave_down=np.full(24, np.nan)) == []


def test_the_check_and_the_selection_say_it(tmp_path) -> None:
    sites = open_sites(leaf_files.towers(tmp_path)).load()
    assert not any(p.kind == "unusual" for p in check_sites(sites).problems)
    sites["co2"] = (("site", "time"), np.full(sites.par.shape, 41.0), {"units": "umol mol-1"})
    report = check_sites(sites)
    told = [p for p in report.problems if p.kind == "unusual"]
    assert [p.site for p in told] == ["US-Aa1", "US-Bb2"] and not set(told) & set(report.serious)
    span = Span("training", "2019-03-02", "2019-03-03")
    chosen = select_sites(sites, [span], ["par", "co2"], ["latent_heat"])
    assert [text for _, text in chosen.remarks] == [p.message for p in told]
    assert select_sites(sites, [span], ["par"], ["latent_heat"]).remarks == ()
