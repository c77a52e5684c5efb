"""The event socket: what happens, published to all who listen.

XPUB, two frames per message: the topic, and an `Event` as JSON. A subscription to a topic that begins
with `welcome` (or to everything) is answered with one `welcome` event on it, which carries the
number of the latest event. Subscriptions of one client take effect in their order, so a client that
subscribes to `welcome.<its own name>` last knows from the answer that it misses nothing from then on.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

import zmq
import zmq.asyncio
from pydantic import JsonValue

from afdaemon.api.places import Place
from afdaemon.api.schemas import Event, Reply
from afdaemon.api.sockets import Binding, harden

WELCOME = "welcome"
_MAX_SUBSCRIPTION_BYTES = 4096
"""The only thing a subscriber sends; the ZeroMQ handshake has to fit too."""
SUBSCRIBE = 1


class Calendar(Protocol):
    """What events need of a clock."""

    def utc(self) -> datetime:
        """Calendar time, timezone-aware."""
        ...


class Publisher:
    """Numbers events and sends them. Not thread-safe: use it from the event loop's thread."""

    def __init__(
        self,
        context: zmq.asyncio.Context,
        places: Sequence[Place],
        *,
        instance: str,
        clock: Calendar,
    ) -> None:
        self._instance = instance
        self._clock = clock
        self._seq = 0
        self._socket = context.socket(zmq.XPUB)
        try:
            harden(self._socket, max_bytes=_MAX_SUBSCRIPTION_BYTES)
            # Also report a second client's subscription to a known topic.
            self._socket.setsockopt(zmq.XPUB_VERBOSE, 1)
            self.bindings = [
                Binding(self._socket, place.at.events, place.folder) for place in places
            ]
        except BaseException:
            self.close()
            raise

    def publish(
        self,
        topic: str,
        kind: str,
        data: Reply | Mapping[str, JsonValue],
        *,
        request_id: str | None = None,
    ) -> None:
        """Send an event at once. A subscriber that doesn't read loses it and sees the gap in `seq`.

        Args:
            topic: `state`, `job.<id>` or `log`.
            kind: the event's type: progress, state, result, error or log.
            data: what happened.
            request_id: the request that it belongs to.
        """
        self._seq += 1
        self._send(topic, kind, data, request_id)

    async def run(self) -> None:
        """Welcome subscribers until cancelled."""
        while True:
            message = await self._socket.recv_multipart()
            first = message[0]
            topic = first[1:].decode("utf-8", "replace")
            if first[:1] == bytes([SUBSCRIBE]) and (not topic or topic.startswith(WELCOME)):
                # Not counted: the others must not see a gap.
                self._send(topic or WELCOME, WELCOME, {}, None)

    def close(self) -> None:
        """Release the socket; what is queued still leaves within the linger time."""
        self._socket.close()

    def _send(
        self,
        topic: str,
        kind: str,
        data: Reply | Mapping[str, JsonValue],
        request_id: str | None,
    ) -> None:
        event = Event(
            seq=self._seq,
            instance=self._instance,
            time=self._clock.utc().isoformat(),
            topic=topic,
            type=kind,
            request_id=request_id,
            data=data.model_dump(mode="json") if isinstance(data, Reply) else dict(data),
        )
        # Without waiting: XPUB never blocks, it drops what a subscriber has no room for.
        self._socket.send_multipart(
            [topic.encode(), event.model_dump_json().encode()], flags=zmq.DONTWAIT
        )
