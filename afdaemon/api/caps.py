"""What clients may take: every number that bounds a flood or a greedy client, and why it is what it is.

A client here is a process on the ipc sockets, and an address on tcp (so on tcp all local clients are one). One client
may take at most a share of what all may take, so that the others are served whatever it does.
"""

from dataclasses import dataclass, field

from afdaemon.api.wire import MAX_IMAGE_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """The most that one client may take, and all clients together."""

    each: int
    all: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """So many a second on average, and a `burst` of so many at once."""

    per_s: float
    burst: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Caps:
    """The caps of a daemon. `connections` counts those of each socket by itself."""

    connections: Share = field(default_factory=lambda: Share(each=16, all=128))


REQUESTS = Share(each=64, all=256)
"""Requests under way, waiting ones included: a task and some kilobytes each."""
WAITS = Share(each=32, all=192)
"""Of those, calls that wait for a job's end, up to minutes; the rest stays free for calls that are answered at once."""
BYTES = Share(each=2 * MAX_IMAGE_BYTES, all=8 * MAX_IMAGE_BYTES)
"""Bytes of requests under way. Images are scored one after the other anyway."""
TOPICS = 64
"""Subscriptions of one connection; a client of ours uses two. With the length of a topic it bounds what libzmq keeps:
about 32 bytes for each letter of each topic."""

RECEIVED = Rate(per_s=2_000.0, burst=50)
"""Messages received on one socket. One costs 0.1 to 0.3 ms of a slow core: a flood gets at most half of it, and waits
in its sender's buffers. libzmq takes turns between connections, so that nobody waits behind more than one of each."""
ANSWERED = Rate(per_s=500.0, burst=100)
"""Requests of one client. Beyond it the answers wait, so that a client which waits for each is slowed, not refused."""
COUNTED_BYTES = 64 * 1024
"""A request counts once, and once more for so many bytes: a flood of images takes no more time than one of pings."""
EVICTED_S = 5.0
"""A client that was cut off for its subscriptions stays out so long: its libzmq reconnects by itself in 0.1 s."""
QUEUED = 32
"""Clients that may wait at one ipc socket to be let in; the next one has to come again. All who wait are let in
together, so that a flood makes few admissions."""
SPARE_DESCRIPTORS = 64
"""Left free whoever connects: for what is opened anew in mid-job, the microscope's link and the journal."""
OWN_DESCRIPTORS = 64
"""What the daemon itself has open: about 60."""
VENDOR_CONNECTIONS = Share(each=8, all=16)
"""Of the vendor door, those that have shown the token. A vendor's program needs one."""
VENDOR_STRANGERS = 8
"""Connections of the vendor door that have not shown it yet. Of too many, the one that came first gives way."""
VENDOR_PRESENT = 32
"""All of them, with those that are being sent away."""
VENDOR_QUEUED = 16
"""Connections that the system keeps for the vendor door until they are accepted; they take no descriptors of ours."""
VENDOR_DESCRIPTORS = VENDOR_PRESENT + 16
"""What the vendor door takes: its connections, one that is being accepted, its event loop's own."""
VENDOR_REQUESTS = Share(each=8, all=64)
"""Requests under way of a connection of the vendor door, and of all."""
VENDOR_LINES = Rate(per_s=50.0, burst=20)
"""Lines of one connection of the vendor door. What comes faster waits in its sender's buffers."""
VENDOR_HELLO_S = 5.0
"""A connection of the vendor door that has not shown the token by then is closed."""
VENDOR_UNSENT_BYTES = 1024 * 1024
"""A client of the vendor door that leaves more unread is cut off."""
ACCEPTED_AHEAD = 1_001
"""Connections that libzmq accepts on one tcp address before it waits for the porter to have seen them (the high-water
mark of its monitor). Ordinary floods get nowhere near that; one that only connects, as fast as C can, does."""
