"""Two processes that `torchrun` starts train one network."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from afdaemon.models.training.parallel import ALONE, joined

SCRIPT = Path(__file__).with_name("torchrun_training.py")
TORCHRUN = Path(sys.executable).with_name("torchrun")
PATIENCE_S = 150.0


def run_twice(*words: str) -> tuple[int, str]:
    """Exit code and errors of two processes under `torchrun`, which ends them where it is ended."""
    command = [str(TORCHRUN), "--standalone", "--nproc-per-node=2", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as torchrun:
        try:
            _, errors = torchrun.communicate(timeout=PATIENCE_S)
        finally:
            torchrun.terminate()
    return torchrun.returncode, errors


@pytest.mark.slow
@pytest.mark.timeout(2 * PATIENCE_S)
def test_two_processes_end_with_equal_weights(tmp_path: Path) -> None:
    code, errors = run_twice(str(SCRIPT), str(tmp_path))
    assert code == 0, errors
    first, second = (load_file(tmp_path / f"{rank}.safetensors") for rank in (0, 1))
    assert first["size"] == second["size"] == 2
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name
    assert first["judged"].tolist() == [1.5, 1.5], "the mean of what both found"


def test_alone_nothing_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    network = torch.nn.Linear(2, 1)
    with joined(torch.device("cpu")) as team:
        assert team == ALONE
        assert team.first
        assert team.share(network) is network
        assert team.mean(1.0, 2.0) == (1.0, 2.0)
