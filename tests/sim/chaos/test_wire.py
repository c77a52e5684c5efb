import asyncio

import pytest

from afdaemon.clock import ManualClock
from afdaemon.sim.chaos.plan import Chaos, parse_rule
from afdaemon.sim.links.chaos_wire import ChaosWire


class Ends:
    """A wire made of two lists."""

    def __init__(self, *commands: bytes) -> None:
        self.commands = list(commands)
        self.answers: list[bytes] = []
        self.is_reset = False

    async def receive(self) -> bytes:
        return self.commands.pop(0) if self.commands else b""

    async def send(self, data: bytes) -> None:
        self.answers.append(data)

    def reset(self) -> None:
        self.is_reset = True


def wired(rule: str, *commands: bytes) -> tuple[ChaosWire, Ends, ManualClock]:
    ends, clock = Ends(*commands), ManualClock()
    return ChaosWire(ends, Chaos([parse_rule(rule)]), clock=clock), ends, clock


@pytest.mark.parametrize(
    ("rule", "answers"),
    [
        ("drop,step=2", [b"OK"]),
        ("double,step=2", [b"OK", b"OK", b"OK"]),
        ("split,step=2", [b"OK", b"O", b"K"]),
        ("delay,step=1", [b"OK", b"OK"]),
        ("reorder,step=1", [b"OK", b"OK"]),
    ],
)
async def test_answers_suffer(rule: str, answers: list[bytes]) -> None:
    wire, ends, clock = wired(rule, b"one", b"two")
    for command in (b"one", b"two"):
        assert await wire.receive() == command
        await wire.send(b"OK")
    assert ends.answers == answers
    assert await wire.receive() == b""
    assert clock.now_s() == (1.0 if "delay" in rule else pytest.approx(0.0, abs=0.01))


async def test_commands_suffer() -> None:
    wire, _, _ = wired("drop,way=commands,step=1", b"one", b"two")
    assert await wire.receive() == b"two"
    wire, _, _ = wired("double,way=commands,step=1", b"one", b"two")
    assert await wire.receive() == b"oneone"


@pytest.mark.parametrize("rule", ["half", "cut"])
async def test_a_break_is_a_reset(rule: str) -> None:
    wire, ends, _ = wired(rule)
    with pytest.raises(ConnectionResetError):
        await wire.send(b"OK")
    assert ends.is_reset
    assert ends.answers == ([b"O"] if rule == "half" else [])


async def test_while_it_is_frozen_nothing_passes_either_way() -> None:
    class Still(ManualClock):
        over = asyncio.Event()

        async def sleep(self, seconds: float) -> None:
            await self.over.wait()

    clock = Still()
    ends = Ends(b"one")
    wire = ChaosWire(ends, Chaos([parse_rule("freeze,times=1")]), clock=clock)
    sending = asyncio.create_task(wire.send(b"OK"))
    await asyncio.sleep(0)
    hearing = asyncio.create_task(wire.receive())
    for _ in range(5):
        await asyncio.sleep(0)
    assert ends.answers == []
    assert not hearing.done()
    clock.over.set()
    await sending
    assert await hearing == b"one"
    assert ends.answers == [b"OK"]
