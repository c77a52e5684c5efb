"""JSON-RPC lines: the same answers as over ZeroMQ, and nothing without the token."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import zmq
import zmq.asyncio

from afdaemon.api.fake import FakeBackend
from afdaemon.api.methods import METHODS
from tests.api.vendor.caller import TOKEN, Caller, Dial

REQUESTS: list[Any] = [
    *({"method": method} for method in METHODS if not method.startswith("autofocus")),
    {"method": "autofocus.start", "params": {"meta": {"dry_run": True}}},
    {"method": "autofocus.start", "params": {"profile": "slow"}},
    {"method": "autofocus.run", "params": {"meta": {"dry_run": True}}},
    {"method": "autofocus.strat"},
    {"method": "job.get", "params": {"job": "none"}},
    {"method": "job.abort", "params": {"by": "somebody", "jab": 1}},
    {"method": "focus.set", "params": {"wd_um": 1e5}},
    {"method": "focus.set", "params": {"wd_um": 20_000}},
    {"method": "server.ping", "params": {"meta": {"protocol": "9.0"}}},
    {"method": "server.ping", "params": {"meta": {"protocol": "1.2", "tokens": 3}}},
    {"method": "server.ping", "params": [1, 2]},
    {"method": "server.ping", "id": None},
    {"method": 7},
    {},
    [],
    [{"method": "server.ping"}],
]
RAW = [b'{"jsonrpc"', b"{}", b'{"a": NaN}', b"[" * 5_000]


def lines() -> list[bytes]:
    made = [
        {"jsonrpc": "2.0", "id": f"r{number}", **one} if isinstance(one, dict) else one
        for number, one in enumerate(REQUESTS)
    ]
    return [*(json.dumps(one).encode() for one in made), *RAW]


@pytest.fixture
async def control(backend: FakeBackend, folder: Path) -> AsyncIterator[zmq.asyncio.Socket]:
    """A raw ZeroMQ client of the same daemon."""
    context = zmq.asyncio.Context()
    line = context.socket(zmq.DEALER)
    line.connect(f"ipc://{folder}/control.sock")
    yield line
    context.destroy(linger=0)


@pytest.mark.parametrize("line", lines())
async def test_a_line_is_answered_as_over_zeromq(
    caller: Caller, control: zmq.asyncio.Socket, line: bytes
) -> None:
    """But for the role: whoever comes by the vendor door is an operator, and we are the daemon's own user."""
    await control.send(line)
    over_zeromq = (await control.recv()).decode()
    assert await caller.ask(line) == over_zeromq.replace('"role":"admin"', '"role":"operator"')


async def test_jobs_are_begun_awaited_and_repeated(caller: Caller, backend: FakeBackend) -> None:
    assert (await caller.call("autofocus.start", "one"))["result"]["job"] == "one"
    assert (await caller.call("job.wait", job="one"))["result"]["converged"]
    moves = list(backend.moves)
    assert (await caller.call("autofocus.start", "one"))["result"]["state"] == "succeeded"
    assert backend.moves == moves
    assert (await caller.call("autofocus.run", "two"))["result"]["converged"]


async def test_requests_are_answered_as_they_are_ready(
    caller: Caller, backend: FakeBackend
) -> None:
    backend.release.clear()
    caller.say('{"jsonrpc":"2.0","id":"run","method":"autofocus.run"}')
    assert (await caller.call("server.ping", "p"))["id"] == "p"
    assert await caller.ask("PING") == "OK ping"
    backend.release.set()
    assert json.loads(await caller.line())["id"] == "run"


async def test_the_token_may_come_in_the_meta_of_a_request(dial: Dial) -> None:
    caller = await dial()
    for _ in range(2):
        answer = await caller.call("server.ping", meta={"token": TOKEN, "deadline_ms": 5_000})
        assert answer["result"]["pong"]
    assert await caller.ask("PING") == "OK ping"


@pytest.mark.parametrize("token", ["fedcba9876543210", 7, ""])
async def test_a_wrong_token_in_a_request_is_refused_and_ends_the_connection(
    dial: Dial, token: object
) -> None:
    caller = await dial()
    answer = await caller.call("server.ping", meta={"token": token})
    assert (answer["id"], answer["error"]["code"], answer["error"]["data"]["kind"]) == (
        "r",
        -32040,
        "token",
    )
    assert await caller.is_hung_up()


async def test_a_request_without_the_token_is_refused(dial: Dial, backend: FakeBackend) -> None:
    caller = await dial()
    for method in ("autofocus.start", "job.abort", "server.ping"):
        answer = await caller.call(method)
        assert answer["error"]["data"]["kind"] == "token"
        assert "params.meta.token" in answer["error"]["data"]["remedy"]
    assert json.loads(await caller.ask('{"jsonrpc"'))["error"]["data"]["kind"] == "token"
    assert backend.jobs == {}
