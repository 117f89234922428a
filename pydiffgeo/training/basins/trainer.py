"""The training loop of basins: random windows, one step each, over one or several processes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from pydiffgeo.console import progress_bar
from pydiffgeo.data import Batch, WindowSampler
from pydiffgeo.errors import DataError, OutputError, PyDiffGeoError, SettingsError, TrainingFailed
from pydiffgeo.evaluation import Term, combined_loss
from pydiffgeo.training.basins.settings import BasinRun
from pydiffgeo.training.checkpoint import load_checkpoint, load_weights, save_checkpoint
from pydiffgeo.training.distributed import Group
from pydiffgeo.training.interrupt import Interrupt, interrupt_between_steps
from pydiffgeo.training.logs import TrainingLog, write_history

CHECKPOINT = Path("checkpoints", "last.pt")
STATE = (
    "model",
    "optimiser",
    "sampler",
    "seconds",
    "sums",
    "history",
    "best",
    "best_epoch",
    "best_weights",
    "stopped",
)
SCALING = {
    f"{group}_{what}" for group in ("series", "attribute", "target") for what in ("mean", "std")
}  # buffers of `Inputs`


class BasinTrainer:
    """Trains a model on random windows of basins.

    A step depends on the settings and its number alone: windows and dropout are drawn from the seed and the step. So a
    resumed training takes the very steps of an uninterrupted one.

    Parameters
    ----------
    model : torch.nn.Module
        A `BasinModel`; changed in place.
    sampler : WindowSampler
        Of the training period.
    std : Tensor, [basin, target]
        For the loss `nse`.
    settings : BasinRun
    group : Group
        Processes; each computes a part of the basins of every batch.
    folder : Path or None
        Of the run; None writes nothing.
    validate : callable, optional
        Returns the validation score of the model as it is, larger for better; it chooses the weights that are kept.

    Attributes
    ----------
    step : int
        Steps taken.
    history : list of dict
        Per epoch: ``epoch``, ``step``, ``loss``, its parts, ``validation``, ``learning_rate``, ``seconds``,
        ``basin_days_per_second``.
    stopped : str
        Why a training ended before its last epoch; "" otherwise.

    Raises
    ------
    SettingsError
        The batch does not divide over the processes.
    """

    def __init__(
        self,
        model: nn.Module,
        sampler: WindowSampler,
        std: Tensor,
        settings: BasinRun,
        group: Group | None = None,
        folder: Path | None = None,
        validate: Callable[[], float] | None = None,
    ):
        self.group = group or Group()
        self.model, self.sampler, self.settings, self.validate = (
            model.to(self.group.device),
            sampler,
            settings,
            validate,
        )
        self.std, self.t = std.to(self.group.device), settings.training
        self.folder = folder
        self.terms = [Term(term.loss, term.target, term.weight) for term in settings.loss]
        self.weights = list(model.parameters())
        self.optimiser = torch.optim.AdamW(
            self.weights, self.t.learning_rate, weight_decay=self.t.weight_decay
        )
        self.per_epoch = self.t.steps_per_epoch or sampler.steps_per_epoch
        self.total = self.per_epoch * self.t.epochs
        self.step, self.seconds = 0, 0.0
        self.sums: dict[str, tuple[float, int]] = {}
        self.history: list[dict[str, float]] = []
        self.best, self.best_epoch = -math.inf, 0
        self.best_weights: dict[str, Any] | None = None
        self.stopped = ""
        self.log = TrainingLog(None)
        if self.t.batch_size % self.group.size:
            raise SettingsError(
                f"training.batch_size {self.t.batch_size} does not divide over {self.group.size} processes; take a multiple."
            )

    def run(self, resume: bool = False, progress: bool = True) -> list[dict[str, float]]:
        """Train to the last epoch, or until the validation score has not risen for `patience` epochs; return the history.

        Afterwards the model has the weights of the best validation score, or the last ones without validation.

        Raises
        ------
        TrainingFailed
            The loss or its gradient is not a number; basin and window are named.
        OutputError
            A checkpoint cannot be written.
        DataError
            A checkpoint cannot be read.
        KeyboardInterrupt
            Passed on after a step, with a checkpoint of it written.
        """
        if (
            resume
            and self.folder
            and (saved := load_checkpoint(self.folder / CHECKPOINT, STATE)) is not None
        ):
            self.restore(saved)
            if self.group.first:
                write_history(
                    self.folder, self.history
                )  # a process that was killed may have left that of before
        if not self.finished:
            self._run(progress and self.group.first)
        if self.best_weights is not None:
            self.model.load_state_dict(self.best_weights)
        self.model.eval()
        return self.history

    @property
    def finished(self) -> bool:
        """Whether all epochs are done, or no more are needed."""
        return len(self.history) >= self.t.epochs or bool(self.stopped)

    def _run(self, progress: bool) -> None:
        self.log = TrainingLog(self.folder if self.group.first else None, self.step)
        bar = progress_bar(
            progress, total=self.total, initial=self.step, unit="step", mininterval=1
        )
        every = self.t.checkpoint_every or self.per_epoch
        try:
            with interrupt_between_steps() as interrupt:
                while not self.finished:
                    asked = self._advance(interrupt, bar)
                    if self.step % every == 0 or self.step % self.per_epoch == 0 or asked:
                        self._save()
                    if asked:
                        raise KeyboardInterrupt
        except PyDiffGeoError as error:
            if not isinstance(error, OutputError):
                self._save()  # the state is that of the last whole step
            raise
        finally:
            bar.close()
            self.log.close()

    def _advance(self, interrupt: Interrupt, bar: tqdm) -> bool:
        """Take a step, unless the last one of the epoch is taken, and end the epoch; return whether to stop."""
        asked = False
        if self.step < self.per_epoch * (len(self.history) + 1):
            asked = self._step(interrupt)
            self._show(bar)
        if self.step % self.per_epoch == 0:
            self._end_epoch()
        return asked

    def _save(self) -> None:
        """Write the checkpoint, after what TensorBoard has of its steps, and the table of its epochs."""
        if self.folder is not None and self.group.first:
            self.log.flush()
            save_checkpoint(self.folder / CHECKPOINT, self.snapshot())
            write_history(self.folder, self.history)

    def snapshot(self) -> dict[str, Any]:
        """Return all that the next step depends on, what was learned until now, and the settings."""
        return {
            "settings": self.settings.model_dump(mode="json"),
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "sampler": self.sampler.state_dict() | {"step": self.step},
            "seconds": self.seconds,
            "sums": self.sums,
            "history": self.history,
            "best": self.best,
            "best_epoch": self.best_epoch,
            "best_weights": self.best_weights,
            "stopped": self.stopped,
        }

    def restore(self, saved: dict[str, Any]) -> None:
        """Go on from a snapshot.

        Raises
        ------
        SettingsError
            It was made with other data or settings, or is of another model.
        """
        self.sampler.load_state_dict(saved["sampler"])
        require_same_scaling(self.model, saved["model"])
        load_weights(self.model, saved["model"], (self.folder or Path()) / CHECKPOINT)
        self.step = self.sampler.step
        self.optimiser.load_state_dict(saved["optimiser"])
        self.seconds, self.sums, self.history = saved["seconds"], saved["sums"], saved["history"]
        self.best, self.best_epoch, self.best_weights = (
            saved["best"],
            saved["best_epoch"],
            saved["best_weights"],
        )
        self.stopped = saved["stopped"]

    def _step(self, interrupt: Interrupt) -> bool:
        """Take a step and return whether any process was asked to stop."""
        start = time.perf_counter()
        self.model.train()
        # dropout is drawn anew in each step and process
        torch.manual_seed((self.t.seed * 1_000_003 + self.step) * self.group.size + self.group.rank)
        for settings in self.optimiser.param_groups:
            settings["lr"] = self.rate()
        batch = self.sampler.batch(self.step, self.group.own_part(self.t.batch_size)).to(
            self.group.device
        )
        loss, parts = self._loss(batch)
        self.optimiser.zero_grad()
        loss.backward()
        asked = self.group.add_gradients(self.weights, float(interrupt.asked)) > 0
        norm = float(nn.utils.clip_grad_norm_(self.weights, self.t.gradient_clip))
        if not math.isfinite(norm):
            raise TrainingFailed(self._why(batch, "the gradient"))
        self.optimiser.step()
        self.step += 1
        self.seconds += time.perf_counter() - start
        for name, value in {"loss": float(loss.detach()), **parts}.items():
            total, count = self.sums.get(name, (0.0, 0))
            if math.isfinite(value):  # a part is NaN where a batch has no observation of it
                self.sums[name] = total + value, count + 1
        self.log.scalars(self.step, {"step/loss": float(loss.detach()), "step/gradient_norm": norm})
        return asked

    def _loss(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """Return the loss of the whole batch, of which this process simulates its part."""
        gradient = 0 if self.t.warm_up_gradient else batch.warm_up
        simulated = self.group.gather(self.model(batch, gradient))
        observed = self.group.gather(batch.observed[:, batch.warm_up :])
        std = self.group.gather(self.std[batch.basin])
        loss, parts = combined_loss(
            simulated, observed, self.terms, self.sampler.tensors.target_names, std=std
        )
        if not bool(torch.isfinite(loss)):
            whole = self.sampler.batch(self.step)
            padded = torch.cat(
                [torch.zeros_like(whole.observed[:, : whole.warm_up]), simulated.detach().cpu()], 1
            )
            places = whole.not_finite(padded) or [whole.where(int(_largest(simulated - observed)))]
            raise TrainingFailed(self._message("the loss", places))
        return loss, parts

    def _why(self, batch: Batch, what: str) -> str:
        """Return which samples of this process's part give a gradient that is not a number, in words."""
        places = []
        for sample in range(len(batch.basin)):
            rows, first = [int(batch.basin[sample])], [int(batch.start[sample])]
            alone = self.sampler.tensors.windows(
                rows, first, batch.forcing.shape[1], batch.warm_up
            ).to(self.group.device)
            simulated = self.model(alone)
            gradients = torch.autograd.grad(
                simulated.square().sum(), self.weights, allow_unused=True
            )
            if not all(bool(torch.isfinite(g).all()) for g in gradients if g is not None):
                places.append(alone.where(0))
        return self._message(what, places or ["no window alone"])

    def _message(self, what: str, places: list[str]) -> str:
        more = f" and {len(places) - 3} more" if len(places) > 3 else ""
        return (
            f"{what} of step {self.step + 1} is not a number: {'; '.join(places[:3])}{more}. Look at the forcing there, mend "
            "it, and go on with --resume; or lower training.learning_rate, narrow model.process.bounds or take shorter steps, "
            "and begin anew with --overwrite."
        )

    def rate(self) -> float:
        """Return the learning rate of the next step: a short rise, then a cosine down to `final_rate`."""
        t = self.t
        rise = min(1.0, (self.step + 1) / min(100, max(1, self.total // 20)))
        share = 0.5 * (1 + math.cos(math.pi * self.step / self.total))
        return t.learning_rate * rise * (t.final_rate + (1 - t.final_rate) * share)

    def _end_epoch(self) -> None:
        epoch = self.step // self.per_epoch
        days = self.per_epoch * self.t.batch_size * self.t.window
        row: dict[str, float] = {"epoch": epoch, "step": self.step}
        row |= {name: total / count for name, (total, count) in self.sums.items()}
        if self.validate is not None:
            self.model.eval()
            score = row["validation"] = self.validate()
            if not math.isfinite(score):
                raise DataError(
                    "the validation score is not a number; data.validation has too few observations to judge by."
                )
            if score > self.best:
                self.best, self.best_epoch, self.best_weights = (
                    score,
                    epoch,
                    deepcopy(self.model.state_dict()),
                )
            elif self.t.patience and epoch - self.best_epoch >= self.t.patience:
                self.stopped = f"no better validation in {self.t.patience} epochs, best in epoch {self.best_epoch}"
        row |= {
            "learning_rate": self.rate(),
            "seconds": self.seconds,
            "basin_days_per_second": days / self.seconds,
        }
        self.history.append(row)
        self.log.epoch(row)
        self.sums, self.seconds = {}, 0.0

    def _show(self, bar: tqdm) -> None:
        done = (self.step - 1) % self.per_epoch + 1
        speed = done * self.t.batch_size * self.t.window / self.seconds
        text = f"epoch {(self.step - 1) // self.per_epoch + 1}/{self.t.epochs}, loss {self.sums['loss'][0] / done:.4f}"
        if self.history and "validation" in self.history[-1]:
            text += f", validation {self.history[-1]['validation']:.3f}"
        bar.set_postfix_str(f"{text}, {speed:,.0f} basin-days/s", refresh=False)
        bar.update()


def _largest(errors: Tensor) -> Tensor:
    """Return the sample [batch, time, target] of the largest error, where no value is infinite and their sum is."""
    return torch.nan_to_num(errors.detach().abs(), 0.0).flatten(1).amax(1).argmax()


def require_same_scaling(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Check that a new model has the scaling of saved weights, that is of the same records.

    Raises
    ------
    SettingsError
        A mean or standard deviation of the training period differs.
    """
    if differs := other_scaling(model, weights):
        raise SettingsError(
            f"cannot resume: the records are not those of the run in the folder: {differs}. Put the records back, choose "
            "another folder with --output, or begin anew with --overwrite."
        )


def other_scaling(model: nn.Module, weights: Mapping[str, Tensor]) -> str:
    """Return in words how the scaling of a new model differs from that of saved weights; "" where it does not."""
    for name, now in model.named_buffers():
        before = weights.get(name)
        if name.rpartition(".")[2] not in SCALING or before is None or before.shape != now.shape:
            continue
        if not torch.allclose(now.double(), before.to(now.device).double(), rtol=1e-4, atol=1e-6):
            return f"{name} of the training period is {now.tolist()}, the checkpoint has {before.tolist()}"
    return ""
