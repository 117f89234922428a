"""What stages, networks and losses declare is what they do, with right derivatives.

Settings make them again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from contracts.test_composition import KNOWN, observed_with, sites_for
from hybrid_cases import basins
from torch import Tensor

import pydiffgeo as pdg
from pydiffgeo.experiment.build import make_hybrid
from pydiffgeo.experiment.schema import hybrid_section
from pydiffgeo.losses import LOSSES
from pydiffgeo.networks import NETWORKS
from pydiffgeo.recorded import describe
from pydiffgeo.stages import STAGES, Series, Stage

F64 = torch.float64
# what runs other stages or a solve: see test_parallel.py, test_downstream.py, and the contracts of
# models
WITHIN = ("parallel", "process", "downstream")


class Spy(Series):
    """Series or parameters that know which of them were asked for."""

    def __init__(self, values: Mapping[str, Tensor]):
        super().__init__(values, getattr(values, "failed", {}))
        self.asked: set[str] = set()

    def __getitem__(self, name: str) -> Tensor:
        self.asked.add(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        return self[name] if name in self else default


def prepared(kind: str) -> tuple[pdg.Hybrid, Any]:
    """A hybrid with this kind of stage or network, ready to run, and a batch."""
    network, parts = KNOWN[kind]()
    hybrid = pdg.Hybrid(network, *parts, dtype=F64)
    sites = sites_for(kind)
    windows = pdg.Windows(sites, warm_up=2, dtype=F64)
    hybrid.prepare(windows)
    if kind == "table":
        for site in ("b0", "b1", "b2"):
            hybrid.network.set(site, hybrid.begin if hasattr(hybrid, "begin") else {})
    windows = windows.reading(hybrid.reads, [observed_with(kind)], hybrid.needs)
    return hybrid.eval(), windows.batch(0)


def called(kind: str) -> tuple[Stage, Spy, Spy, Any]:
    """A stage of this kind, and what it is called with inside of a hybrid."""
    hybrid, batch = prepared(kind)
    (stage,) = [m for m in hybrid.modules() if type(m) is STAGES[kind]][:1]
    seen: list[tuple[Any, ...]] = []
    stage.register_forward_pre_hook(lambda _, given: seen.append(given))
    with torch.no_grad():
        hybrid(batch)
    series, parameters, batch = seen[0]
    return stage, Spy(series), Spy(parameters), batch


@pytest.mark.parametrize("kind", STAGES)
def test_a_stage_reads_gives_and_learns_what_it_says(kind: str) -> None:
    stage, series, parameters, batch = called(kind)
    given = stage(series, parameters, batch)
    added = {name for name, x in given.items() if series.get(name) is not x}
    assert added == set(stage.gives)
    if kind not in WITHIN:
        outside = {name for name in series.asked if name not in given} | series.asked
        assert set(stage.reads) <= series.asked
        assert outside - set(stage.reads) - set(given) == set()
        assert parameters.asked == set(stage.learns)
    assert set(stage.needs) <= set(batch.attributes)


@pytest.mark.parametrize("kind", [k for k in STAGES if k not in WITHIN])
def test_derivatives_of_a_stage(kind: str) -> None:
    stage, series, parameters, batch = called(kind)
    names = [n for n in stage.reads if series[n].is_floating_point()]
    learned = list(stage.learns)
    leaves = [series[n].detach() for n in names] + [parameters[n].detach() for n in learned]
    # weather at the thresholds of snow and of empty stores has no derivative
    leaves = [(x + 0.013 * (x == 0)).to(F64).requires_grad_() for x in leaves]

    def outputs(*values: Tensor) -> tuple[Tensor, ...]:
        x = dict(zip([*names, *learned], values, strict=True))
        changed = Series({**series, **{n: x[n] for n in names}})
        out = stage(changed, {**parameters, **{n: x[n] for n in learned}}, batch)
        return tuple(out[n] for n in stage.gives if out[n].requires_grad)

    if not leaves or not outputs(*leaves):
        pytest.skip("gives the same whatever it reads")
    assert torch.autograd.gradcheck(outputs, leaves, eps=1e-6, atol=1e-6, rtol=1e-4, fast_mode=True)


@pytest.mark.parametrize("kind", [k for k in NETWORKS if k not in ("table", "soil_class")])
def test_derivatives_of_a_network(kind: str) -> None:
    """The gradient of a hybrid's parameters in the weights, along a random direction."""
    hybrid, batch = prepared(kind)
    weights = [w for w in hybrid.parameters() if w.requires_grad]
    along = [torch.randn_like(w) for w in weights]

    def total() -> Tensor:
        out = torch.cat([x.flatten() for x in hybrid.parameters_of(batch).values()])
        return out @ torch.linspace(-1, 1, len(out), dtype=F64)

    @torch.no_grad()
    def moved(step: float) -> float:
        for w, v in zip(weights, along, strict=True):
            w.add_(step * v)
        value = float(total())
        for w, v in zip(weights, along, strict=True):
            w.sub_(step * v)
        return value

    grads = torch.autograd.grad(total(), weights)
    found = sum(float((g * v).sum()) for g, v in zip(grads, along, strict=True))
    true = (moved(1e-5) - moved(-1e-5)) / 2e-5
    assert found == pytest.approx(true, rel=1e-5) and found != 0


def with_gaussian(x: Tensor) -> dict[str, Tensor]:
    """A series, and a distribution around it, which some losses need."""
    return {"discharge": x, "discharge_gaussian": torch.stack([x, 0.5 + x], -1)}


@pytest.mark.parametrize("kind", LOSSES)
def test_derivatives_of_a_loss(kind: str) -> None:
    batch = pdg.Windows(basins(3, 40), warm_up=5, observed=["discharge"], dtype=F64).batch(0)
    loss = LOSSES[kind]("discharge")
    noise = torch.rand(batch.observed["discharge"].shape, dtype=F64)
    simulated = (batch.observed["discharge"].nan_to_num(1.0) + 0.2 + noise).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: loss(with_gaussian(x), batch.observed, batch), simulated, fast_mode=True
    )
    told = describe(loss)
    assert told.pop("kind") == kind and describe(LOSSES[kind](**told)) == describe(loss)


@pytest.mark.parametrize("kind", KNOWN)
def test_settings_make_it_again(kind: str) -> None:
    """A hybrid that is described and made again has the same parts, and is described alike."""
    network, parts = KNOWN[kind]()
    hybrid = pdg.Hybrid(network, *parts, dtype=F64)
    again = make_hybrid(hybrid_section(describe(hybrid)))
    third = make_hybrid(hybrid_section(describe(again)))
    assert describe(third) == describe(again)  # a model may be named in two ways
    for other in (again, third):
        assert [type(m) for m in other.modules()] == [type(m) for m in hybrid.modules()]
        assert other.reads == hybrid.reads and other.gives == hybrid.gives
        assert list(other.learns) == list(hybrid.learns)
