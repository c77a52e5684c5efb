"""What can be set: the sections, their keys, defaults and ranges. `afdaemon.config` fills them.

A setting is named `section.key` everywhere, with its unit in the name. The parameters of the procedures and of the
links are declared where they are used, in `afdaemon.control` and `afdaemon.drivers`; here they are given a section.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from afdaemon.api.access.roles import ROLES, Role, role_named
from afdaemon.api.vendor.access import LOCAL, AllowList, VendorPlace, read_token
from afdaemon.control.fast.profile import FastProfile
from afdaemon.control.procedures import PROFILES
from afdaemon.control.published.profile import PublishedProfile
from afdaemon.drivers.em30.settings import AisemSettings
from afdaemon.errors import ConfigError
from afdaemon.logs import FORMATS, LEVELS
from afdaemon.paths import keys_dir, runtime_dir, state_dir
from afdaemon.spec import check, choice, flag, made, number, table, text, whole

_WD = (100.0, 200_000.0, "um")


def _path(default: object, what: str, **more: Any) -> Any:
    return made(default, Path, "a path", what, **more)


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A group of settings. Raises ConfigError for a value that is not allowed."""

    def __post_init__(self) -> None:
        check(self, ConfigError)


@dataclass(frozen=True, slots=True, kw_only=True)
class MicroscopeSettings:
    """How to reach the instrument: the link, and the settings of its driver. Each link takes only its own keys.

    `driver` holds the driver's settings: a settings class of `afdaemon.drivers.em30.settings`, or the table `options`
    of a link that another package provides.
    """

    link: str = "aisem"
    driver: Any = field(default_factory=AisemSettings)

    @property
    def of_driver(self) -> dict[str, Any]:
        """The arguments of the link's driver."""
        return dict(self.driver) if isinstance(self.driver, Mapping) else asdict(self.driver)


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitSettings(Section):
    """Absolute working distances that may be commanded, and how much a job may move the lens.

    ASSUMED: an EM-30 can do 5 to 50 mm.
    """

    hard_min_um: float = number(5_000.0, *_WD, "Shortest WD that the instrument can reach.")
    hard_max_um: float = number(50_000.0, *_WD, "Longest WD that the instrument can reach.")
    site_min_um: float | None = number(
        None, *_WD, "Shortest WD that is allowed here; absent: the hard limit.",
        optional=True, example=8_000.0,
    )  # fmt: skip
    site_max_um: float | None = number(
        None, *_WD, "Longest WD that is allowed here; absent: the hard limit.",
        optional=True, example=30_000.0,
    )  # fmt: skip
    max_step_um: float | None = number(
        None, 1.0, 200_000.0, "um", "Longest step of the lens; a longer way is made in several. Absent: any.",
        optional=True, example=5_000.0,
    )  # fmt: skip
    max_travel_um: float = number(
        1_000_000.0, 100.0, 1e9, "um",
        "Longest way of the lens in one job, all its moves together; the way home is always allowed.",
    )  # fmt: skip
    max_travel_per_min_um: float | None = number(
        None, 100.0, 1e9, "um", "Longest way of the lens in any minute of a job. Absent: any.",
        optional=True, example=200_000.0,
    )  # fmt: skip

    def __post_init__(self) -> None:
        Section.__post_init__(self)
        if not self.hard_min_um < self.hard_max_um:
            raise ConfigError(
                f"hard_min_um ({self.hard_min_um:g}) must be below"
                f" hard_max_um ({self.hard_max_um:g})"
            )
        low, high = self.site_um
        if not self.hard_min_um <= low < high <= self.hard_max_um:
            raise ConfigError(
                f"site_min_um ({low:g}) must be below site_max_um ({high:g}), both within"
                f" the hard limits {self.hard_min_um:g} to {self.hard_max_um:g}"
            )

    @property
    def site_um(self) -> tuple[float, float]:
        """The site's range (um); an end that it leaves open is the instrument's."""
        low = self.hard_min_um if self.site_min_um is None else self.site_min_um
        high = self.hard_max_um if self.site_max_um is None else self.site_max_um
        return low, high


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlSettings(Section):
    """Which procedure jobs follow, and how the instrument is moved."""

    profile: str = choice(
        "fast", tuple(PROFILES), "Procedure of a job: the published one (paper), or the fast one."
    )
    timeout_s: float = number(
        180.0, 0.001, 3600.0, "s", "A job that takes longer is ended and the start WD restored."
    )
    confirm: bool = flag(
        True,
        "The first success after the link came up is looked at twice: a frame may show the WD before its own.",
    )
    approach_um: float = number(
        0.0, 0.0, 1000.0, "um",
        "A move to a shorter WD first overshoots by this much, so that all end upwards: for a lens with hysteresis.",
    )  # fmt: skip
    recover_automatically: bool = flag(
        False,
        "Bring the instrument back by itself where a crash or a lost link prevented it, if it is the same instrument"
        " and stands where the job left it.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DoseSettings(Section):
    """How the dose is computed, and how much a job may apply. The instrument reports neither current nor dwell time."""

    current_pa: float | None = number(
        None, 0.0, 1e12, "pA", "Beam current; without it no dose is counted.",
        above=True, optional=True, example=100.0,
    )  # fmt: skip
    dwell_ns: float = number(400.0, 0.0, 1e12, "ns", "Dwell time per pixel.", above=True)
    limit_e_nm2: float | None = number(
        None, 0.0, 1e12, "electrons per square nanometre", "A job ends before its dose exceeds this.",
        above=True, optional=True, example=1_000.0,
    )  # fmt: skip

    def __post_init__(self) -> None:
        Section.__post_init__(self)
        if self.limit_e_nm2 is not None and self.current_pa is None:
            raise ConfigError("limit_e_nm2 needs current_pa: without it no dose is counted")


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationSettings(Section):
    """What was measured on this particular instrument."""

    file: Path | None = _path(
        None, "File from `afctl calibrate`; its convergence angle replaces fast.alpha_mrad.",
        optional=True, example="/var/lib/afdaemon/calibration.json",
    )  # fmt: skip
    most_days: float = number(
        365.0, 0.0, 1e6, "days", "A calibration older than this is refused.", above=True
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings(Section):
    """The networks and where they run. Weights are "default" (the shipped ones) or a .safetensors file."""

    aenet: str = text("default", "Weights of AENet, which scores frames.")
    acnet: str = text("default", "Weights of ACNet, the step law of the published procedure.")
    defocus: str = text("default", "Weights of DefocusNet, the law of the fast procedure.")
    device: str = choice(
        "auto", ("auto", "cpu", "cuda"), "Where AENet runs; auto: on the GPU if there is one."
    )
    threads: int | None = whole(
        None, 1, 256, "CPU threads for one score; absent: chosen for this machine.",
        optional=True, example=2,
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiSettings(Section):
    """Where clients connect, and what they may do."""

    runtime_dir: Path = _path(
        runtime_dir, "Folder of the sockets control.sock, abort.sock and events.sock."
    )
    tcp: str | None = made(
        None, str, "an address", "Address for clients on other machines, who need a key each; absent: none.",
        optional=True, example="tcp://0.0.0.0:60650",
    )  # fmt: skip
    keys_dir: Path = _path(
        keys_dir, "Folder of the keys for tcp (`afctl keys`); it is made on first need."
    )
    group_role: str = choice(
        Role.AUTOMATION.value, ROLES,
        "What users may do over the sockets in runtime_dir. Root and the daemon's own user are admins.",
    )  # fmt: skip
    roles: dict[str, str] = table(
        'Other roles for single users, by name or number: roles = {anna = "operator", 1001 = "viewer"}.',
    )
    most_connections: int = whole(
        128, 8, 65_536, "Connections to each of the sockets at once, of all clients together."
    )
    most_connections_per_client: int = whole(
        16,
        1,
        65_536,
        "Connections to each of the sockets of one client: a process, or on tcp an address.",
    )

    def __post_init__(self) -> None:
        Section.__post_init__(self)
        if self.most_connections_per_client > self.most_connections:
            raise ConfigError(
                f"most_connections_per_client ({self.most_connections_per_client}) must not be above"
                f" most_connections ({self.most_connections})"
            )
        for role in self.roles.values():
            role_named(role)


@dataclass(frozen=True, slots=True, kw_only=True)
class VendorSettings(Section):
    """The vendor door: plain lines over TCP, for the button in the vendor's software."""

    enabled: bool = flag(False, "Whether the vendor door is there.")
    host: str = text("127.0.0.1", "Address to listen at; one that others can reach needs a token.")
    port: int = whole(60655, 1, 65535, "TCP port to listen at.")
    allow: AllowList = made(
        LOCAL, AllowList, "addresses or networks with commas between them",
        "Who may connect, such as 127.0.0.1, 192.168.7.20.",
    )  # fmt: skip
    token_file: Path | None = _path(
        None, "File with the token that clients have to know; nobody but the daemon's user may read it.",
        optional=True, example="/etc/afdaemon/vendor.token",
    )  # fmt: skip
    idle_s: float = number(
        900.0, 1.0, 1e6, "s", "A connection without a line for this long is closed, unless its job runs."
    )  # fmt: skip

    def place(self, uid: int | None = None) -> VendorPlace | None:
        """Where the door is to be, if it is enabled, for a daemon of that user (absent: ours).

        Raises:
            ConfigError: the token cannot be read, is none, or is no secret.
        """
        if not self.enabled:
            return None
        return VendorPlace(
            host=self.host,
            port=self.port,
            idle_s=self.idle_s,
            allow=self.allow,
            token="" if self.token_file is None else read_token(self.token_file, uid),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings(Section):
    """What is logged, and how."""

    level: str = choice("info", LEVELS, "Lowest level that is logged.")
    format: str = choice(
        "auto", FORMATS,
        "Form of a log line; auto: for people on a terminal, JSON elsewhere.",
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalSettings(Section):
    """Where jobs are recorded, durably, before anything moves."""

    path: Path = _path(
        lambda: state_dir() / "journal",
        "File of the journal; its folder is made if it does not exist.",
    )
    keep_days: float = number(
        730.0, 1.0, 36_500.0, "days", "Jobs older than this are removed, but never the last 100."
    )
    most_mib: float = number(
        1_024.0,
        1.0,
        1e6,
        "MiB",
        "Above this size the oldest jobs are removed, but never the last 100.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be set. `published` and `fast` are the parameters of the two procedures."""

    microscope: MicroscopeSettings = field(default_factory=MicroscopeSettings)
    limits: LimitSettings = field(default_factory=LimitSettings)
    control: ControlSettings = field(default_factory=ControlSettings)
    published: PublishedProfile = field(default_factory=PublishedProfile)
    fast: FastProfile = field(default_factory=FastProfile)
    calibration: CalibrationSettings = field(default_factory=CalibrationSettings)
    dose: DoseSettings = field(default_factory=DoseSettings)
    models: ModelSettings = field(default_factory=ModelSettings)
    api: ApiSettings = field(default_factory=ApiSettings)
    vendor: VendorSettings = field(default_factory=VendorSettings)
    log: LogSettings = field(default_factory=LogSettings)
    journal: JournalSettings = field(default_factory=JournalSettings)
