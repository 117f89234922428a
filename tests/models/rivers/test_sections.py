"""Cross-sections: the top width is the slope of the area, and one shape is two formulas."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pydiffgeo.errors import ParameterError, UnknownName
from pydiffgeo.models.rivers.kinematic_wave import KinematicWave
from pydiffgeo.models.rivers.sections import SECTIONS, power_law, trapezoid

F64 = torch.float64
AREA = torch.logspace(-4, 5, 40, dtype=F64)
SHAPES = {
    "rectangle": ("trapezoid", {"width": 20.0, "side_slope": 0.0}),
    "trapezoid": ("trapezoid", {"width": 8.0, "side_slope": 2.5}),
    "narrow": ("trapezoid", {"width": 0.5, "side_slope": 8.0}),
    "parabola": ("power_law", {"p": 15.0, "q": 0.5}),
    "flat": ("power_law", {"p": 60.0, "q": 0.05}),
    "cusp": ("power_law", {"p": 3.0, "q": 1.6}),
}


def values(given: dict[str, float]) -> dict[str, Tensor]:
    return {k: torch.tensor(v, dtype=F64) for k, v in given.items()}


@pytest.mark.parametrize("shape", SHAPES)
def test_slopes_of_depth_and_perimeter(shape: str) -> None:
    """dA = top width dh; the slope of the perimeter is that of its formula."""
    name, given = SHAPES[shape]
    area = AREA.clone().requires_grad_()
    found = SECTIONS[name][0](area, values(given))
    for quantity, slope in (
        (found.depth, 1 / found.width),
        (found.perimeter, found.perimeter_slope),
    ):
        (own,) = torch.autograd.grad(quantity.sum(), area, retain_graph=True)
        torch.testing.assert_close(own, slope.detach(), rtol=1e-10, atol=0)
    assert bool((found.perimeter > found.width).all()), "banks are longer than they are wide"


def test_area_is_the_integral_of_the_width() -> None:
    for name, given in SHAPES.values():
        p, shape = values(given), SECTIONS[name][0]
        depth = shape(torch.tensor(50.0, dtype=F64), p).depth
        middles = depth * (torch.arange(20000, dtype=F64) + 0.5) / 20000
        if name == "trapezoid":
            width = p["width"] + 2 * p["side_slope"] * middles
        else:
            width = p["p"] * middles ** p["q"]
        assert float(width.mean() * depth) == pytest.approx(50.0, rel=1e-5)


def test_rectangle_and_triangle_have_two_names() -> None:
    """A power of 0 is a rectangle; a power of 1 is a triangle with banks of p / 2."""
    pairs = (
        ({"p": 20.0, "q": 0.0}, {"width": 20.0, "side_slope": 0.0}),
        ({"p": 5.0, "q": 1.0}, {"width": 0.0, "side_slope": 2.5}),
    )
    for power, banks in pairs:
        a, b = power_law(AREA, values(power)), trapezoid(AREA, values(banks))
        for name in a._fields:
            torch.testing.assert_close(
                getattr(a, name), getattr(b, name).expand_as(AREA), rtol=1e-10, atol=1e-15
            )


def test_what_is_no_section_is_named() -> None:
    with pytest.raises(UnknownName, match="cross-section.*did you mean 'trapezoid'"):
        KinematicWave("trapez")
    with pytest.raises(ParameterError, match="'q' is above 2"):
        KinematicWave("power_law").check_parameters({"q": torch.tensor([[0.5], [2.5]])})
    assert "p" not in KinematicWave().spec.parameters
    assert "side_slope" not in KinematicWave("power_law").spec.parameters
