"""Several processes that train one model: started by torchrun, or one alone."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from pydiffgeo.errors import SettingsError


@dataclass(frozen=True)
class Group:
    """The processes of a run.

    Attributes
    ----------
    rank, size : int
        Number of this process, and of all.
    device : torch.device
        Where this process computes.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = torch.device("cpu")

    @property
    def first(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.rank == 0

    @property
    def part(self) -> slice:
        """Rows of a batch that this process computes: every `size`-th."""
        return slice(self.rank, None, self.size)

    def gather(self, own: Tensor, rows: int) -> Tensor:
        """Return the parts of all processes as the whole [rows, ...], in the order of the batch.

        Gradients reach the own part only: when every process computes the same loss of the whole
        and `add_gradients` is called, the gradient is that of one process, whatever the loss.
        """
        if self.size == 1:
            return own
        lacking = -(-rows // self.size) - len(own)  # parts are sent in one size
        own = torch.cat([own, own.new_zeros(lacking, *own.shape[1:])])
        parts = [torch.empty_like(own) for _ in range(self.size)]
        dist.all_gather(parts, own.detach().contiguous())
        parts[self.rank] = own
        return torch.stack(parts, 1).flatten(0, 1)[:rows]

    def add_gradients(self, parameters: Iterable[Tensor], flag: float = 0.0) -> float:
        """Add the gradients of all processes, in place, and return the sum of their flags."""
        if self.size == 1:
            return flag
        held = [p.grad for p in parameters if p.grad is not None]
        last = torch.tensor([flag], dtype=held[0].dtype, device=self.device)
        flat = torch.cat([*(gradient.flatten() for gradient in held), last])
        dist.all_reduce(flat)
        sums = flat[:-1].split([gradient.numel() for gradient in held])
        for gradient, total in zip(held, sums, strict=True):
            gradient.copy_(total.view_as(gradient))
        return float(flat[-1])

    def collect(self, value: Any) -> list[Any]:
        """Return the values of all processes, in every process."""
        if self.size == 1:
            return [value]
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, value)
        return found


@contextmanager
def process_group(device: str = "cpu") -> Iterator[Group]:
    """Join the processes that torchrun started, by NCCL on GPUs ("cuda") and by gloo on CPUs.

    Raises
    ------
    SettingsError
        "cuda", and fewer GPUs than processes on this machine.
    """
    place, size = torch.device("cpu"), int(os.environ.get("WORLD_SIZE", "1"))
    if device != "cpu":
        gpus, processes = torch.cuda.device_count(), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        if gpus < processes:
            raise SettingsError(
                f"device: {device} needs a GPU for each of the {processes} processes on this "
                f"machine, and torch sees {gpus}. Set device: cpu, start fewer processes, or see "
                "what `pydiffgeo doctor` says about CUDA."
            )
        place = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    if size == 1:
        yield Group(device=place)
        return
    if place.type == "cuda":
        torch.cuda.set_device(place)
    dist.init_process_group("nccl" if place.type == "cuda" else "gloo")
    try:
        yield Group(dist.get_rank(), size, place)
        with suppress(RuntimeError):  # the first to leave takes the connections of the others along
            dist.barrier()
    finally:
        dist.destroy_process_group()
