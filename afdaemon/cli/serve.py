"""`afdaemon serve`: the service, optionally with a simulated EM-30 beside it."""

import asyncio
import faulthandler
import re
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from afdaemon.cli.extras import needs
from afdaemon.errors import UsageError

if TYPE_CHECKING:
    from afdaemon.config import Loaded

_SIM_START_S = 60.0
"""Longest wait for the simulator; drawing a specimen takes a few seconds."""
_SIM_STOP_S = 5.0
_AISEM = "aisem"
"""The simulator's link unless its option says otherwise."""


@needs("daemon")
def serve(
    *,
    config: Annotated[Path | None, typer.Option(help="TOML file with the settings")] = None,
    endpoint: Annotated[
        list[str] | None, typer.Option(help="ipc:///folder or tcp://host:port; may be repeated")
    ] = None,
    insecure: Annotated[bool, typer.Option(help="tcp without keys, on a loopback address")] = False,
    vendor: Annotated[
        bool, typer.Option("--vendor", help="open the vendor door, as vendor.enabled does")
    ] = False,
    sim: Annotated[bool, typer.Option("--sim", help="start a simulated EM-30 and use it")] = False,
    sim_option: Annotated[
        list[str] | None,
        typer.Option(help="KEY=VALUE for the simulator, e.g. specimen=tem_grid; may be repeated"),
    ] = None,
) -> None:
    """Run the service until SIGINT or SIGTERM; then restore the WD if a job runs, and end."""
    if sim_option and not sim:
        raise UsageError("--sim-option is for the simulator", remedy="add --sim")
    flags: dict[str, object] = {"vendor.enabled": True} if vendor else {}
    if sim:
        options = sim_arguments(sim_option or [])
        with tempfile.TemporaryDirectory(prefix="afdaemon-sim-") as scratch:
            asyncio.run(
                _with_simulator(config, flags, endpoint or [], insecure, Path(scratch), options)
            )
    else:
        from afdaemon.config import load

        asyncio.run(_serve(load(config, flags=flags), endpoint or [], insecure))


def sim_arguments(options: Sequence[str]) -> list[str]:
    """`KEY=VALUE` texts as options of `afdaemon sim serve`. Raises `UsageError`."""
    arguments = []
    for option in options:
        key, separator, value = option.partition("=")
        if not (separator and re.fullmatch("[a-z][a-z_-]*", key)):
            raise UsageError(
                f"--sim-option {option!r} is not of the form KEY=VALUE",
                remedy="see `afdaemon sim serve --help` for the keys",
            )
        arguments.append(f"--{key.replace('_', '-')}={value}")
    return arguments


def _link_of(arguments: Sequence[str]) -> str:
    """The link that `afdaemon sim serve` serves with these `arguments`."""
    links = [text.removeprefix("--link=") for text in arguments if text.startswith("--link=")]
    return links[-1] if links else _AISEM


async def _serve(loaded: "Loaded", endpoints: Sequence[str], insecure: bool) -> None:
    from afdaemon import logs
    from afdaemon.service import compose as service

    settings = loaded.settings
    faulthandler.enable()  # systemd ends what no longer feeds its watchdog with SIGABRT: where it hung is then told
    logs.configure(settings.log.level, settings.log.format)
    stop = asyncio.Event()
    with service.stopped_by_signals(stop):
        await service.serve(settings, stop, addresses=endpoints, insecure=insecure)


async def _with_simulator(
    config: Path | None,
    given_flags: Mapping[str, object],
    endpoints: Sequence[str],
    insecure: bool,
    scratch: Path,
    options: Sequence[str],
) -> None:
    from afdaemon.config import load

    given = load(config).given
    link = _link_of(options)
    async with simulator(scratch / "aisem", options) as (host, port):
        flags: dict[str, object] = {
            **given_flags,
            "microscope.link": link,
            "microscope.host": host,
            "microscope.port": port,
        }
        if link == _AISEM:
            flags["microscope.folder"] = scratch / "aisem"
        if "journal.path" not in given:
            flags["journal.path"] = scratch / "journal"
        await _serve(load(config, flags=flags), endpoints, insecure)


@asynccontextmanager
async def simulator(folder: Path, options: Sequence[str]) -> AsyncIterator[tuple[str, int]]:
    """A simulated EM-30 in a process of its own; its host and port.

    It has a session of its own: Ctrl-C must reach only us, since we still need it to restore the WD. It ends when its
    stdin does, that is with us, however we end.

    Raises:
        UsageError: it does not start; it has said why on stderr.
    """
    command = [sys.executable, "-m", "afdaemon", "sim", "serve", "--port=0", "--until-eof"]
    if _link_of(options) == _AISEM:
        command.append(f"--folder={folder}")
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *command, *options, stdin=pipe, stdout=pipe, start_new_session=True
    )
    try:
        yield await _address_of(process)
    finally:
        await _end(process)


async def _address_of(process: asyncio.subprocess.Process) -> tuple[str, int]:
    """Host and port from the line `listening on HOST:PORT folder ...`."""
    stdout = process.stdout
    try:
        async with asyncio.timeout(_SIM_START_S):
            line = (await stdout.readline()).decode() if stdout is not None else ""
    except TimeoutError:
        line = ""
    if not line.startswith("listening on "):
        raise UsageError(
            "the simulated EM-30 did not start", remedy="try `afdaemon sim serve` by itself"
        )
    host, _, port = line.split()[2].rpartition(":")
    return host, int(port)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
    try:
        async with asyncio.timeout(_SIM_STOP_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
    if process.stdin is not None:
        process.stdin.close()
