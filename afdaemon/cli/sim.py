"""`afdaemon sim serve`: a simulated EM-30 in a process of its own, behind the vendor's wire."""

import asyncio
import math
import signal
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from afdaemon.sim.errors import SettingError

if TYPE_CHECKING:
    from afdaemon.sim.links.aisem import AisemServer

app = typer.Typer(help="The simulated EM-30.")


@app.callback()
def root() -> None:
    """The simulated EM-30."""


@app.command()
def serve(
    *,
    specimen: Annotated[
        str, typer.Option(help="tin_balls, tem_grid, gold_nanoparticles, mixture or image:PATH")
    ] = "tin_balls",
    magnification: Annotated[int, typer.Option(help="20 to 150000")] = 2000,
    seed: Annotated[int, typer.Option(help="all that is random follows from it")] = 0,
    start_wd_um: Annotated[
        float | None, typer.Option(help="WD at the start (um); else drawn, near the focus")
    ] = None,
    focus_wd_um: Annotated[
        float | None, typer.Option(help="WD in focus (um); else drawn from the seed")
    ] = None,
    alpha_mrad: Annotated[float, typer.Option(help="convergence semi-angle (mrad)")] = 5.0,
    mode: Annotated[str, typer.Option(help="fast (320 x 240) or full (640 x 480)")] = "fast",
    host: Annotated[str, typer.Option(help="address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="TCP port; 0: any free one")] = 9025,
    folder: Annotated[Path | None, typer.Option(help="drop folder; else a temporary one")] = None,
    speed: Annotated[float, typer.Option(help="so many times as fast as real time")] = 1.0,
    truth: Annotated[
        Path | None, typer.Option(help="keep a JSON file of what only the simulator knows")
    ] = None,
    keep_frames: Annotated[
        Path | None, typer.Option(help="keep a copy of every frame in this folder")
    ] = None,
) -> None:
    """Serve a simulated instrument until SIGINT or SIGTERM; one line says when and where."""
    from afdaemon.clock import ScaledClock
    from afdaemon.sim.instrument import Instrument
    from afdaemon.sim.links.aisem import AisemServer
    from afdaemon.sim.settings import InstrumentSettings, frame_mode
    from afdaemon.sim.world import World

    settings = InstrumentSettings(
        specimen=specimen,
        magnification=magnification,
        seed=seed,
        start_wd_um=start_wd_um,
        focus_wd_um=focus_wd_um,
        alpha_mrad=alpha_mrad,
        mode=frame_mode(mode),
    )
    clock = ScaledClock(_checked_speed(speed))
    world = World(settings, clock=clock)
    with ExitStack() as stack:
        drop = folder or Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="afdaemon-em30-"))
        )
        server = AisemServer(
            Instrument(world, clock=clock),
            folder=drop,
            clock=clock,
            host=host,
            port=port,
            truth_file=truth,
            keep_frames=keep_frames,
        )
        asyncio.run(_serve(server, drop))


def _checked_speed(speed: float) -> float:
    if not (math.isfinite(speed) and 0.01 <= speed <= 1000.0):
        raise SettingError(f"the speed must lie in 0.01 to 1000, not {speed:g}")
    return speed


async def _serve(server: "AisemServer", folder: Path) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with server:
        host, port = server.address
        typer.echo(f"listening on {host}:{port} folder {folder}")
        await stop.wait()
