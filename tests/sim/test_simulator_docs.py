"""docs/simulator.md says what the simulator has: its tables hold every specimen, setting, fault and order."""

from pathlib import Path

from afdaemon.sim.chaos.plan import MEANINGS as TROUBLES
from afdaemon.sim.harm import Meaning
from afdaemon.sim.instrument.conditions import Key, keys
from afdaemon.sim.instrument.faults import MEANINGS, Fault
from afdaemon.sim.links.control import ARGUMENTS, CHANGEABLE
from afdaemon.sim.specimens.catalogue import LAYERS, SPECIMENS

DOCS = (Path(__file__).parents[2] / "docs" / "simulator.md").read_text(encoding="utf-8")


def setting_row(key: Key) -> str:
    default = "" if key.default is None else f"{key.default}"
    return f"| `{key.name}` | {default} | {key.spec} | {key.spec.what} |"


def fault_row(fault: Fault, meaning: Meaning) -> str:
    amount = meaning.amount
    told = ""
    if amount is not None:
        usual = "drawn" if amount.usual is None else f"{amount.usual:g}"
        told = f"{amount.of}: {amount.allowed}; else {usual}"
    return f"| `{fault}` | {meaning.does} | {told} |"


def rows_of(heading: str) -> list[str]:
    """The rows of the first table below `heading`, without its head."""
    lines = DOCS[DOCS.index(f"\n{heading}\n") :].splitlines()
    first = next(at for at, line in enumerate(lines) if line.startswith("|"))
    rows = []
    for line in lines[first + 2 :]:
        if not line.startswith("|"):
            break
        rows.append(line)
    return rows


def test_every_setting_is_told_as_it_is() -> None:
    assert rows_of("## Settings") == [setting_row(key) for key in keys()]


def test_every_fault_is_told_as_it_is() -> None:
    assert rows_of("## Faults") == [fault_row(fault, MEANINGS[fault]) for fault in Fault]


def test_every_trouble_is_told_as_it_is() -> None:
    rows = [
        f"| `{trouble}` | {meaning.does} |"
        f" {f'{a.of}: {a.allowed}; else {a.usual:g}' if (a := meaning.amount) else ''} |"
        for trouble, meaning in TROUBLES.items()
    ]
    assert rows_of("## Trouble on the way") == rows


def test_every_specimen_and_layer_is_named() -> None:
    missing = [name for name in (*SPECIMENS, *LAYERS) if f"`{name}`" not in DOCS]
    assert missing == []


def test_every_order_is_told() -> None:
    told = [row.split("`")[1].split()[0] for row in rows_of("## The control socket")]
    assert told == list(ARGUMENTS)
    assert [name for name in CHANGEABLE if f"`{name}`" not in DOCS] == []
