"""Log lines: one form for all, and the job's id on every line of a job."""

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from afdaemon.logs import configure, job_context


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_ours_and_the_standard_librarys_lines_are_json() -> None:
    stream = io.StringIO()
    configure("info", "auto", stream)
    structlog.get_logger("afdaemon").info("moved", wd_um=12_000.0)
    logging.getLogger("asyncio").warning("slow %s", "callback")
    structlog.get_logger("afdaemon").debug("not shown")
    ours, theirs = lines(stream)
    assert (ours["event"], ours["wd_um"], ours["level"]) == ("moved", 12_000.0, "info")
    assert (theirs["event"], theirs["logger"]) == ("slow callback", "asyncio")


def test_an_exception_is_one_json_line() -> None:
    stream = io.StringIO()
    configure("info", "json", stream)
    try:
        Path("/absent").read_bytes()
    except OSError:
        structlog.get_logger("afdaemon").exception("failed")
    (line,) = lines(stream)
    assert "/absent" in json.dumps(line["exception"])


async def test_the_job_is_on_every_line_of_its_tasks_and_no_other() -> None:
    stream = io.StringIO()
    configure("info", "json", stream)

    async def talk(name: str) -> None:
        await asyncio.sleep(0)
        structlog.get_logger("afdaemon").info(name)

    async with asyncio.TaskGroup() as group:
        with job_context("j1"):
            group.create_task(talk("inside"))
        group.create_task(talk("outside"))
    assert {str(line["event"]): line.get("job") for line in lines(stream)} == {
        "inside": "j1",
        "outside": None,
    }


def test_the_console_form_is_for_people() -> None:
    stream = io.StringIO()
    configure("info", "console", stream)
    structlog.get_logger("afdaemon").info("moved", wd_um=1.0)
    assert "moved" in stream.getvalue()
    assert not stream.getvalue().startswith("{")
