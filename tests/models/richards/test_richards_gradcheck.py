"""`torch.autograd.gradcheck` of a Richards solve.

Every method, every kind of input, all outputs.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from richards_cases import F64, METHODS, Small, gradcheck
from torch import Tensor

from pydiffgeo import Roots
from pydiffgeo.models.richards.hydraulics import BrooksCorey, UserHydraulics

pytestmark = pytest.mark.usefixtures("engine")


@pytest.mark.parametrize("method", METHODS)
def test_initial_state(method: str) -> None:
    case = Small(method)
    assert case.gradcheck(case.initial, lambda x: {"initial": x})


def test_each_number_of_inputs() -> None:
    """Not along one random direction, in which errors may hide: every entry of the Jacobian."""
    case = Small("implicit_euler")
    assert case.gradcheck(case.initial, lambda x: {"initial": x}, fast=False)
    soil = case.parameters["K_s"]
    assert case.gradcheck(soil, lambda x: {"parameters": {"K_s": x}}, fast=False)


@pytest.mark.parametrize(
    ("name", "values"), [("ponding_height", [0.3, 1.0]), ("root_depth", [20.0, 40.0])]
)
@pytest.mark.parametrize("method", METHODS)
def test_static_parameter(method: str, name: str, values: list[float]) -> None:
    case = Small(method, roots=Roots())
    assert case.gradcheck(torch.tensor(values, dtype=F64), lambda x: {"parameters": {name: x}})


@pytest.mark.parametrize("name", ["theta_r", "theta_s", "alpha", "n", "K_s", "specific_storage"])
@pytest.mark.parametrize("method", METHODS)
def test_layered_parameter(method: str, name: str) -> None:
    case = Small(method, top="head")
    value = torch.tensor([[1e-4, 2e-4], [5e-4, 1e-3]], dtype=F64)
    if name == "specific_storage":
        case.parameters[name] = value
    assert case.gradcheck(case.parameters[name], lambda x: {"parameters": {name: x}})


VARYING = {
    "root_depth": [[10.0, 15.0, 20.0], [30.0, 25.0, 20.0]],
    "feddes_3": [[-40.0, -50.0, -60.0], [-200.0, -150.0, -180.0]],
    "ponding_height": [[0.1, 0.2, 0.3], [1.0, 0.5, 0.2]],
}


@pytest.mark.parametrize("name", VARYING)
@pytest.mark.parametrize("method", METHODS)
def test_time_varying_parameter(method: str, name: str) -> None:
    case = Small(method, roots=Roots())
    case.parameters[name] = torch.tensor(VARYING[name], dtype=F64)
    assert case.gradcheck(case.parameters[name], lambda x: {"parameters": {name: x}})


COMBINATIONS = {
    "rain": ("atmospheric", "seepage_face"),
    "potential_evaporation": ("atmospheric", "free_drainage"),
    "potential_transpiration": ("flux", "free_drainage"),
    "top_head": ("head", "flux"),
    "top_flux": ("flux", "seepage_face"),
    "bottom_head": ("flux", "head"),
    "bottom_flux": ("head", "flux"),
}


@pytest.mark.parametrize("name", COMBINATIONS)
@pytest.mark.parametrize("method", METHODS)
def test_forcing(method: str, name: str) -> None:
    top, bottom = COMBINATIONS[name]
    case = Small(method, top, bottom, roots=Roots() if name == "potential_transpiration" else None)
    assert case.gradcheck(case.forcing[name], lambda x: {"forcing": {name: x}})


@pytest.mark.parametrize("face_mean", ["geometric", "harmonic", "upstream"])
def test_other_face_means(face_mean: str) -> None:
    case = Small("kvaerno3", face_mean=face_mean)
    assert case.gradcheck(case.parameters["alpha"], lambda x: {"parameters": {"alpha": x}})


@pytest.mark.parametrize(
    ("hydraulics", "name", "value"),
    [
        ("van_genuchten", "pore_connectivity", [-1.0, 0.5]),
        ("van_genuchten_vogel", "air_entry", [2.0, 5.0]),
        (BrooksCorey("mualem"), "pore_connectivity", [-1.0, 0.5]),
        ("brooks_corey", "psi_b", [15.0, 25.0]),
        ("brooks_corey", "pore_index", [0.4, 0.7]),
        ("gardner", "alpha", [0.05, 0.02]),
        ("haverkamp", "A_theta", [1.6e6, 1e6]),
        ("haverkamp", "gamma", [4.7, 4.0]),
    ],
)
def test_other_soils(hydraulics: str | BrooksCorey, name: str, value: list[float]) -> None:
    case = Small("kvaerno3", hydraulics=hydraulics)
    given = torch.tensor(value, dtype=F64)[:, None]
    case.parameters = {"ponding_height": case.parameters["ponding_height"], name: given}
    assert case.gradcheck(given, lambda x: {"parameters": {name: x}})


class Conductivity(torch.nn.Module):
    """K = K_s exp of a small network of asinh(psi); positive weights make it grow with psi."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = torch.nn.Parameter(0.3 * torch.randn(2, 2, dtype=F64))
        self.out = torch.nn.Parameter(0.3 * torch.randn(2, dtype=F64))

    def forward(self, psi: Tensor, p: Any) -> Tensor:
        x = torch.asinh(psi.clamp_max(0.0)).unsqueeze(-1)
        y = torch.tanh(0.2 * torch.exp(self.hidden[0]) * (x + 4) + self.hidden[1]) * torch.exp(
            self.out
        )
        return p["K_s"] * torch.exp(y.sum(-1) - torch.exp(self.out).sum())


@pytest.mark.parametrize("method", METHODS)
def test_closure_weights(torch_only: None, method: str) -> None:
    network = Conductivity()
    hydraulics = UserHydraulics(
        lambda psi, p: 0.05 + 0.4 / (1 + (0.03 * (-psi).clamp_min(0.0)) ** 2) ** 0.4,
        network,
        parameters=["K_s"],
    )
    case = Small(method, top="flux", hydraulics=hydraulics)
    assert len(case.model.closure_weights()) == 2
    # gradcheck moves the weights in place, where the network sees it
    assert gradcheck(lambda *_: case.outputs(), tuple(network.parameters()))
