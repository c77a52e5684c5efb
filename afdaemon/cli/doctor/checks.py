"""What the facts mean: findings, each ok, a warning or a failure, with what helps."""

import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from afdaemon.api.caps import Caps
from afdaemon.api.descriptors import TCP_FLOOD, needed
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

TOO_FEW_DESCRIPTORS = needed(Caps())
FEW_DESCRIPTORS = TOO_FEW_DESCRIPTORS + TCP_FLOOD
LITTLE_SPACE = 2**30
TOO_LITTLE_SPACE = 2**26
"""A job takes some hundred kilobytes of journal: this is enough for a few hundred more."""
_CLOCK_SLACK = timedelta(minutes=5)
_MIB = 2**20


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    about: str
    level: Level
    text: str
    remedy: str = ""


def findings(facts: Facts) -> list[Finding]:
    """All findings, in the order in which one would mend them."""
    return [*_findings(facts)]


def _findings(facts: Facts) -> Iterator[Finding]:
    yield from _config(facts.config)
    if facts.daemon is not None:
        yield from _daemon(facts.daemon, facts.version)
    if facts.runtime is not None:
        yield _runtime(facts.runtime)
    if facts.daemon is not None:
        yield from _vendor(facts.vendor, facts.daemon)
    if facts.link is not None:
        yield from _link(facts.link, facts.user)
    yield from _compute(facts.compute)
    yield from map(_weights, facts.weights)
    if facts.journal is not None:
        yield from _journal(facts.journal, facts.user)
    yield from _machine(facts.machine, facts.journal)


def _ok(about: str, text: str) -> Finding:
    return Finding(about=about, level=Level.OK, text=text)


def _warning(about: str, text: str, remedy: str) -> Finding:
    return Finding(about=about, level=Level.WARNING, text=text, remedy=remedy)


def _failure(about: str, text: str, remedy: str) -> Finding:
    return Finding(about=about, level=Level.FAILURE, text=text, remedy=remedy)


def _failed(about: str, trouble: Trouble) -> Finding:
    return _failure(about, trouble.what, trouble.remedy)


def _config(facts: ConfigFacts) -> Iterator[Finding]:
    about = "configuration"
    if facts.trouble is not None:
        yield _failed(about, facts.trouble)
        return
    place = f"{facts.file}: " if facts.file else "no file; "
    yield _ok(about, f"{place}settings given: {facts.given}, all others are the defaults")
    for key, by in facts.overridden:
        yield _warning(
            about, f"{key} in {facts.file} is overridden by {by}", "remove one of the two"
        )
    for old, new in facts.renamed:
        yield _warning(about, f"{old} is now called {new}", "use the new name")
    if facts.unused_file:
        yield _warning(
            about,
            f"{facts.unused_file} exists, and was not read",
            f"examine the service's settings with --config {facts.unused_file}",
        )


def _daemon(facts: DaemonFacts, version: str) -> Iterator[Finding]:
    about = "daemon"
    if facts.version:
        text = f"afdaemon {facts.version} answers at {facts.address}: {facts.state}"
        is_same = facts.version == version
        yield (
            _ok(about, text)
            if is_same
            else _warning(about, f"{text}; this is {version}", "restart it")
        )
        if facts.owed:
            yield _warning(about, facts.owed, "`afctl recover`, or `afctl recover --decline`")
    else:
        yield _no_answer(about, facts)


def _no_answer(about: str, facts: DaemonFacts) -> Finding:
    if facts.holder is not None:
        text = f"process {facts.holder} holds {facts.address}, but does not answer"
        return _failure(about, text, "read its log; if it is stuck, restart it")
    if facts.may_be_hidden:
        text = f"{facts.address} is closed to you: whether a daemon runs there is not known"
        return _warning(about, text, "run this as root, or become a member of the folder's group")
    return _ok(about, f"none runs at {facts.address}")


def _runtime(facts: RuntimeFacts) -> Finding:
    about = "runtime folder"
    if facts.trouble is not None:
        return _failed(about, facts.trouble)
    return _ok(about, facts.path if facts.exists else f"{facts.path} will be made")


def _vendor(facts: VendorFacts | None, daemon: DaemonFacts) -> Iterator[Finding]:
    about = "vendor door"
    if facts is not None and facts.trouble is not None:
        yield _failed(about, facts.trouble)
    elif daemon.vendor:
        yield _ok(about, f"listens at {daemon.vendor}")
    elif facts is None:
        yield _ok(about, "not enabled")
    elif daemon.version:
        yield _failure(about, "it is enabled, and the daemon does not listen", "restart the daemon")
    else:
        yield _ok(about, f"will listen at {facts.place}")
    if facts is not None and not facts.has_token:
        yield _warning(
            about,
            "it asks for no token: every program of this machine can press the button",
            "set vendor.token_file; without one the daemon starts with --insecure alone",
        )


def _link(facts: LinkFacts, user: User) -> Iterator[Finding]:
    about = f"link {facts.link}"
    if not facts.tried:
        yield _ok(about, f"{facts.place}: not tried, since a daemon may hold it")
    elif facts.trouble is not None:
        yield _failed(about, facts.trouble)
    else:
        yield _ok(about, facts.place)
    if facts.folder:
        yield from _drop_folder(about, facts, user)
    if facts.device_node is not None and not user.may(facts.device_node, 6):
        yield _failure(
            about,
            f"{user.name} may not open the USB device",
            "install the udev rule (`afdaemon install`) with its ids, and plug the device in again",
        )


def _drop_folder(about: str, facts: LinkFacts, user: User) -> Iterator[Finding]:
    if facts.folder_node is None:
        yield _failure(
            about,
            f"the drop folder {facts.folder} does not exist",
            "create or mount it, or set microscope.folder to the one the vendor's software writes to",
        )
    elif not user.may(facts.folder_node, 7):
        yield _failure(
            about,
            f"{user.name} may not read and remove files in {facts.folder}",
            "give the daemon's user the right to write there",
        )


def _compute(facts: ComputeFacts) -> Iterator[Finding]:
    about = "torch"
    if facts.trouble is not None:
        yield _failed(about, facts.trouble)
    elif facts.wanted == "cuda" and not facts.gpus:
        yield _failure(
            about,
            f"torch {facts.torch} sees no GPU, and models.device is cuda",
            "install the driver and a torch for it, or set models.device to auto",
        )
    else:
        where = ", ".join(facts.gpus) or "no GPU"
        used = "cpu" if facts.wanted == "cpu" or not facts.gpus else "cuda"
        yield _ok(about, f"torch {facts.torch}, {where}; networks run on {used}")


def _weights(facts: WeightFacts) -> Finding:
    about = f"weights {facts.name}"
    if facts.trouble is not None:
        return _failed(about, facts.trouble)
    if not facts.is_shipped:
        return _warning(
            about,
            f"{facts.path} is not the file that came with this version ({facts.sha256[:12]})",
            f"if that is not wanted, install afdaemon anew, or set models.{facts.name} to default",
        )
    return _ok(about, f"{facts.path} is what its card describes ({facts.sha256[:12]})")


def _journal(facts: JournalFacts, user: User) -> Iterator[Finding]:
    about = "journal"
    if facts.trouble is not None:
        yield _failed(about, facts.trouble)
        return
    if facts.folder is not None and not user.may(facts.folder, 3):
        yield _failure(
            about,
            f"{user.name} may not write in the folder of {facts.path}",
            "give it to the daemon's user, or set journal.path",
        )
    if facts.file is None:
        yield _ok(about, f"{facts.path} will be made")
    else:
        yield _journal_file(about, facts.path, facts.file, user)


def _journal_file(about: str, path: str, file: Node, user: User) -> Finding:
    if not stat.S_ISREG(file.mode):
        return _failure(about, f"{path} is not a file", "set journal.path to a file")
    if not user.may(file, 6):
        text = f"{user.name} may not read and write {path}, which belongs to user {file.uid}"
        return _failure(about, text, "give the file to the daemon's user")
    if file.mode & 0o077:
        text = f"{path} is open to others (mode {stat.S_IMODE(file.mode):04o})"
        return _warning(about, text, f"`chmod 600 {path}`")
    return _ok(about, path)


def _machine(facts: MachineFacts, journal: JournalFacts | None) -> Iterator[Finding]:
    if facts.free_bytes is not None:
        yield _space(facts.free_bytes)
    yield _descriptors(facts)
    newest = journal.newest if journal is not None else None
    last = max(filter(None, (facts.installed, newest)))
    if facts.now < last - _CLOCK_SLACK:
        yield _failure(
            "clock",
            f"it is {facts.now:%Y-%m-%d %H:%M} here, but {last:%Y-%m-%d %H:%M} has been already",
            "set the clock, and let it be kept (`timedatectl set-ntp true`)",
        )
    else:
        yield _ok("clock", f"{facts.now:%Y-%m-%d %H:%M} UTC")


def _space(free: int) -> Finding:
    text = f"{free / _MIB:.0f} MiB are free where the journal is"
    remedy = "make room: no job moves anything before it is recorded"
    if free < TOO_LITTLE_SPACE:
        return _failure("disk", text, remedy)
    return _warning("disk", text, remedy) if free < LITTLE_SPACE else _ok("disk", text)


def _descriptors(facts: MachineFacts) -> Finding:
    most = facts.hard_descriptors
    text = f"a process may have {facts.soft_descriptors} descriptors, and raise that to {most}"
    remedy = f"allow {FEW_DESCRIPTORS}: LimitNOFILE= in the unit, or `ulimit -Hn`"
    if most < TOO_FEW_DESCRIPTORS:
        return _failure("descriptors", text, remedy)
    if most < FEW_DESCRIPTORS:
        return _warning("descriptors", text, remedy)
    return _ok("descriptors", text)


def worst(found: Sequence[Finding]) -> Level:
    """The worst level of all findings."""
    return max((one.level for one in found), key=list(Level).index, default=Level.OK)
