"""One step: the batch of every member, shared by the processes, without columns that failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
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
    """What a member gave for a batch, the whole of it in every process."""

    series: Mapping[str, Tensor]  # [batch, time, ...]; those of the loss, if processes share it
    batch: Batch  # without observations in rows that failed
    failed: Tensor  # of bool, [batch]
    reasons: list[str]  # why rows of this process failed


class Steps:
    """Simulates the batches of a training by its model, and compares them by the loss."""

    def __init__(
        self,
        model: nn.Module,
        members: Sequence[Member],
        hybrids: Sequence[nn.Module],
        windows: Sequence[Windows],
        loss: Any,
        group: Group,
        max_failed: float,
    ):
        self.model, self.members, self.hybrids, self.windows = model, members, hybrids, windows
        self.loss, self.group, self.max_failed = loss, group, max_failed
        for one in windows:
            if group.size > 1 and one.closed is not None:
                what = "rivers" if one.closed == "upstream" else "cells"
                raise SettingsError(
                    f"{what} (closed={one.closed!r}) are trained by one process, and there are "
                    f"{group.size}; start one, with more threads."
                )
            if loss.needs_spread:
                one.require_variance()
            rows = min(one.rows(0), one.rows(one.steps_per_epoch - 1))
            if rows < group.size:
                raise SettingsError(
                    f"a batch of {rows} rows is too small for {group.size} processes; take another "
                    "size of batches, or fewer processes."
                )

    def simulate(self, step: int) -> list[Simulated]:
        """Return what each member gives; SolveFailed if more rows fail than allowed."""
        device = self.group.device
        batches = [windows.batch(step, self.group.part).to(device) for windows in self.windows]
        alone = self.model is self.hybrids[0]
        try:
            given = [self.model(batches[0])] if alone else self.model(batches)
        except SolveFailed as error:
            raise SolveFailed(
                f'{error} Or take Solver(on_failure="report"), with which a training leaves such '
                f"rows out, up to max_failed = {self.max_failed:g} of them.",
                error.failed,
            ) from error
        each = enumerate(zip(batches, given, strict=True))
        found = [self._whole(step, i, part, series) for i, (part, series) in each]
        failed = torch.cat([one.failed for one in found])
        count, total = int(failed.sum()), len(failed)
        if count > self.max_failed * total:
            last = [reason for one in found for reason in one.reasons][-3:]
            raise SolveFailed(
                f"{count} of {total} columns failed in step {step + 1}, more than max_failed = "
                f"{self.max_failed:g} allows. Last: {'; '.join(last)}. Lower the learning rate, "
                "narrow the bounds of parameters, or allow more steps."
            )
        return found

    def undisturbed(self, found: list[Simulated], step: int) -> list[Simulated]:
        """Return what the members give without dropout: what is at hand, else a new simulation."""
        disturbed = any(
            (isinstance(part, nn.Dropout) and part.p > 0) or getattr(part, "varying_dropout", 0) > 0
            for part in self.model.modules()
        )
        if not disturbed:
            return found
        self.model.eval()
        with torch.no_grad():
            return self.simulate(step)

    def _whole(self, step: int, i: int, part: Batch, series: Mapping[str, Tensor]) -> Simulated:
        """Return what member `i` gave for the rows of all processes."""
        why: Mapping[int, str] = getattr(series, "failed", {})
        failed = torch.zeros(len(part), dtype=torch.bool, device=self.group.device)
        failed[list(why)] = True
        reasons = [", ".join(filter(None, (self.members[i].name, text))) for text in why.values()]
        batch, observed = part, part.observed
        if self.group.size > 1:
            gather = partial(self.group.gather, rows=self.windows[i].rows(step))
            series = {name: gather(series[name]) for name in self.loss.reads(series)}
            observed, spread = (
                {name: gather(values[name]) for name in self.loss.observed}
                for values in (observed, part.spread)
            )
            failed, site, start = (gather(x) for x in (failed, part.site, part.start))
            batch = replace(part, spread=spread, site=site, start=start)
        if bool(failed.any()):
            observed = {
                name: values.masked_fill(failed.view(-1, *(1,) * (values.ndim - 1)), torch.nan)
                for name, values in observed.items()
            }
        return Simulated(series, replace(batch, observed=observed), failed, reasons)

    def losses(self, found: list[Simulated], step: int) -> list[tuple[Tensor, dict[str, float]]]:
        """Return the loss of each member, and its parts; TrainingFailed if it is not a number."""
        losses = []
        for i, one in enumerate(found):
            loss, parts = self.loss.parts(one.series, one.batch.observed, one.batch)
            if not bool(torch.isfinite(loss)):
                raise self._not_a_number("the loss", i, step, self._places(one))
            losses.append((loss, parts))
        return losses

    def _places(self, one: Simulated) -> list[str]:
        """Return where the simulation is not finite and counts; else where its error is largest."""
        places: list[str] = []
        for name in self.loss.observed:
            observed, simulated = one.batch.observed[name], one.series[name].detach()
            places += one.batch.not_finite(torch.where(observed.isnan(), 0.0, simulated))
        errors = (one.series[name].detach() - one.batch.observed[name]).abs()
        return places or [one.batch.where(int(errors.nan_to_num(0.0).flatten(1).amax(1).argmax()))]

    def gradient_failed(self, i: int, step: int) -> TrainingFailed:
        """Return the error that names the rows of this process whose gradient is not a number."""
        places, windows = [], self.windows[i]
        weights = [w for w in self.hybrids[i].parameters() if w.requires_grad]
        for row in range(*self.group.part.indices(windows.rows(step))):
            alone = windows.batch(step, slice(row, row + 1)).to(self.group.device)
            series = self.hybrids[i](alone)
            size = sum(series[n].nan_to_num().square().sum() for n in self.loss.observed)
            gradients = torch.autograd.grad(size, weights, materialize_grads=True)
            if not all(bool(torch.isfinite(gradient).all()) for gradient in gradients):
                places.append(alone.where(0))
        return self._not_a_number("the gradient", i, step, places or ["no window alone"])

    def _not_a_number(self, what: str, i: int, step: int, places: list[str]) -> TrainingFailed:
        more = f" and {len(places) - 3} more" if len(places) > 3 else ""
        of = f" of {self.members[i].name}" if self.members[i].name else ""
        return TrainingFailed(
            f"{what} of step {step + 1}{of} is not a number: {'; '.join(places[:3])}{more}. Look "
            "at the forcing there, mend it, and go on with --resume; or lower the learning rate, "
            "narrow the bounds of parameters or take shorter steps, and begin anew with "
            "--overwrite."
        )
