"""The files of an evaluation."""

import json

from afdaemon.evaluate.report import files
from afdaemon.evaluate.section import Section, at_least, at_most, new_figure

SECTION = Section(
    key="one",
    title="One",
    lines=["a table"],
    bars=[at_least("height", 0.123456, 0.1), at_most("weight", 2.0, 1.0)],
    numbers={"rows": [{"height": 0.1234567, "name": "x", "absent": None}]},
    figures={"curve": new_figure(2.0, 1.0)},
)


def test_page_numbers_and_figures() -> None:
    made = files("aenet", "AENet", "the command", {"sha256": "abc"}, [SECTION])
    assert set(made) == {"aenet.md", "aenet.json", "aenet_curve.png"}
    page = made["aenet.md"].decode()
    for words in ("`the command`", "abc", "Bars met: 1 of 2", "a table", "(aenet_curve.png)"):
        assert words in page
    assert "- met: height >= 0.1: 0.1235" in page
    assert "- MISSED: weight <= 1: 2" in page
    numbers = json.loads(made["aenet.json"])
    assert numbers["sections"]["one"]["rows"][0] == {"height": 0.12346, "name": "x", "absent": None}
    assert [bar["holds"] for bar in numbers["bars"]] == [True, False]
    assert made["aenet_curve.png"].startswith(b"\x89PNG")


def test_the_same_numbers_give_the_same_files() -> None:
    once = files("aenet", "AENet", "c", {}, [SECTION])
    assert files("aenet", "AENet", "c", {}, [SECTION]) == once
