"""The contract as an OpenRPC document, from the same schemas that check the requests."""

import ast
import inspect
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import Literal

from pydantic import BaseModel, JsonValue
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema
from pydantic_core.core_schema import ModelSchema

from afdaemon.api.methods import METHODS, Method
from afdaemon.api.schemas import PROTOCOL, ErrorData, Event, OpenRpc, Reply, Strict

_REF = "#/components/schemas/{model}"


class _Described(GenerateJsonSchema):
    """Each field with the text that stands below it in the source.

    pydantic can read these texts by itself, but does so wherever the models are imported: in every client.
    """

    def model_schema(self, schema: ModelSchema) -> JsonSchemaValue:
        """The schema of one model."""
        made = super().model_schema(schema)
        texts = {
            name: text for kind in reversed(schema["cls"].__mro__) for name, text in _texts_of(kind)
        }
        for name, of_field in made["properties"].items():
            of_field |= {"description": texts[name]} if name in texts else {}
        return made


def _texts_of(kind: type) -> Iterator[tuple[str, str]]:
    """The fields that a model declares itself, each with the text below it."""
    if not issubclass(kind, Strict | Reply):
        return
    tree = ast.parse(inspect.getsource(kind))
    body = next(node.body for node in ast.walk(tree) if isinstance(node, ast.ClassDef))
    for statement, below in pairwise(body):
        if isinstance(statement, ast.AnnAssign) and isinstance(below, ast.Expr):
            yield ast.unparse(statement.target), inspect.cleandoc(ast.literal_eval(below.value))


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
    _, definitions = models_json_schema(wanted, ref_template=_REF, schema_generator=_Described)
    return dict(sorted(definitions["$defs"].items()))


def _method(name: str, method: Method) -> dict[str, JsonValue]:
    schema = method.params.model_json_schema(ref_template=_REF, schema_generator=_Described)
    required = schema.get("required", [])
    return {
        "name": name,
        "summary": method.summary,
        "x-role": method.role,
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
