"""Members of an ensemble that is trained together: what each sees, and what chooses its epoch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from pydiffgeo.data.form import axis_of, observed_names
from pydiffgeo.data.windows import Windows
from pydiffgeo.errors import DataError

Records = xr.Dataset | Callable[[slice], xr.Dataset]
MakeWindows = Callable[[xr.Dataset], Windows]


@dataclass(frozen=True)
class Member:
    """One hybrid of an ensemble: what it is trained on, and what chooses its epoch.

    Attributes
    ----------
    name : str
        Such as "seed 0", "seed 0 (choice of epoch)", "without 03047".
    seed : int
        Of its networks.
    windows : Windows
        What it is trained on.
    seen : Windows, optional
        Sites and days that its scaling is fitted to; those of `windows` by default.
    held : dict of str to Tensor, [site, time] or [site, time, depth]
        Observations of the windows' sites that choose the epoch and are not in the windows.
    judge : int, optional
        Position of the member whose score chooses this one's epoch; itself by default.
    left_out : tuple of str
        Sites that it does not see.
    kept : bool
        Whether it is kept after the training, or has only chosen the epoch of others.
    """

    name: str
    seed: int
    windows: Windows
    seen: Windows | None = None
    held: Mapping[str, Tensor] = field(default_factory=dict)
    judge: int | None = None
    left_out: tuple[str, ...] = ()
    kept: bool = True

    def described(self) -> dict[str, Any]:
        """Return what a checkpoint keeps of it."""
        own: dict[str, Any] = {"name": self.name, "seed": self.seed, "kept": self.kept}
        return own | {"left_out": list(self.left_out)}


def twins(
    sites: Records,
    seeds: Sequence[int] = (0,),
    held: int = 45,
    warm_up: int = 0,
    windows: MakeWindows | None = None,
) -> list[Member]:
    """Return two members per seed: one trained on all days, and the twin that chooses its epoch.

    The twin is trained without the last days and judged on them; the epoch at which it was best is
    the one at which the weights of the first are kept. Without days held out there is no twin.

    Parameters
    ----------
    sites : xarray.Dataset or callable
        Records of the training period; or what makes them of the days that a member may see, a
        slice of positions, so that attributes can be derived from these days alone.
    seeds : sequence of int
        One pair each.
    held : int
        Last steps, which the twin is judged on.
    warm_up : int
        First steps, which no loss counts.
    windows : callable, optional
        Makes windows of the whole period of records.
    """
    plan: list[Member] = []
    for seed in seeds:
        if not held:
            plan.append(_member(_seen(sites, 0), 0, warm_up, windows, seed, name=f"seed {seed}"))
            continue
        first = {"name": f"seed {seed}", "judge": len(plan) + 1}
        twin = {"name": f"seed {seed} (choice of epoch)", "kept": False}
        for late, own in ((0, first), (held, twin)):
            plan.append(_member(_seen(sites, late), late, warm_up, windows, seed, **own))
    return plan


def folds(
    sites: Records,
    held: int = 45,
    warm_up: int = 0,
    windows: MakeWindows | None = None,
    count: int | None = None,
    seed: int = 0,
) -> list[Member]:
    """Return members, each trained without some sites and judged on the last days of the others.

    Parameters
    ----------
    sites, warm_up, windows
        As `twins`.
    held : int
        Last steps, on which each member is judged; 0 where the trainer's `validation` judges.
    count : int, optional
        Groups of sites, drawn by the seed; by default each site is left out in turn.
    seed : int
        Of the networks, and of the groups.

    Raises
    ------
    DataError
        Fewer than two groups, or more than sites.
    """
    records = _seen(sites, held)
    names = np.array([str(name) for name in records.site.values])
    count = len(names) if count is None else count
    if not 2 <= count <= len(names):
        raise DataError(
            f"{count} folds of {len(names)} sites cannot be made; take 2 to {len(names)}."
        )
    order = np.arange(len(names))
    if count < len(names):
        order = np.random.default_rng(seed).permutation(len(names))
    plan = []
    for group in np.array_split(order, count):
        out = tuple(names[np.sort(group)].tolist())
        name = f"without {', '.join(out[:3])}{' ...' if len(out) > 3 else ''}"
        others = records.isel(site=np.setdiff1d(order, group))
        plan.append(_member(others, held, warm_up, windows, seed, name=name, left_out=out))
    return plan


def _seen(sites: Records, held: int) -> xr.Dataset:
    return sites(slice(-held or None)) if callable(sites) else sites


def _member(
    records: xr.Dataset, held: int, warm_up: int, windows: MakeWindows | None, seed: int, **own: Any
) -> Member:
    """Return a member that sees these records, and whose last `held` steps are not in the loss."""
    axis = axis_of(records)
    count = records.sizes[axis]
    if count - held <= warm_up:
        raise DataError(
            f"{count} steps leave none between a warm-up of {warm_up} and {held} that are held "
            "out; hold out fewer."
        )
    late = xr.DataArray(np.arange(count) >= count - held, dims=axis)
    observed = {n: records[n] for n in observed_names(records)} if held else {}
    shown = records.assign({name: values.where(~late) for name, values in observed.items()})
    made = Windows(shown, warm_up=warm_up) if windows is None else windows(shown)
    seen = Windows(
        shown.isel({axis: slice(-held or None)}),
        forcing=made.forcing, observed=made.observed, attributes=made.attributes, dtype=made.dtype,
    )  # fmt: skip
    judged = {n: v.where(late) for n, v in observed.items() if n in made.observed}
    last = {n: v.transpose("site", axis, ...) for n, v in judged.items()}
    kept = {name: torch.tensor(values.values, dtype=made.dtype) for name, values in last.items()}
    return Member(seed=seed, windows=made, seen=seen, held=kept, **own)
