"""Which processes water flows through: reaches, and the lakes and reservoirs among them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pydiffgeo.data.batch import Batch
from pydiffgeo.data.network import levels
from pydiffgeo.errors import SettingsError
from pydiffgeo.networks.reading import taken
from pydiffgeo.stages.process import Process

LATERAL = "lateral_inflow"
POOL = "pool"  # attribute: not 0 at lakes and reservoirs


def require_river(process: Process) -> None:
    """Raise SettingsError for what is no process that water flows through."""
    if not isinstance(process, Process):
        raise SettingsError(
            f"Downstream takes a Process, not {type(process).__name__}: put other stages "
            "before it, and copies around it, Parallel(4, Downstream(...))."
        )
    spec, (outflow, inflow) = process.model.spec, process.model.carries
    absent = [k for k in (inflow, LATERAL) if k not in spec.forcings]
    absent += [k for k in (outflow,) if k not in spec.fluxes]
    if absent:
        raise SettingsError(
            f"Downstream: the model {spec.name!r} has no {' and no '.join(absent)}; take a "
            "river model such as muskingum_cunge."
        )
    if outflow not in process.gives:
        raise SettingsError(
            f"Downstream: only={list(process.only)} leaves out {outflow!r}, which flows from site "
            "to site; add it."
        )
    if process.start_after:
        raise SettingsError(
            f"Downstream: start_after={process.start_after} is an option of Downstream, not of "
            "its process; give it there."
        )


def require_pair(process: Process, pools: Process) -> None:
    """Raise SettingsError for reaches and pools that do not go together."""
    inflow = process.model.carries[1]
    if pools.model.carries != process.model.carries or pools.names[inflow] != process.names[inflow]:
        raise SettingsError(
            f"Downstream: {pools.model.spec.name} carries {pools.model.carries[0]!r}, "
            f"{process.model.spec.name} {process.model.carries[0]!r}; one network carries one "
            "thing, as one series."
        )
    if both := sorted({*process.learns} & {*pools.learns}):
        raise SettingsError(
            f"Downstream: reaches and pools both learn {', '.join(both)}; let one of them have it "
            "`given`."
        )
    if pools.outputs != process.outputs:
        raise SettingsError(
            f"Downstream: the outputs of reaches are {process.outputs}, those of pools "
            f"{pools.outputs}; give both the same."
        )


def blocks_of(
    below: NDArray, process: Process, pools: Process | None, batch: Batch
) -> list[tuple[NDArray, Process]]:
    """Return rows with their process in blocks, from the headwaters down: reaches between pools, or
    pools; what flows into a block comes from those before it.
    """
    if pools is None:
        return [(np.arange(len(below)), process)]
    pool = (taken(batch.attributes, POOL, "attribute") != 0).cpu().numpy()
    changes = np.zeros(len(below), int)  # from reach to pool or back, above each site
    for rows in levels(below):
        rows = rows[below[rows] >= 0]
        lower = below[rows]
        np.maximum.at(changes, lower, changes[rows] + (pool[rows] != pool[lower]))
    kinds = ((process, ~pool), (pools, pool))
    found = [
        (np.flatnonzero(own & (changes == k)), one)
        for k in range(changes.max() + 1)
        for one, own in kinds
    ]
    return [(rows, one) for rows, one in found if len(rows)]
