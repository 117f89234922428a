"""The choice of the epoch whose weights are kept, and of the one that ends a training early."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from pydiffgeo.data.windows import Windows
from pydiffgeo.errors import DataError
from pydiffgeo.evaluation.scores import pooled_scores, score_sites
from pydiffgeo.training.distributed import Group
from pydiffgeo.training.ensemble import Member
from pydiffgeo.training.steps import Simulated

COMPLETE = 0.9  # share of the observations held out that must be simulated for a score

Judge = Windows | Callable[[nn.Module], float]


class Choice:
    """Scores of the members of a training, larger for better, and their best weights."""

    KEPT = ("scores", "best", "best_epoch", "best_weights", "stopped")

    def __init__(
        self,
        members: Sequence[Member],
        hybrids: Sequence[nn.Module],
        judges: Sequence[Judge],
        patience: int | None = None,
        observed: Sequence[str] = (),
    ):
        self.members, self.hybrids, self.patience = members, hybrids, patience
        self.observed = observed  # what the loss compares
        self.held = any(member.held for member in members)
        self.judges = [] if self.held else judges
        self.judged_by = [i if m.judge is None else m.judge for i, m in enumerate(members)]
        self.scores = [-math.inf] * len(members)
        self.best, self.best_epoch = [-math.inf] * len(members), [0] * len(members)
        self.best_weights: list[dict[str, Any] | None] = [None] * len(members)
        self.stopped = ""  # why the training ends early

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint has to keep."""
        return {name: getattr(self, name) for name in self.KEPT}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        for name in self.KEPT:
            setattr(self, name, state[name])

    def judge_held(self, found: Sequence[Simulated], epoch: int) -> None:
        """Score the members by the days held out of what they simulated."""
        both = zip(self.members, found, strict=True)
        self.keep([_held_score(member, one, self.observed) for member, one in both], epoch)

    def validate(self, epoch: int, observed: Sequence[str], group: Group) -> None:
        """Score the members by windows of a validation period, or by what a callable says.

        Windows judge by the median NSE over sites, in the mean over the observed series; those of
        points by the NSE over all points of all sites.
        """
        scores = []
        for member, one, judge in zip(self.members, self.hybrids, self.judges, strict=True):
            one.eval()
            with torch.no_grad():
                if isinstance(judge, Windows):
                    scores.append(_mean_nse(one, judge, observed, group, member.left_out))
                else:
                    scores.append(float(judge(one)))
        if not all(map(math.isfinite, scores)):
            raise DataError(
                "the validation score is not a number: its period has too few observations of "
                f"{' or '.join(observed)} to judge by, or too many of its sites fail. Choose "
                "another period for validation."
            )
        self.keep(scores, epoch)

    def keep(self, scores: list[float], epoch: int) -> None:
        """Note the scores, and keep the weights of each member whose judge was never better."""
        self.scores = scores
        for i, judge in enumerate(self.judged_by):
            if scores[judge] > self.best[i]:
                self.best_weights[i] = deepcopy(self.hybrids[i].state_dict())
                self.best_epoch[i], self.best[i] = epoch, scores[judge]

    def end_epoch(self, epoch: int) -> float:
        """Return the mean score of the judges, errors as they are, and note whether to go on."""
        last, judged = max(self.best_epoch), epoch - self.held  # days held out judge before a step
        if self.patience and judged - last >= self.patience:
            self.stopped = f"no better validation in {self.patience} epochs, best in epoch {last}"
        judges = set(self.judged_by)
        score = sum(self.scores[i] for i in judges) / len(judges)
        return -score if self.held else score

    def told(self) -> str:
        """Return the best score and its epoch, of several judges the mean; "" before a choice."""
        judges = sorted({i for i in self.judged_by if self.best_weights[i] is not None})
        if not judges:
            return ""
        score = sum(self.best[i] for i in judges) / len(judges)
        name = "best error on the days held out" if self.held else "best validation score"
        if len(judges) > 1:
            return f"{name} {abs(score) if self.held else score:.4f}, mean of {len(judges)} members"
        where = f"in epoch {self.best_epoch[judges[0]]}"
        return f"{name} {abs(score) if self.held else score:.4f} {where}, whose weights are kept"

    def chosen(self, ensemble: bool) -> dict[str, Any] | None:
        """Return the weights of the hybrid, or of the kept members; None before a choice."""
        if not ensemble or self.best_weights[0] is None:
            return self.best_weights[0]
        kept = [i for i, member in enumerate(self.members) if member.kept]
        each = [self.best_weights[i] or self.hybrids[i].state_dict() for i in kept]
        return {f"members.{k}.{n}": v for k, one in enumerate(each) for n, v in one.items()}

    def take_best(self) -> None:
        """Give each member its best weights."""
        for one, weights in zip(self.hybrids, self.best_weights, strict=True):
            if weights is not None:
                one.load_state_dict(weights)


def _held_score(member: Member, one: Simulated, names: Sequence[str]) -> float:
    """Return minus the RMSE on the days held out; -inf where too many are not simulated.

    Of several series it is that of errors over the standard deviation of what was observed then.
    """
    squares, count, total = 0.0, 0, 0
    first = int(one.batch.start[0])
    held = {name: member.held[name] for name in names if name in member.held}
    for name, values in held.items():
        simulated = one.series[name].detach()
        observed = values[one.batch.site, first : first + one.batch.length].to(simulated)
        error = simulated - observed
        known = torch.isfinite(error)
        if len(held) > 1:  # whose units may differ
            seen = values[torch.isfinite(values)].double()
            error = error / float(seen.std(correction=0).clamp_min(1e-12))
        squares += float(torch.where(known, error, 0.0).square().sum())
        count, total = count + int(known.sum()), total + int(torch.isfinite(observed).sum())
    return -math.sqrt(squares / count) if count and count >= COMPLETE * total else -math.inf


def _mean_nse(
    hybrid: nn.Module, windows: Windows, names: Sequence[str], group: Group, left_out: Sequence[str]
) -> float:
    """Return the median NSE over sites (and depths) of a whole period; the processes share it.

    Of several series it is the mean of their medians, NaN where one has none.
    """
    own: dict[str, list[Any]] = {name: [] for name in names}
    for k in range(windows.steps_per_epoch):
        if group.rank >= windows.rows(k):  # the last batch may have too few sites for all
            continue
        batch = windows.batch(k, group.part).to(group.device)
        series = hybrid(batch)
        judged = [site not in left_out for site in batch.names]
        for name, found in own.items():
            simulated, observed = (
                _array(values[name][:, batch.warm_up :]) for values in (series, batch.observed)
            )
            failed = list(getattr(series, "failed", ()))
            if not batch.step:
                simulated[failed] = np.inf
                pair = (x.values[judged].ravel().tolist() for x in (simulated, observed))
                found += zip(*pair, strict=True)
                continue
            scores = score_sites(simulated, observed, ["nse"]).nse.values
            scores[failed] = -np.inf
            found += scores[judged].ravel().tolist()
    parts = group.collect(own)
    if not windows.interval:  # sites of points may have one each
        return float(np.mean([_pooled_nse([p for part in parts for p in part[n]]) for n in names]))
    every = [np.array([value for part in parts for value in part[name]]) for name in names]
    if not all(np.isfinite(values).any() for values in every):
        return math.nan
    return float(np.mean([np.nanmedian(values) for values in every]))


def _pooled_nse(pairs: list[tuple[float, float]]) -> float:
    """Return the NSE of simulated and observed values of all points; -inf where one failed."""
    simulated, observed = np.array(pairs).reshape(-1, 2).T
    known = np.isfinite(observed)
    if np.isinf(simulated[known]).any():
        return -math.inf
    return pooled_scores(simulated, observed, ["nse"])["nse"]


def _array(values: Tensor) -> xr.DataArray:
    dims = ("site", "time", "depth")[: values.ndim]
    return xr.DataArray(values.double().cpu().numpy(), dims=dims)
