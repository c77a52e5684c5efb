"""`afdaemon config check | show | schema`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from afdaemon.config import Loaded

app = typer.Typer(help="Check and show the settings.")


@app.command()
def check(file: Annotated[Path, typer.Argument(help="TOML file", metavar="FILE")]) -> None:
    """Say whether FILE is a good configuration; the environment is left out."""
    from afdaemon.config import load

    loaded = load(file, environ={})
    typer.echo(f"{file} is good: {len(loaded.given)} settings, the others have their defaults.")


@app.command()
def show(
    config: Annotated[Path | None, typer.Option("--config", help="TOML file")] = None,
) -> None:
    """Print every setting in use as TOML, with the meaning of each and who gave it."""
    from afdaemon.config import load

    typer.echo(render(load(config)), nl=False)


@app.command()
def schema() -> None:
    """Print the JSON schema of the settings."""
    from afdaemon.settings import Settings

    typer.echo(json.dumps(Settings.model_json_schema(), indent=2))


def render(loaded: "Loaded") -> str:
    """Settings as a TOML document that `load` reads back; absent values stay comments."""
    from afdaemon.config import sections

    lines: list[str] = []
    for name, section in sections().items():
        lines += ["", f"[{name}]"] if lines else [f"[{name}]"]
        values = getattr(loaded.settings, name)
        for key in values.in_use():
            field = section.model_fields[key]
            given = loaded.given.get(f"{name}.{key}")
            origin = given.origin if given else "default"
            value = getattr(values, key)
            text = f"{key} = {toml(value)}" if value is not None else f"# {key} ="
            lines += [f"# {field.description} ({origin})", text]
    return "\n".join(lines) + "\n"


def toml(value: object) -> str:
    """One value in TOML."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{toml(str(k))} = {toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    plain = value if isinstance(value, bool | int | float) else str(value)
    return json.dumps(plain, ensure_ascii=False).replace("\x7f", "\\u007f")
