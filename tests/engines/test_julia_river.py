"""Checkpoints and threads of a river in one call."""

from __future__ import annotations

from typing import Any

import torch
from whole_river_cases import gradients, inputs, results, together, tree

from pydiffgeo.engines.julia_engine import set_threads


def test_checkpoints_and_threads_change_no_digit_of_a_river(julia: Any) -> None:
    """Stretches that are solved again for the gradient, and groups on two threads.

    Gradients of what arrives later are added up in another order.
    """
    x, below = inputs(), tree()
    plain = together(x, below, "julia", delay=True)
    assert plain is not None
    wanted, slopes = results(plain), gradients(results(plain), x)
    kept = together(x, below, "julia", delay=True, checkpoints=True)
    set_threads(1)
    try:
        alone = together(x, below, "julia", delay=True)
    finally:
        set_threads(0)
    for other in (kept, alone):
        assert other is not None
        for name, value in results(other).items():
            assert torch.equal(value, wanted[name])
        for a, b in zip(gradients(results(other), x), slopes, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-14 * float(b.abs().max()))
    assert int(kept.stats["recorded_bytes"]) < 0.6 * int(plain.stats["recorded_bytes"])  # type: ignore[union-attr]
