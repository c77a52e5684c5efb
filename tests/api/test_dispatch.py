import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from afdaemon.api import faults
from afdaemon.api.access.roles import Caller, Role
from afdaemon.api.dispatch import AbortDispatcher, Dispatcher
from afdaemon.api.fake import FakeBackend
from afdaemon.api.methods import ABORT_METHODS, METHODS
from afdaemon.api.schemas import Aborted, Response
from afdaemon.api.wire import MAX_REQUEST_BYTES
from afdaemon.drivers.errors import DriverError, LinkTimeout
from afdaemon.errors import KNOWN_ERRORS, AfdaemonError, BusyError, JournalError
from afdaemon.models.errors import ImageError, ModelError
from afdaemon.sim.errors import SimError

ADMIN = Caller(name="user 0", role=Role.ADMIN)


class Silence:
    """Takes events and forgets them."""

    def publish(self, *_args: object, **_kwargs: object) -> None:
        pass


@pytest.fixture
async def fake() -> AsyncIterator[FakeBackend]:
    backend = FakeBackend(Silence(), instance="i-1")  # type: ignore[arg-type]  # only publish is used
    yield backend
    await backend.close()


@pytest.fixture
def dispatcher(fake: FakeBackend) -> Dispatcher:
    return Dispatcher(fake, instance="i-1")


async def ask(dispatcher: Dispatcher, method: str, request_id: str = "a", **params: Any) -> Any:
    request = {"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}
    return json.loads(await dispatcher.answer([json.dumps(request).encode()], ADMIN))


GOLDEN = [
    (
        b'{"jsonrpc":"2.0","id":"a","method":"server.ping"}',
        b'{"jsonrpc":"2.0","id":"a","result":{"instance":"i-1","pong":true}}',
    ),
    (
        b'{"jsonrpc":"2.0","id":7,"method":"focus.get","params":{"meta":{"protocol":"1.4"}}}',
        b'{"jsonrpc":"2.0","id":7,"result":'
        b'{"wd_um":12000.0,"magnification":2000.0,"dry_run":false,"detail":""}}',
    ),
    (
        b'{"jsonrpc":"2.0","id":"s","method":"autofocus.start","params":{"start_wd_um":11000}}',
        b'{"jsonrpc":"2.0","id":"s","result":{"job":"s","state":"running","dry_run":false}}',
    ),
    (
        b'{"jsonrpc":"2.0","id":"a","method":"autofocus.strat"}',
        b'{"jsonrpc":"2.0","id":"a","error":{"code":-32601,'
        b'"message":"there is no method autofocus.strat here; did you mean autofocus.start?",'
        b'"data":{"kind":"method_not_found","retryable":false,'
        b'"remedy":"`rpc.discover` lists every method with its params","details":{}}}}',
    ),
    (
        b'{"jsonrpc":"2.0","id":"a","method":"focus.set","params":{"wd_um":60000}}',
        b'{"jsonrpc":"2.0","id":"a","error":{"code":-32001,'
        b'"message":"wd_um = 60000 is outside 5000 to 50000 um","data":{"kind":"limit",'
        b'"retryable":false,"remedy":"ask `focus.limits` (afctl wd) for the allowed range",'
        b'"details":{"error":"LimitError"}}}}',
    ),
]


@pytest.mark.parametrize(("request_bytes", "reply"), GOLDEN)
async def test_golden_transcripts(
    dispatcher: Dispatcher, request_bytes: bytes, reply: bytes
) -> None:
    assert await dispatcher.answer([request_bytes], ADMIN) == reply


PARAMS = [
    ("focus.set", {}, "wd_um is missing: it must be a number from 0 up to 1000000"),
    ("focus.set", {"wd_um": "5"}, 'wd_um = "5" is not allowed: it must be a number from 0 up to'),
    ("focus.set", {"wd_um": True}, "wd_um = true is not allowed: it must be a number"),
    ("focus.set", {"wd": 1.0}, "there is no parameter wd; did you mean wd_um?"),
    ("autofocus.start", {"tiemout_s": 1}, "no parameter tiemout_s; did you mean timeout_s?"),
    (
        "autofocus.start",
        {"timeout_s": 0},
        "timeout_s = 0 is not allowed: it must be a number above",
    ),
    (
        "autofocus.start",
        {"profile": "x"},
        'profile = x is not allowed: it must be one of "paper", "fast"',
    ),
    (
        "autofocus.start",
        {"limits": {"min_um": 9, "max_um": 3}},
        "limits: min_um (9) must be below max_um (3)",
    ),
    ("autofocus.start", {"limits": {"min_um": 9}}, "limits.max_um is missing: it must be a number"),
    ("autofocus.start", {"limits": 9}, "limits = 9 is not allowed: it must be an object with min"),
    ("autofocus.start", {"meta": {"lease": "x"}}, "no parameter meta.lease; there are protocol"),
    ("autofocus.run", {"meta": {"dry_run": True}}, "meta.dry_run is for autofocus.start"),
    ("job.get", {"job": "../../etc"}, 'job = "../../etc" is not allowed: it must be a text of'),
    ("job.wait", {"job": "a", "timeout_s": 1e9}, "timeout_s = 1000000000.0 is not allowed"),
    ("frame.score", {"magnification": 0}, "magnification = 0 is not allowed: it must be a number"),
    ("frame.score", {"magnification": 500}, "no image came in a second frame"),
    ("server.ping", {"meta": 3}, "meta = 3 is not allowed: it must be an object with protocol"),
    ("server.ping", {"meta": {"protocol": "one"}}, "meta.protocol = one is not allowed"),
    (
        "server.ping",
        {"meta": {"deadline_ms": 1.5}},
        "meta.deadline_ms = 1.5 is not allowed: it must",
    ),
]


@pytest.mark.parametrize(("method", "params", "sentence"), PARAMS)
async def test_wrong_params_name_field_value_and_range(
    dispatcher: Dispatcher, fake: FakeBackend, method: str, params: dict[str, Any], sentence: str
) -> None:
    error = (await ask(dispatcher, method, **params))["error"]
    assert error["code"] == faults.INVALID_PARAMS
    assert sentence in error["message"]
    assert error["data"]["kind"] == "invalid_params"
    assert fake.moves == []
    assert fake.jobs == {}


MALFORMED = [
    (b"", faults.PARSE_ERROR),
    (b"\xff\xfe\x00", faults.PARSE_ERROR),
    (b"{", faults.PARSE_ERROR),
    (b'{"jsonrpc":"2.0","id":"a","method":"server.ping"}x', faults.PARSE_ERROR),
    (b'{"jsonrpc":"2.0","id":"a","method":"focus.set","params":{"wd_um":NaN}}', faults.PARSE_ERROR),
    (b"[" * 60_000, faults.PARSE_ERROR),
    (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, faults.PARSE_ERROR),
    (b'{"id":' + b"9" * 60_000 + b"}", faults.PARSE_ERROR),
    (b'"' + b"x" * (MAX_REQUEST_BYTES + 1) + b'"', faults.INVALID_REQUEST),
    (b"null", faults.INVALID_REQUEST),
    (b"[]", faults.INVALID_REQUEST),
    (b'[{"jsonrpc":"2.0","id":"a","method":"server.ping"}]', faults.INVALID_REQUEST),
    (b"{}", faults.INVALID_REQUEST),
    (b'{"jsonrpc":"1.0","id":"a","method":"server.ping"}', faults.INVALID_REQUEST),
    (b'{"jsonrpc":"2.0","method":"server.ping"}', faults.INVALID_REQUEST),
    (b'{"jsonrpc":"2.0","id":null,"method":"server.ping"}', faults.INVALID_REQUEST),
    (b'{"jsonrpc":"2.0","id":true,"method":"server.ping"}', faults.INVALID_REQUEST),
    (b'{"jsonrpc":"2.0","id":1.5,"method":"server.ping"}', faults.INVALID_REQUEST),
    (b'{"jsonrpc":"2.0","id":"a b","method":"server.ping"}', faults.INVALID_REQUEST),
    (b'{"jsonrpc":"2.0","id":"a","method":""}', faults.INVALID_REQUEST),
    (b'{"jsonrpc":"2.0","id":"a","method":5}', faults.INVALID_REQUEST),
    (b'{"jsonrpc":"2.0","id":"a","method":"server.ping","params":[1]}', faults.INVALID_REQUEST),
    (b'{"jsonrpc":"2.0","id":"a","method":"server.ping","extra":1}', faults.INVALID_REQUEST),
    (b'{"jsonrpc":"2.0","id":"a","method":"__class__"}', faults.METHOD_NOT_FOUND),
    (
        b'{"jsonrpc":"2.0","id":"a","method":"focus.set","params":{"wd_um":1e999}}',
        faults.INVALID_PARAMS,
    ),
]


@pytest.mark.parametrize(("raw", "code"), MALFORMED)
async def test_malformed_requests(dispatcher: Dispatcher, raw: bytes, code: int) -> None:
    reply = await dispatcher.answer([raw], ADMIN)
    response = Response.model_validate_json(reply)
    assert response.error is not None
    assert response.error.code == code
    assert len(reply) < 1500
    assert "Traceback" not in response.error.message


async def test_no_frame_and_too_many_frames_are_answered(dispatcher: Dispatcher) -> None:
    assert json.loads(await dispatcher.answer([], ADMIN))["error"]["code"] == faults.PARSE_ERROR
    ping = b'{"jsonrpc":"2.0","id":"a","method":"server.ping"}'
    reply = json.loads(await dispatcher.answer([ping, b"image"], ADMIN))
    assert reply["error"]["message"] == "server.ping came in 2 frames; it takes at most 1"


async def test_an_image_comes_in_the_second_frame(
    dispatcher: Dispatcher, fake: FakeBackend
) -> None:
    raw = b'{"jsonrpc":"2.0","id":"a","method":"frame.score","params":{"magnification":500}}'
    assert json.loads(await dispatcher.answer([raw, b"png"], ADMIN))["result"]["score"] == 7.5
    assert fake.images == [b"png"]
    bare = b'{"jsonrpc":"2.0","id":"a","method":"frame.score"}'
    message = json.loads(await dispatcher.answer([bare, b"png"], ADMIN))["error"]["message"]
    assert message == "magnification is missing: an image can't be scored without it"


async def test_a_repeated_id_gets_its_job_and_moves_once(
    dispatcher: Dispatcher, fake: FakeBackend
) -> None:
    replies = await asyncio.gather(
        *(ask(dispatcher, "autofocus.start", "one", start_wd_um=11_000) for _ in range(5)),
        ask(dispatcher, "autofocus.run", "one", start_wd_um=11_000),
    )
    assert all(reply["result"]["job"] == "one" for reply in replies)
    again = await ask(dispatcher, "autofocus.start", "one", start_wd_um=11_000)
    assert again["result"] == {"job": "one", "state": "succeeded", "dry_run": False}
    assert len(fake.moves) == fake.steps


async def test_a_repeated_id_with_other_params_is_refused(
    dispatcher: Dispatcher, fake: FakeBackend
) -> None:
    await ask(dispatcher, "autofocus.run", "one", start_wd_um=11_000)
    error = (await ask(dispatcher, "autofocus.start", "one", start_wd_um=12_000))["error"]
    assert error["data"]["kind"] == "id_reused"
    assert len(fake.moves) == fake.steps


async def test_a_refused_start_may_be_repeated(dispatcher: Dispatcher, fake: FakeBackend) -> None:
    fake.error = BusyError("another job")
    refused = (await ask(dispatcher, "autofocus.start", "one"))["error"]
    assert refused["data"]["retryable"]
    assert (await ask(dispatcher, "autofocus.start", "one"))["result"]["job"] == "one"


async def test_a_dry_run_is_not_remembered(dispatcher: Dispatcher, fake: FakeBackend) -> None:
    dry = await ask(dispatcher, "autofocus.start", "one", meta={"dry_run": True})
    assert dry["result"]["dry_run"]
    assert fake.jobs == {}
    assert not (await ask(dispatcher, "autofocus.start", "one"))["result"]["dry_run"]


async def test_a_deadline_ends_the_waiting_but_not_the_job(
    dispatcher: Dispatcher, fake: FakeBackend
) -> None:
    fake.release.clear()
    error = (await ask(dispatcher, "autofocus.run", "one", meta={"deadline_ms": 5}))["error"]
    assert error["message"] == "no answer within the deadline of 5 ms"
    assert error["data"]["retryable"]
    wait = await ask(dispatcher, "job.wait", "two", job="one", timeout_s=0.0)
    assert wait["result"]["state"] == "running"


KNOWN = [
    (BusyError("x"), "busy", True),
    (JournalError("x"), "journal", False),
    (LinkTimeout("x"), "device", True),
    (ImageError("x"), "image", False),
    *[(family("x"), None, False) for family in (AfdaemonError, DriverError, ModelError, SimError)],
]


@pytest.mark.parametrize(("error", "kind", "retryable"), KNOWN)
async def test_known_errors_keep_their_sentence_and_kind(
    dispatcher: Dispatcher, fake: FakeBackend, error: Exception, kind: str | None, retryable: bool
) -> None:
    assert isinstance(error, KNOWN_ERRORS)
    fake.error = error
    body = (await ask(dispatcher, "focus.get"))["error"]
    assert body["message"] == "x"
    assert body["data"]["kind"] == (kind or body["data"]["kind"])
    assert body["data"]["retryable"] is retryable
    assert -32099 <= body["code"] <= -32000


async def test_a_bug_is_answered_without_its_text(
    dispatcher: Dispatcher, fake: FakeBackend, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.error = ZeroDivisionError("secret")
    error = (await ask(dispatcher, "focus.get"))["error"]
    assert error["code"] == faults.INTERNAL_ERROR
    assert "secret" not in json.dumps(error)
    captured = capsys.readouterr()
    assert "secret" in captured.out + captured.err


async def test_every_method_of_the_contract_is_answered(dispatcher: Dispatcher) -> None:
    discovered = (await ask(dispatcher, "rpc.discover"))["result"]
    assert [method["name"] for method in discovered["methods"]] == list(METHODS)
    assert set(dispatcher._handlers) == set(METHODS)
    hello = (await ask(dispatcher, "server.hello"))["result"]
    assert hello["capabilities"] == list(METHODS)


@pytest.mark.parametrize("protocol", ["2.0", "0.9"])
async def test_another_major_version_is_refused_before_its_params_are_judged(
    dispatcher: Dispatcher, protocol: str
) -> None:
    error = (await ask(dispatcher, "focus.set", nonsense=1, meta={"protocol": protocol}))["error"]
    assert error["data"]["kind"] == "protocol"


def test_the_abort_door_answers_abort_and_ping_alone() -> None:
    asked: list[tuple[str | None, str | None]] = []

    def abort(job_id: str | None, by: str | None, _caller: Caller) -> Aborted:
        asked.append((job_id, by))
        return Aborted(job=job_id)

    door = AbortDispatcher(abort, instance="i-1")
    for method in METHODS:
        raw = json.dumps({"jsonrpc": "2.0", "id": "a", "method": method}).encode()
        assert ("result" in json.loads(door.answer([raw], ADMIN))) == (method in ABORT_METHODS)
    assert asked == [(None, None)]
    named = {"jsonrpc": "2.0", "id": "b", "method": "job.abort", "params": {"by": "Ctrl-C"}}
    door.answer([json.dumps(named).encode()], ADMIN)
    assert asked[-1] == (None, "Ctrl-C")
    named["params"] = {"by": "\x1b[31mred"}
    assert json.loads(door.answer([json.dumps(named).encode()], ADMIN))["error"]["code"] == -32602


def test_the_abort_door_survives_a_bug_in_the_abort(capsys: pytest.CaptureFixture[str]) -> None:
    def abort(_job_id: str | None, _by: str | None, _caller: Caller) -> Aborted:
        raise RuntimeError("bug")

    door = AbortDispatcher(abort, instance="i-1")
    raw = b'{"jsonrpc":"2.0","id":"a","method":"job.abort"}'
    assert json.loads(door.answer([raw], ADMIN))["error"]["code"] == faults.INTERNAL_ERROR
    capsys.readouterr()


values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner),
    max_leaves=10,
)
fields = st.sampled_from(
    ["wd_um", "job", "timeout_s", "limits", "meta", "profile", "start_wd_um", "magnification"]
)
requests = st.fixed_dictionaries(
    {},
    optional={
        "jsonrpc": st.just("2.0") | values,
        "id": st.just("a") | values,
        "method": st.sampled_from([*METHODS, "job.abrt"]) | values,
        "params": st.dictionaries(fields, values, max_size=3) | values,
        "extra": values,
    },
)
raws = st.binary(max_size=200) | requests.map(lambda request: json.dumps(request).encode())


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(frames=st.lists(raws, max_size=3))
async def test_whatever_comes_in_gets_one_answer(
    dispatcher: Dispatcher, fake: FakeBackend, frames: list[bytes]
) -> None:
    reply = await dispatcher.answer(frames, ADMIN)
    document = json.loads(reply)
    assert ("result" in document) != ("error" in document)
    Response.model_validate_json(reply)
    if "error" in document:
        assert document["error"]["code"] != faults.INTERNAL_ERROR
    assert all(5_000.0 <= wd_um <= 50_000.0 for wd_um in fake.moves)
    assert (
        json.loads(AbortDispatcher(fake.abort, instance="i").answer(frames, ADMIN))["jsonrpc"]
        == "2.0"
    )
