"""The event socket: what happens, published to all who listen.

XPUB, two frames per message: the topic, and an `Event` as JSON. A subscription to a topic that begins
with `welcome` (or to everything) is answered with one `welcome` event on it, which carries the
number of the latest event. Subscriptions of one client take effect in their order, so a client that
subscribes to `welcome.<its own name>` last knows from the answer that it misses nothing from then on.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Protocol

import zmq
import zmq.asyncio
from pydantic import JsonValue

from afdaemon.api.access.callers import address_of
from afdaemon.api.access.roles import Role
from afdaemon.api.caps import Share
from afdaemon.api.entry import Entry, enter
from afdaemon.api.places import Place
from afdaemon.api.porter import Guests
from afdaemon.api.schemas import Event, Reply

WELCOME = "welcome"
_OF_JOB = "job."
_MAX_SUBSCRIPTION_BYTES = 320
"""The only thing a subscriber sends. Our longest topic has 80; the ZeroMQ handshake has to fit too, up to 300."""
SUBSCRIBE = 1
KEPT = 1_000
"""Events that are kept for those who missed them: a job has some ten, with the readings of its end some kB each."""

Told = Reply | Mapping[str, JsonValue]
Listener = Callable[[str, Told], None]
"""Takes the topic and the data of an event."""


def topic_of(job_id: str) -> str:
    """The topic of a job's events."""
    return f"{_OF_JOB}{job_id}"


def job_of(topic: str) -> str | None:
    """The job whose topic it is."""
    return topic.removeprefix(_OF_JOB) if topic.startswith(_OF_JOB) else None


class Calendar(Protocol):
    """What events need of a clock."""

    def utc(self) -> datetime:
        """Calendar time, timezone-aware."""
        ...


class Listeners:
    """Who listens at one address. What happens is told to nobody whose key is not known any more."""

    def __init__(self, entry: Entry[zmq.asyncio.Socket]) -> None:
        self.entry = entry
        self._version: object = None
        self._known: dict[int, zmq.Frame] = {}

    def is_welcome(self, descriptor: int, frame: zmq.Frame) -> bool:
        """Whether a subscription, which came over that descriptor, is somebody's; if not, the connection is closed."""
        if self.entry.callers.version is None:
            return True
        caller = self.entry.callers.of(frame)
        if caller.role is Role.NOBODY:
            self.entry.porter.expel(descriptor, address_of(frame), f"{caller.name} is not known")
            return False
        self._known[descriptor] = frame
        return True

    def cut_off_strangers(self) -> None:
        """Close the connections of those who are not known any more."""
        version = self.entry.callers.version
        if version == self._version:
            return
        self._version = version
        before, self._known = self._known, {}
        for descriptor, frame in before.items():
            self.is_welcome(descriptor, frame)


class Publisher:
    """Numbers events and sends them. Not thread-safe: use it from the event loop's thread."""

    def __init__(
        self,
        context: zmq.asyncio.Context,
        places: Sequence[Place],
        *,
        instance: str,
        clock: Calendar,
        connections: Share,
    ) -> None:
        self._instance = instance
        self._clock = clock
        self._seq = 0
        self._kept: deque[Event] = deque(maxlen=KEPT)
        self.listeners: list[Listener] = []
        """Called with each event, from the event loop's thread: what this process itself wants to hear."""
        addresses = [(place.at.events, place) for place in places]
        guests = Guests("events", connections)
        self.entries = enter(
            lambda place: context if place.guard is None else place.guard.context,
            zmq.XPUB,
            addresses,
            guests,
            max_bytes=_MAX_SUBSCRIPTION_BYTES,
        )
        self._listeners = [Listeners(entry) for entry in self.entries]

    def publish(
        self,
        topic: str,
        kind: str,
        data: Told,
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
        for listeners in self._listeners:
            listeners.cut_off_strangers()
        event = self._event(topic, kind, data, request_id)
        self._kept.append(event)
        message = _message(event)
        for entry in self.entries:
            _send(entry, message)
        for listener in self.listeners:
            listener(topic, data)

    def since(self, seq: int, most: int) -> tuple[list[Event], int, int]:
        """The first `most` of the events after `seq` that are kept, the latest number, and how many are gone."""
        missed = [event for event in self._kept if event.seq > seq]
        oldest = self._kept[0].seq if self._kept else self._seq + 1
        return missed[:most], self._seq, max(0, oldest - 1 - seq)

    async def run(self) -> None:
        """Welcome subscribers, and count what they subscribe to, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for listeners in self._listeners:
                group.create_task(self._welcome(listeners), name="events")

    def close(self) -> None:
        """Release the socket; what is queued still leaves within the linger time."""
        for entry in self.entries:
            entry.close()

    async def _welcome(self, listeners: "Listeners") -> None:
        while True:
            frame = await listeners.entry.socket.recv(copy=False)
            self._note(listeners, frame)
            await asyncio.sleep(0)  # a receive that need not wait lets nobody else run

    def _note(self, listeners: "Listeners", frame: zmq.Frame) -> None:
        message, entry = frame.bytes, listeners.entry
        try:
            descriptor = frame.get(zmq.SRCFD)
        except zmq.ZMQError:  # the subscriptions of one who has gone
            return
        topic = message[1:]
        if message[:1] != bytes([SUBSCRIBE]):
            entry.porter.unsubscribed(descriptor, topic)
            return
        entry.porter.subscribed(descriptor, topic)
        if not listeners.is_welcome(descriptor, frame):
            return
        name = topic.decode("utf-8", "replace")
        if not name or name.startswith(WELCOME):
            # Not counted: the others must not see a gap.
            _send(entry, _message(self._event(name or WELCOME, WELCOME, {}, None)))

    def _event(self, topic: str, kind: str, data: Told, request_id: str | None) -> Event:
        return Event(
            seq=self._seq,
            instance=self._instance,
            time=self._clock.utc().isoformat(),
            topic=topic,
            type=kind,
            request_id=request_id,
            data=data.model_dump(mode="json") if isinstance(data, Reply) else dict(data),
        )


def _message(event: Event) -> list[bytes]:
    return [event.topic.encode(), event.model_dump_json().encode()]


def _send(entry: Entry[zmq.asyncio.Socket], message: list[bytes]) -> None:
    """Without waiting: XPUB never blocks, it drops what a subscriber has no room for."""
    entry.socket.send_multipart(message, flags=zmq.DONTWAIT)
