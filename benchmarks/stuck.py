"""A part that hangs is noticed: each of the four in a daemon of its own, under a service manager's eyes.

The event loop, the scoring thread, the thread of the abort socket and the one that owns the USB device hang for good
during a job. When does the manager hear of it, when does the process end, and is the lens at home? A fifth daemon is
healthy, on a machine whose processors are all busy: is it fed all the time?

    python benchmarks/stuck.py [--quick] [--seed N] [--json FILE] [--markdown FILE]
"""

import asyncio
import json
import os
import socket
import sys
import tempfile
from contextlib import AsyncExitStack, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from reporting import conclude, parse

from afdaemon.api import abort
from afdaemon.api.client import AsyncClient
from afdaemon.cli.serve import simulator
from afdaemon.clock import SystemClock
from afdaemon.drivers.em30 import usb
from afdaemon.evaluate.section import Bar, at_most
from afdaemon.service import scoring, watchdog

DEADLINES_S = {
    "loop": watchdog.LOOP_DEADLINE_S,
    "scoring": scoring.SCORING_DEADLINE_S,
    "abort": abort.DEADLINE_S,
    "device": usb.THREAD_DEADLINE_S,
}
CANNOT_COME_HOME = ("loop", "device")
"""Without them nothing reaches the lens; its way home stays owed."""
WATCHDOG_S = 30.0
"""WatchdogSec of the unit."""
_SLACK_S = 2.0
"""After its deadline, a stuck part is noticed within this; a busy machine takes some of it."""
_QUICK = 0.4
"""Of the deadlines, with --quick."""
_HEALTHY_S, _QUICK_HEALTHY_S = 60.0, 5.0
_START_UM, _NEAR_UM = 12_000.0, 5.0
_DAEMON = Path(__file__).with_name("stuck_daemon.py")


@dataclass(slots=True, kw_only=True)
class Seen:
    """What was seen of a daemon; times in seconds since its part hung."""

    part: str
    deadline_s: float
    noticed_s: float | None = None
    ended_s: float | None = None
    code: int | None = None
    is_home: bool | None = None
    feeds: list[float] = field(default_factory=list)
    complaint: str = ""

    @property
    def longest_gap_s(self) -> float:
        """Between two feeds."""
        return max((b - a for a, b in zip(self.feeds, self.feeds[1:], strict=False)), default=0.0)


class Manager(asyncio.DatagramProtocol):
    """A service manager: when what was said."""

    def __init__(self) -> None:
        self.told: list[tuple[float, str]] = []

    def datagram_received(self, data: bytes, _address: object) -> None:
        """A message."""
        self.told.append((SystemClock().now_s(), data.decode()))

    def first(self, text: str) -> tuple[float, str] | None:
        """The first message with `text` in it."""
        return next((each for each in self.told if text in each[1]), None)


def main() -> int:
    """Measure."""
    arguments = parse(__doc__, quick="0.4 of the deadlines")
    share = _QUICK if arguments.quick else 1.0
    healthy_s = _QUICK_HEALTHY_S if arguments.quick else _HEALTHY_S
    seen = asyncio.run(_all(share, healthy_s))
    return conclude(arguments, "benchmarks/stuck.py", _table(seen), _bars(seen), _rows(seen))


async def _all(share: float, healthy_s: float) -> list[Seen]:
    """The four together, then the healthy one with all processors busy."""
    parts = [asyncio.create_task(_hung(part, share)) for part in DEADLINES_S]
    hung = [await each for each in parts]
    return [*hung, await _healthy(healthy_s)]


async def _hung(part: str, share: float) -> Seen:
    """A daemon of which `part` hangs in the middle of a job."""
    seen = Seen(part=part, deadline_s=share * DEADLINES_S[part])
    async with AsyncExitStack() as stack:
        folder, manager, daemon = await _started(part, share, stack)
        async with AsyncClient(str(folder / "run")) as client:
            await client.start()
            if part == "abort":
                await _has_read(folder, client)
                asking = asyncio.create_task(client.abort())
                stack.callback(asking.cancel)
            line = await _stuck_line(daemon)
            await daemon.wait()
        now_s = SystemClock().now_s()
        noticed = manager.first("no progress")
        seen.noticed_s = noticed[0] - line if noticed else None
        seen.complaint = noticed[1].removeprefix("STATUS=") if noticed else ""
        seen.ended_s, seen.code = now_s - line, daemon.returncode
        seen.feeds = [at for at, text in manager.told if text == "WATCHDOG=1"]
        seen.is_home = _is_home(folder) if part != "device" else None
    return seen


async def _healthy(seconds: float) -> Seen:
    """A daemon with a job, beside programs that keep all processors busy."""
    async with AsyncExitStack() as stack:
        folder, manager, daemon = await _started("none", 1.0, stack)
        for _ in range(2 * (os.cpu_count() or 1)):
            hog = await asyncio.create_subprocess_exec(sys.executable, "-c", "while True: pass")
            stack.callback(hog.kill)
        async with AsyncClient(str(folder / "run")) as client:
            await client.start()
            await asyncio.sleep(seconds)
        daemon.terminate()
        code = await daemon.wait()
    complaint = manager.first("no progress")
    feeds = [at for at, text in manager.told if text == "WATCHDOG=1"]
    words = complaint[1] if complaint else ""
    return Seen(part="none", deadline_s=0.0, code=code, feeds=feeds, complaint=words)


async def _started(
    part: str, share: float, stack: AsyncExitStack
) -> tuple[Path, Manager, asyncio.subprocess.Process]:
    """A simulator and a daemon that is ready, and whom it tells."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="afd-")))
    options = [f"--start-wd-um={_START_UM}", "--focus-wd-um=30000", f"--truth={folder / 'truth'}"]
    _, port = await stack.enter_async_context(simulator(folder / "drop", options))
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listening.bind(str(folder / "notify"))
    transport, manager = await asyncio.get_running_loop().create_datagram_endpoint(
        Manager, sock=listening
    )
    stack.callback(transport.close)
    told = {
        "NOTIFY_SOCKET": str(folder / "notify"),
        "WATCHDOG_USEC": f"{round(1e6 * WATCHDOG_S)}",
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, str(_DAEMON), part, str(folder), str(port), str(share)]
    pipe, null = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
    daemon = await asyncio.create_subprocess_exec(
        *command, stdout=pipe, stderr=null, env={**os.environ, **told}
    )
    stack.callback(_end, daemon)
    async with asyncio.timeout(60.0):
        while not (manager.first("READY=1") and manager.first(": connected")):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    return folder, manager, daemon


def _end(daemon: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        daemon.kill()


async def _has_read(folder: Path, client: AsyncClient) -> None:
    """Return when the job has moved the lens."""
    while (job := (await client.status()).job) is None or job.reading < 5:  # noqa: ASYNC110
        await asyncio.sleep(0.1)


async def _stuck_line(daemon: asyncio.subprocess.Process) -> float:
    """When the part hung, as the daemon says itself."""
    if daemon.stdout is None:
        raise RuntimeError("the daemon has no stdout")
    async with asyncio.timeout(60.0):
        line = await daemon.stdout.readline()
    return float(line.split()[1])


def _is_home(folder: Path) -> bool:
    commands = json.loads((folder / "truth").read_text())["commands"]
    return bool(abs(commands[-1]["wd_um"] - _START_UM) <= _NEAR_UM)


def _table(seen: list[Seen]) -> str:
    lines = [f"{'what hangs':<12}{'deadline':>10}{'noticed':>10}{'ended':>10}{'code':>6}  lens"]
    for one in seen[:-1]:
        lens = {True: "at home", False: "away", None: "out of reach"}[one.is_home]
        lines.append(
            f"{one.part:<12}{one.deadline_s:>8.1f} s{_seconds(one.noticed_s)}"
            f"{_seconds(one.ended_s)}{one.code!s:>6}  {lens}"
        )
    idle = seen[-1]
    lines.append(
        f"{'nothing':<12}{len(idle.feeds)} feeds on a busy machine, the longest pause"
        f" {idle.longest_gap_s:.2f} s of {WATCHDOG_S:g} s"
    )
    return "\n".join(lines)


def _seconds(value: float | None) -> str:
    return f"{'never':>10}" if value is None else f"{value:>8.1f} s"


def _bars(seen: list[Seen]) -> list[Bar]:
    *hung, healthy = seen
    in_time = [
        one.noticed_s is not None and one.noticed_s <= one.deadline_s + _SLACK_S for one in hung
    ]
    ended = [one.code == watchdog.EXIT_STUCK for one in hung]
    home = [bool(one.is_home) for one in hung if one.part not in CANNOT_COME_HOME]
    late_s = max((one.ended_s or 1e9) - one.deadline_s for one in hung)
    return [
        Bar("noticed within its deadline", all(in_time), f"{sum(in_time)} of {len(hung)}"),
        Bar("ended with a code of its own", all(ended), f"{sum(ended)} of {len(hung)}"),
        at_most("ended so long after its deadline, s", late_s, WATCHDOG_S),
        Bar("lens at home where it can be", all(home), f"{sum(home)} of {len(home)}"),
        Bar("no false alarm on a busy machine", not healthy.complaint, healthy.complaint or "none"),
        at_most("longest pause between two feeds there, s", healthy.longest_gap_s, WATCHDOG_S / 2),
    ]


def _rows(seen: list[Seen]) -> list[dict[str, object]]:
    return [{**asdict(one), "feeds": len(one.feeds)} for one in seen]


if __name__ == "__main__":
    raise SystemExit(main())
