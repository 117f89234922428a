"""Sites parted into those trained on, those that choose the epoch and those held out."""

from __future__ import annotations

from pathlib import Path

import leaf_files
import pytest
import xarray as xr

from pydiffgeo.data import open_sites
from pydiffgeo.data.split import sites_where, split_sites
from pydiffgeo.errors import DataError


@pytest.fixture
def leaves(tmp_path: Path) -> xr.Dataset:
    return open_sites(leaf_files.curves(tmp_path))


def test_groups_stay_together_whatever_is_drawn(leaves: xr.Dataset) -> None:
    known = [str(site) for site in leaves.site.values]
    by = ("genus", "species")
    apart = set()
    for seed in range(20):
        trained, judges, held = split_sites(leaves, known, None, 1, 1, split_by=by, split_seed=seed)
        assert sorted(trained + judges + held) == sorted(known) and judges and held
        ash = [part for part in (trained, judges, held) if {"Ash_1", "Ash_2"} & set(part)]
        assert len(ash) == 1 and {"Ash_1", "Ash_2"} <= set(ash[0])
        apart.add(held[0])
        again = split_sites(leaves, known, None, 1, 1, split_by=by, split_seed=seed)
        assert again == (trained, judges, held)
        # who is held out does not depend on who chooses the epoch
        assert split_sites(leaves, known, None, 0, 1, split_by=by, split_seed=seed)[2] == held
    assert len(apart) > 2
    named = split_sites(leaves, known, None, 0, ["Quercus robur"], split_by=by)
    assert named[2] == ["Oak_1"] and len(named[0]) == 5


def test_sites_by_the_values_of_attributes(leaves: xr.Dataset) -> None:
    known = [str(site) for site in leaves.site.values]
    assert sites_where(leaves, {"pft": ["herb", "conifer"]}) == ["Pea_1", "Fir_1"]
    trained, judges, held = split_sites(leaves, known, None, {"pft": "conifer"}, {"pft": "herb"})
    assert held == ["Pea_1"] and judges == ["Fir_1"] and len(trained) == 4
    trained, _, held = split_sites(leaves, known, {"pft": "tree"}, 0, {"pft": "herb"})
    assert trained == ["Ash_1", "Ash_2", "Oak_1", "Elm_1"] and held == ["Pea_1"]
    without = split_sites(leaves, known, None, 0, 1, exclude=["Elm_1"], split_by=("genus",))
    assert "Elm_1" not in sum(without, [])


def test_what_cannot_be_parted_is_said(leaves: xr.Dataset) -> None:
    known = [str(site) for site in leaves.site.values]
    for call, words in (
        (lambda: split_sites(leaves, known, split_by=("genuss",)), "did you mean 'genus'"),
        (lambda: split_sites(leaves, known, None, 0, {"pft": "herbs"}), "did you mean 'herb'"),
        (lambda: split_sites(leaves, known, None, 0, {"pftt": "herb"}), "no attribute 'pftt'"),
        (lambda: split_sites(leaves, known, None, ["Oak_1"], ["Oak_1"]), "'Oak_1' is held out"),
        (lambda: split_sites(leaves, known, None, 6, 0), "leaves none to train on"),
        (lambda: split_sites(leaves, known, None, 0, 7), "asks for 7 sites, which leaves none"),
        (lambda: split_sites(leaves, known, exclude=["Oak"]), "no site 'Oak'"),
        (lambda: sites_where(leaves, {"pft": "herb", "genus": "Abies"}), "no site has all of"),
    ):
        with pytest.raises(DataError, match=words):
            call()
