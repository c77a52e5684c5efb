"""Finds out what the doctor wants to know.

Nothing is moved, made or changed, and no link that a daemon may hold is opened.
"""

import hashlib
import os
import pwd
import resource
import shutil
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import usb.core

import afdaemon
from afdaemon import config
from afdaemon.api import rundir
from afdaemon.api.client import Client
from afdaemon.api.endpoints import NAMES, parse_endpoint
from afdaemon.api.vendor.access import check_place
from afdaemon.cli.doctor.facts import (
    ComputeFacts,
    ConfigFacts,
    DaemonFacts,
    Facts,
    JournalFacts,
    LinkFacts,
    MachineFacts,
    Node,
    RuntimeFacts,
    Trouble,
    User,
    VendorFacts,
    WeightFacts,
)
from afdaemon.clock import SystemClock
from afdaemon.drivers.em30.settings import AisemSettings, StreamSettings, UsbSettings
from afdaemon.errors import KNOWN_ERRORS, Unreachable
from afdaemon.job.schema import SCHEMA_VERSION
from afdaemon.settings import ModelSettings, Settings, VendorSettings

SYSTEM_CONFIG = Path("/etc/afdaemon/afdaemon.toml")
_SERVICE_USER = "afdaemon"
_USB_NODES = Path("/dev/bus/usb")
_PROBE_S = 0.5
_LARGE_JOURNAL = 2**28
"""Bytes: above this, reading it all would take too long."""


def collect(path: Path | None) -> Facts:
    """Everything, with the settings in the TOML file `path`, the environment and the defaults."""
    told, settings = _config(path)
    user = _user(path)
    if settings is None:
        return Facts(
            version=afdaemon.__version__,
            user=user,
            config=told,
            machine=_machine(None),
            compute=_compute("auto"),
        )
    daemon = _daemon(settings)
    compute = _compute(settings.models.device)
    return Facts(
        version=afdaemon.__version__,
        user=user,
        config=told,
        machine=_machine(settings.journal.path),
        compute=compute,
        daemon=daemon,
        link=_link(settings, daemon),
        runtime=_runtime(settings.api.runtime_dir, user),
        vendor=_vendor(settings.vendor, user, daemon),
        journal=_journal(settings.journal.path, daemon),
        weights=tuple(_weights(settings.models)) if compute.trouble is None else (),
    )


def _config(path: Path | None) -> tuple[ConfigFacts, Settings | None]:
    unused = str(SYSTEM_CONFIG) if path is None and SYSTEM_CONFIG.exists() else ""
    try:
        loaded = config.load(path)
        of_file = {} if path is None else config.load(path, environ={}).given
    except KNOWN_ERRORS as error:
        return ConfigFacts(file=str(path or ""), trouble=_trouble(error)), None
    overridden = [
        (key, where.origin)
        for key, where in loaded.given.items()
        if key in of_file and where.origin != of_file[key].origin
    ]
    facts = ConfigFacts(
        file=str(path or ""),
        given=len(loaded.given),
        overridden=overridden,
        renamed=tuple(loaded.renamed.items()),
        unused_file=unused,
    )
    return facts, loaded.settings


def _user(path: Path | None) -> User:
    """The service's user where root examines the service's settings, else whoever asks."""
    if os.geteuid() == 0 and path is not None and path.is_relative_to(SYSTEM_CONFIG.parent):
        try:
            entry = pwd.getpwnam(_SERVICE_USER)
        except KeyError:
            pass
        else:
            gids = frozenset(os.getgrouplist(_SERVICE_USER, entry.pw_gid))
            return User(name=_SERVICE_USER, uid=entry.pw_uid, gids=gids)
    try:
        name = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        name = f"user {os.geteuid()}"
    return User(name=name, uid=os.geteuid(), gids=frozenset({os.getegid(), *os.getgroups()}))


def _daemon(settings: Settings) -> DaemonFacts:
    folder = settings.api.runtime_dir
    is_hidden = folder.is_dir() and not os.access(folder, os.X_OK)
    if is_hidden or not (folder / NAMES[0]).exists():
        holder = None if is_hidden else rundir.holder_of(folder)
        return DaemonFacts(address=str(folder), holder=holder, may_be_hidden=is_hidden)
    try:
        with Client(str(folder)) as client:
            now = client.status()
    except Unreachable:
        return DaemonFacts(address=str(folder), holder=rundir.holder_of(folder))
    except KNOWN_ERRORS as error:
        return DaemonFacts(address=str(folder), version="of another kind", state=str(error))
    return DaemonFacts(
        address=str(folder),
        version=now.version,
        state=now.state,
        microscope=now.microscope.name,
        is_connected=now.microscope.connected,
        owed=now.owed.detail if now.owed is not None else "",
        vendor=now.vendor or "",
    )


def _runtime(path: Path, user: User) -> RuntimeFacts:
    try:
        parse_endpoint(f"ipc://{path}")
        status = path.lstat()
    except FileNotFoundError:
        return RuntimeFacts(path=str(path), exists=False)
    except OSError as error:
        trouble = Trouble(what=f"{path}: {error.strerror}", remedy="set api.runtime_dir")
        return RuntimeFacts(path=str(path), exists=True, trouble=trouble)
    except KNOWN_ERRORS as error:
        return RuntimeFacts(path=str(path), exists=False, trouble=_trouble(error))
    problem = rundir.problem_of(path, status, user.uid)
    trouble_of_it = None if problem is None else _trouble(problem)
    return RuntimeFacts(path=str(path), exists=True, trouble=trouble_of_it)


def _vendor(settings: VendorSettings, user: User, daemon: DaemonFacts) -> VendorFacts | None:
    where = f"{settings.host}:{settings.port}"
    try:
        place = settings.place(user.uid)
        if place is None:
            return None
        check_place(place, insecure=True)
    except KNOWN_ERRORS as error:
        return VendorFacts(place=where, trouble=_trouble(error))
    trouble = None if daemon.may_run else _taken(settings.host, settings.port)
    return VendorFacts(place=where, has_token=bool(place.token), trouble=trouble)


def _taken(host: str, port: int) -> Trouble | None:
    """Who listens where the vendor door is to be, while no daemon runs."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.settimeout(_PROBE_S)
        if probe.connect_ex((host, port)) != 0:
            return None
    what = f"another program listens at {host}:{port}"
    return Trouble(what=what, remedy="end it, or set vendor.port to another one")


def _link(settings: Settings, daemon: DaemonFacts) -> LinkFacts:
    link, driver = settings.microscope.link, settings.microscope.driver
    match driver:
        case AisemSettings():
            place, trouble = _reached(driver.host, driver.port, driver.connect_timeout_s, daemon)
            return LinkFacts(
                link=link,
                place=place,
                tried=not daemon.may_run,
                trouble=trouble,
                folder=str(driver.folder),
                folder_node=_node(driver.folder),
            )
        case StreamSettings():
            place, trouble = _reached(driver.host, driver.port, driver.connect_timeout_s, daemon)
            return LinkFacts(link=link, place=place, tried=not daemon.may_run, trouble=trouble)
        case UsbSettings():
            return _usb(link, driver)
        case _:
            return LinkFacts(link=link, place="its package checks its own settings")


def _reached(
    host: str, port: int, timeout_s: float, daemon: DaemonFacts
) -> tuple[str, Trouble | None]:
    """What to say of an address, and why nobody answers there; not tried while a daemon may hold the link."""
    place = f"{host}:{port}"
    if daemon.may_run:
        held = " (connected)" if daemon.is_connected else ""
        return f"{place}{held}", None
    try:
        with socket.create_connection((host, port), timeout=timeout_s):
            return f"{place} answers", None
    except OSError as error:
        return place, Trouble(
            what=f"nobody answers at {place}: {error.strerror or error}",
            remedy="start the vendor's software or the bridge, let it through the firewall,"
            " or set microscope.host and microscope.port",
        )


def _usb(link: str, settings: UsbSettings) -> LinkFacts:
    """Looks at what is plugged in; opens nothing, so it doesn't matter who holds it."""
    place = f"{settings.vendor_id:04x}:{settings.product_id:04x}"
    found = _plugged_in(settings, place)
    if isinstance(found, Trouble):
        return LinkFacts(link=link, place=place, trouble=found)
    node = _USB_NODES / f"{found.bus:03d}" / f"{found.address:03d}"
    return LinkFacts(link=link, place=f"{place} is {node}", device_node=_node(node))


def _plugged_in(settings: UsbSettings, place: str) -> Any:
    """The first such device, or a `Trouble`."""
    ids = {"idVendor": settings.vendor_id, "idProduct": settings.product_id}
    try:
        device = usb.core.find(**ids)
    except usb.core.NoBackendError:
        missing = "there is no libusb on this machine"
        return Trouble(what=missing, remedy="`apt install libusb-1.0-0`")
    except usb.core.USBError as error:
        return Trouble(what=f"libusb cannot be used: {error}", remedy="is /dev/bus/usb there?")
    return device or Trouble(
        what=f"no USB device {place} is plugged in",
        remedy="check cable and power, and vendor_id and product_id against `lsusb`",
    )


def _compute(wanted: str) -> ComputeFacts:
    try:
        import torch
    except (ImportError, OSError) as error:
        trouble = Trouble(what=f"torch cannot be loaded: {error}", remedy="install afdaemon anew")
        return ComputeFacts(wanted=wanted, trouble=trouble)
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    gpus = tuple(torch.cuda.get_device_name(number) for number in range(count))
    return ComputeFacts(wanted=wanted, torch=torch.__version__, gpus=gpus)


def _weights(settings: ModelSettings) -> Iterator[WeightFacts]:
    from afdaemon.models.acnet import policy
    from afdaemon.models.defocus import network
    from afdaemon.models.scorers import focus_scorer

    shipped = {
        "aenet": focus_scorer.DEFAULT_WEIGHTS,
        "acnet": policy.DEFAULT_WEIGHTS,
        "defocus": network.DEFAULT_WEIGHTS,
    }
    for name, default in shipped.items():
        set_to = getattr(settings, name)
        yield _weight(name, default if set_to == "default" else Path(set_to))


def _weight(name: str, path: Path) -> WeightFacts:
    from afdaemon.models.checkpoint import read_card
    from afdaemon.models.shipped import are_shipped

    found, what = "", ""
    try:
        promised = read_card(path).sha256
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != promised:
            what = f"{path} is not the file that its card describes (SHA-256 differs)"
    except OSError as error:
        what = f"{path} cannot be read: {error.strerror}"
    except KNOWN_ERRORS as error:
        what = str(error)
    remedy = f"install afdaemon anew, or set models.{name}"
    trouble = Trouble(what=what, remedy=remedy) if what else None
    return WeightFacts(
        name=name,
        path=str(path),
        sha256=found,
        is_shipped=are_shipped(found),
        trouble=trouble,
    )


def _journal(path: Path, daemon: DaemonFacts) -> JournalFacts:
    folder = next((each for each in path.parents if each.exists()), path.parent)
    file, trouble, newest = _node(path), None, None
    if file is not None and path.is_file() and os.access(path, os.R_OK):
        newest, trouble = _read(path, is_idle=not daemon.may_run)
    return JournalFacts(
        path=str(path), file=file, folder=_node(folder), newest=newest, trouble=trouble
    )


def _read(path: Path, *, is_idle: bool) -> tuple[datetime | None, Trouble | None]:
    """When its last job began, and what is wrong with it; read only, and whole only while nobody writes to it."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as opened:
            (schema,) = opened.execute("PRAGMA user_version").fetchone()
            if schema > SCHEMA_VERSION:
                what = f"{path} was written by a later version (schema {schema})"
                return None, Trouble(what=what, remedy="install that version again")
            if schema == 0:
                return None, None  # empty: the daemon will fill it
            if is_idle and path.stat().st_size < _LARGE_JOURNAL:
                (verdict,) = opened.execute("PRAGMA quick_check(1)").fetchone()
                if verdict != "ok":
                    return None, _damaged(path, verdict)
            row = opened.execute("SELECT max(opened_utc) FROM jobs").fetchone()
            return (datetime.fromisoformat(row[0]) if row[0] else None), None
    except sqlite3.DatabaseError as error:
        return None, _damaged(path, str(error))


def _damaged(path: Path, how: str) -> Trouble:
    return Trouble(
        what=f"the journal {path} cannot be read: {how}",
        remedy="if it is damaged, move it away with its -wal and -shm files: a new one is made",
    )


def _machine(journal: Path | None) -> MachineFacts:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = None
    if journal is not None:
        there = next(each for each in journal.absolute().parents if each.exists())
        free = shutil.disk_usage(there).free
    installed = datetime.fromtimestamp(Path(afdaemon.__file__).stat().st_mtime, UTC)
    return MachineFacts(
        soft_descriptors=_many(soft),
        hard_descriptors=_many(hard),
        now=SystemClock().utc(),
        installed=installed,
        free_bytes=free,
    )


def _many(limit: int) -> int:
    return 2**31 if limit == resource.RLIM_INFINITY else limit


def _node(path: Path) -> Node | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return Node(mode=status.st_mode, uid=status.st_uid, gid=status.st_gid)


def _trouble(error: Exception) -> Trouble:
    return Trouble(what=str(error), remedy=str(getattr(error, "remedy", "")))
