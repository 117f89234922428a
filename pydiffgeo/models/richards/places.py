"""The places of a column where its curves are evaluated, and what lies between them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pydiffgeo.models.base import Values
from pydiffgeo.models.richards.boundaries import Boundary, Side
from pydiffgeo.models.richards.column_soil import SoilFunctions
from pydiffgeo.models.richards.face_means import Mean
from pydiffgeo.models.richards.grid import Grid
from pydiffgeo.models.spec_files import load_constants

JUST_DRY = load_constants("richards")["JUST_DRY"]


class Places(SoilFunctions):
    """Heads and conductivities at the boundaries, in the cells and on both sides of layer
    boundaries.

    Attributes
    ----------
    top, bottom : Boundary
    face_mean : callable
        Conductivity at a face from those on its two sides; see `face_means`.
    """

    top: Boundary
    bottom: Boundary
    face_mean: Callable[..., Mean]
    _column: Grid
    _faces: Tensor
    _cells: slice
    _inner: slice
    _edge_conductance: tuple[float, float]
    _constants: dict[tuple[torch.dtype, torch.device], dict[str, Tensor]]

    def _heads(self, state: Tensor) -> Tensor:
        """The cells' part of a state or storage, which may begin with the pond."""
        return state[..., 1:] if self.top.stores and state.shape[-1] == self.size else state

    def _geometry(self, like: Tensor) -> dict[str, Tensor]:
        """Constants of the grid in the dtype and on the device of the state."""
        key = (like.dtype, like.device)
        if key not in self._constants:
            g = self._column
            centre, half = g.depth.diff(), g.thickness / 2
            zero = torch.zeros(1, dtype=half.dtype)
            ends = (
                half[:1] if self.top.n_heads else half[:0],
                half[-1:] if self.bottom.n_heads else half[:0],
            )
            values = {
                "dz": g.thickness,
                "faces": g.faces,
                "inverse_dz": 1 / g.thickness,
                "lower_inverse_dz": torch.cat([zero, 1 / g.thickness[1:]]),
                "upper_inverse_dz": torch.cat([-1 / g.thickness[:-1], zero]),
                "conductance": 1 / torch.cat([ends[0], centre, ends[1]]),
                "half_up": half[self._faces],
                "half_low": half[self._faces + 1],
            }
            out = {k: v.to(*key[::-1]) for k, v in values.items()}
            out["interface"] = self._faces.to(like.device) + self._inner.start
            out["layer"] = g.layer.to(like.device)
            out["bend"] = torch.full((self.size,), JUST_DRY, dtype=key[0], device=key[1])
            out["bend"][: self.size - g.cells] = torch.nan  # a pond has none
            self._constants[key] = out
        return self._constants[key]

    def _soil_index(self, like: Tensor) -> Tensor:
        """Layer of every place where conductivity is evaluated; the same order as in `_extend`."""
        layer = self.grid.layer
        parts = [
            layer[:1].expand(self.top.n_heads),
            layer,
            layer[-1:].expand(self.bottom.n_heads),
            layer[self._faces + 1],
            layer[self._faces],
        ]
        return torch.cat(parts).to(like.device)

    def _extend(self, psi: Tensor, forcing: Values, p: Values) -> Tensor:
        """Heads at all places where the curves are evaluated."""
        top, bottom = self.top.heads(forcing, p), self.bottom.heads(forcing, p)
        if not top and not bottom and not len(self._faces):
            return psi
        one = psi[..., :1]

        def place(head: Tensor | float) -> Tensor:
            return head.expand_as(one) if isinstance(head, Tensor) else torch.full_like(one, head)

        parts = [*map(place, top), psi, *map(place, bottom)]
        if len(self._faces):
            i = self._faces.to(psi.device)
            parts += [psi[..., i], psi[..., i + 1]]
        return torch.cat(parts, -1)

    def _side(
        self,
        top: bool,
        q: Tensor,
        slopes: Tensor | None,
        outer: Tensor | None,
        psi: Tensor,
        K: Tensor,
        dK: Tensor | None,
    ) -> Side:
        first, last = self._cells.start, self._cells.stop
        cell, heads = (
            (first, slice(0, first)) if top else (last - 1, slice(last, last + self.bottom.n_heads))
        )
        return Side(
            top,
            q,
            slopes,
            outer,
            psi,
            K,
            dK,
            cell,
            heads,
            self._edge_conductance[0 if top else 1],
            self.face_mean,
        )

    def _interface(
        self, K: Tensor, gradient: Tensor, g: dict[str, Tensor], dK: Tensor | None = None
    ) -> Mean:
        """Conductivity of the faces between layers and, with dK, its derivatives in the heads above
        and below.
        """
        m, slope = len(self._faces), gradient[..., g["interface"]]
        i = self._faces.to(K.device) + self._cells.start
        first = K.shape[-1] - 2 * m
        across = slice(first, first + m), slice(first + m, first + 2 * m)
        # upper soil at the upper and the lower head, lower soil at the upper and the lower head
        upper = self.face_mean(K[..., i], K[..., across[1]], slope)
        lower = self.face_mean(K[..., across[0]], K[..., i + 1], slope)
        resistance = g["half_up"] / upper[0] + g["half_low"] / lower[0]
        mean = (g["half_up"] + g["half_low"]) / resistance
        if dK is None:
            return mean, 0.0, 0.0
        by_upper = mean / resistance * g["half_up"] / upper[0] ** 2
        by_lower = mean / resistance * g["half_low"] / lower[0] ** 2
        above = by_upper * upper[1] * dK[..., i] + by_lower * lower[1] * dK[..., across[0]]
        below = by_upper * upper[2] * dK[..., across[1]] + by_lower * lower[2] * dK[..., i + 1]
        return mean, above, below
