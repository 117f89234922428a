"""What is measured: one entry per peer, method and way to the gradient."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

ERROR_TARGET = 3e-3  # equal gradient error: relative, of dL/dln p
# rtol; atol is 100 cm times that. Four to a decade, so that no peer pays for a tolerance much
# tighter than it needs
TOLERANCES = (
    1e-2,
    5.6e-3,
    3.2e-3,
    1.8e-3,
    1e-3,
    5.6e-4,
    3.2e-4,
    1.8e-4,
    1e-4,
    5.6e-5,
    3.2e-5,
    1.8e-5,
    1e-5,
    1e-6,
)
# makes the adjoint at the final time, up to 1e-3 / cm of loss, as large as the heads
ADJOINT_SCALE = 1e6


@dataclass(frozen=True)
class Case:
    """One line of the comparison.

    Attributes
    ----------
    name : what the tables call it
    peer : module in `peers` that measures it
    method, sensitivity, options : see `peers.protocol.Request`
    batches : the first is the one the tolerance is chosen at, the others use the same
    fine : batches measured on the fine grid as well
    also : tolerances measured at the first batch whatever the search chooses
    """

    name: str
    peer: str
    method: str
    sensitivity: str
    options: dict[str, Any] = field(default_factory=dict)
    batches: tuple[int, ...] = (1,)
    fine: tuple[int, ...] = ()
    also: tuple[float, ...] = ()

    @property
    def own(self) -> bool:
        """Whether it is measured with the package's interpreter, not the peers'."""
        return self.peer == "pydiffgeo_peer"


SCALED = {"loss_scale": ADJOINT_SCALE}
CELLS, FINE_CELLS, FINE_BATCHES = 100, 1000, (1, 16, 64)
REFERENCE_RTOL = 1e-5  # gradient error below 1e-5 on the fine grid
OWN, COMPILED, DIFFRAX = "pydiffgeo", "pydiffgeo, compiled step", "diffrax Kvaerno3"
OWN_BATCHES = (1, 16, 64, 256, 1024)
MEMORY_RTOL = 1e-3  # the tolerance at which the memory of the adjoint is judged

CASES: tuple[Case, ...] = (
    Case(
        OWN, "pydiffgeo_peer", "kvaerno3", "adjoint", {}, OWN_BATCHES, FINE_BATCHES, (MEMORY_RTOL,)
    ),
    Case(COMPILED, "pydiffgeo_peer", "kvaerno3", "adjoint", {"compile": True}, OWN_BATCHES),
    Case(DIFFRAX, "diffrax_peer", "Kvaerno3", "checkpointed adjoint", {}, (1, 64)),
    Case("CasADi CVODES, adjoint", "casadi_peer", "cvodes", "adjoint"),
    Case("CasADi CVODES, adjoint, scaled loss", "casadi_peer", "cvodes", "adjoint", SCALED),
    Case("CasADi CVODES, forward", "casadi_peer", "cvodes", "forward"),
    Case("CasADi IDAS, adjoint", "casadi_peer", "idas", "adjoint"),
    Case("CasADi IDAS, adjoint, scaled loss", "casadi_peer", "idas", "adjoint", SCALED),
    Case("CasADi IDAS, forward", "casadi_peer", "idas", "forward"),
    Case("diffsol BDF, adjoint", "diffsol_peer", "bdf", "adjoint"),
    Case("diffsol BDF, adjoint, scaled loss", "diffsol_peer", "bdf", "adjoint", SCALED),
    Case("diffsol BDF, forward", "diffsol_peer", "bdf", "forward"),
    Case(
        "diffsol BDF, mixed form, adjoint",
        "diffsol_peer",
        "bdf",
        "adjoint",
        {"form": "mixed", **SCALED},
    ),
    Case("torchdiffeq dopri5, backprop", "torchdiffeq_peer", "dopri5", "backprop"),
    Case("torchdiffeq dopri5, odeint_adjoint", "torchdiffeq_peer", "dopri5", "adjoint"),
    Case("torchode Dopri5, backprop", "torchode_peer", "Dopri5", "backprop"),
    Case("torchode Dopri5, BacksolveAdjoint", "torchode_peer", "Dopri5", "adjoint"),
)
