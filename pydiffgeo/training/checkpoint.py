"""Checkpoints of a training: written whole, read without running code, and fitted to the model that they are of."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pydiffgeo.errors import DataError, SettingsError
from pydiffgeo.files import replacing


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint; an interruption or a full disk leaves the old one or the new one, never half of it.

    Raises
    ------
    OutputError
        It cannot be written; the old one is as it was.
    """
    content = io.BytesIO()
    torch.save(state, content)  # not into the file: torch's writer ends the process on a full disk
    kept = (
        "The checkpoint before it is intact. " if path.is_file() else "There is no checkpoint yet. "
    )
    with replacing(path, "go on with --resume", kept) as part:
        part.write_bytes(content.getbuffer())


def load_checkpoint(path: Path, keys: Collection[str] = ()) -> dict[str, Any] | None:
    """Return a checkpoint, or None where there is none.

    Parameters
    ----------
    path : Path
        File.
    keys : collection of str
        What it must hold.

    Raises
    ------
    DataError
        The file cannot be read, or is of another kind of training.
    """
    if not path.is_file():
        return None
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise DataError(
            f"checkpoint {path} cannot be read ({reason}). Put a copy of it back, or begin anew with --overwrite."
        ) from error
    for key in keys:
        if not isinstance(saved, dict) or key not in saved:
            raise DataError(
                f"checkpoint {path} is of another kind of training: it has no {key!r}. Put that of this run back, choose "
                "another folder with --output, or begin anew with --overwrite."
            )
    return saved


def load_weights(module: nn.Module, weights: Mapping[str, Tensor], path: Path) -> None:
    """Give a module the weights of a checkpoint.

    Raises
    ------
    SettingsError
        They are those of another model; the first weight that differs is named, and the module is as it was.
    """
    here = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    there = {name: tuple(value.shape) for name, value in weights.items()}
    differ = [name for name in here | there if here.get(name) != there.get(name)]
    if differ:
        name = differ[0]
        what = [
            f"has {name!r} of shape {list(s[name])}" if name in s else f"has no {name!r}"
            for s in (there, here)
        ]
        raise SettingsError(
            f"checkpoint {path} is of another model: it {what[0]}, the model of the settings {what[1]}, and {len(differ) - 1} "
            "more weights differ. Take the settings of that run, choose another folder with --output, or begin anew with "
            "--overwrite."
        )
    module.load_state_dict(weights)


def chosen_weights(saved: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return those of a checkpoint that are judged: of the best validation score, else the last ones."""
    return saved.get("best_weights") or saved["model"]


def weights_hash(weights: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of names, types, shapes and values of weights."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        value = weights[name].detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)} ".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
