import json
from pathlib import Path

from afdaemon.api.methods import METHODS
from afdaemon.api.openrpc import document

COMMITTED = Path(__file__).parents[2] / "docs" / "api" / "openrpc.json"


def test_the_committed_contract_is_the_code_s() -> None:
    command = "afdaemon api schema > docs/api/openrpc.json"
    committed = json.loads(COMMITTED.read_text(encoding="utf-8"))
    assert committed == document().model_dump(mode="json"), f"run `{command}` and look at the diff"


def test_every_reference_leads_somewhere() -> None:
    text = document().model_dump_json()
    schemas = json.loads(text)["components"]["schemas"]
    named = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert named <= set(schemas)
    assert {method.result.__name__ for method in METHODS.values()} <= named


def test_params_that_must_be_given_are_marked() -> None:
    marked = {
        method["name"]: [param["name"] for param in method["params"] if param["required"]]
        for method in json.loads(document().model_dump_json())["methods"]
    }
    assert {name: params for name, params in marked.items() if params} == {
        "job.get": ["job"],
        "job.wait": ["job"],
        "focus.set": ["wd_um"],
        "events.since": ["seq"],
    }
