"""Tables with a row per point: names, units, flags, attributes, and what is wrong with them."""

from __future__ import annotations

import logging
from pathlib import Path

import leaf_files
import numpy as np
import pandas as pd
import pytest

from pydiffgeo.data import Windows, check_sites, open_sites
from pydiffgeo.errors import DataError, UnitError


def test_curves_have_names_units_and_traits(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING):
        sites = open_sites(leaf_files.curves(tmp_path))
    assert "6 of 33 points are left out by their flag (qc_flag)" in caplog.text
    assert dict(sites.sizes) == {"site": 6, "point": 5}
    assert sites.pressure.values[0, 0] == 99e3 and sites.pressure.units == "Pa"
    assert sites.transpiration.units == "mmol m-2 s-1"  # of no known variable: as it is
    np.testing.assert_allclose(sites.assimilation[1], [11, 12, 13, 14, np.nan])
    np.testing.assert_allclose(sites.intercellular_co2[0], 0.7 * sites.co2[0])
    assert sites.pft.values.tolist()[3:5] == ["herb", "conifer"]
    assert sites.LMA_g_m2.units == "g m-2" and sites.lat.values[2] == 34.0
    assert not check_sites(sites).problems  # sites with fewer points are no gap
    both = open_sites(tmp_path)  # the folder has both tables
    assert (both.LMA_g_m2 == sites.LMA_g_m2).all()
    every = open_sites(tmp_path, options={"quality": ""})
    assert every.sizes["point"] == 6 and float(every.assimilation.min()) == -3.0
    bad = open_sites(tmp_path, options={"quality": {"qc_flag": [1]}})
    assert bad.sizes["point"] == 1
    own = open_sites(tmp_path, options={"per_site": ["Tleaf_degC"]})
    assert own.Tleaf_degC.dims == ("site",) and own.Tleaf_degC.values[3] == 28.0


def test_missing_points_are_never_scored_and_stop_nothing(tmp_path: Path):
    sites = open_sites(leaf_files.curves(tmp_path))
    windows = Windows(sites, forcing=["intercellular_co2", "par"], observed=["assimilation"],
                      attributes=["LMA_g_m2"])  # fmt: skip
    batch = windows.batch(0)
    assert len(batch) == 6 and batch.length == 5
    assert batch.series["intercellular_co2"].isfinite().all()
    short = batch.observed["assimilation"][1]
    assert short.isnan().tolist() == [False] * 4 + [True]
    assert len({*Windows(sites, batch=2, seed=1).batch(0).site.tolist()}) == 2  # whole curves


def test_names_of_instruments_are_known(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    (tmp_path / "licor.csv").write_text(
        "leaf,Photo,Ci,PARi,Tleaf,Cond,VpdL,Press,Trmmol\n"  # LI-6400
        "oak,12.1,250,1500,25.2,0.21,1.3,99.1,2.5\noak,6.2,150,1500,25.2,0.20,1.4,99.1,2.6\n"
    )
    with caplog.at_level(logging.WARNING):
        rows = open_sites(tmp_path / "licor.csv")
    assert rows.sizes["site"] == 2  # and it is said that they are no curve
    assert "each of its 2 rows is a site of one point. If 'leaf' does" in caplog.text
    caplog.clear()
    sites = open_sites(tmp_path / "licor.csv", options={"site": "leaf"})
    assert not caplog.text and dict(sites.sizes) == {"site": 1, "point": 2}
    assert sites.assimilation.values.tolist() == [[12.1, 6.2]] and sites.pressure[0, 0] == 99100.0
    assert sites.vapour_pressure_deficit.units == "kPa" and sites.par[0, 1] == 1500.0
    assert sites.stomatal_conductance[0, 1] == 0.2
    new = (tmp_path / "licor.csv").read_text().replace("PARi", "Qin").replace("Press", "Pa")
    (tmp_path / "licor.csv").write_text(new)  # LI-6800
    assert open_sites(tmp_path / "licor.csv", options={"site": "leaf"}).pressure[0, 1] == 99100.0


def test_names_tell_the_column_of_sites(tmp_path: Path):
    table = pd.read_csv(leaf_files.curves(tmp_path)).rename(columns={"curve_id": "my leaf"})
    table.to_csv(tmp_path / "own.csv", index=False)
    sites = open_sites(tmp_path / "own.csv", names={"my leaf": "site"})
    assert sites.site.values.tolist() == list(leaf_files.CURVES) and sites.sizes["point"] == 5
    table.assign(site="Rome").to_csv(
        tmp_path / "own.csv", index=False
    )  # a place has that name, too
    with pytest.raises(DataError, match="a column 'site' beside 'my leaf'"):
        open_sites(tmp_path / "own.csv", names={"my leaf": "site"})
    options = {"site": "my leaf"}
    sites = open_sites(tmp_path / "own.csv", names={"site": "place"}, options=options)
    assert set(sites.place.values) == {"Rome"}


def test_a_row_for_each_site_has_attributes_beside_its_series(tmp_path: Path):
    table = pd.DataFrame(
        {"Pathway": ["C3", "C4"], "Date": ["2010-09-21", "2010-09-21"], "Tleaf": [20.0, 30.0],
         "PARin": [800.0, 900.0], "Patm": [101.0, 99.0], "An_noisy": [9.0, 30.0],
         "sand": [60.0, 30.0]}
    )  # fmt: skip
    table.to_csv(tmp_path / "twin.csv", index=False)
    names, units = {"An_noisy": "assimilation"}, {"assimilation": "umol m-2 s-1"}
    sites = open_sites(tmp_path / "twin.csv", names=names, units=units)
    assert sites.site.values.tolist() == ["1", "2"] and sites.sizes["point"] == 1
    assert sites.assimilation.values[:, 0].tolist() == [9.0, 30.0]
    assert sites.sand.dims == ("site",) and sites.Pathway.values.tolist() == ["C3", "C4"]
    assert sites.leaf_temperature.units == "degC" and sites.pressure.values[1, 0] == 99e3


def test_what_is_wrong_is_named(tmp_path: Path):
    file = leaf_files.curves(tmp_path)
    text = file.read_text()
    for old, new, words in (
        ("Ash_2,2,12.0,210.0", "Ash_2,2,12.0,high", "Ci_umol_mol of site Ash_2 is 'high'.*line 9"),
        ("Ash_2,3", ",3", "no curve_id in line 10"),
    ):
        file.write_text(text.replace(old, new, 1))
        with pytest.raises(DataError, match=words):
            open_sites(file)
    file.write_text(text.replace("Pair_kPa", "Pair_m_s"))
    with pytest.raises(UnitError, match="'Pair_m_s' has unit 'm s-1', expected 'Pa'"):
        open_sites(file)
    file.write_text(text.replace("Pair_kPa", "Pair_hPa"))
    assert open_sites(file).pressure.values[0, 0] == 99e2
    file.write_text(text)
    for options, words in (
        ({"site": "leaf"}, "no column 'leaf'"),
        ({"attributes": "traits.csv"}, "no file 'traits.csv' beside"),
        ({"quality": {"qc_flag": 7}}, "no point that its flags call good"),
        ({"series": ["A_umol"]}, "no column 'A_umol'; did you mean 'A_umol_m2_s'"),
    ):
        with pytest.raises(DataError, match=words):
            open_sites(file, options=options)
    (tmp_path / "more.csv").write_text(text)
    with pytest.raises(DataError, match="2 tables of points"):
        open_sites(tmp_path, layout="points")


def test_published_files_are_read(shared_data):
    lce = open_sites(shared_data("photosynthesis/lce_aci_curves.csv"))
    assert dict(lce.sizes) == {"site": 448, "point": 14} and len(set(lce.pft.values)) == 6
    assert not check_sites(lce).problems and lce.leaf_N_g_m2.dims == ("site",)
    warm = open_sites(shared_data("photosynthesis/aci_temperature_response_cdmuir.csv"))
    assert dict(warm.sizes) == {"site": 20, "point": 12}
    assert warm.plant_id.values.tolist().count("S1") == 10
    twin = open_sites(shared_data("photosynthesis/diffecosys_fates_twin_446.csv"))
    assert dict(twin.sizes) == {"site": 446, "point": 1}
    assert (twin.split == "test").sum() == 107 and twin.B_synthetic.dims == ("site",)
    light = open_sites(shared_data("photosynthesis/photorch_dfMAGIC043_lr.csv"))
    assert light.sizes["site"] == 12 and light.par.units == "umol m-2 s-1"
