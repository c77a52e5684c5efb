"""Log lines: for people on a terminal, JSON elsewhere; the job's id is on every line of a job."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

import structlog
from structlog.typing import Processor

LEVELS = ("debug", "info", "warning", "error")
FORMATS = ("auto", "console", "json")


def configure(level: str = "info", log_format: str = "auto", stream: TextIO = sys.stderr) -> None:
    """Send our own log lines and those of the standard library to `stream`, in one form.

    `level` is one of `LEVELS`, `log_format` one of `FORMATS`.
    """
    console = stream.isatty() if log_format == "auto" else log_format == "console"
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_rendering(console, colours=stream.isatty()),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def _rendering(console: bool, *, colours: bool) -> list[Processor]:
    if console:
        return [structlog.dev.ConsoleRenderer(colors=colours)]
    return [structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer()]


@contextmanager
def job_context(job_id: str) -> Iterator[None]:
    """Every line logged inside, also in tasks started inside, carries `job`."""
    with structlog.contextvars.bound_contextvars(job=job_id):
        yield
