"""The rules of conftest.py bite."""

from pathlib import Path

import pytest

CONFTEST = Path(__file__).with_name("conftest.py")

LEAKS = {
    "task": (
        """
        async def test_leak():
            asyncio.create_task(asyncio.Event().wait(), name="forgotten")
        """,
        "*tasks still running: ?'forgotten'?*",
    ),
    "thread": (
        """
        def test_leak():
            threading.Thread(target=threading.Event().wait, name="forgotten", daemon=True).start()
        """,
        "*threads still running: ?'forgotten'?*",
    ),
    "socket": (
        """
        def test_leak():
            cycle = [socket.socket()]
            cycle.append(cycle)
        """,
        "*ResourceWarning: unclosed <socket*",
    ),
}


@pytest.mark.parametrize("leak", LEAKS)
def test_a_leak_fails_the_test_that_made_it(pytester: pytest.Pytester, leak: str) -> None:
    body, message = LEAKS[leak]
    pytester.makeini(
        "[pytest]\nasyncio_mode = auto\nfilterwarnings = error\n"
        "asyncio_default_fixture_loop_scope = function\n"
    )
    pytester.makeconftest(CONFTEST.read_text())
    imports = "import asyncio, socket, threading\n"
    pytester.makepyfile(imports + "\n".join(line[8:] for line in body.splitlines()))
    result = pytester.runpytest_subprocess("-q")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines([message])
