import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import zmq
import zmq.asyncio

from afdaemon.api.client import AsyncClient
from afdaemon.api.events import KEPT
from afdaemon.api.fake import FakeBackend
from afdaemon.api.schemas import Event
from afdaemon.api.server import Doors


async def test_the_envelope_on_the_wire(backend: FakeBackend, doors: Doors, folder: Path) -> None:
    context = zmq.asyncio.Context()
    subscriber = context.socket(zmq.SUB)
    subscriber.subscribe(b"")
    subscriber.connect(f"ipc://{folder}/events.sock")
    topic, welcome = await subscriber.recv_multipart()
    assert topic == b"welcome"
    assert Event.model_validate_json(welcome).type == "welcome"
    doors.events.publish("job.x", "progress", {"reading": 1}, request_id="x")
    assert await subscriber.recv_multipart() == [
        b"job.x",
        b'{"seq":1,"instance":"i-1","time":"1970-01-01T00:00:00+00:00","topic":"job.x",'
        b'"type":"progress","request_id":"x","data":{"reading":1}}',
    ]
    subscriber.close()
    context.term()


async def test_numbers_have_no_gap_for_whoever_listens_to_all(
    backend: FakeBackend, doors: Doors, folder: Path
) -> None:
    async with (
        AsyncClient(str(folder)) as client,
        client.events("") as events,
        client.events("log") as other,
    ):
        for number in range(100):
            doors.events.publish("log" if number % 2 else "state", "log", {"n": number})
        counted = await first(events, 100)
        assert [event.seq for event in counted] == list(range(1, 101))
        assert [event.data["n"] for event in await first(other, 50)] == list(range(1, 100, 2))


async def first(events: AsyncIterator[Event], count: int) -> list[Event]:
    told: list[Event] = []
    while len(told) < count:
        event = await anext(events)
        if event.type != "welcome":
            told.append(event)
    return told


async def test_of_very_many_events_the_last_are_kept_and_the_rest_counted(
    backend: FakeBackend, doors: Doors, folder: Path
) -> None:
    for _ in range(KEPT + 30):
        doors.events.publish("log", "log", {})
    async with AsyncClient(str(folder)) as client:
        told, rest, ahead = (
            await client.missed(10),
            await client.missed(1_020),
            await client.missed(9_999),
        )
    assert (told.lost, told.events[0].seq, told.latest) == (20, 31, KEPT + 30)
    assert (rest.lost, [event.seq for event in rest.events]) == (0, list(range(1_021, 1_031)))
    assert (ahead.events, ahead.lost, ahead.latest) == ([], 0, KEPT + 30), "of an earlier life"


async def test_a_late_subscriber_is_told_where_the_numbers_stand(
    backend: FakeBackend, doors: Doors, folder: Path
) -> None:
    for _ in range(7):
        doors.events.publish("state", "state", await backend.status())
    context = zmq.asyncio.Context()
    subscriber = context.socket(zmq.SUB)
    subscriber.subscribe(b"welcome.me")
    subscriber.connect(f"ipc://{folder}/events.sock")
    welcome = Event.model_validate_json((await subscriber.recv_multipart())[1])
    assert (welcome.topic, welcome.seq) == ("welcome.me", 7)
    subscriber.close()
    context.term()


async def test_a_subscriber_that_does_not_read_costs_a_bounded_memory_and_holds_nobody_up(
    backend: FakeBackend, doors: Doors, folder: Path
) -> None:
    async with (
        AsyncClient(str(folder)) as client,
        client.events("log"),
        client.events("state") as attentive,
        asyncio.timeout(20),
    ):
        for number in range(3_000):
            doors.events.publish("log", "log", {"text": "x" * 1000})
            if number % 100 == 0:
                doors.events.publish("state", "state", {"n": number})
                assert (await anext(attentive)).data["n"] == number


@pytest.mark.parametrize("subscription", [b"\x01welcome\xff\xfe", b"\x01" + b"w" * 4000, b"hello"])
async def test_odd_subscriptions_break_nothing(
    backend: FakeBackend, doors: Doors, folder: Path, subscription: bytes
) -> None:
    context = zmq.asyncio.Context()
    odd = context.socket(zmq.XSUB)
    odd.connect(f"ipc://{folder}/events.sock")
    await odd.send(subscription)
    async with AsyncClient(str(folder)) as client:
        assert (await client.autofocus()).converged
    odd.close(linger=0)
    context.term()
