"""The contract as an OpenRPC document, from the same schemas that check the requests."""

from functools import cache
from typing import Literal

from pydantic import BaseModel, JsonValue
from pydantic.json_schema import models_json_schema

from afdaemon.api.methods import METHODS, Method
from afdaemon.api.schemas import PROTOCOL, ErrorData, Event, OpenRpc

_REF = "#/components/schemas/{model}"


@cache
def document() -> OpenRpc:
    """Every method with its params and result, and the schemas they refer to."""
    return OpenRpc(
        openrpc="1.3.2",
        info={
            "title": "afdaemon",
            "version": PROTOCOL,
            "description": (
                "JSON-RPC 2.0 over ZeroMQ (ROUTER): one request per message, params by name only; "
                "images travel as a second binary frame. Events are published on a socket of their own (XPUB)."
            ),
            "license": {"name": "Apache-2.0"},
        },
        methods=[_method(name, method) for name, method in METHODS.items()],
        components={"schemas": _schemas()},
    )


def _schemas() -> dict[str, JsonValue]:
    params = {method.params for method in METHODS.values()}
    replies: set[type[BaseModel]] = {method.result for method in METHODS.values()}
    replies |= {ErrorData, Event}
    wanted: list[tuple[type[BaseModel], Literal["validation", "serialization"]]] = [
        *((model, "validation") for model in params),
        *((model, "serialization") for model in replies),
    ]
    wanted.sort(key=lambda entry: entry[0].__name__)
    _, definitions = models_json_schema(wanted, ref_template=_REF)
    return dict(sorted(definitions["$defs"].items()))


def _method(name: str, method: Method) -> dict[str, JsonValue]:
    schema = method.params.model_json_schema(ref_template=_REF)
    required = schema.get("required", [])
    return {
        "name": name,
        "summary": method.summary,
        "paramStructure": "by-name",
        "params": [
            {"name": field, "required": field in required, "schema": value}
            for field, value in schema["properties"].items()
        ],
        "result": {
            "name": method.result.__name__,
            "schema": {"$ref": _REF.format(model=method.result.__name__)},
        },
    }
