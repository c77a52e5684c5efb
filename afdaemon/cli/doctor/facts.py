"""What the doctor wants to know; `collect.py` finds it out, `checks.py` judges it."""

import stat
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Something that does not work, and what helps."""

    what: str
    remedy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Whoever the daemon runs as."""

    name: str
    uid: int
    gids: frozenset[int]

    def may(self, status: "Node", wanted: int) -> bool:
        """Whether the permission bits let this user do `wanted` (4 read, 2 write, 1 enter; added up)."""
        if self.uid == 0:
            return True
        shift = 6 if status.uid == self.uid else 3 if status.gid in self.gids else 0
        return stat.S_IMODE(status.mode) >> shift & wanted == wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A file, a folder or a device as lstat shows it."""

    mode: int
    uid: int
    gid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigFacts:
    """The settings: the file, how many it gives, and which of them something else overrides, as (key, by what)."""

    file: str = ""
    given: int = 0
    overridden: Sequence[tuple[str, str]] = ()
    renamed: Sequence[tuple[str, str]] = ()
    unused_file: str = ""
    trouble: Trouble | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonFacts:
    """The daemon on these sockets, if one runs. `holder` is a process that holds them without answering."""

    address: str
    version: str = ""
    state: str = ""
    microscope: str = ""
    is_connected: bool = False
    owed: str = ""
    vendor: str = ""
    """Where its vendor door listens."""
    holder: int | None = None
    may_be_hidden: bool = False
    """Whether we may not look into its folder: one may run there."""

    @property
    def may_run(self) -> bool:
        """Whether a daemon may hold the link to the instrument."""
        return bool(self.version) or self.holder is not None or self.may_be_hidden


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkFacts:
    """The link to the instrument. `tried` is False where a daemon holds it."""

    link: str
    place: str
    tried: bool = True
    trouble: Trouble | None = None
    folder: str = ""
    folder_node: Node | None = None
    device_node: Node | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ComputeFacts:
    """torch, and where the networks are to run."""

    wanted: str = "auto"
    torch: str = ""
    gpus: Sequence[str] = ()
    trouble: Trouble | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightFacts:
    """A network's weights, and whether they are those that their card describes."""

    name: str
    path: str
    sha256: str = ""
    is_shipped: bool = True
    trouble: Trouble | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalFacts:
    """The journal's file and the folder it is in; None where there is none. `newest` is when its last job began."""

    path: str
    file: Node | None = None
    folder: Node | None = None
    newest: datetime | None = None
    trouble: Trouble | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeFacts:
    """The folder of the sockets."""

    path: str
    exists: bool
    trouble: Trouble | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VendorFacts:
    """The vendor door that the settings enable: where it is to listen, and what keeps it from that."""

    place: str
    has_token: bool = True
    trouble: Trouble | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineFacts:
    """What the operating system tells: descriptors a process may have, free space for the journal, and the time."""

    soft_descriptors: int
    hard_descriptors: int
    now: datetime
    installed: datetime
    free_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything. What depends on settings is None or empty where these are wrong."""

    version: str
    user: User
    config: ConfigFacts
    machine: MachineFacts
    compute: ComputeFacts
    daemon: DaemonFacts | None = None
    link: LinkFacts | None = None
    runtime: RuntimeFacts | None = None
    vendor: VendorFacts | None = None
    journal: JournalFacts | None = None
    weights: Sequence[WeightFacts] = ()
