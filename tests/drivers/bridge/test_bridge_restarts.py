"""Both peers of the bridge die again and again: what it has acknowledged is never lost, no frame is an older one's."""

import importlib
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
RESTARTS = 5


async def test_nothing_acknowledged_is_lost_when_both_peers_restart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    seen = await importlib.import_module("sim_physics_bridge").endure(seed=3, restarts=RESTARTS)
    assert len(seen.acknowledged) >= 2 * RESTARTS
    assert seen.lost == 0
    assert seen.foreign == 0
    assert seen.handed_on == 0
    assert seen.exit_code == 0
