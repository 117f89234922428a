"""Settings from signatures: keys are arguments, and what was made can be written down again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from pydiffgeo import HBV, Grid, Hybrid, Richards, Roots, Solver, stages
from pydiffgeo.experiment.build import make_hybrid
from pydiffgeo.experiment.schema import FAMILIES, hybrid_section, run_class
from pydiffgeo.experiment.signatures import Family, descriptions, make, section_of, sections
from pydiffgeo.models.richards.hydraulics import VanGenuchten
from pydiffgeo.networks import LSTM, MLP, Mixed
from pydiffgeo.recorded import Recorded, describe, kind_of


class Part(Recorded):
    """A part.

    Parameters
    ----------
    size : int
        How large
        it is.
    *rest : Part
        What is inside.
    first, second : sequence of float
        Numbers.
    """

    def __init__(
        self,
        size: int,
        *rest: Part,
        first: Sequence[float] = (1.0,),
        second: Sequence[float] | None = None,
        by: Mapping[str, Part] | None = None,
        dtype: torch.dtype = torch.float32,
        hook: Callable[[], None] | None = None,
    ):
        self.given = size, rest, first, second, by, dtype


PART = kind_of(Part)
PARTS = {"part": Family((Part,), {PART: Part}, PART)}


def test_descriptions_are_those_of_the_docstring() -> None:
    found = descriptions(Part)
    assert found["size"] == "How large it is." and found["rest"] == "What is inside."
    assert found["first"] == found["second"] == "Numbers."


def test_a_section_makes_the_object_with_all_that_it_holds() -> None:
    names = sections(PARTS)
    section = section_of(Part, PARTS, PART, names=names)
    assert "hook" not in section.model_fields  # no function stands in settings
    given = {"kind": PART, "size": 1, "dtype": "float64", "by": {"a": {"size": 3}}}
    made = make(section.model_validate(given | {"rest": [{"size": 2, "second": [4]}]}))
    size, rest, first, second, by, dtype = made.given
    assert (size, first, second, dtype) == (1, (1.0,), None, torch.float64)
    assert rest[0].given[0] == 2 and rest[0].given[3] == [4.0] and by["a"].given[0] == 3
    again = make(section.model_validate(describe(made)))
    assert describe(again) == describe(made)


@pytest.mark.parametrize(
    ("given", "place"),
    [({"size": "many"}, ("size",)), ({"size": 1, "sise": 2}, ("sise",)), ({}, ("size",))],
)
def test_what_is_no_argument_is_refused(given: dict, place: tuple) -> None:
    section = section_of(Part, PARTS, names=sections(PARTS))
    with pytest.raises(ValidationError) as caught:
        section.model_validate(given)
    assert caught.value.errors()[0]["loc"] == place


def column() -> nn.Module:
    grid = Grid.graded(150.0, 12, 4.0, layers=[0.0, 20.0])
    model = Richards(grid, VanGenuchten(1.0), roots=Roots("exponential"))
    return stages.Process(model, Solver("sdirk2", rtol=0.03, on_failure="report"), "torch")


@pytest.mark.parametrize(
    "hybrid",
    [
        lambda: Hybrid(
            MLP(hidden=(8,)),
            stages.Parallel(
                2,
                stages.Scale("precipitation", between=(0.5, 2.0)),
                stages.Process(
                    HBV(melt_threshold=True), Solver("sdirk2"), bounds={"K2": (0.01, 0.2)}
                ),
            ),
            stages.UnitHydrograph("discharge"),
            spread=0.3,
            seed=4,
        ),
        lambda: Hybrid(
            Mixed(MLP(), LSTM(hidden=3)),
            stages.Process("hbv"),
            varying=["BETA"],
            dtype=torch.float64,
        ),
        lambda: Hybrid(None, stages.Sequence(LSTM(past={"discharge": 1}), gives=["discharge"])),
        lambda: Hybrid(Mixed(MLP(), layers=MLP(per="layer")), column(), stages.Probes()),
        lambda: Hybrid(Mixed(MLP(), named={"BETA": MLP(reads=("a",))}), stages.Process("hbv")),
        lambda: Hybrid(
            MLP(), stages.Process("hbv", closures={"recharge": {"hidden": [3], "monotone_in": [0]}})
        ),
    ],
)
def test_hybrids_made_in_python_are_described_and_made_again(hybrid: Callable[[], Hybrid]) -> None:
    made = hybrid()
    again = make_hybrid(hybrid_section(describe(made)))
    told = describe(again)
    assert describe(make_hybrid(hybrid_section(told))) == told
    assert list(again.learns.items()) == list(made.learns.items()) and again.reads == made.reads
    assert str(again) == str(made)


def test_every_kind_has_a_section_and_its_name() -> None:
    run_class()
    for family in FAMILIES.values():
        for kind, made in family.kinds.items():
            section = section_of(made, FAMILIES, kind)
            assert section.model_fields["kind"].default == kind
            undescribed = [n for n, f in section.model_fields.items() if not f.description]
            assert not undescribed or kind in ("graded", "uniform", "from_faces"), (
                kind,
                undescribed,
            )
