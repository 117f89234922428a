"""The New Mexico infiltration case and its gradient: one definition for all peers.

Celia, Bouloutas & Zarba (1990), https://doi.org/10.1029/90WR00196: van Genuchten soil of 100 cm,
initially at -1000 cm, held at -75 cm at the top and -1000 cm at the bottom for one day.
Cell-centred finite volumes, arithmetic face conductivity, boundary heads half a cell away with the
face conductivity averaged with the boundary's. Units here are cm and seconds.

The formulas take the array module as an argument (numpy, torch, jax.numpy, casadi), so that every
peer integrates literally the same equations; cells lie along the first axis, columns along the
second.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Join = Callable[[list[Any]], Any]  # concatenates along the cell axis

PARAMETERS: dict[str, float] = {
    "alpha": 0.0335,
    "n": 2.0,
    "K_s": 0.00922,
    "theta_s": 0.368,
    "theta_r": 0.102,
}
DEPTH = 100.0  # cm
HORIZON = 86400.0  # s
PSI_INITIAL, PSI_TOP, PSI_BOTTOM = -1000.0, -75.0, -1000.0  # cm
LOSS_SCALE = 100.0  # cm

REFERENCE_FILE = Path("richards_reference") / "celia_new_mexico.json"
# The reference file was written with the names of its own solver.
REFERENCE_NAMES = {
    "alpha": "alpha",
    "n": "n",
    "K_s": "Ks",
    "theta_s": "theta_s",
    "theta_r": "theta_r",
}


@dataclass(frozen=True)
class Reference:
    """Solution, target and gradient computed by SciPy Radau at rtol 1e-10 on 100 cells.

    Attributes
    ----------
    psi : final heads, cm, [100]
    psi_target : heads the loss compares with, cm, [100]
    loss : value of the loss
    gradient : dL/dln(alpha, n, K_s, theta_s, theta_r), [5]
    """

    psi: np.ndarray
    psi_target: np.ndarray
    loss: float
    gradient: np.ndarray


def data_directory() -> Path:
    """Folder of the reference data.

    `$PYDIFFGEO_DATA`, else `../shared/data` beside the repository.
    """
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    return Path(os.environ.get("PYDIFFGEO_DATA", default))


def load_reference() -> Reference:
    """Read the reference solution and gradient.

    Raises
    ------
    FileNotFoundError
        naming the file and how to point to it, where the data folder lacks it.
    """
    path = data_directory() / REFERENCE_FILE
    if not path.exists():
        raise FileNotFoundError(
            f"no reference data at {path}: set PYDIFFGEO_DATA to the folder that holds "
            f"{REFERENCE_FILE}"
        )
    content = json.loads(path.read_text())
    gradient = content["gradient"]
    return Reference(
        psi=np.array(content["n100"]["psi_cm"]),
        psi_target=np.array(gradient["psi_target_cm"]),
        loss=gradient["loss_value"],
        gradient=np.array([gradient["dloss_dln"][REFERENCE_NAMES[name]] for name in PARAMETERS]),
    )


def parameter_batch(batch: int, seed: int = 0) -> np.ndarray:
    """Parameters [batch, 5].

    The reference in the first column, the others spread by +-5 % around it.
    """
    values = np.tile(np.array(list(PARAMETERS.values())), (batch, 1))
    values[1:] *= 1.0 + 0.05 * np.random.default_rng(seed).uniform(
        -1.0, 1.0, (batch - 1, values.shape[1])
    )
    return values


def target_on(cells: int, reference: Reference) -> np.ndarray:
    """Target heads on `cells` cells, cm.

    The reference's own on 100 cells, interpolated on other grids.

    Only the work of the solve matters on other grids; no reference gradient exists there.
    """

    def centres(count: int) -> np.ndarray:
        return (np.arange(count) + 0.5) * DEPTH / count

    return np.interp(centres(cells), centres(len(reference.psi_target)), reference.psi_target)


def hydraulics(psi: Any, parameters: Sequence[Any], xp: Any) -> tuple[Any, Any, Any]:
    """Van Genuchten-Mualem water content, capacity and conductivity.

    Parameters
    ----------
    psi : pressure head, cm, negative
    parameters : alpha (1/cm), n, K_s (cm/s), theta_s, theta_r; each scalar or [batch]
    xp : module with exp, log, log1p and sqrt

    Returns
    -------
    theta, dtheta/dpsi (1/cm), K (cm/s); van Genuchten (1980),
    https://doi.org/10.2136/sssaj1980.03615995004400050002x
    """
    alpha, n, k_s, theta_s, theta_r = parameters
    m = 1.0 - 1.0 / n
    log_x = n * xp.log(-alpha * psi)
    x = xp.exp(log_x)
    log_1x = xp.log1p(x)
    saturation = xp.exp(-m * log_1x)
    # (1 - S^(1/m))^m written without the cancellation of 1 - S^(1/m)
    inner = xp.exp(m * (log_x - log_1x))
    theta = theta_r + (theta_s - theta_r) * saturation
    capacity = -(theta_s - theta_r) * m * n * saturation * x / ((1.0 + x) * psi)
    return theta, capacity, k_s * xp.sqrt(saturation) * (1.0 - inner) ** 2


def divergence(
    psi: Any, conductivity: Any, parameters: Sequence[Any], xp: Any, join: Join, cells: int
) -> Any:
    """Rate of change of water content in each cell, 1/s."""
    dz = DEPTH / cells
    top, bottom = (hydraulics(head, parameters, xp)[2] for head in (PSI_TOP, PSI_BOTTOM))
    # Darcy flux at the faces, positive downward
    flux_top = -0.5 * (top + conductivity[:1]) * ((psi[:1] - PSI_TOP) * (2.0 / dz) - 1.0)
    flux = -0.5 * (conductivity[1:] + conductivity[:-1]) * ((psi[1:] - psi[:-1]) / dz - 1.0)
    flux_bottom = -0.5 * (conductivity[-1:] + bottom) * ((PSI_BOTTOM - psi[-1:]) * (2.0 / dz) - 1.0)
    return (join([flux_top, flux]) - join([flux, flux_bottom])) / dz


def head_rate(psi: Any, parameters: Sequence[Any], xp: Any, join: Join, cells: int) -> Any:
    """dpsi/dt in cm/s: the head form, for peers that integrate du/dt = f(u)."""
    _, capacity, conductivity = hydraulics(psi, parameters, xp)
    return divergence(psi, conductivity, parameters, xp, join, cells) / capacity
