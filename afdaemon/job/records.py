"""Events, commands, limits and profiles as JSON text, and back without losing a bit.

For our own journal alone: what comes back in was written by this module, so NaN (a reading may be
one) is allowed, and anything unknown is an error. Floats survive exactly, which replay relies on.
"""

import json
from dataclasses import asdict
from typing import Any

from afdaemon.control.fast.profile import FastProfile
from afdaemon.control.limits import Limits, Range
from afdaemon.control.published.profile import PaperProfile
from afdaemon.control.state import Profile
from afdaemon.control.values import (
    Command,
    Conclude,
    Event,
    Failed,
    Moved,
    MoveWd,
    Observed,
    Outcome,
    Reading,
    ReadingCount,
    ReadingKind,
    Reason,
    Refused,
    Started,
    TakeReading,
)


def encode(value: Event | Command) -> str:
    """An event or a command as JSON, tagged with its type."""
    return json.dumps({"type": type(value).__name__, **asdict(value)})


def decode_event(text: str) -> Event:
    """The event in `text`. Raises ValueError, KeyError or TypeError if there is none."""
    body: dict[str, Any] = json.loads(text)
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
            return Failed(reason=Reason(body["reason"]), detail=body["detail"])
        case other:
            raise ValueError(f"no event is called {other!r}")


def _reading(body: dict[str, Any]) -> Reading:
    return Reading(bands=tuple(body.pop("bands", ())), **body)


def decode_command(text: str) -> Command:
    """The command in `text`. Raises ValueError, KeyError or TypeError if there is none."""
    body: dict[str, Any] = json.loads(text)
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
    """A profile as JSON; that of the fast procedure says so."""
    tag = {"procedure": "fast"} if isinstance(value, FastProfile) else {}
    return json.dumps({**tag, **asdict(value)})


def decode_limits(text: str) -> Limits:
    """The limits in `text`."""
    body: dict[str, dict[str, float] | None] = json.loads(text)
    ranges = {name: Range(**ends) for name, ends in body.items() if ends is not None}
    return Limits(**ranges)


def decode_profile(text: str) -> Profile:
    """The profile in `text`."""
    body: dict[str, Any] = json.loads(text)
    is_fast = body.pop("procedure", "paper") == "fast"
    return FastProfile(**body) if is_fast else PaperProfile(**body)
