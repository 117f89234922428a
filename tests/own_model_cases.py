"""A model of one's own, two linear reservoirs in a row, whose parts tests replace by wrong ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pydiffgeo import ProcessModel, Solution, load_spec, solve

SPEC = """name = "cascade"
time_unit = "d"
[states.upper]
unit = "mm"
scale = 10.0
storage = "upper"
storage_unit = "mm"
storage_scale = 10.0
[states.lower]
unit = "mm"
scale = 10.0
storage = "lower"
storage_unit = "mm"
storage_scale = 10.0
[parameters.k]
unit = "d-1"
lower = 0.1
upper = 2.0
default = 1.0
[forcings.rain]
unit = "mm d-1"
[fluxes.rain_in]
unit = "mm d-1"
balance = 1
[fluxes.runoff]
unit = "mm d-1"
balance = -1
"""


def write(folder: Path, changes: dict[str, str] | None = None) -> Path:
    """The specification with texts replaced."""
    text = SPEC
    for old, new in (changes or {}).items():
        assert old in text
        text = text.replace(old, new, 1)
    file = folder / "cascade.toml"
    file.write_text(text)
    return file


class Cascade(ProcessModel):
    """Two linear reservoirs in a row."""

    size: Any = 2

    def __init__(self, folder: Path, changes: dict[str, str] | None = None) -> None:
        self.spec = load_spec(write(folder, changes))

    def rates(self, state: Any, forcing: Any, parameters: Any) -> Any:
        upper, lower = (parameters["k"] * state).unbind(-1)
        return torch.stack([forcing["rain"][..., 0] - upper, upper - lower], -1)

    def fluxes(self, state: Any, forcing: Any, parameters: Any) -> Any:
        lower = parameters["k"] * state[..., 1:]
        return torch.cat([forcing["rain"].expand_as(lower), lower], -1)


def run(model: Any, **options: Any) -> Solution:
    return solve(
        model,
        {"rain": [[1.0, 2.0]] * 3},
        {},
        [4.0, 7.0],
        [0.0, 1.0, 2.0],
        engine="torch",
        **options,
    )


FLUXES, RATES = Cascade.fluxes, Cascade.rates


def slopes(self: Any, u: Tensor, f: Any, p: Any) -> Any:
    k, rain = p["k"][..., 0].expand(u.shape[:-1]), f["rain"][..., 0]
    return [rain - k * u[..., 0], k * (u[..., 0] - u[..., 1])], {
        (0, 0): -k,
        (1, 0): k,
        (1, 1): -2 * k,
    }
