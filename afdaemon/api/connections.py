"""The open connections of one socket, and which of them have to go. Pure: no socket, no clock."""

from collections import Counter
from dataclasses import dataclass, field

from afdaemon.api.caps import EVICTED_S, TOPICS, Share


@dataclass(slots=True)
class _Connection:
    client: str
    topics: set[bytes] = field(default_factory=set)


class Connections:
    """Keyed by descriptor, which names a connection from when it opens until it closes."""

    def __init__(self, share: Share) -> None:
        self._share = share
        self._open: dict[int, _Connection] = {}
        self._counts: Counter[str] = Counter()
        self._out_until_s: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._open)

    def opened(self, descriptor: int, client: str, now_s: float) -> str | None:
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

    def closed(self, descriptor: int) -> None:
        """Forget a connection; one that was never entered doesn't matter."""
        gone = self._open.pop(descriptor, None)
        if gone is None:
            return
        self._counts[gone.client] -= 1
        if not self._counts[gone.client]:
            del self._counts[gone.client]

    def subscribed(self, descriptor: int, topic: bytes, now_s: float) -> str | None:
        """Count a subscription, or name the client whose connection has too many."""
        connection = self._open.get(descriptor)
        if connection is None:
            return None
        connection.topics.add(topic)
        if len(connection.topics) <= TOPICS:
            return None
        self._out_until_s[connection.client] = now_s + EVICTED_S
        return connection.client

    def unsubscribed(self, descriptor: int, topic: bytes) -> None:
        """A connection gave up a subscription."""
        connection = self._open.get(descriptor)
        if connection is not None:
            connection.topics.discard(topic)
