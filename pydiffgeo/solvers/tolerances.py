"""Absolute tolerances of the states of a model."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pydiffgeo.models.base import ProcessModel
from pydiffgeo.solvers.options import Solver


@dataclass(frozen=True)
class Tolerances:
    """Each is one number where all states have the same, which is faster, else `[size]`.

    Attributes
    ----------
    atol, storage_atol
        Absolute tolerances of the error per step, in the unit of the state and of its storage.
    typical
        Typical magnitude of the state: an update of Newton is at most the state's magnitude plus
        this.
    rounding
        What may be left of the storage to reach.
    newton_rounding
        As `rounding` where Newton's method meets it, as in a saturated soil in float32: its
        capacity of 1e-6 per cm turns the rounding of a water content into hundredths of a cm, which
        no iteration makes smaller. None in float64.
    """

    atol: float | Tensor
    storage_atol: float | Tensor
    typical: float | Tensor
    rounding: float | Tensor
    newton_rounding: float | Tensor | None

    @classmethod
    def of(cls, model: ProcessModel, options: Solver, like: Tensor) -> Tolerances:
        """Tolerances for states `[..., size]` of the kind of `like`."""
        absolute, states = options.absolute(model.spec), model.spec.each_state(like.shape[-1])
        part = max(2e-12, 16 * torch.finfo(like.dtype).eps)

        def each(values: list[float]) -> float | Tensor:
            return values[0] if len(set(values)) == 1 else like.new_tensor(values)

        rounding = each([part * s.storage_scale for s in states])
        return cls(
            atol=each([absolute[s.name] for s in states]),
            storage_atol=each([options.rtol * s.storage_scale for s in states]),
            typical=each([s.scale for s in states]),
            rounding=rounding,
            newton_rounding=None if like.dtype == torch.float64 else rounding,
        )
