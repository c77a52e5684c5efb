"""Events, commands, limits and profiles as JSON text, and back without losing a bit.

Only for our own journal: what is read back was written by this module, or by that of an earlier version, so NaN (a
reading may be one) is allowed, and anything unknown is an error. Floats survive exactly, which replay relies on.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, astuple, dataclass, fields
from datetime import datetime
from typing import Any

from afdaemon.control.limits import Limits, Range
from afdaemon.control.procedures import PROFILES
from afdaemon.control.profile import Profile
from afdaemon.control.published.profile import PublishedProfile
from afdaemon.control.values import (
    Belief,
    Command,
    Conclude,
    Correction,
    Event,
    Failed,
    Moved,
    MoveWd,
    Observed,
    Outcome,
    Place,
    Proposal,
    Reading,
    ReadingCount,
    ReadingKind,
    Reason,
    Refused,
    Started,
    TakeReading,
)
from afdaemon.models.frames.measures import Measures
from afdaemon.spec import renamed

_FRAME = frozenset(field.name for field in fields(Measures))
_ANSWER = [field.name for field in fields(Proposal)]
_OLD_FRAME = {"variance": "contrast"}
"""Until version 1 of the journal, a reading held its frame's measures itself, and contrast was called variance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalStep:
    """What happened, what was to be done next, and the law's answer if it was asked."""

    event: Event
    command: Command
    proposal: Proposal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """A job as the journal knows it. `outcome` is None while it runs, or if it was interrupted.

    `instrument` is the name of the microscope; None in older journals.
    """

    job_id: str
    opened_utc: datetime
    request: Mapping[str, Any]
    limits: Limits
    rules: Profile
    start_wd_um: float | None
    outcome: Outcome | None
    interrupted: bool
    start_magnification: float | None = None
    instrument: str | None = None


def encode(value: Event | Command) -> str:
    """An event or a command as JSON, tagged with its type."""
    return json.dumps({"type": type(value).__name__, **asdict(value)})


def _object(text: str) -> dict[str, Any]:
    """The JSON object in `text`. Raises ValueError if there is none."""
    try:
        body = json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(body, dict):
        raise ValueError(f"it is no JSON object: {text[:40]!r}")  # noqa: TRY004 - what is read, not an argument
    return body


def decode_event(text: str) -> Event:
    """The event in `text`. Raises ValueError, KeyError or TypeError if there is none."""
    body = _object(text)
    match body.pop("type"):
        case "Started":
            return Started(**body)
        case "Moved":
            return Moved(**body)
        case "Refused":
            return Refused(**body)
        case "Observed":
            return Observed(reading=_reading(body["reading"]))
        case "Failed":
            found = body.get("found")
            return Failed(
                reason=Reason(body["reason"]),
                detail=body["detail"],
                found=None if found is None else Place(**found),
            )
        case other:
            raise ValueError(f"no event is called {other!r}")


def _reading(body: Mapping[str, Any]) -> Reading:
    if "frame" not in body:
        named = {_OLD_FRAME.get(key, key): value for key, value in body.items()}
        frame = {key: value for key, value in named.items() if key in _FRAME}
        body = {"frame": frame, **{k: v for k, v in named.items() if k not in _FRAME}}
    corrections = tuple(
        Correction(was=_measures(both["was"]), now=_measures(both["now"]))
        for both in body.get("corrections", ())
    )
    return Reading(**{**body, "frame": _measures(body["frame"]), "corrections": corrections})


def _measures(body: Mapping[str, Any]) -> Measures:
    return Measures(**{**body, "bands": tuple(body.get("bands", ()))})


def decode_command(text: str) -> Command:
    """The command in `text`. Raises ValueError, KeyError or TypeError if there is none."""
    body = _object(text)
    match body.pop("type"):
        case "MoveWd":
            return MoveWd(**body)
        case "TakeReading":
            return TakeReading(kind=ReadingKind(body["kind"]))
        case "Conclude":
            return Conclude(outcome=_outcome(body["outcome"]))
        case other:
            raise ValueError(f"no command is called {other!r}")


def _outcome(body: dict[str, Any]) -> Outcome:
    readings = ReadingCount(**body.pop("readings"))
    return Outcome(reason=Reason(body.pop("reason")), readings=readings, **body)


def encode_limits(value: Limits) -> str:
    """Limits as JSON."""
    return json.dumps(asdict(value))


def encode_profile(value: Profile) -> str:
    """A profile as JSON, with the name of its procedure."""
    return json.dumps({"procedure": value.name, **asdict(value)})


def encode_proposal(value: Proposal | None) -> str | None:
    """The law's answer as JSON."""
    return None if value is None else json.dumps(astuple(value))


def decode_proposal(text: str | None) -> Proposal | None:
    """The law's answer; older journals hold less of it, a step alone or a step and one probability."""
    if text is None:
        return None
    kept: float | list[Any] = json.loads(text)
    told = dict(zip(_ANSWER, kept if isinstance(kept, list) else [kept], strict=False))
    given = {name: value for name, value in told.items() if value is not None}
    if "belief" in given:
        places_um, mass = given.pop("belief")
        given["belief"] = Belief(places_um=tuple(places_um), mass=tuple(mass))
    return Proposal(**given)


def decode_step(row: Mapping[str, str | None]) -> JournalStep:
    """The step in the columns `event`, `command` and `proposal`. Raises what the decoders raise."""
    return JournalStep(
        event=decode_event(str(row["event"])),
        command=decode_command(str(row["command"])),
        proposal=decode_proposal(row["proposal"]),
    )


def decode_job(row: Mapping[str, Any], first: JournalStep | None) -> JobRecord:
    """The job in a row of the journal, whose first step is `first`."""
    started = first.event if first is not None and isinstance(first.event, Started) else None
    concluded = decode_command(row["outcome"]) if row["outcome"] is not None else None
    return JobRecord(
        job_id=row["job_id"],
        opened_utc=datetime.fromisoformat(row["opened_utc"]),
        request=json.loads(row["request"]),
        limits=decode_limits(row["limits"]),
        rules=decode_profile(row["rules"]),
        start_wd_um=started.wd_um if started is not None else None,
        outcome=concluded.outcome if isinstance(concluded, Conclude) else None,
        interrupted=row["interrupted_utc"] is not None,
        start_magnification=started.magnification if started is not None else None,
        instrument=row.get("instrument"),
    )


def decode_limits(text: str) -> Limits:
    """The limits in `text`."""
    body: dict[str, dict[str, float] | None] = _object(text)
    ranges = {name: Range(**ends) for name, ends in body.items() if ends is not None}
    return Limits(**ranges)


def decode_profile(text: str) -> Profile:
    """The profile in `text`; without a name it is that of the published procedure."""
    body = _object(text)
    kind = PROFILES[body.pop("procedure", PublishedProfile.name)]
    return kind(**renamed(kind, body))
