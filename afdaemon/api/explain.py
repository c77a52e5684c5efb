"""Say in a sentence what is wrong with a value: the field, the value, what is allowed."""

import json
from collections.abc import Mapping
from functools import cache
from typing import cast

from pydantic import BaseModel, ValidationError

from afdaemon.spec import SHOWN_CHARACTERS, nearest

Schema = Mapping[str, object]


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """What is wrong with an instance of `model`: a misspelt name, or else the first problem."""
    problems = error.errors(include_url=False)
    first = min(problems, key=lambda problem: problem["type"] != "extra_forbidden")
    path = [str(part) for part in first["loc"]]
    name = ".".join(path)
    match first["type"]:
        case "extra_forbidden":
            siblings = _properties(_at(model, path[:-1]), model)
            return f"there is no parameter {quoted(name)}{nearest(path[-1], siblings)}"
        case "value_error":
            return f"{name}: {first['msg'].removeprefix('Value error, ')}"
        case "missing":
            return f"{name} is missing: it must be {allowed(_at(model, path), model)}"
        case _:
            name, expected = _named(model, path)
            return f"{name} = {quoted(first['input'])} is not allowed: it must be {expected}"


def quoted(value: object) -> str:
    """A peer's value, as JSON, shortened."""
    plain = isinstance(value, str) and value.replace(".", "_").isidentifier()
    text = str(value) if plain else json.dumps(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}..."


def allowed(schema: Schema, model: type[BaseModel]) -> str:
    """In words, what a value of `schema` may be."""
    match _resolved(schema, model):
        case {"anyOf": [*options]}:
            choices = [allowed(cast("Schema", option), model) for option in options]
            return " or ".join(choice for choice in choices if choice != "null")
        case {"const": choice}:
            return json.dumps(choice)
        case {"enum": [*choices]}:
            return "one of " + ", ".join(json.dumps(choice) for choice in choices)
        case {"type": "integer", **bounds}:
            return f"a whole number{_between(bounds)}"
        case {"type": "number", **bounds}:
            return f"a number{_between(bounds)}"
        case {"type": "boolean"}:
            return "true or false"
        case {"type": "null"}:
            return "null"
        case {"type": "string", "pattern": pattern}:
            return f"a text of the form {pattern}"
        case {"type": "string", **bounds}:
            return f"a text of {bounds.get('minLength', 0)} to {bounds.get('maxLength')} characters"
        case other:
            return f"an object with {', '.join(_properties(other, model)) or 'any fields'}"


def _between(bounds: Schema) -> str:
    words = (
        ("minimum", "from"),
        ("exclusiveMinimum", "above"),
        ("maximum", "up to"),
        ("exclusiveMaximum", "below"),
    )
    return "".join(f" {word} {bounds[name]:.16g}" for name, word in words if name in bounds)


def _named(model: type[BaseModel], path: list[str]) -> tuple[str, str]:
    """The longest part of an error's path that is a field, and what is allowed there."""
    while path and not _at(model, path):
        path = path[:-1]
    return ".".join(path) or "params", allowed(_at(model, path), model)


def _at(model: type[BaseModel], path: list[str]) -> Schema:
    """The schema of the field at `path`; empty if there is none."""
    schema = _schema_of(model)
    for part in path:
        schema = cast("Schema", _properties(schema, model).get(part, {}))
    return schema


@cache
def _schema_of(model: type[BaseModel]) -> Schema:
    """Made once: it takes milliseconds, and whoever sends nonsense sends much of it."""
    schema: Schema = model.model_json_schema()
    return schema


def _properties(schema: Schema, model: type[BaseModel]) -> Schema:
    resolved = _resolved(schema, model)
    options = cast("list[Schema]", resolved.get("anyOf", [resolved]))
    found: dict[str, object] = {}
    for option in options:
        found.update(cast("Schema", _resolved(option, model).get("properties", {})))
    return found


def _resolved(schema: Schema, model: type[BaseModel]) -> Schema:
    """The schema itself, where it only refers to one."""
    reference = schema.get("$ref")
    if not isinstance(reference, str):
        return schema
    definitions = cast("dict[str, Schema]", _schema_of(model)["$defs"])
    return definitions[reference.rpartition("/")[2]]
