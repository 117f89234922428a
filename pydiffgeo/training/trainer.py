"""One training loop for every ensemble: losses, choice of epoch, checkpoints, progress."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pydiffgeo.console import progress_bar
from pydiffgeo.errors import PyDiffGeoError, SettingsError, SolveFailed
from pydiffgeo.training.checkpoint import load_checkpoint, load_weights, save_checkpoint
from pydiffgeo.training.members import Member
from pydiffgeo.training.settings import TrainingSettings

SCALE = 0.05  # typical error of soil moisture, so that losses and gradients are of order 1


@dataclass(frozen=True)
class Prediction:
    """Soil moisture predicted by every member.

    Attributes
    ----------
    theta : Tensor, [member, station, day, depth]
        NaN for a station whose column failed.
    failed : dict of (int, int) to str
        (member, station), and station, day and reason in words.
    """

    theta: Tensor
    failed: dict[tuple[int, int], str] = field(default_factory=dict)


Predict = Callable[[list[Member]], Prediction]


@dataclass
class Training:
    """What came out of a training.

    Attributes
    ----------
    history : list of dict
        Per epoch: mean loss and mean validation RMSE over the members, excluded columns, seconds.
    chosen : list of int
        Epoch kept, per member.
    failures : list of str
        Columns left out of a step, in words.
    seconds : float
        Time spent, over all sessions.
    """

    history: list[dict[str, float]]
    chosen: list[int]
    failures: list[str]
    seconds: float


def series_loss(
    theta: Tensor, observed: Tensor, mask: Tensor, bias_weight: float, anomaly_weight: float
) -> Tensor:
    """Return the mean over series of `bias_weight` bias^2 + `anomaly_weight` var(error), over `SCALE`^2.

    With both weights 1 it is the mean squared error, each station and depth counting the same.

    Parameters
    ----------
    theta, observed : Tensor, [station, day, depth]
        NaN only where `mask` is False.
    mask : Tensor of bool, [station, day, depth]
        Observations that count.
    """
    error = torch.where(mask, theta - observed, 0.0) / SCALE
    count = mask.sum(1)
    bias = error.sum(1) / count.clamp_min(1)
    variance = (error**2).sum(1) / count.clamp_min(1) - bias**2
    used = count > 0
    return (
        (bias_weight * bias**2 + anomaly_weight * variance) * used
    ).sum() / used.sum().clamp_min(1)


def train(
    members: list[Member],
    predict: Predict,
    observed: Tensor,
    settings: TrainingSettings,
    name: str,
    checkpoint: Path,
    checkpoint_every: int = 10,
    resume: bool = False,
    max_failed: float = 0.1,
    progress: bool = True,
    also: Mapping[str, Any] | None = None,
) -> Training:
    """Train all members together and leave each network with the weights of its chosen epoch.

    Parameters
    ----------
    members : list of Member
        Networks are changed in place.
    predict : callable
        Members to a differentiable `Prediction` over the training days.
    observed : Tensor, [station, day, depth]
        Soil moisture over the training days (1).
    settings : TrainingSettings
        Optimiser and epochs.
    name : str
        Shown in the progress bar.
    checkpoint : Path
        File that holds the state after every `checkpoint_every` epochs, after the last, and after an
        interruption.
    resume : bool
        Go on from the checkpoint: the result is that of an uninterrupted run, to the last bit.
    max_failed : float
        Share of columns that may fail in a step; a failed column is left out of that step's loss and
        recorded.
    progress : bool
        Show a progress bar.
    also : mapping, optional
        Kept in the checkpoint beside the state: the settings of the run, the hash of its records.

    Raises
    ------
    DataError, SettingsError
        The checkpoint cannot be read, or is of another training or model.
    SolveFailed
        More columns failed than allowed.
    KeyboardInterrupt
        Passed on after a checkpoint was written.
    """
    state = _State(members, settings)
    if resume and (saved := load_checkpoint(checkpoint, state.snapshot())) is not None:
        state.restore(saved, checkpoint)
    bar = progress_bar(
        progress,
        total=settings.epochs,
        initial=state.epoch,
        desc=name,
        unit="epoch",
        mininterval=0.5,
    )
    try:
        while state.epoch < settings.epochs:
            before = deepcopy(state.snapshot())
            try:
                _epoch(state, predict, observed, settings, name, max_failed)
            except (KeyboardInterrupt, PyDiffGeoError):
                save_checkpoint(checkpoint, {**before, **(also or {})})
                raise
            last = state.history[-1]
            bar.set_postfix_str(
                f"loss {last['loss']:.3f}, validation RMSE {last['validation']:.4f}"
            )
            bar.update()
            if state.epoch % checkpoint_every == 0 or state.epoch == settings.epochs:
                save_checkpoint(checkpoint, {**state.snapshot(), **(also or {})})
    finally:
        bar.close()
    for member, weights in zip(members, state.best_weights, strict=True):
        member.network.load_state_dict(weights)
        member.network.eval()
    return Training(state.history, state.best_epoch, state.failures, state.seconds)


class _State:
    """Everything that a training carries from one epoch to the next."""

    def __init__(self, members: list[Member], settings: TrainingSettings):
        self.members = members
        self.weights = [list(m.network.parameters()) for m in members]
        every = [w for group in self.weights for w in group]
        self.optimiser = torch.optim.AdamW(
            every, settings.learning_rate, weight_decay=settings.weight_decay
        )
        self.epoch, self.seconds = 0, 0.0
        self.history: list[dict[str, float]] = []
        self.failures: list[str] = []
        self.best = [math.inf] * len(members)
        self.best_epoch = [0] * len(members)
        self.best_weights = [deepcopy(m.network.state_dict()) for m in members]

    def snapshot(self) -> dict[str, Any]:
        return {
            "epoch": self.epoch,
            "seconds": self.seconds,
            "history": self.history,
            "failures": self.failures,
            "best": self.best,
            "best_epoch": self.best_epoch,
            "best_weights": self.best_weights,
            "weights": [m.network.state_dict() for m in self.members],
            "optimiser": self.optimiser.state_dict(),
            "random": torch.get_rng_state(),
        }

    def restore(self, saved: dict[str, Any], path: Path) -> None:
        if len(saved["weights"]) != len(self.members):
            raise SettingsError(
                f"checkpoint {path} has {len(saved['weights'])} networks, the settings ask for {len(self.members)}. Take the "
                "settings of that run, choose another folder with --output, or begin anew with --overwrite."
            )
        for member, weights in zip(self.members, saved["weights"], strict=True):
            load_weights(member.network, weights, path)
        self.epoch, self.seconds = saved["epoch"], saved["seconds"]
        self.history, self.failures = saved["history"], saved["failures"]
        self.best, self.best_epoch = saved["best"], saved["best_epoch"]
        self.best_weights = saved["best_weights"]
        self.optimiser.load_state_dict(saved["optimiser"])
        torch.set_rng_state(saved["random"])


def _epoch(
    state: _State,
    predict: Predict,
    observed: Tensor,
    settings: TrainingSettings,
    name: str,
    max_failed: float,
) -> None:
    start = time.perf_counter()
    for group in state.optimiser.param_groups:
        group["lr"] = _rate(settings, state.epoch)
    for member in state.members:
        member.network.train()
    state.optimiser.zero_grad()
    prediction = predict(state.members)
    _check_failed(prediction, name, state, max_failed)
    theta = prediction.theta
    solved = torch.isfinite(theta)
    losses = [
        series_loss(theta[i], observed, m.fit[:, : theta.shape[2]] & solved[i], settings.bias_weight,
                    settings.anomaly_weight)
        for i, m in enumerate(state.members)
    ]  # fmt: skip
    torch.stack(losses).sum().backward()
    # the validation score is that of the weights before this step, so it is kept before they change
    scores = _validate(_undisturbed(prediction, predict, state.members), observed, state.members)
    for i, member in enumerate(state.members):
        score = scores[member.judge]
        if score < state.best[i]:
            state.best[i], state.best_epoch[i] = score, state.epoch
            state.best_weights[i] = deepcopy(member.network.state_dict())
    for weights in state.weights:
        torch.nn.utils.clip_grad_norm_(weights, settings.gradient_clip)
    state.optimiser.step()
    state.epoch += 1
    spent = time.perf_counter() - start
    state.seconds += spent
    judged = [s for i, s in enumerate(scores) if state.members[i].judge == i]
    state.history.append(
        {
            "epoch": state.epoch,
            "loss": float(torch.stack(losses).detach().mean()),
            "validation": sum(judged) / len(judged),
            "failed": len(prediction.failed),
            "seconds": spent,
        }
    )


def _undisturbed(prediction: Prediction, predict: Predict, members: list[Member]) -> Tensor:
    """Return the prediction without dropout: the one at hand, or a new one where a network has dropout."""
    modules = (module for m in members for module in m.network.modules())
    if not any(isinstance(module, torch.nn.Dropout) and module.p > 0 for module in modules):
        return prediction.theta.detach()
    for member in members:
        member.network.eval()
    with torch.no_grad():
        return predict(members).theta


def _rate(settings: TrainingSettings, epoch: int) -> float:
    """Return the learning rate of an epoch: a cosine from the first to the final rate."""
    share = 0.5 * (1 + math.cos(math.pi * epoch / settings.epochs))
    return settings.learning_rate * (settings.final_rate + (1 - settings.final_rate) * share)


def _validate(theta: Tensor, observed: Tensor, members: list[Member]) -> list[float]:
    """Return the validation RMSE of each member, inf for one that judges nothing or whose columns failed."""
    scores = []
    for i, member in enumerate(members):
        mask = member.validate[:, : theta.shape[2]] & torch.isfinite(theta[i])
        error = torch.where(mask, theta[i] - observed, 0.0)
        complete = mask.sum() >= 0.9 * member.validate[:, : theta.shape[2]].sum()
        scores.append(
            float((error**2).sum().div(mask.sum()).sqrt()) if mask.any() and complete else math.inf
        )
    return scores


def _check_failed(prediction: Prediction, name: str, state: _State, max_failed: float) -> None:
    for (i, _), reason in prediction.failed.items():
        state.failures.append(f"{name}, epoch {state.epoch + 1}, {state.members[i].name}, {reason}")
    total = prediction.theta.shape[0] * prediction.theta.shape[1]
    if len(prediction.failed) > max_failed * total:
        listed = "; ".join(state.failures[-3:])
        raise SolveFailed(
            f"{len(prediction.failed)} of {total} columns failed in epoch {state.epoch + 1} of {name}, more "
            "than "
            f"solver.max_failed = {max_failed:g} allows. Last: {listed}. Lower the learning rate, narrow "
            "`bounds`, or "
            "raise solver.max_steps."
        )
