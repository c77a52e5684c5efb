"""`afdaemon sim serve`: a simulated EM-30 in a process of its own, behind a wire; `afdaemon sim tell` speaks to it."""

import asyncio
import contextlib
import json
import math
import os
import signal
import threading
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from afdaemon.cli.extras import needs
from afdaemon.cli.sim import pictures as sim_pictures
from afdaemon.cli.sim.door import Wire, opened
from afdaemon.sim.errors import SettingError

if TYPE_CHECKING:
    from afdaemon.drivers.base import Clock
    from afdaemon.sim.chaos.plan import Chaos
    from afdaemon.sim.instrument.instrument import Instrument

app = typer.Typer(help="The simulated EM-30.")
app.command()(sim_pictures.snapshot)
app.command()(sim_pictures.gallery)


@app.callback()
def root() -> None:
    """The simulated EM-30."""


@app.command()
@needs("sim")
def serve(
    *,
    link: Annotated[str, typer.Option(help="aisem (TCP and a drop folder) or stream")] = "aisem",
    specimen: Annotated[
        str | None,
        typer.Option(help="a specimen's name or image:PATH; default: tin_balls"),
    ] = None,
    magnification: Annotated[int | None, typer.Option(help="20 to 150000; default: 2000")] = None,
    seed: Annotated[int | None, typer.Option(help="seed of all random choices; default: 0")] = None,
    start_wd_um: Annotated[
        float | None, typer.Option(help="WD at the start (um); else drawn, near the focus")
    ] = None,
    focus_wd_um: Annotated[
        float | None, typer.Option(help="WD in focus (um); else drawn from the seed")
    ] = None,
    alpha_mrad: Annotated[
        float | None, typer.Option(help="convergence semi-angle (mrad); default: 5")
    ] = None,
    mode: Annotated[
        str | None, typer.Option(help="fast (320 x 240) or full (640 x 480); default: fast")
    ] = None,
    condition: Annotated[
        str | None, typer.Option(help="ideal, good or poor; default: good")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="TOML file: settings of the instrument, and faults = [...]")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="KEY=VALUE, a setting of the instrument; may be repeated"),
    ] = None,
    fault: Annotated[
        list[str] | None,
        typer.Option(help="NAME[:PROBABILITY][,KEY=VALUE...], e.g. frame-missing:0.2; repeatable"),
    ] = None,
    chaos: Annotated[
        list[str] | None,
        typer.Option(
            help="trouble on the way: NAME[:PROBABILITY][,KEY=VALUE...], e.g. half,step=4"
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="address to listen on")] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(help="TCP port; 0: any free one; default: the link's usual")
    ] = None,
    control_port: Annotated[
        int | None, typer.Option(help="listen for `afdaemon sim tell` there; 0: any free port")
    ] = None,
    folder: Annotated[Path | None, typer.Option(help="drop folder; else a temporary one")] = None,
    speed: Annotated[float, typer.Option(help="factor by which it is faster than real time")] = 1.0,
    truth: Annotated[
        Path | None, typer.Option(help="keep a JSON file of what only the simulator knows")
    ] = None,
    keep_frames: Annotated[
        Path | None, typer.Option(help="keep a copy of every frame in this folder")
    ] = None,
    until_eof: Annotated[
        bool,
        typer.Option("--until-eof", help="end when stdin does: with the program that started it"),
    ] = False,
) -> None:
    """Serve a simulated instrument until SIGINT or SIGTERM; one line says when and where."""
    from afdaemon.cli.sim.options import gather
    from afdaemon.clock import ScaledClock
    from afdaemon.sim.instrument.faults import FaultPlan, parse_rule
    from afdaemon.sim.instrument.instrument import Instrument
    from afdaemon.sim.instrument.world import World

    options = {
        "specimen": specimen,
        "magnification": magnification,
        "seed": seed,
        "start_wd_um": start_wd_um,
        "focus_wd_um": focus_wd_um,
        "alpha_mrad": alpha_mrad,
        "mode": mode,
        "condition": condition,
    }
    made_of, rules = gather(config, set_ or [], options)
    wire = Wire(
        link=link,
        host=host,
        port=port,
        folder=folder,
        truth=truth,
        keep_frames=keep_frames,
        chaos=_chaos(chaos or [], made_of.seed),
    )
    _check_wire(wire)
    rules += [parse_rule(text) for text in fault or []]
    clock = ScaledClock(_checked_speed(speed))
    plan = FaultPlan(rules, seed=made_of.seed)
    instrument = Instrument(World(made_of, clock=clock), plan, clock=clock)
    asyncio.run(_serve(wire, instrument, clock, control_port, until_eof=until_eof))


@app.command()
@needs("sim")
def tell(
    *,
    order: Annotated[
        str, typer.Argument(help="fault, clear, faults, truth, unplug, replug, mode or set")
    ],
    words: Annotated[
        list[str] | None, typer.Argument(help="a rule, a fault, seconds, a mode or KEY=VALUE")
    ] = None,
    port: Annotated[int, typer.Option(help="the simulator's control port")],
) -> None:
    """Tell a running simulator what should go wrong, or query it; prints its answer as JSON."""
    from afdaemon.sim.links import control

    typer.echo(json.dumps(control.tell(port, control.order_of(order, words or []))))


@app.command()
@needs("sim")
def settings() -> None:
    """List every setting of the instrument: for --set, and for the file of --config."""
    from afdaemon.cli.sim.options import listed

    typer.echo("\n".join(listed()))


def _check_wire(wire: Wire) -> None:
    if wire.link not in ("aisem", "stream"):
        raise SettingError(f"the link is aisem or stream, not {wire.link!r}")
    if wire.link == "aisem":
        return
    for option in ("folder", "truth", "keep_frames"):
        if getattr(wire, option) is not None:
            raise SettingError(f"--{option.replace('_', '-')} is for the link aisem only")


def _checked_speed(speed: float) -> float:
    if not (math.isfinite(speed) and 0.01 <= speed <= 1000.0):
        raise SettingError(f"the speed must lie in 0.01 to 1000, not {speed:g}")
    return speed


def _chaos(rules: Sequence[str], seed: int) -> "Chaos | None":
    from afdaemon.sim.chaos.plan import Chaos, parse_rule

    return Chaos(map(parse_rule, rules), seed=seed) if rules else None


async def _serve(
    wire: Wire,
    instrument: "Instrument",
    clock: "Clock",
    control_port: int | None,
    *,
    until_eof: bool,
) -> None:
    from afdaemon.sim.links.control import ControlServer

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    if until_eof:
        threading.Thread(target=_await_eof, args=(loop, stop), daemon=True).start()
    async with AsyncExitStack() as stack:
        control = None
        if control_port is not None:
            control = ControlServer(instrument, port=control_port, chaos=wire.chaos)
            await stack.enter_async_context(control)
        address, where = await stack.enter_async_context(opened(wire, instrument, clock))
        typer.echo(f"listening on {_address(address)}{where}")
        if control is not None:
            typer.echo(f"control on {_address(control.address)}")
        await stop.wait()


def _address(address: Sequence[str | int]) -> str:
    host, port = address
    return f"{host}:{port}"


def _await_eof(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    """In a thread of its own: set `stop` when nobody holds the other end of stdin any more."""
    with contextlib.suppress(OSError):  # without any stdin, nobody is there
        while os.read(0, 4096):
            continue
    with contextlib.suppress(RuntimeError):  # the loop has ended before
        loop.call_soon_threadsafe(stop.set)
