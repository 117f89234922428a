"""Classes as numbers: each site has one, and what is no class is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr

import pydiffgeo as pdg
from pydiffgeo import stages
from pydiffgeo.data.derive import attributes_of, derived
from pydiffgeo.errors import DataError


def leaves(*types: str) -> xr.Dataset:
    return xr.Dataset(
        {
            "pft": ("site", list(types)),
            "wet": (("site", "point"), np.full((len(types), 3), 0.5)),
        },
        {"site": [f"s{k}" for k in range(len(types))]},
    )


def test_each_site_is_in_one_class() -> None:
    sites = derived(leaves("C3 grass", "C4 grass", "BDS (Boreal)", "C3 grass"), {"classes": "pft"})
    names = ["pft_c3_grass", "pft_c4_grass", "pft_bds_boreal"]
    table = np.stack([sites[name].values for name in names], 1)
    np.testing.assert_array_equal(table, [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0]])


def test_records_may_lack_a_class_that_is_named() -> None:
    wanted = {"classes": {"of": "pft", "values": ["a", "b", "c"]}}
    sites = derived(leaves("a", "c"), wanted)
    assert sites.pft_b.values.tolist() == [0, 0]
    assert attributes_of(wanted) == ["pft_a", "pft_b", "pft_c"]


def test_a_network_of_classes_is_a_table() -> None:
    """Trained on one class, it changes the parameter of this class alone."""
    sites = derived(leaves("a", "b", "b"), {"classes": "pft"})
    network = pdg.MLP(("pft_a", "pft_b"), hidden=())
    hybrid = pdg.Hybrid(network, stages.SoilWaterStress("wet"), dtype=torch.float64).prepare(sites)
    batch = pdg.Windows(sites, dtype=torch.float64).reading(hybrid.reads, (), hybrid.needs)
    (whole,) = batch.periods(3)
    b = hybrid.parameters_of(whole)["B"][:, 0]
    assert b[1] == b[2] != b[0]


@pytest.mark.parametrize(
    ("types", "given", "text"),
    [
        (("a", "b"), {"of": "ptf"}, "no attribute 'ptf' in the records; did you mean 'pft'"),
        (("a", ""), {"of": "pft"}, "'pft' of site s1 is missing; add it"),
        (("oak", "ok"), {"of": "pft", "values": ["oak"]}, "'pft' of site s1 is 'ok'.*'oak'"),
        (("C3 grass", "C3-grass"), {"of": "pft"}, "have one name; rename one"),
    ],
)
def test_what_is_refused(types: tuple[str, ...], given: dict[str, object], text: str) -> None:
    with pytest.raises(DataError, match=text):
        derived(leaves(*types), {"classes": given})


def test_numbers_that_are_known_of_classes() -> None:
    table = {
        "C3 grass": {"V_of_pft": 78.2, "g1_of_pft": 5.25},
        "oak": {"V_of_pft": 57.7, "g1_of_pft": 4.45},
    }
    wanted = {"class_values": {"of": "pft", "table": table}}
    sites = derived(leaves("oak", "C3 grass", "oak"), wanted)
    assert sites.V_of_pft.values.tolist() == [57.7, 78.2, 57.7]
    assert attributes_of(wanted) == ["V_of_pft", "g1_of_pft"]
    with pytest.raises(DataError, match="'pft' of site s1 is 'elm'"):
        derived(leaves("oak", "elm"), wanted)
    del table["oak"]["g1_of_pft"]
    with pytest.raises(DataError, match="'g1_of_pft' of the class 'oak' is missing"):
        derived(leaves("oak"), wanted)
