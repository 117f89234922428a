"""Trained models over whole periods: what is judged, and the parameters behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import nn

from pydiffgeo.data import BasinTensors
from pydiffgeo.training.basins.models import HybridModel
from pydiffgeo.training.distributed import Group


@dataclass(frozen=True)
class Periods:
    """Simulations and observations of a period, and the parameters of a hybrid model.

    Attributes
    ----------
    series : xarray.Dataset
        ``TARGET_simulated`` and ``TARGET_observed`` [basin, time].
    parameters : dict of str to ndarray, [basin]
        Means over components and, for those that vary, over the days simulated; empty for a pure LSTM.
    also : xarray.Dataset
        Other series [basin, time] of a hybrid model, not routed; empty for a pure LSTM.
    """

    series: xr.Dataset
    parameters: dict[str, np.ndarray]
    also: xr.Dataset


def predict(
    model: nn.Module,
    tensors: BasinTensors,
    start: str,
    end: str,
    warm_up: int,
    batch_size: int,
    group: Group | None = None,
    also: Mapping[str, str] | None = None,
    rows: Sequence[int] | NDArray | None = None,
) -> Periods:
    """Simulate basins over a period; the processes of the group share the work, and all return all of them.

    Parameters
    ----------
    model : torch.nn.Module
        A `BasinModel`, in evaluation mode.
    tensors : BasinTensors
        Basins.
    start, end : str
        First and last day judged.
    warm_up : int
        Days simulated before; fewer where the record begins later than that.
    batch_size : int
        Basins simulated at a time.
    group : Group, optional
        Processes.
    also : mapping of str to str, optional
        Flux or state of a hybrid model by name of each other series that is wanted; see `HybridModel.simulate`.
    rows : sequence of int, optional
        Positions of the basins, in order; all by default.

    Raises
    ------
    DataError
        The record does not cover the period, or forcing is missing in it.
    """
    group = group or Group()
    first, last = tensors.span(start, end)
    warm_up = min(warm_up, first)
    rows = np.arange(len(tensors.basins)) if rows is None else np.asarray(rows, int)
    tensors.require_forcing(first - warm_up, last, rows)
    mine = rows[group.rank :: group.size]
    simulated: list[np.ndarray] = []
    observed: list[np.ndarray] = []
    learned: list[Mapping[str, np.ndarray]] = []
    others: list[Mapping[str, np.ndarray]] = []
    was_training = model.training
    model.eval()
    with torch.no_grad():
        for k in range(0, len(mine), batch_size):
            some = mine[k : k + batch_size]
            batch = tensors.windows(
                some, np.full(len(some), first - warm_up), last - first + warm_up, warm_up
            )
            batch = batch.to(group.device)
            targets, more = (
                model.simulate(batch, also)
                if isinstance(model, HybridModel)
                else (model(batch), {})
            )
            simulated.append(targets.double().cpu().numpy())
            observed.append(batch.observed[:, warm_up:].double().cpu().numpy())
            others.append({name: values.cpu().numpy() for name, values in more.items()})
            if isinstance(model, HybridModel):
                learned.append(
                    {
                        n: v.flatten(1).mean(1).cpu().numpy()
                        for n, v in model.parameters_of(batch).items()
                    }
                )
    model.train(was_training)
    parts = group.collect((mine, simulated, observed, learned, others))
    order = np.argsort(np.concatenate([part[0] for part in parts]))
    both = [np.concatenate([block for part in parts for block in part[k]])[order] for k in (1, 2)]

    def joined(k: int) -> dict[str, np.ndarray]:
        blocks = [block for part in parts for block in part[k]]
        return {
            name: np.concatenate([block[name] for block in blocks])[order]
            for name in (blocks[0] if blocks else {})
        }

    series = {
        f"{target}_{kind}": (("basin", "time"), values[..., k].astype("float32"))
        for k, target in enumerate(tensors.target_names)
        for kind, values in zip(("simulated", "observed"), both, strict=True)
    }
    places = {"basin": [tensors.basins[row] for row in rows], "time": tensors.days[first:last]}
    more_series = {name: (("basin", "time"), values) for name, values in joined(4).items()}
    return Periods(xr.Dataset(series, places), joined(3), xr.Dataset(more_series, places))
