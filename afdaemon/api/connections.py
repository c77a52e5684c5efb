"""The open connections of one socket, and which of them have to go. Pure: no socket, no clock."""

from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass, field

from afdaemon.api.caps import EVICTED_S, TOPICS, Share


@dataclass(slots=True)
class _Connection:
    client: str
    topics: set[bytes] = field(default_factory=set)


class Connections:
    """Keyed by the descriptor and its socket, which name a connection from when it opens until it closes."""

    def __init__(self, share: Share) -> None:
        self._share = share
        self._open: dict[Hashable, _Connection] = {}
        self._counts: Counter[str] = Counter()
        self._out_until_s: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._open)

    def opened(self, descriptor: Hashable, client: str, now_s: float) -> str | None:
        """Enter a connection, or say why it has to be closed; then it is not entered."""
        self.closed(descriptor)  # libzmq tells of the end before a descriptor is used again
        self._out_until_s = {who: end for who, end in self._out_until_s.items() if end > now_s}
        if client in self._out_until_s:
            return "had too many subscriptions"
        if self._counts[client] >= self._share.each:
            return f"has {self._share.each} connections already"
        if len(self._open) >= self._share.all:
            return f"all clients together have {self._share.all} connections already"
        self._open[descriptor] = _Connection(client)
        self._counts[client] += 1
        return None

    def closed(self, descriptor: Hashable) -> None:
        """Forget a connection; one that was never entered doesn't matter."""
        gone = self._open.pop(descriptor, None)
        if gone is None:
            return
        self._counts[gone.client] -= 1
        if not self._counts[gone.client]:
            del self._counts[gone.client]

    def subscribed(self, descriptor: Hashable, topic: bytes, now_s: float) -> str | None:
        """Count a subscription, or name the client whose connection has too many."""
        connection = self._open.get(descriptor)
        if connection is None:
            return None
        connection.topics.add(topic)
        if len(connection.topics) <= TOPICS:
            return None
        self._out_until_s[connection.client] = now_s + EVICTED_S
        return connection.client

    def unsubscribed(self, descriptor: Hashable, topic: bytes) -> None:
        """A connection gave up a subscription."""
        connection = self._open.get(descriptor)
        if connection is not None:
            connection.topics.discard(topic)


class Entrances:
    """Which of a door's listening sockets are in use. Pure.

    A door has one after the other; nobody comes by one of them after somebody came by a later one.
    """

    def __init__(self) -> None:
        self._in_use: Counter[int] = Counter()
        self._latest = 0

    def came(self, number: int) -> None:
        """A connection was accepted by the listening socket of that number; later ones have higher numbers."""
        self._in_use[number] += 1
        self._latest = max(number, self._latest)

    def went(self, number: int) -> None:
        """Such a connection has ended."""
        self._in_use[number] -= 1
        if not self._in_use[number]:
            del self._in_use[number]

    def has_seen(self, number: int) -> bool:
        """Whether somebody has come by it, or by a later one."""
        return number <= self._latest

    def has_served(self, number: int) -> bool:
        """Whether nobody is connected by it, and nobody will come."""
        return number < self._latest and number not in self._in_use
