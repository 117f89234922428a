"""Checkpoints of a training: written whole, read without running code, fitted to their model."""

from __future__ import annotations

import hashlib
import io
import json
import math
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pydiffgeo.data.windows import Windows
from pydiffgeo.errors import DataError, SettingsError
from pydiffgeo.files import replacing

CHECKPOINT = Path("checkpoints", "last.pt")  # in the folder of a run
ANEW = "choose another folder with --output, or begin anew with --overwrite."  # ends remedies


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint; whatever interrupts it leaves the old or the new one whole."""
    content = io.BytesIO()
    torch.save(state, content)  # not into the file: torch's writer ends the process on a full disk
    kept = (
        "The checkpoint before it is intact." if path.is_file() else "There is no checkpoint yet."
    )
    with replacing(path, "go on with --resume", f"{kept} ") as part:
        part.write_bytes(content.getbuffer())


def load_checkpoint(path: Path, keys: Collection[str] = ()) -> dict[str, Any] | None:
    """Return a checkpoint, or None where there is none.

    DataError where it cannot be read, or is of another kind of training: has not all `keys`.
    """
    if not path.is_file():
        return None
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise DataError(
            f"checkpoint {path} cannot be read ({reason}). Put a copy of it back, {ANEW}"
        ) from error
    for key in keys:
        if not isinstance(saved, dict) or key not in saved:
            raise DataError(
                f"checkpoint {path} is of another kind of training: it has no {key!r}. Put that of "
                f"this run back, {ANEW}"
            )
    return saved


def stopped_at(step: int, total: int, folder: Path | None) -> KeyboardInterrupt:
    """Return the interrupt that says what is kept of a training, and how it goes on."""
    text = f"interrupted after step {step} of {total}; "
    if folder is None:
        return KeyboardInterrupt(text + "nothing is kept: give a folder to go on another time.")
    kept = folder / CHECKPOINT
    return KeyboardInterrupt(
        text + f"go on from {kept} with the same arguments and run(resume=True)."
    )


def load_weights(module: nn.Module, weights: Mapping[str, Any], path: Path) -> None:
    """Give a module the weights of a checkpoint; SettingsError where they are of another model."""
    there, here = (
        {name: list(value.shape) for name, value in state.items() if isinstance(value, Tensor)}
        for state in (weights, module.state_dict())
    )
    differ = [name for name in here | there if here.get(name) != there.get(name)]
    if differ:
        name = differ[0]
        has, wants = (
            f"has {name!r} of shape {s[name]}" if name in s else f"has no {name!r}"
            for s in (there, here)
        )
        raise SettingsError(
            f"checkpoint {path} is of another model: it {has}, the model of the settings {wants}, "
            f"and {len(differ) - 1} more weights differ. Take the settings of that run, {ANEW}"
        )
    module.load_state_dict(weights)


def chosen_weights(saved: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of a checkpoint that are judged: of the best validation, else the last ones."""
    return saved.get("best_weights") or saved["model"]


def weights_hash(weights: Mapping[str, Any]) -> str:
    """Return the SHA-256 of names, types, shapes and values of weights."""
    digest = hashlib.sha256()
    for name, value in sorted(weights.items()):
        if isinstance(value, Tensor):
            value = value.detach().cpu().contiguous()
            digest.update(f"{name} {value.dtype} {tuple(value.shape)} ".encode())
            digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
        else:  # names, units and scaling of a hybrid
            digest.update(f"{name} {json.dumps(value, sort_keys=True)} ".encode())
    return digest.hexdigest()


def records_hash(windows: Sequence[Windows]) -> str:
    """Return a SHA-256 of windows of whole periods, "" for random ones, known by their scaling.

    In single precision, in which records of two machines do not differ by rounding.
    """
    whole = [one for one in windows if one.length is None]
    found = []
    for batch in (one.batch(k) for one in whole for k in range(one.steps_per_epoch)):
        values = {
            f"{group} {name}": value.float().nan_to_num(nan=-1.0)
            for group in ("series", "attributes", "observed")
            for name, value in getattr(batch, group).items()
        }
        found.append(weights_hash(values))
    return hashlib.sha256("".join(found).encode()).hexdigest() if found else ""


def require_same_records(now: Mapping[str, Any], before: Mapping[str, Any]) -> None:
    """Raise SettingsError where a checkpoint is of other records than a new one is.

    These differ in `records_hash`, or in the scaling of a hybrid by more than rounding.
    """
    differs = ""
    for name, value in now["model"].items():
        if re.fullmatch(r"(members\.\d+\.)?_extra_state", name) and name in before["model"]:
            differs = differs or difference(value, before["model"][name], "")
    if not differs and now["records"] != before["records"]:
        differs = "values of the days trained on differ"
    if differs:
        raise SettingsError(
            f"cannot resume: the records are not those of the run in the folder: {differs}. Put "
            f"the records back, {ANEW}"
        )


def difference(now: Any, before: Any, place: str) -> str:
    """Return in words where two scalings differ by more than rounding; "" where they do not."""
    parts: list[tuple[Any, Any, str]] = []
    same = now == before
    if isinstance(now, Mapping) and isinstance(before, Mapping):
        parts = [(now.get(key), before.get(key), f"{place} {key}") for key in {**now, **before}]
    elif isinstance(now, list) and isinstance(before, list) and len(now) == len(before):
        parts = [(*pair, place) for pair in zip(now, before, strict=True)]
    elif isinstance(now, float) and isinstance(before, float):
        both_missing = math.isnan(now) and math.isnan(before)
        same = both_missing or math.isclose(now, before, rel_tol=1e-4, abs_tol=1e-6)
    if parts:
        return next(filter(None, (difference(*part) for part in parts)), "")
    return "" if same else f"{place.strip()} is {now!r}, the checkpoint has {before!r}"
