"""Bytes to requests and back, for both ends. Pure: no socket, no clock."""

import uuid
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json, to_json

from afdaemon.api.explain import explain
from afdaemon.api.faults import INVALID_REQUEST, PARSE_ERROR, RpcFault
from afdaemon.api.schemas import PROTOCOL, Reply, Request, Response, RpcError, Strict
from afdaemon.errors import RequestRefused, UsageError, VersionMismatch

MAX_REQUEST_BYTES = 64 * 1024
"""No request of ours comes near this; parsing must not take more than a millisecond."""

MAX_IMAGE_BYTES = 16 * 1024 * 1024
"""An uncompressed 8 bit frame of 4096 x 4096 pixels. libzmq may hold so much for every connection."""

P = TypeVar("P", bound=Strict)
R = TypeVar("R", bound=BaseModel)

Id = str | int | None


def new_id() -> str:
    """A request id that nobody else uses."""
    return uuid.uuid4().hex


def encode_request(method: str, params: Strict, request_id: str) -> bytes:
    """One call as the bytes of its frame; what has its default value is left out."""
    body = params.model_dump(mode="json", exclude_defaults=True)
    meta = {**body.get("meta", {}), "protocol": PROTOCOL}
    request = {"jsonrpc": "2.0", "id": request_id, "method": method}
    return to_json({**request, "params": {**body, "meta": meta}})


def decode_request(raw: bytes) -> Request:
    """The request in the bytes of a frame.

    Raises:
        RpcFault: it is too long, not JSON, or not a JSON-RPC 2.0 request.
    """
    if len(raw) > MAX_REQUEST_BYTES:
        raise _invalid(
            f"the request is {len(raw)} bytes long; at most {MAX_REQUEST_BYTES} are allowed"
        )
    try:
        document = from_json(raw, allow_inf_nan=False)
    except ValueError as error:
        message = f"the request is not JSON: {error}"
        raise RpcFault(PARSE_ERROR, message, kind="parse") from None
    if isinstance(document, list):
        raise _invalid("batches are not accepted; send one request per message")
    try:
        return Request.of(document)
    except ValidationError as error:
        raise _invalid(explain(error, Request)) from None


def request_id_of(raw: bytes) -> Id:
    """The id of a request that may otherwise be wrong; None if it cannot be read."""
    try:
        document = from_json(raw[:MAX_REQUEST_BYTES], allow_inf_nan=False)
    except ValueError:
        return None
    candidate = document.get("id") if isinstance(document, dict) else None
    if isinstance(candidate, bool) or not isinstance(candidate, str | int):
        return None
    return candidate


def encode_result(request_id: Id, result: Reply) -> bytes:
    """The answer to a call that succeeded."""
    body = result.model_dump(mode="json")
    return to_json({"jsonrpc": "2.0", "id": request_id, "result": body})


def encode_error(request_id: Id, error: RpcError) -> bytes:
    """The answer to a call that failed."""
    body = error.model_dump(mode="json")
    return to_json({"jsonrpc": "2.0", "id": request_id, "error": body})


def decode_response(raw: bytes) -> Response:
    """The answer in the bytes of a frame.

    Raises:
        VersionMismatch: the peer does not speak JSON-RPC 2.0.
    """
    try:
        return Response.model_validate_json(raw)
    except ValidationError:
        raise VersionMismatch("what answers at this address is not an afdaemon") from None


def result_of(response: Response, result: type[R]) -> R:
    """The result in an answer.

    Raises:
        RequestRefused: the answer is an error.
        VersionMismatch: the two ends speak different protocols.
    """
    error = response.error
    if error is None:
        try:
            return result.model_validate(response.result)
        except ValidationError as problem:
            raise VersionMismatch(
                f"the daemon's answer is not what this client expects: {explain(problem, result)}"
            ) from None
    if error.data.kind == VersionMismatch.kind:
        raise VersionMismatch(error.message, remedy=error.data.remedy)
    raise RequestRefused(
        error.message, kind=error.data.kind, code=error.code, remedy=error.data.remedy
    )


def params_of(model: type[P], **fields: object) -> P:
    """Params built on the client's side, judged before they are sent.

    Raises:
        UsageError: naming the field, the value and what is allowed.
    """
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        raise UsageError(explain(error, model)) from None


def _invalid(message: str) -> RpcFault:
    return RpcFault(
        INVALID_REQUEST,
        message,
        kind="invalid_request",
        remedy='send {"jsonrpc": "2.0", "id": "<uuid>", "method": "...", "params": {...}}',
    )
