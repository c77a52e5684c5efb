"""A simulated EM-30 for the tests of a laboratory; pytest finds it wherever `afdaemon[sim]` is installed.

    @pytest.mark.em30(specimen="tem_grid", magnification=5000, link="stream", faults=["frame-missing:0.2"])
    def test_focus(em30):
        connect_to(em30.host, em30.port)
        ...
        assert abs(em30.truth().wd_um - em30.truth().focus_wd_um) < 20.0

The fixture `em30` runs an instrument in a process of its own, so it suits any test, with or without asyncio; it stops
with the test, however that ends. The marker takes the options of `afdaemon sim serve` as keywords, and these: `faults`
and `chaos`, lists of rules, and `settings`, a mapping of settings by their dotted keys.

Every pytest where the package is installed imports this module, so it imports nothing of the simulator by itself.
"""

import os
import selectors
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import pytest

from afdaemon.sim.errors import ServeError

if TYPE_CHECKING:
    from afdaemon.sim.instrument.told import Truth

__all__ = [
    "SimulatedEm30",
]

START_S = 30.0
STOP_S = 5.0
"""Longest waits for the simulator to print its addresses, and to exit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedEm30:
    """A running instrument. `folder` is its drop folder; None where the link has none."""

    host: str
    port: int
    folder: Path | None
    control_port: int

    def truth(self) -> "Truth":
        """What only the simulator knows, as of now."""
        from afdaemon.sim.instrument.witness import truth_from

        return truth_from(self._tell(do="truth")["truth"])

    def fault(self, rule: str) -> None:
        """Replace the rules of the same fault by `rule`, e.g. `frame-missing:0.2`. Raises `SimError`."""
        self._tell(do="fault", rule=rule)

    def trouble(self, rule: str) -> None:
        """Add a trouble on the way to it, e.g. `drop,times=1`; for an instrument with `chaos`. Raises `SimError`."""
        self._tell(do="chaos", rule=rule)

    def clear(self) -> None:
        """Remove the rules of all faults and troubles, and plug the instrument in again."""
        self._tell(do="clear")
        self._tell(do="replug")

    def strikes(self) -> dict[str, int]:
        """How often each fault and trouble has struck; those that have not are left out."""
        return dict(self._tell(do="faults")["strikes"])

    def unplug(self, seconds: float | None = None) -> None:
        """Unplug the instrument for `seconds`, or until `replug`."""
        self._tell(do="unplug", **({} if seconds is None else {"seconds": seconds}))

    def replug(self) -> None:
        """Plug the instrument in again."""
        self._tell(do="replug")

    def _tell(self, **order: object) -> dict[str, Any]:
        from afdaemon.sim.links.control import tell

        return tell(self.control_port, order)


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line(
        "markers",
        "em30(**options): how to set up the simulated EM-30 of the fixture `em30`:"
        " the options of `afdaemon sim serve`, faults=[...], chaos=[...], settings={...}",
    )


@pytest.fixture
def em30(request: pytest.FixtureRequest) -> Iterator[SimulatedEm30]:
    """A simulated EM-30 in a process of its own; see the marker `em30` for its options."""
    marker = request.node.get_closest_marker("em30")
    try:
        with running(marker.kwargs if marker is not None else {}) as instrument:
            yield instrument
    except ServeError as error:
        raise pytest.fail.Exception(str(error), pytrace=False) from None


@contextmanager
def running(options: Mapping[str, Any]) -> Iterator[SimulatedEm30]:
    """Run an instrument with the marker's keywords as its options.

    Raises `ServeError` with the simulator's own message if it does not start.
    """
    command = [sys.executable, "-m", "afdaemon", "sim", "serve", *_words(options)]
    command += ["--port=0", "--control-port=0", "--until-eof"]
    with tempfile.TemporaryFile() as complaints:
        process = subprocess.Popen(  # noqa: S603 - our own command
            command,
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            start_new_session=True,
        )
        try:
            yield _understood(_first_lines(process, 2), process, complaints)
        finally:
            _end(process)


def _words(options: Mapping[str, Any]) -> list[str]:
    """The marker's keywords as command-line options."""
    several = {
        "--fault": [str(rule) for rule in options.get("faults", ())],
        "--chaos": [str(rule) for rule in options.get("chaos", ())],
        "--set": [f"{key}={value}" for key, value in options.get("settings", {}).items()],
    }
    words = [f"{option}={value}" for option, values in several.items() for value in values]
    return words + [
        f"--{key.replace('_', '-')}={value}"
        for key, value in options.items()
        if key not in ("faults", "chaos", "settings")
    ]


def _first_lines(process: "subprocess.Popen[bytes]", count: int) -> list[str]:
    """The first lines that it prints; fewer if it exits or prints nothing for `START_S`."""
    told = b""
    with selectors.DefaultSelector() as waiting:
        if process.stdout is None:
            return []
        waiting.register(process.stdout, selectors.EVENT_READ)
        while told.count(b"\n") < count and waiting.select(START_S):
            came = os.read(process.stdout.fileno(), 4096)
            if not came:
                break
            told += came
    return told.decode().splitlines()


def _understood(
    lines: list[str], process: "subprocess.Popen[bytes]", complaints: IO[bytes]
) -> SimulatedEm30:
    if len(lines) < 2:
        _end(process)
        complaints.seek(0)
        said = complaints.read().decode(errors="replace").strip()
        raise ServeError(said or "the simulated EM-30 did not start")
    where, _, folder = lines[0].removeprefix("listening on ").partition(" folder ")
    host, _, port = where.split()[0].rpartition(":")
    return SimulatedEm30(
        host=host,
        port=int(port),
        folder=Path(folder) if folder else None,
        control_port=int(lines[1].rpartition(":")[2]),
    )


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Let it exit; kill it if it does not. Safe to call twice."""
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
