"""One step: the batch of every member, shared by the processes, without columns that failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from pydiffgeo.data.batch import Batch
from pydiffgeo.data.windows import Windows
from pydiffgeo.errors import SettingsError, SolveFailed, TrainingFailed
from pydiffgeo.training.distributed import Group
from pydiffgeo.training.ensemble import Member


@dataclass(frozen=True)
class Simulated:
    """What a member gave for a batch, the whole of it in every process.

    Attributes
    ----------
    series : mapping of str to Tensor
        Simulated, [batch, time, ...]; only those of the loss where several processes share the batch.
    batch : Batch
        Observations are missing in rows that failed.
    failed : Tensor of bool, [batch]
        Rows whose solve failed.
    reasons : list of str
        Why, for the rows of this process.
    """

    series: Mapping[str, Tensor]
    batch: Batch
    failed: Tensor
    reasons: list[str]


class Steps:
    """Simulates the batches of a training by a hybrid or an ensemble, and compares them by the loss."""

    def __init__(
        self,
        model: nn.Module,
        hybrids: Sequence[tuple[Member, nn.Module]],
        windows: Sequence[Windows],
        loss: Any,
        group: Group,
        max_failed: float,
    ):
        self.model, self.windows, self.loss = model, windows, loss
        self.members, self.hybrids = zip(*hybrids, strict=True)
        self.group, self.max_failed = group, max_failed

    def simulate(self, step: int) -> list[Simulated]:
        """Return what each member gives for the batch of a step.

        Raises
        ------
        SolveFailed
            More rows failed than allowed.
        """
        device = self.group.device
        batches = [windows.batch(step, self.group.part).to(device) for windows in self.windows]
        alone = self.model is self.hybrids[0]
        given = [self.model(batches[0])] if alone else self.model(batches)
        found = [self._whole(*one) for one in zip(self.members, batches, given, strict=True)]
        count, total = (
            sum(int(one.failed.sum()) for one in found),
            sum(len(one.failed) for one in found),
        )
        if count > self.max_failed * total:
            last = [reason for one in found for reason in one.reasons][-3:]
            raise SolveFailed(
                f"{count} of {total} columns failed in step {step + 1}, more than max_failed = {self.max_failed:g} allows. "
                f"Last: {'; '.join(last)}. Lower the learning rate, narrow the bounds of parameters, or allow more steps."
            )
        return found

    def undisturbed(self, found: list[Simulated], step: int) -> list[Simulated]:
        """Return what the members give without dropout: what is at hand where they have none, else a new simulation."""
        disturbed = any(
            (isinstance(part, nn.Dropout) and part.p > 0) or getattr(part, "varying_dropout", 0) > 0
            for part in self.model.modules()
        )
        if not disturbed:
            return found
        self.model.eval()
        with torch.no_grad():
            return self.simulate(step)

    def _whole(self, member: Member, part: Batch, series: Mapping[str, Tensor]) -> Simulated:
        """Return what a member gave for all processes."""
        why: Mapping[int, str] = getattr(series, "failed", {})
        failed = torch.zeros(len(part), dtype=torch.bool, device=self.group.device)
        failed[list(why)] = True
        reasons = [", ".join(filter(None, (member.name, text))) for text in why.values()]
        observed, batch = part.observed, part
        if why:
            observed = {
                n: v.masked_fill(failed.view(-1, *(1,) * (v.ndim - 1)), torch.nan)
                for n, v in observed.items()
            }
        if self.group.size > 1:
            gather, names = self.group.gather, self.loss.observed
            series, failed = {name: gather(series[name]) for name in names}, gather(failed)
            observed = {name: gather(observed[name]) for name in names}
            spread = {name: gather(part.spread[name]) for name in names}
            batch = replace(part, spread=spread, site=gather(part.site), start=gather(part.start))
        return Simulated(series, replace(batch, observed=observed), failed, reasons)

    def losses(self, found: list[Simulated], step: int) -> list[tuple[Tensor, dict[str, float]]]:
        """Return the loss of each member for the whole batch, and its parts.

        Raises
        ------
        TrainingFailed
            A loss is not a number; sites and windows are named.
        """
        losses = []
        for member, one in zip(self.members, found, strict=True):
            loss, parts = self.loss.parts(one.series, one.batch.observed, one.batch)
            if not bool(torch.isfinite(loss)):
                raise not_a_number("the loss", step, member, self._places(one))
            losses.append((loss, parts))
        return losses

    def _places(self, one: Simulated) -> list[str]:
        """Return sites and windows whose simulation is not finite where it counts; else that of the largest error."""
        places: list[str] = []
        for name in self.loss.observed:
            observed, simulated = one.batch.observed[name], one.series[name].detach()
            places += one.batch.not_finite(torch.where(observed.isnan(), 0.0, simulated))
        errors = (one.series[name].detach() - one.batch.observed[name]).abs()
        return places or [one.batch.where(int(errors.nan_to_num(0.0).flatten(1).amax(1).argmax()))]

    def gradient_failed(self, i: int, step: int) -> TrainingFailed:
        """Return the error that says which rows of this process give member `i` a gradient that is not a number."""
        places, windows = [], self.windows[i]
        weights = [w for w in self.hybrids[i].parameters() if w.requires_grad]
        for row in range(*self.group.part.indices(len(windows.batch(step)))):
            alone = windows.batch(step, slice(row, row + 1)).to(self.group.device)
            series = self.hybrids[i](alone)
            size = torch.stack(
                [series[n].nan_to_num().square().sum() for n in self.loss.observed]
            ).sum()
            gradients = torch.autograd.grad(size, weights, allow_unused=True)
            if not all(bool(torch.isfinite(g).all()) for g in gradients if g is not None):
                places.append(alone.where(0))
        return not_a_number("the gradient", step, self.members[i], places or ["no window alone"])


def require_usable(windows: Windows, loss: Any, processes: int) -> None:
    """Raise where the rows of a batch do not divide over the processes, or sites lack the variance that a loss needs."""
    if loss.needs_spread:
        windows.require_variance()
    last = windows.steps_per_epoch - 1 if windows.length is None else 0  # may have fewer rows
    for step in {0, last}:
        if (rows := len(windows.batch(step))) % processes:
            raise SettingsError(
                f"a batch of {rows} rows does not divide over {processes} processes; take a multiple."
            )


def not_a_number(what: str, step: int, member: Member, places: list[str]) -> TrainingFailed:
    """Return the error that ends a training, with its remedies."""
    more = f" and {len(places) - 3} more" if len(places) > 3 else ""
    of = f" of {member.name}" if member.name else ""
    return TrainingFailed(
        f"{what} of step {step + 1}{of} is not a number: {'; '.join(places[:3])}{more}. Look at the forcing there, mend it, "
        "and go on with --resume; or lower the learning rate, narrow the bounds of parameters or take shorter steps, and begin "
        "anew with --overwrite."
    )
