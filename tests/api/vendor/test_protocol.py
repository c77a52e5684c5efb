"""Lines and what they mean, whatever comes."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from afdaemon.api import schemas as s
from afdaemon.api import wire
from afdaemon.api.faults import RpcFault, fault_of
from afdaemon.api.vendor import protocol
from afdaemon.api.vendor.protocol import COMMANDS, Command, command_of
from afdaemon.errors import BusyError


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "TOKEN"])
@pytest.mark.parametrize("written", ["{}\n", " {}  \r\n", "{}"])
def test_a_command_is_a_word_in_capitals_or_not(name: str, written: str) -> None:
    assert command_of(written.format(name).encode()) == Command(name)
    assert command_of(written.format(name.lower()).encode()) == Command(name)


WRONG = {
    b"AUTOFOKUS\r\n": "did you mean AUTOFOCUS?",
    b"ABORT now\r\n": "ABORT holds that word and nothing else",
    b"TOKEN\r\n": "TOKEN holds that word and the token",
    b"GET / HTTP/1.1\r\n": "no command GET",
    b"\xff\xfe\x00\x01\n": "no command",
}


@pytest.mark.parametrize("line", WRONG)
def test_what_is_no_command_is_refused_with_a_remedy(line: bytes) -> None:
    with pytest.raises(RpcFault) as caught:
        command_of(line)
    told = protocol.error(caught.value.error)
    assert WRONG[line] in told
    assert told.startswith("ERROR invalid_request: ")
    assert "AUTOFOCUS" in told


@given(st.binary(max_size=200))
def test_any_bytes_are_a_command_or_a_fault(line: bytes) -> None:
    refused = ""
    try:
        assert command_of(line).name in COMMANDS
    except RpcFault as fault:
        refused = protocol.error(fault.error)
    assert not refused or refused.startswith("ERROR invalid_request: ")


def is_short_ascii(line: str) -> bool:
    return line.isascii() and line.isprintable() and 0 < len(line) <= 400


@given(
    detail=st.text(max_size=600),
    reason=st.none() | st.sampled_from(["aborted", "device", "not_found"]),
    wd_um=st.none() | st.floats(0.0, 1e6),
    converged=st.booleans(),
    restored=st.booleans(),
)
def test_whatever_a_job_says_its_end_is_one_short_line(
    detail: str, reason: str | None, wd_um: float | None, converged: bool, restored: bool
) -> None:
    job = s.Job(
        job="j",
        state=s.JobState.FAILED,
        converged=converged,
        reason=reason,
        detail=detail,
        wd_um=wd_um,
        best_wd_um=wd_um,
        restored=restored,
    )
    line = protocol.end(job)
    assert is_short_ascii(line)
    assert line.startswith("FOCUSED" if converged else f"FAILED reason={reason or 'failed'} ")
    assert converged or f"restored={'yes' if restored else 'no'}" in line


@given(st.text(max_size=600), st.text(max_size=600))
def test_whatever_an_error_says_it_is_one_short_line(message: str, remedy: str) -> None:
    told = fault_of(BusyError(message, remedy=remedy)).error
    assert is_short_ascii(protocol.error(told))
    assert protocol.error(told).startswith("ERROR busy")


def test_progress_tells_what_is_known() -> None:
    full = s.Progress(job="j", phase="servo", reading=3, readings_max=16, score=6.42, wd_um=12345.6)
    assert protocol.progress(full) == "PROGRESS reading 3 of at most 16, score 6.4, WD 12345.6 um"
    assert protocol.progress(s.Progress(job="j", phase="prepare")) == "PROGRESS reading 0"


def answered(command: str, result: s.Reply) -> str:
    return protocol.answer_to(Command(command), wire.encode_result("a", result))


def test_status_tells_what_is_wrong_and_what_to_do() -> None:
    lens = s.MicroscopeStatus(
        name="em30", connected=False, why_down="nobody listens", remedy="start it"
    )
    now = s.Status(instance="i", version="1", state="no_microscope", uptime_s=1.0, microscope=lens)
    line = "OK status state=no_microscope microscope=not_connected: nobody listens; start it"
    assert answered("STATUS", now) == line
    owed = s.Owed(job="j", since_utc="t", detail="job j ended away", remedy="afctl recover")
    assert answered("STATUS", now.model_copy(update={"owed": owed})) == (
        "OK status state=no_microscope microscope=not_connected owed=yes:"
        " nobody listens; start it; job j ended away; afctl recover"
    )


def test_an_abort_that_comes_too_late_says_so() -> None:
    assert answered("ABORT", s.Aborted(job="j", too_late=True)) == "OK abort job=j too_late=yes"
    assert answered("ABORT", s.Aborted()) == "OK abort job=none"


RUNS_ON = [
    ({"result": {"job": "j", "state": "running", "dry_run": False}}, True),
    ({"result": {"job": "j", "state": "queued", "dry_run": False}}, True),
    ({"result": {"job": "j", "state": "queued", "dry_run": True}}, False),
    ({"result": {"job": "j", "state": "succeeded"}}, False),
    ({"error": {"code": -32002, "message": "m", "data": {"kind": "busy"}}}, False),
    ({"error": {"code": -32005, "message": "m", "data": {"kind": "deadline"}}}, True),
]


@pytest.mark.parametrize(("answer", "expected"), RUNS_ON)
def test_after_which_answers_a_job_may_be_under_way(answer: dict[str, Any], expected: bool) -> None:
    raw = json.dumps({"jsonrpc": "2.0", "id": "j", **answer}).encode()
    assert protocol.may_run_on(raw) is expected


def test_a_token_is_taken_out_of_a_request_and_nothing_else() -> None:
    params = {"job": "j", "meta": {"token": "t" * 16, "deadline_ms": 7}}
    raw = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "job.get", "params": params}).encode()
    request = wire.decode_request(raw)
    assert protocol.token_in(request) == "t" * 16
    assert json.loads(protocol.without_token(request)) == {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "job.get",
        "params": {"job": "j", "meta": {"deadline_ms": 7}},
    }
