"""`afdaemon doctor`: what is wrong with this machine and its settings, and what helps."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from afdaemon.cli.extras import needs

if TYPE_CHECKING:
    from afdaemon.cli.doctor.checks import Finding


@needs("daemon")
def doctor(
    config: Annotated[Path | None, typer.Option(help="TOML file with the settings")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Examine settings, link, weights, journal and machine. Nothing is moved; exits with 1 if something fails."""
    from afdaemon.cli.doctor.checks import Level, findings, worst
    from afdaemon.cli.doctor.collect import collect

    found = findings(collect(config))
    level = worst(found)
    if as_json:
        typer.echo(json.dumps({"worst": level, "findings": list(map(asdict, found))}, indent=2))
    else:
        typer.echo("\n".join(told(found)))
    raise typer.Exit(1 if level is Level.FAILURE else 0)


def told(found: "Sequence[Finding]") -> Iterator[str]:
    """The findings in lines, each remedy below its finding."""
    width = max(len(one.about) for one in found)
    for one in found:
        yield f"{one.level:<8} {one.about:<{width}}  {one.text}"
        if one.remedy:
            yield f"{'':<8} {'':<{width}}  -> {one.remedy}"
