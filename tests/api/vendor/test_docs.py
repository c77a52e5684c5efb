"""docs/vendor.md says what happens: its conversations are held again, its bytes read, its example run."""

import re
from pathlib import Path

import pytest

from afdaemon.api.fake import FakeBackend
from afdaemon.api.server import Doors
from afdaemon.api.vendor.protocol import COMMANDS, command_of
from tests.api.test_examples import EXAMPLES, run
from tests.api.vendor.caller import TOKEN, Caller, Dial, address_of

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "vendor.md").read_text(encoding="utf-8")
CONVERSATIONS = re.findall(r"```text\n(> TOKEN.*?)```", PAGE, re.DOTALL)
BYTES = re.findall(r"(?m)^\| `(\w+[^`|]*)` \| `((?:[0-9A-F]{2} )+0D 0A)` \|$", PAGE)


def without_ids(line: str) -> str:
    return re.sub(r"\b[0-9a-f]{32}\b", "ID", line)


async def held(caller: Caller, conversation: str) -> list[str]:
    """The conversation, with what the door says now."""
    told = []
    for line in conversation.splitlines():
        if line.startswith("> "):
            caller.say(line[2:])
            told.append(line)
        else:
            told.append(f"< {await caller.line()}")
    return told


@pytest.mark.parametrize("conversation", CONVERSATIONS)
async def test_a_conversation_goes_as_the_page_says(
    dial: Dial, backend: FakeBackend, conversation: str
) -> None:
    if "> ABORT" in conversation:
        backend.release.clear()
    told = await held(await dial(), conversation)
    assert list(map(without_ids, told)) == list(map(without_ids, conversation.splitlines()))


def test_both_conversations_are_found() -> None:
    assert len(CONVERSATIONS) == 2


def test_the_bytes_are_those_of_the_lines() -> None:
    assert {command_of(bytes.fromhex(shown)).name for _, shown in BYTES} == set(COMMANDS)
    for line, shown in BYTES:
        assert bytes.fromhex(shown).decode("ascii") == f"{line}\r\n"


async def test_the_python_example_presses_the_button(
    daemon: tuple[Doors, FakeBackend], tmp_path: Path
) -> None:
    doors, backend = daemon
    host, port = address_of(doors)
    token = tmp_path / "token"
    token.write_text(TOKEN)
    command = ("python3", EXAMPLES / "vendor_button.py", host, str(port), token)
    assert await run(*command) == (
        0,
        [
            "reading 1 of at most 3, score 3.0, WD 12145.0 um",
            "reading 2 of at most 3, score 6.0, WD 12245.0 um",
            "reading 3 of at most 3, score 9.0, WD 12345.0 um",
            "FOCUSED wd_um=12345.0 score=8.50",
        ],
    )
    token.write_text("fedcba9876543210")
    assert (await run(*command))[0] == 1
    assert len(backend.jobs) == 1
