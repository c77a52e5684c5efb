"""Errors as they go over the wire: a code, a sentence, a kind to branch on, a remedy."""

from collections.abc import Mapping

from pydantic import JsonValue

from afdaemon import errors as e
from afdaemon.api.schemas import ErrorData, RpcError
from afdaemon.drivers import errors as d
from afdaemon.models import errors as m
from afdaemon.sim.errors import SimError

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
DEADLINE = -32005
OVERLOADED = -32006
UNAUTHORIZED = -32040

_CODES: Mapping[type[BaseException], tuple[int, str]] = {
    e.AfdaemonError: (-32000, "error"),
    e.LimitError: (-32001, "limit"),
    e.BusyError: (-32002, "busy"),
    e.FaultError: (-32011, "fault"),
    e.ForbiddenError: (-32012, "forbidden"),
    e.JobNotFound: (-32003, "job_not_found"),
    e.JournalError: (-32004, "journal"),
    e.VersionMismatch: (-32007, "protocol"),
    e.IdReused: (-32008, "id_reused"),
    e.ConfigError: (-32009, "config"),
    d.DriverError: (-32010, "device"),
    m.ModelError: (-32020, "model"),
    m.ImageError: (-32021, "image"),
    m.WeightsError: (-32022, "weights"),
    SimError: (-32030, "sim"),
    e.UsageError: (INVALID_PARAMS, "invalid_params"),
}
"""Code and kind of each known error; of two that fit, the more specific class. -32050 is for `locked`."""

_RETRYABLE = (e.BusyError, d.NotConnected, d.LinkLost, d.LinkTimeout, d.FrameStale)


class RpcFault(Exception):
    """A call that is answered with an error."""

    def __init__(
        self,
        code: int,
        message: str,
        *,
        kind: str,
        retryable: bool = False,
        remedy: str = "",
        details: Mapping[str, JsonValue] | None = None,
    ) -> None:
        super().__init__(message)
        data = ErrorData(kind=kind, retryable=retryable, remedy=remedy, details=dict(details or {}))
        self.error = RpcError(code=code, message=message, data=data)


def fault_of(error: Exception) -> RpcFault:
    """What a known error looks like on the wire; anything else is internal, without its text."""
    if isinstance(error, RpcFault):
        return error
    for family in type(error).__mro__:
        if family in _CODES:
            code, kind = _CODES[family]
            return RpcFault(
                code,
                str(error) or type(error).__name__,
                kind=kind,
                retryable=isinstance(error, _RETRYABLE),
                remedy=str(getattr(error, "remedy", "")),
                details={"error": type(error).__name__},
            )
    return RpcFault(
        INTERNAL_ERROR,
        "the daemon failed while answering; its log has the details",
        kind="internal",
        remedy="report it together with the daemon's log",
    )


def overloaded(message: str, *, remedy: str) -> RpcFault:
    """A call that exceeds what its client, or all together, may take."""
    return RpcFault(OVERLOADED, message, kind="overloaded", retryable=True, remedy=remedy)


def invalid_params(message: str) -> RpcFault:
    """A call whose params are not what its method takes."""
    return RpcFault(
        INVALID_PARAMS,
        message,
        kind="invalid_params",
        remedy="`rpc.discover` lists every method with its params",
    )
