"""From records of basins to what is trained on and judged."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from pydiffgeo.data import BasinTensors, Scaling, WindowSampler, add_pet, fit_scaling, load_tensors, open_basins
from pydiffgeo.errors import DataError, nearest
from pydiffgeo.training.basins.settings import BasinRun, DataSettings, Period

DTYPES = {"float32": torch.float32, "float64": torch.float64}


@dataclass(frozen=True)
class BasinData:
    """Records of the basins of a run.

    Attributes
    ----------
    records : xarray.Dataset
        Basin form: those trained on first, then those held out.
    tensors : BasinTensors
        Of the basins trained on.
    held_out : BasinTensors or None
        Of the others.
    scaling : Scaling
        Fitted on the training period of the basins trained on.
    """

    records: xr.Dataset
    tensors: BasinTensors
    held_out: BasinTensors | None
    scaling: Scaling

    def groups(self) -> dict[str, BasinTensors]:
        """Return the tensors of each group of basins."""
        return {"trained": self.tensors} | ({"held out": self.held_out} if self.held_out else {})


def find_data(path: Path) -> Path:
    """Return the path as it is given, or below the folder that PYDIFFGEO_DATA names, or ../shared/data.

    Raises
    ------
    DataError
        It is in none of these.
    """
    path = path.expanduser()
    folders = [Path(), Path(os.environ.get("PYDIFFGEO_DATA") or "../shared/data")]
    for folder in folders:
        if (folder / path).exists():
            return folder / path
    raise DataError(
        f"data.path: no file or folder {str(path)!r} in {' or '.join(str(f.resolve()) for f in folders)}; correct it, or set "
        "PYDIFFGEO_DATA to the folder that has it."
    )


def choose_basins(known: list[str], settings: DataSettings) -> tuple[list[str], list[str]]:
    """Return the basins trained on and those held out, in the order of `known`.

    A number means that many of one random order, the held-out ones first: the same basins are held out whatever number is
    trained on, and the basins of a smaller number are among those of a larger one.

    Raises
    ------
    DataError
        An unknown basin, one in both groups, or fewer basins than asked for.
    """
    order = [known[i] for i in np.random.default_rng(settings.split_seed).permutation(len(known))]
    held = order[: settings.held_out] if isinstance(settings.held_out, int) else list(settings.held_out)
    rest = [basin for basin in order if basin not in set(held)]
    wanted = settings.basins
    chosen = rest if wanted is None else rest[:wanted] if isinstance(wanted, int) else list(wanted)
    for which, given in (("basins", chosen), ("held_out", held)):
        for basin in given:
            if basin not in known:
                raise DataError(f"data.{which}: no basin {basin!r} in the records{nearest(basin, known)}")
    if both := sorted(set(held) & set(chosen)):
        raise DataError(f"basin {both[0]} is in data.basins and in data.held_out; take it out of one.")
    if not chosen or (isinstance(wanted, int) and len(chosen) < wanted):
        raise DataError(
            f"data.basins asks for {'some' if wanted is None else wanted} basins and data.held_out for {len(held)}; the "
            f"records have {len(known)}."
        )
    return [b for b in known if b in set(chosen)], [b for b in known if b in set(held)]


def load_basins(settings: BasinRun, process_forcing: tuple[str, ...] = ()) -> BasinData:
    """Open the records of a run and turn them into tensors.

    Parameters
    ----------
    settings : BasinRun
        The section `data`, the length of windows, the dtype.
    process_forcing : tuple of str
        Series that a process model needs besides those of the networks.

    Raises
    ------
    DataError
        Records, basins, variables or days that are not there, or missing forcing; by basin and date.
    """
    data = settings.data
    opened = open_basins(find_data(data.path), data.format, product=data.product)
    if data.pet and "potential_evapotranspiration" not in opened:
        opened = add_pet(opened, data.pet)
    trained, held = choose_basins([str(basin) for basin in opened.basin.values], data)
    records = opened.sel(basin=[*trained, *held])
    forcing = tuple(dict.fromkeys((*data.forcing, *process_forcing)))
    start, end = days_of(data.train)
    scaling = fit_scaling(records.sel(basin=trained), (*forcing, *data.targets), data.attributes, start, end)

    def tensors(basins: list[str]) -> BasinTensors:
        share = int(data.memory * 2**30 * len(basins) / len(records.basin))
        return load_tensors(
            records.sel(basin=basins), forcing, data.targets, data.attributes, DTYPES[settings.training.dtype], share,
            data.missing,
        )  # fmt: skip

    return BasinData(records, tensors(trained), tensors(held) if held else None, scaling)


def make_sampler(settings: BasinRun, tensors: BasinTensors) -> tuple[WindowSampler, Tensor]:
    """Return random windows of the training period, and standard deviations [basin, target] in it."""
    t, (start, end) = settings.training, days_of(settings.data.train)
    sampler = WindowSampler(tensors, t.batch_size, t.window - t.warm_up, t.warm_up, start, end, t.seed)
    needs_std = any(term.loss == "nse" for term in settings.loss)
    shape = (len(tensors.basins), len(tensors.target_names))
    return sampler, tensors.observed_std(start, end) if needs_std else torch.ones(shape, dtype=tensors.dtype)


def days_of(period: Period) -> tuple[str, str]:
    """Return first and last day as text."""
    return period.start.isoformat(), period.end.isoformat()
