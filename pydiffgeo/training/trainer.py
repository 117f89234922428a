"""One training loop: random windows and whole periods, hybrids and ensembles, any processes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from pydiffgeo.console import progress_bar
from pydiffgeo.data.windows import Windows
from pydiffgeo.errors import OutputError, PyDiffGeoError, SettingsError
from pydiffgeo.files import require_room
from pydiffgeo.interrupt import Interrupt, interrupt_between_steps
from pydiffgeo.limits import Count, Natural, NotNegative, Positive, Share, require_within
from pydiffgeo.losses import as_sum
from pydiffgeo.recorded import Recorded, arguments_of, written
from pydiffgeo.training import checkpoint
from pydiffgeo.training.checkpoint import CHECKPOINT, stopped_at
from pydiffgeo.training.choice import Choice
from pydiffgeo.training.distributed import Group
from pydiffgeo.training.ensemble import Member
from pydiffgeo.training.logs import TrainingLog, write_history
from pydiffgeo.training.run_folder import check_run, run_folder
from pydiffgeo.training.steps import Simulated, Steps

PROGRESS = ("step", "values", "done", "history", "failures")


class Trainer(Recorded):
    """Trains a hybrid, or an ensemble of its copies, on windows of sites.

    A step depends on the settings and its number alone, so that a resumed training takes the same
    steps. Whole periods of all sites make an epoch of one step.

    Parameters
    ----------
    hybrid : torch.nn.Module
        A `Hybrid`; trained in place, unless `members` are given, and prepared where it is not yet.
    windows : Windows
        What is trained on.
    loss : callable or list of them
        A loss of `pydiffgeo.losses`, or a list that is summed.
    folder : Path, optional
        For settings, checkpoints, history.csv and TensorBoard's files; else nothing is written.
    epochs : int
        Epochs.
    steps_per_epoch : int, optional
        Steps; by default as many as draw each day of the sites once.
    validation : Windows or callable, optional
        Chooses the weights that are kept: by the median NSE over sites of a whole period (of
        several series in the loss, by the mean of their medians), or by what is returned for the
        hybrid, larger for better. Days held out take its place.
    patience : int, optional
        Epochs without a better score before the training ends.
    learning_rate : float
        Step of AdamW at its highest.
    final_rate : float
        Share of it at the end of a cosine.
    rise : int, optional
        Steps until it is highest; by default a twentieth of all, at most 100.
    weight_decay : float
        Decoupled weight decay.
    gradient_clip : float
        Largest norm of the gradient of a member.
    seed : int
        Of dropout.
    checkpoint_every : int, optional
        Steps between checkpoints; by default those of an epoch.
    members : list of Member, optional
        An ensemble that is trained together: see `pydiffgeo.training.ensemble`.
    max_failed : float
        Share of the columns of a step that may fail and are left out of its loss and counted, where
        the stages report them: Process with Solver(on_failure="report").
    threads : int, optional
        Threads of this process; as torch has them by default.
    group : Group, optional
        Processes; each computes a part of the rows of every batch.
    settings : mapping, optional
        Kept in the folder and compared when a run goes on; by default hybrid, loss and arguments.
    free : collection of str
        Settings that may differ then, since they do not change the result.
    files : mapping of str to str, optional
        Content of more files for the folder, by name.

    Attributes
    ----------
    model : torch.nn.Module
        The hybrid, or the ensemble of the members that are kept.
    history : list of dict
        Per epoch: ``epoch``, ``step``, ``loss``, its parts, ``validation``, ``failed``,
        ``learning_rate``, ``seconds``, ``site_steps_per_second``.
    failures : list of str
        Columns that were left out, in words.

    Raises
    ------
    SettingsError
        A number out of range, fewer rows than processes, or days held out of windows that are not
        the whole period.
    """

    def __init__(
        self,
        hybrid: nn.Module,
        windows: Windows,
        loss: Any,
        folder: str | Path | None = None,
        *,
        epochs: Count = 30,
        steps_per_epoch: Count | None = None,
        validation: Windows | Callable[[nn.Module], float] | None = None,
        patience: Count | None = None,
        learning_rate: Positive = 3e-3,
        final_rate: Share = 0.03,
        rise: Natural | None = None,
        weight_decay: NotNegative = 0.0,
        gradient_clip: Positive = 1.0,
        seed: Natural = 0,
        checkpoint_every: Count | None = None,
        members: Sequence[Member] | None = None,
        max_failed: Share = 0.1,
        threads: Count | None = None,
        group: Group | None = None,
        settings: Mapping[str, Any] | None = None,
        free: Collection[str] = (),
        files: Mapping[str, str] | None = None,
    ):
        require_within(Trainer.__init__, arguments_of(self))
        self.group, self.loss = group or Group(), as_sum(loss)
        self.folder = None if folder is None else Path(folder)
        self.epochs, self.seed, self.threads = epochs, seed, threads
        self.learning_rate, self.final_rate, self.clip = learning_rate, final_rate, gradient_clip
        self.members = [Member("", seed, windows)] if members is None else list(members)
        self.ensemble = members is not None
        self.whole, self.hybrids, self.model = self._models(hybrid)
        self.windows = self._reading([member.windows for member in self.members])
        judges: list[Any] = [] if validation is None else [validation] * len(self.members)
        judges = self._reading(judges) if isinstance(validation, Windows) else judges
        self.choice = Choice(self.members, self.hybrids, judges, patience, self.loss.observed)
        self.steps = Steps(
            self.whole, self.members, self.hybrids, self.windows, self.loss, self.group, max_failed
        )
        self.weights = [list(one.parameters()) for one in self.hybrids]
        self.every = [weight for weights in self.weights for weight in weights]
        trained = self.every or [nn.Parameter(torch.zeros(()))]  # a baseline has no weights
        self.optimiser = torch.optim.AdamW(trained, learning_rate, weight_decay=weight_decay)
        self.per_epoch = steps_per_epoch or self.windows[0].steps_per_epoch
        if self.choice.held and (self.windows[0].length is not None or self.per_epoch > 1):
            raise SettingsError(
                "days held out are judged in the simulation of a step, which needs windows of the "
                "whole period and an epoch of one step; leave length, batch and steps_per_epoch "
                "out."
            )
        self.total = self.per_epoch * epochs
        self.rise = min(100, max(1, self.total // 20)) if rise is None else max(1, rise)
        self.checkpoint_every = checkpoint_every or self.per_epoch
        if settings is None and folder is not None:
            given = arguments_of(self).items()
            own = {name: value for name, value in given if isinstance(value, int | float)}
            settings = {"hybrid": written(hybrid), "loss": written(self.loss), "training": own}
        self.settings, self.free, self.files = dict(settings or {}), free, files
        self.records = checkpoint.records_hash(self.windows)
        self.step, self.changing = 0, False
        self.values: dict[str, list[float]] = {}  # of the steps of this epoch
        self.done = {"failed": 0, "site_steps": 0, "seconds": 0.0}
        self.history: list[dict[str, float]] = []
        self.failures: list[str] = []
        self.log = TrainingLog(None)

    def run(
        self, resume: bool = False, progress: bool = True, overwrite: bool = False
    ) -> list[dict[str, float]]:
        """Train, give each member its best weights (else the last), and return the history.

        Parameters
        ----------
        resume : bool
            Go on with what is in the folder, where there is something.
        progress : bool
            Show a progress bar, with time left and speed.
        overwrite : bool
            Remove the run that the folder holds, with its evaluations.

        Raises
        ------
        TrainingFailed, SolveFailed
            A loss or gradient is no number, or more columns fail than `max_failed`; both are named.
        OutputError
            The folder holds a run, or cannot be written.
        DataError, SettingsError
            A checkpoint that cannot be read, or of another model, other records or settings.
        KeyboardInterrupt
            Passed on after a step, with a checkpoint of it written.
        """
        if self.threads:
            torch.set_num_threads(self.threads)
        if self.folder is None:
            return self._train(progress)
        first, folder = self.group.first, self.folder
        given = (folder, self.settings, resume, overwrite, self.free)
        if first:
            check_run(*given)
        path = folder / CHECKPOINT
        saved = checkpoint.load_checkpoint(path, self.snapshot()) if resume else None
        if saved is not None:
            self.restore(saved)  # what does not fit is said before the folder is changed
        with run_folder(*given, self.files) if first else nullcontext():
            if first:
                # weights, the best ones and two moments of each; beside the checkpoint of before
                size = 4 * sum(weight.nbytes for weight in self.every)
                require_room(folder, 2**20 + size * (2 if saved is None else 1))
                write_history(folder, self.history)  # a killed process may have left that of before
            self.group.collect(None)  # the others wait for the folder
            return self._train(progress and first)

    @property
    def finished(self) -> bool:
        """Whether all epochs are done, or no more are needed."""
        return len(self.history) >= self.epochs or bool(self.stopped)

    @property
    def stopped(self) -> str:
        """Why the training ended before its last epoch; "" otherwise."""
        return self.choice.stopped

    def rate(self) -> float:
        """Return the learning rate of the next step: a short rise, then a cosine."""
        share = 0.5 * (1 + math.cos(math.pi * self.step / self.total))
        highest = self.learning_rate * min(1.0, (self.step + 1) / self.rise)
        return highest * (self.final_rate + (1 - self.final_rate) * share)

    def snapshot(self) -> dict[str, Any]:
        """Return all that the next step depends on, what was learned until now, and settings."""
        return {
            "settings": self.settings,
            "members": [m.described() for m in self.members] if self.ensemble else None,
            "model": self.whole.state_dict(),
            "best_weights": self.choice.chosen(self.ensemble),
            "choice": self.choice.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "sampler": [windows.state_dict() | {"step": self.step} for windows in self.windows],
            "records": self.records,
            "progress": {name: getattr(self, name) for name in PROGRESS},
        }

    def restore(self, saved: dict[str, Any]) -> None:
        """Go on from a snapshot; SettingsError where it has other members, records or weights."""
        path, here = (self.folder or Path()) / CHECKPOINT, self.snapshot()
        if here["members"] != saved["members"]:
            before, now = (len(one["members"] or [0]) for one in (saved, here))
            raise SettingsError(
                f"checkpoint {path} has {before} networks, the settings ask for {now}, or for "
                f"other seeds or sites. Take the settings of that run, {checkpoint.ANEW}"
            )
        for windows, state in zip(self.windows, saved["sampler"], strict=True):
            windows.load_state_dict(state)
        checkpoint.require_same_records(here, saved)
        checkpoint.load_weights(self.whole, saved["model"], path)
        self.optimiser.load_state_dict(saved["optimiser"])
        self.choice.load_state_dict(saved["choice"])
        for name in PROGRESS:
            setattr(self, name, saved["progress"][name])

    def _reading(self, windows: Sequence[Windows]) -> list[Windows]:
        """Return the windows of each member with what its hybrid reads and the loss compares."""
        found = []
        for one, hybrid in zip(windows, self.hybrids, strict=True):
            observed = dict.fromkeys((*self.loss.observed, *getattr(hybrid, "recalls", ())))
            given = (hybrid.reads, tuple(observed), hybrid.needs, getattr(hybrid, "optional", ()))
            found.append(
                one.reading(*given, None if getattr(hybrid, "remembers", True) else "hold")
            )
        return found

    def _models(self, hybrid: Any) -> tuple[nn.Module, list[Any], nn.Module]:
        """Return what simulates, its members, and what is left of it after the training."""
        if not self.ensemble:
            if not hybrid.prepared:
                hybrid.prepare(self.members[0].windows)
            hybrid = hybrid.to(self.group.device)
            return hybrid, [hybrid], hybrid
        seen = [m.windows if m.seen is None else m.seen for m in self.members]
        whole = hybrid.ensemble([m.seed for m in self.members], seen).to(self.group.device)
        kept = [i for i, member in enumerate(self.members) if member.kept]
        return whole, list(whole.members), whole.only(kept)

    def _train(self, progress: bool) -> list[dict[str, float]]:
        if not self.every and not self.finished:
            for one, windows in zip(self.hybrids, self.windows, strict=True):
                one.choose(windows)
            self.choice.stopped = "there are no weights to train"
            self._save()
        elif not self.finished:
            self._to_the_end(progress)
        self.choice.take_best()
        self.whole.eval()
        return self.history

    def _to_the_end(self, progress: bool) -> None:
        self.log = TrainingLog(self.folder if self.group.first else None, self.step)
        bar = progress_bar(
            progress, total=self.total, initial=self.step, unit="step", mininterval=1
        )
        try:
            with interrupt_between_steps() as interrupt:
                while not self.finished:
                    asked = False
                    if self.step < self.per_epoch * (len(self.history) + 1):  # else it is to end
                        asked = self._step(interrupt)
                        self._show(bar)
                    if ends := self.step % self.per_epoch == 0:
                        self._end_epoch()
                    if ends or self.step % self.checkpoint_every == 0:
                        self._save()
                    if asked:
                        raise KeyboardInterrupt
        except (KeyboardInterrupt, PyDiffGeoError) as error:
            if not (self.changing or isinstance(error, OutputError)):
                self._save()  # the state is that of the last whole step
            if isinstance(error, KeyboardInterrupt):
                raise stopped_at(self.step, self.total, self.folder) from None
            raise
        finally:
            bar.close()
            self.log.close()

    def _save(self) -> None:
        """Write the checkpoint, after what TensorBoard has of its steps, and the history."""
        if self.folder is not None and self.group.first:
            self.log.flush()
            checkpoint.save_checkpoint(self.folder / CHECKPOINT, self.snapshot())
            write_history(self.folder, self.history)

    def _step(self, interrupt: Interrupt) -> bool:
        """Take a step and return whether any process was asked to stop."""
        start = time.perf_counter()
        self.whole.train()
        # dropout is drawn anew in each step and process
        torch.manual_seed((self.seed * 1_000_003 + self.step) * self.group.size + self.group.rank)
        for options in self.optimiser.param_groups:
            options["lr"] = self.rate()
        found = self.steps.simulate(self.step)
        losses = self.steps.losses(found, self.step)
        self.optimiser.zero_grad()
        sum((loss for loss, _ in losses[1:]), losses[0][0]).backward()
        asked = self.group.add_gradients(self.every, float(interrupt.asked)) > 0
        norms = [float(nn.utils.clip_grad_norm_(weights, self.clip)) for weights in self.weights]
        for i, norm in enumerate(norms):
            if not math.isfinite(norm):
                raise self.steps.gradient_failed(i, self.step)
        if self.choice.held:  # of the weights before the step
            self.choice.judge_held(self.steps.undisturbed(found, self.step), len(self.history))
        self.changing = True
        self.optimiser.step()
        self.step += 1
        each = [{"loss": float(loss.detach()), **parts} for loss, parts in losses]
        self._count(found, each)
        self.done["seconds"] += time.perf_counter() - start
        self.changing = False
        loss = sum(one["loss"] for one in each) / len(each)
        self.log.scalars(self.step, {"step/loss": loss, "step/gradient_norm": max(norms)})
        return asked

    def _count(self, found: list[Simulated], each: list[dict[str, float]]) -> None:
        """Add a step to what is known of the epoch."""
        for name, value in (item for one in each for item in one.items()):
            if math.isfinite(value):  # a part is NaN where a batch has no observation of it
                self.values.setdefault(name, []).append(value)
        for one in found:
            self.failures += [f"epoch {len(self.history) + 1}, {reason}" for reason in one.reasons]
            self.done["failed"] += int(one.failed.sum())
            self.done["site_steps"] += len(one.failed) * one.batch.length

    def _end_epoch(self) -> None:
        epoch, seconds = self.step // self.per_epoch, self.done["seconds"]
        row: dict[str, float] = {"epoch": epoch, "step": self.step}
        row |= {name: sum(values) / len(values) for name, values in self.values.items()}
        if self.choice.judges:
            self.choice.validate(epoch, self.loss.observed, self.group)
        if self.choice.judges or self.choice.held:
            row["validation"] = self.choice.end_epoch(epoch)
        row |= {"failed": self.done["failed"], "learning_rate": self.rate(), "seconds": seconds}
        row["site_steps_per_second"] = self.done["site_steps"] / seconds
        self.history.append(row)
        shown = {f"epoch/{k}": v for k, v in row.items() if k not in ("epoch", "step")}
        self.log.scalars(self.step, shown)
        self.values, self.done = {}, {"failed": 0, "site_steps": 0, "seconds": 0.0}

    def _show(self, bar: tqdm) -> None:
        losses, epoch = self.values["loss"], (self.step - 1) // self.per_epoch + 1
        text = f"epoch {epoch}/{self.epochs}, loss {sum(losses) / len(losses):.4f}"
        if self.history and "validation" in self.history[-1]:
            text += f", validation {self.history[-1]['validation']:.4g}"
        speed = self.done["site_steps"] / self.done["seconds"]
        bar.set_postfix_str(f"{text}, {speed:,.0f} site-steps/s", refresh=False)
        bar.update()
