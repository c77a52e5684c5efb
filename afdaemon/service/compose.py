"""The composition root: settings in, a running service out, and an orderly end.

Opened in this order, closed in the opposite one: sockets (a second daemon ends here, before it has
touched anything), journal, microscope. A missing microscope is a state, not a failure. The networks load meanwhile: the
daemon answers before they are there, and jobs wait for them; if they cannot be loaded, it ends.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import replace
from uuid import uuid4

import structlog

from afdaemon import calibration
from afdaemon.api.access.callers import Access, roles_of
from afdaemon.api.access.roles import role_named
from afdaemon.api.caps import Caps, Share
from afdaemon.api.server import Doors, open_doors
from afdaemon.calibration import Calibration
from afdaemon.clock import Clock, SystemClock
from afdaemon.control.dose import Beam
from afdaemon.control.limits import Limits, Motion, MotionGuard, Range
from afdaemon.drivers.base import Microscope
from afdaemon.drivers.registry import open_microscope
from afdaemon.errors import KNOWN_ERRORS
from afdaemon.job.bench import Bench
from afdaemon.job.journal import Journal
from afdaemon.models.optics import dof_um
from afdaemon.pulse import Watched
from afdaemon.service import translate
from afdaemon.service.backend import FocusBackend
from afdaemon.service.jobs import Rules
from afdaemon.service.notify import Notifier
from afdaemon.service.scoring import Networks, ScoringThread, load_networks, require_weights
from afdaemon.service.upkeep import Upkeep
from afdaemon.service.watchdog import Watchdog
from afdaemon.settings import Settings

_SAY_S = 1.0
"""How often systemd's status line may change."""

log = structlog.get_logger(__name__)

Load = Callable[[Settings], Networks]
Open = Callable[[Settings, Clock], Microscope]


def rules_of(settings: Settings) -> Rules:
    """What jobs must keep to, in control's terms."""
    low_um, high_um = settings.limits.site_um
    hard = Range(lo_um=settings.limits.hard_min_um, hi_um=settings.limits.hard_max_um)
    return Rules(
        limits=Limits(hard=hard, site=Range(lo_um=low_um, hi_um=high_um)),
        motion=Motion(
            step_um=settings.limits.max_step_um,
            travel_um=settings.limits.max_travel_um,
            travel_per_min_um=settings.limits.max_travel_per_min_um,
        ),
        profiles={one.name: one for one in (settings.published, settings.fast)},
        profile=settings.control.profile,
        timeout_s=settings.control.timeout_s,
        beam=_beam_of(settings),
        dose_limit_e_nm2=settings.dose.limit_e_nm2,
        recovers_by_itself=settings.control.recover_automatically,
    )


def _beam_of(settings: Settings) -> Beam | None:
    """What a dose is computed from, if it is known."""
    known = settings.dose
    if known.current_pa is None:
        return None
    return Beam(current_pa=known.current_pa, dwell_ns=known.dwell_ns)


def calibration_of(settings: Settings) -> Calibration | None:
    """The instrument's calibration, if the settings name a file. Raises `CalibrationError`."""
    file = settings.calibration.file
    return None if file is None else calibration.load(file)


def with_angle(settings: Settings, known: Calibration | None) -> Settings:
    """The settings with the measured convergence angle, if there is one."""
    if known is None:
        return settings
    alpha_mrad = 1e3 * known.alpha_rad(lambda magnification: dof_um(magnification, 1.0))
    return replace(
        settings,
        published=replace(settings.published, alpha_mrad=alpha_mrad, calibrated=True),
        fast=replace(settings.fast, alpha_mrad=alpha_mrad, calibrated=True),
    )


def _caps_of(settings: Settings) -> Caps:
    """What clients may take."""
    api = settings.api
    return Caps(connections=Share(each=api.most_connections_per_client, all=api.most_connections))


def _addresses_of(settings: Settings) -> list[str]:
    """Where to listen unless the command line says otherwise."""
    api = settings.api
    return [f"ipc://{api.runtime_dir}", *([api.tcp] if api.tcp else [])]


def _access_of(settings: Settings) -> Access:
    """Who may come in, and as what. Raises `ConfigError` for a user that does not exist."""
    api = settings.api
    return Access(
        keys=api.keys_dir, group_role=role_named(api.group_role), roles=roles_of(api.roles)
    )


def _microscope_of(settings: Settings, clock: Clock) -> Microscope:
    """The driver that the settings name, not connected yet."""
    microscope = settings.microscope
    return open_microscope(microscope.link, microscope.of_driver, clock=clock)


def _networks_of(settings: Settings) -> Networks:
    """The networks that the settings name."""
    return load_networks(settings.models, settings.fast)


async def serve(
    settings: Settings,
    stop: asyncio.Event,
    *,
    addresses: Sequence[str] = (),
    insecure: bool = False,
    load: Load = _networks_of,
    connect: Open = _microscope_of,
) -> None:
    """Run the service until `stop` is set.

    Then the running job is aborted, its start WD restored, and everything closed. `addresses` are
    those of the sockets; by default they are in the folder `api.runtime_dir`.

    Raises:
        BusyError: another daemon holds the sockets, or the journal.
        CalibrationError, JournalError, ModelError, ConfigError, SettingsError: it cannot start.
    """
    clock = SystemClock()
    known = calibration_of(settings)
    settings = with_angle(settings, known)
    require_weights(settings.models)
    rules = rules_of(settings)
    places = addresses or _addresses_of(settings)
    async with _watched(stop, clock) as watchdog:
        with (
            open_doors(
                places,
                instance=uuid4().hex,
                clock=clock,
                insecure=insecure,
                caps=_caps_of(settings),
                vendor=settings.vendor.place(),
                access=_access_of(settings),
            ) as doors,
            closing(Journal(settings.journal.path, utc=clock.utc)) as journal,
            closing(ScoringThread(lambda: load(settings))) as scoring,
        ):
            async with _linked(connect(settings, clock)) as microscope:
                if known is not None:
                    most_days = settings.calibration.most_days
                    known.check(instrument=microscope.name, now=clock.utc(), most_days=most_days)
                bench = Bench(
                    microscope=microscope,
                    score=scoring.read,
                    laws=scoring.laws,
                    guard=MotionGuard(rules.limits, rules.motion),
                    journal=journal,
                    clock=clock,
                    beam=rules.beam,
                    approach_um=settings.control.approach_um,
                    confirm=settings.control.confirm,
                )
                upkeep = Upkeep(journal, settings.journal, clock)
                await _run(rules, bench, scoring, doors, stop, watchdog, upkeep)
    log.info("stopped")


async def _run(
    rules: Rules,
    bench: Bench,
    scoring: ScoringThread,
    doors: Doors,
    stop: asyncio.Event,
    watchdog: Watchdog,
    upkeep: Upkeep,
) -> None:
    """Everything that goes on at once, until `stop`; then the running job is wound up first."""
    async with _unwrapped() as group:
        backend = FocusBackend(
            rules=rules,
            bench=bench,
            scoring=scoring,
            events=doors.events,
            instance=doors.instance,
            vendor=doors.vendor,
            group=group,
            upkeep=upkeep,
        )
        await backend.open()
        tasks = [
            group.create_task(bench.microscope.run(), name="microscope"),
            group.create_task(doors.serve(backend), name="doors"),
            group.create_task(backend.watch(), name="watch"),
            group.create_task(_say(backend, doors, watchdog, bench.clock), name="say"),
            group.create_task(scoring.open(), name="networks"),
        ]
        await doors.answering.wait()
        _announce(rules, bench.microscope, scoring, doors, watchdog)
        await stop.wait()
        log.info("stopping")
        watchdog.stopping()
        await backend.stop()
        watchdog.is_home()
        for task in tasks:
            task.cancel()


def _announce(
    rules: Rules,
    microscope: Microscope,
    scoring: ScoringThread,
    doors: Doors,
    watchdog: Watchdog,
) -> None:
    """It answers: say so, and let all of it be watched from now on."""
    log.info(
        "ready",
        endpoints=[place.address for place in doors.endpoints],
        vendor=doors.vendor,
        limits=str(rules.limits),
        microscope=microscope.name,
    )
    of_link = microscope.parts if isinstance(microscope, Watched) else ()
    watchdog.watch([*doors.parts, *scoring.parts, *of_link])
    watchdog.ready()


@asynccontextmanager
async def _watched(stop: asyncio.Event, clock: Clock) -> AsyncIterator[Watchdog]:
    """A watchdog, with the event loop as the first part that it watches."""
    loop = asyncio.get_running_loop()
    with (
        Notifier.from_environment() as notifier,
        Watchdog(
            notifier, clock=clock, come_home=lambda: loop.call_soon_threadsafe(stop.set)
        ) as watchdog,
    ):
        async with watchdog.loop_watched():
            yield watchdog


async def _say(backend: FocusBackend, doors: Doors, watchdog: Watchdog, clock: Clock) -> None:
    """Keep the status line of the service up to date, until cancelled."""
    while True:
        watchdog.say("; ".join([translate.in_words(await backend.status()), *doors.troubles]))
        await clock.sleep(_SAY_S)


@asynccontextmanager
async def _linked(microscope: Microscope) -> AsyncIterator[Microscope]:
    """Close the link politely, after everything that uses it has ended."""
    try:
        yield microscope
    finally:
        await microscope.close()


@asynccontextmanager
async def _unwrapped() -> AsyncIterator[asyncio.TaskGroup]:
    """A task group; if only known errors end it, the first of them is raised by itself."""
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except BaseExceptionGroup as failures:
        known, others = failures.split(KNOWN_ERRORS)
        if known is None or others is not None:
            raise
        raise _first(known) from None


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


@contextmanager
def stopped_by_signals(stop: asyncio.Event) -> Iterator[None]:
    """Let SIGTERM and SIGINT set `stop`. More of them change nothing: the way home is not cut short."""
    loop = asyncio.get_running_loop()
    signals = (signal.SIGTERM, signal.SIGINT)

    def on_signal(number: signal.Signals) -> None:
        if stop.is_set():
            log.warning(
                "still_stopping",
                signal=number.name,
                remedy="wait: the working distance is being restored; SIGKILL would leave it where it is",
            )
        stop.set()

    for number in signals:
        loop.add_signal_handler(number, on_signal, number)
    try:
        yield
    finally:
        for number in signals:
            loop.remove_signal_handler(number)
