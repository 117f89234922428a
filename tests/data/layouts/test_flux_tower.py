"""Files of flux towers: half-hours with the names and units of the package."""

from __future__ import annotations

from pathlib import Path

import leaf_files
import numpy as np
import pytest

from pydiffgeo.data import check_sites, open_sites
from pydiffgeo.data.form import observed_names, series_names
from pydiffgeo.errors import DataError


def test_towers_have_half_hours_names_and_units(tmp_path: Path):
    told = {"US-Aa1": {"pft": "crop", "lat": 38.1}, "US-Bb2": {"pft": "forest", "lat": 44.5}}
    sites = open_sites(leaf_files.towers(tmp_path), options={"attributes": told})
    assert sites.site.values.tolist() == ["US-Aa1", "US-Bb2"]
    assert sites.sizes["time"] == 5 * 48 and np.isnan(sites.par[1, :48]).all()
    assert set(observed_names(sites)) == {"latent_heat", "net_ecosystem_exchange"}
    assert "soil_moisture" in series_names(sites)  # drives a canopy
    np.testing.assert_allclose(sites.precipitation[0, :5], 24.0)  # 0.5 mm in half an hour, in mm/d
    np.testing.assert_allclose(sites.shortwave_down.max(), 800 * 0.0864)
    assert float(sites.vapour_pressure.min()) == 900.0 and float(sites.pressure.max()) == 101e3
    night = sites.par[0].values[:6]
    assert (night == 0).all() and float(sites.vapour_pressure_deficit.min()) == 0.0
    assert sites.pft.values.tolist() == ["crop", "forest"] and sites.lat.values[0] == 38.1
    kinds = {p.kind for p in check_sites(sites).problems}
    assert kinds == {"missing time"}
    one = open_sites(tmp_path / "US-Bb2_halfhourly.csv")
    assert one.sizes["time"] == 4 * 48 and str(one.time.values[0])[:10] == "2019-03-02"


def test_what_is_wrong_is_named(tmp_path: Path):
    with pytest.raises(DataError, match="options.attributes is 'x.csv'; give attributes by site"):
        open_sites(leaf_files.towers(tmp_path), options={"attributes": "x.csv"})
    leaf_files.towers(tmp_path)
    file = tmp_path / "US-Aa1_halfhourly.csv"
    text = file.read_text()
    file.write_text(text.replace("\n2019-03-01T00:30:00,10.0,", "\n2019-03-01T00:30:00,cold,"))
    with pytest.raises(DataError, match="Tair_degC of site US-Aa1 is 'cold'.*in line 3"):
        open_sites(tmp_path)
    file.write_text(text.replace("time_end", "when"))
    with pytest.raises(DataError, match="no column 'time_end'"):
        open_sites(tmp_path)
    file.write_text(text)
    with pytest.raises(DataError, match="no site 'US-Aa2'; did you mean 'US-Aa1'"):
        open_sites(tmp_path, options={"attributes": {"US-Aa2": {"pft": "crop"}}})
    more = {name: {"pft": "crop"} for name in ("US-Aa1", "US-Bb2", "US-Cc3")}  # one file of many
    assert list(open_sites(file, options={"attributes": more}).pft.values) == ["crop"]


def test_published_towers_are_read(shared_data):
    sites = open_sites(shared_data("flux_tower"), sites=["US-Me2"])
    assert float(sites.soil_moisture.min()) > 0.05 and sites.latent_heat.attrs["units"] == "W m-2"
    report = check_sites(sites, forcing=["par", "co2", "soil_moisture"])
    assert {p.kind for p in report.problems} == {"no table of attributes"}
