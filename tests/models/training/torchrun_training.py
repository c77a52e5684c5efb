"""What `torchrun` starts in a test: each process trains a tiny network on data of its own and writes what it has.

Usage: torchrun_training.py FOLDER
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from afdaemon.models.training.parallel import joined
from afdaemon.models.training.trainer import Settings, Validation, begin, train

SETTINGS = Settings(steps=6, learning_rate=0.05, validate_every=3)


def pairs(rank: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Other data in each process."""
    draw = torch.Generator().manual_seed(rank)
    while True:
        x = torch.randn(8, 1, 6, 6, generator=draw)
        yield x, x.mean((2, 3)) + rank


def main(folder: Path) -> None:
    """Train, and write weights and what was judged."""
    torch.manual_seed(1)
    layers = (nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
    model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(4, 1))
    with joined(torch.device("cpu")) as team:
        run = begin(model, SETTINGS, team.device)
        best = train(
            run,
            SETTINGS,
            lambda m, pair: nn.functional.mse_loss(m(pair[0]), pair[1]),
            pairs(team.rank),
            team=team,
            on_progress=lambda _: None,
            validate=lambda _: Validation(1.0 + team.rank, 0.5),
        )
        tensors = {f"model.{k}": v.clone() for k, v in run.model.named_parameters()}
        tensors |= {f"best.{k}": v.clone() for k, v in best.state_dict().items()}
        tensors["judged"] = torch.tensor([r.validation_loss or 0.0 for r in run.history])
        tensors["size"] = torch.tensor(team.size)
        save_file(tensors, folder / f"{team.rank}.safetensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
