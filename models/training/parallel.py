"""Several processes that train one network, as `torchrun` starts them: gloo between CPUs, nccl between GPUs.

Every process takes batches of its own; gradients are averaged, so that all have the same weights.
"""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar, cast

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

N = TypeVar("N", bound=nn.Module)


@dataclass(frozen=True, slots=True)
class Team:
    """This process among `size` that train together; `rank` 0 prints and writes for all."""

    device: torch.device
    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that prints and writes."""
        return self.rank == 0

    def share(self, model: N) -> N:
        """The network to be called in training: its gradients are averaged over the team."""
        if self.size == 1:
            return model
        device_ids = [self.device] if self.device.type == "cuda" else None
        return cast("N", DistributedDataParallel(model, device_ids=device_ids))

    def mean(self, *values: float) -> tuple[float, ...]:
        """Means over the team, the same numbers in every process."""
        if self.size == 1:
            return values
        shared = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(shared)
        return tuple((shared / self.size).tolist())

    def agree(self, model: nn.Module) -> None:
        """Give every process the first one's copy; running statistics differ otherwise."""
        if self.size > 1:
            for tensor in model.state_dict().values():
                dist.broadcast(tensor, src=0)


ALONE = Team(torch.device("cpu"))


@contextmanager
def joined(device: torch.device) -> Iterator[Team]:
    """The team that `torchrun` describes in the environment, or this process alone; dissolved at the end.

    A `device` of type cuda becomes this process's own GPU.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Team(device)
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Team(device, rank=dist.get_rank(), size=size)
    finally:
        dist.destroy_process_group()


def circumstances(team: Team) -> dict[str, str | int]:
    """What trains: versions, device, processes and threads."""
    gpu = torch.cuda.get_device_name(team.device) if team.device.type == "cuda" else None
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": gpu or f"{team.device.type} ({platform.machine()})",
        "processes": team.size,
        "threads": torch.get_num_threads(),
    }
