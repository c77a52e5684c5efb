"""The control socket: faults and truth while the simulator runs. TCP on loopback, one JSON object a line, both ways.

Only programs of the simulator's own user are heard.

    {"do": "fault", "rule": "frame-missing:0.2"}      replaces the rules of that fault
    {"do": "clear"}  {"do": "clear", "fault": "reset"}
    {"do": "faults"}                                  the rules in force, and how often each has struck
    {"do": "chaos", "rule": "half,step=4"}            adds a trouble on the way, where `sim serve` was given --chaos
    {"do": "truth"}                                   what only the simulator knows
    {"do": "unplug"}  {"do": "unplug", "seconds": 2}  for good, or for that long; {"do": "replug"}
    {"do": "mode", "mode": "full"}                    the frame size
    {"do": "set", "key": "detector.brightness", "value": 0.8}     any of the settings in `CHANGEABLE`

Every line is answered: {"ok": true, ...}, or {"ok": false, "error": sentence}. No input ends the simulator.
"""

import asyncio
import contextlib
import json
import math
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from afdaemon.sim.chaos.plan import Chaos
from afdaemon.sim.chaos.plan import parse_rule as parse_trouble
from afdaemon.sim.errors import ControlError, SettingError, SimError
from afdaemon.sim.instrument.conditions import keys, read_as
from afdaemon.sim.instrument.faults import MEANINGS, Fault, fault_named, parse_rule
from afdaemon.sim.instrument.instrument import Instrument
from afdaemon.sim.instrument.settings import frame_mode
from afdaemon.sim.links.peer import owner_of
from afdaemon.sim.listening import TcpServer
from afdaemon.spec import nearest, require_known

HOST = "127.0.0.1"
MAX_LINE_BYTES = 4096
"""No order is longer; a longer line must not grow the buffer."""
_MAX_ANSWER_BYTES = 2**22
"""The truth with all remembered commands takes a tenth of it."""

Answer = dict[str, Any]
_STRANGER = b'{"ok": false, "error": "this simulator takes orders from its own user only"}\n'

ARGUMENTS = {
    "fault": ("rule", True),
    "clear": ("fault", False),
    "faults": ("", False),
    "chaos": ("rule", True),
    "truth": ("", False),
    "unplug": ("seconds", False),
    "replug": ("", False),
    "mode": ("mode", True),
    "set": ("KEY=VALUE", True),
}
"""Each order's argument, and whether it has to be given."""

CHANGEABLE = ("detector", "scan", "stage", "settle_s", "wd_noise_um", "wd_quantum_um")
"""Settings, and groups of them, that the world reads afresh for each frame or move."""


class Control:
    """Carries orders out on `instrument`, and on what happens on the way to it, if that is `chaos`."""

    def __init__(self, instrument: Instrument, chaos: Chaos | None = None) -> None:
        self._instrument = instrument
        self._chaos = chaos
        self._orders: dict[str, Callable[[Mapping[str, Any]], Answer]] = {
            "fault": self._fault,
            "clear": self._clear,
            "faults": self._faults,
            "chaos": self._trouble,
            "truth": self._truth,
            "unplug": self._unplug,
            "replug": self._replug,
            "mode": self._mode,
            "set": self._set,
        }

    def answer(self, line: bytes) -> bytes:
        """The line that answers `line`."""
        try:
            told = {"ok": True, **self._carry_out(line)}
        except SimError as error:
            told = {"ok": False, "error": str(error)}
        return json.dumps(told).encode() + b"\n"

    def _carry_out(self, line: bytes) -> Answer:
        try:
            order = json.loads(line)
        except (ValueError, RecursionError):
            raise ControlError("an order is one JSON object a line") from None
        do = order.get("do") if isinstance(order, dict) else None
        if not isinstance(do, str) or do not in self._orders:
            raise ControlError(f"`do` is one of {', '.join(self._orders)}, not {do!r}")
        return self._orders[do](order)

    def _fault(self, order: Mapping[str, Any]) -> Answer:
        self._instrument.plan.set(parse_rule(_text(order, "rule")))
        return self._faults(order)

    def _clear(self, order: Mapping[str, Any]) -> Answer:
        named = "fault" in order
        self._instrument.plan.clear(fault_named(_text(order, "fault")) if named else None)
        if self._chaos is not None and not named:
            self._chaos.clear()
        return self._faults(order)

    def _trouble(self, order: Mapping[str, Any]) -> Answer:
        if self._chaos is None:
            raise ControlError(
                "nothing stands between this simulator and its clients",
                remedy="start it with --chaos RULE",
            )
        self._chaos.add(parse_trouble(_text(order, "rule")))
        return self._faults(order)

    def _faults(self, order: Mapping[str, Any]) -> Answer:
        plans = (self._instrument.plan, self._chaos or Chaos())
        return {
            "rules": [str(rule) for plan in plans for rule in plan.rules],
            "strikes": {
                what: count for plan in plans for what, count in plan.counts.items() if count
            },
            "now_s": self._instrument.since_start_s(),
        }

    def _truth(self, order: Mapping[str, Any]) -> Answer:
        return {"truth": asdict(self._instrument.truth())}

    def _unplug(self, order: Mapping[str, Any]) -> Answer:
        seconds = order.get("seconds", math.inf)
        allowed = MEANINGS[Fault.UNPLUG].amount
        if allowed is not None and seconds is not math.inf:
            if isinstance(seconds, bool) or not isinstance(seconds, int | float):
                raise ControlError(f"seconds is a number, not {seconds!r}")
            if not allowed.allowed.holds(seconds):
                raise ControlError(f"seconds lies in {allowed.allowed}, not {seconds:g}")
        self._instrument.unplug(seconds)
        return {}

    def _replug(self, order: Mapping[str, Any]) -> Answer:
        self._instrument.replug()
        return {}

    def _mode(self, order: Mapping[str, Any]) -> Answer:
        self._instrument.world.mode = frame_mode(_text(order, "mode"))
        return {}

    def _set(self, order: Mapping[str, Any]) -> Answer:
        world = self._instrument.world
        key, value = _text(order, "key"), order.get("value")
        group, _, name = key.rpartition(".")
        specs = {each.name: each.spec for each in keys()}
        require_known((key,), specs, SettingError)
        if group not in CHANGEABLE and key not in CHANGEABLE:
            raise ControlError(
                f"{key} cannot be changed while it runs; {', '.join(CHANGEABLE)} can"
            )
        changed_to = read_as(specs[key], key, value)
        changed: dict[str, Any] = {name: changed_to}
        if group:
            changed = {group: replace(getattr(world.settings, group), **changed)}
        world.settings = replace(world.settings, **changed)
        return {key: changed_to}


class ControlServer(TcpServer):
    """Listens for orders to `instrument`. `async with` starts and stops it."""

    def __init__(
        self, instrument: Instrument, *, port: int = 0, chaos: Chaos | None = None
    ) -> None:
        super().__init__(host=HOST, port=port, limit=MAX_LINE_BYTES)
        self.instrument = instrument
        self._control = Control(instrument, chaos)

    async def visit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Orders and their answers."""
        try:
            if owner_of(writer.get_extra_info("peername"), self.address) != os.geteuid():
                writer.write(_STRANGER)
                return
            while line := await _next_line(reader):
                writer.write(self._control.answer(line))
                await writer.drain()
        except OSError:
            return  # the client is gone
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


async def _next_line(reader: asyncio.StreamReader) -> bytes:
    """The next line; one that is too long is replaced by a blank one, which is not an order. Empty at the end."""
    try:
        return await reader.readline()
    except ValueError:
        return b"\n"


def tell(
    port: int, order: Mapping[str, Any], *, host: str = HOST, timeout_s: float = 5.0
) -> Answer:
    """Give an order to the simulator whose control socket is at `port`, and return its answer.

    Raises `ControlError` when it cannot be reached, does not answer in time or refuses.
    """
    line = json.dumps(order).encode() + b"\n"
    try:
        with socket.create_connection((host, port), timeout=timeout_s) as wire:
            wire.sendall(line)
            with wire.makefile("rb") as lines:
                answer = lines.readline(_MAX_ANSWER_BYTES)
    except (OSError, OverflowError) as error:
        raise ControlError(
            f"no simulator answers on {host}:{port}: {getattr(error, 'strerror', None) or error}",
            remedy="start one with `afdaemon sim serve --control-port`",
        ) from error
    return _understood(answer, f"{host}:{port}")


def order_of(do: str, words: Sequence[str] = ()) -> Answer:
    """The order given on a command line: `fault frame-missing:0.2`, `unplug 2`, `truth`. Raises `ControlError`."""
    if do not in ARGUMENTS:
        raise ControlError(f"there is no order {do!r}{nearest(do, ARGUMENTS)}")
    name, needed = ARGUMENTS[do]
    if len(words) > (name != "") or len(words) < needed:
        wanted = (
            f"takes {'' if needed else 'at most '}one word: {name}" if name else "takes no words"
        )
        raise ControlError(f"{do} {wanted}; got {' '.join(words) or 'none'}")
    if not words:
        return {"do": do}
    if do == "set":
        key, _, value = words[0].partition("=")
        return {"do": do, "key": key, "value": value}
    if name != "seconds":
        return {"do": do, name: words[0]}
    try:
        return {"do": do, name: float(words[0])}
    except ValueError:
        raise ControlError(f"{name} is a number, not {words[0]!r}") from None


def _understood(answer: bytes, where: str) -> Answer:
    try:
        told = json.loads(answer)
    except ValueError:
        told = None
    if not isinstance(told, dict) or "ok" not in told:
        raise ControlError(
            f"what answers on {where} is not a simulator",
            remedy="give the port that `afdaemon sim serve` names",
        )
    if not told.pop("ok"):
        raise ControlError(str(told.get("error")))
    return told


def _text(order: Mapping[str, Any], key: str) -> str:
    value = order.get(key)
    if not isinstance(value, str):
        raise ControlError(f"{key} is a text, not {value!r}")
    return value
