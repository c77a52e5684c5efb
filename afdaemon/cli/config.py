"""`afdaemon config check | show | schema | example | reference`."""

import json
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from afdaemon.cli.extras import needs
from afdaemon.errors import ConfigError

if TYPE_CHECKING:
    from afdaemon.config import Key, Loaded, Section

app = typer.Typer(help="Check, show and explain the settings.")

_EXAMPLE_HEAD = """\
# Settings of afdaemon. A line that is commented out shows the default, or an example. Check a changed file with
#     afdaemon config check FILE
# Every key can also be given as an environment variable: AFDAEMON_MICROSCOPE__PORT=9025
# Written by `afdaemon config example`.
"""
_OF_THE_UNIT: Mapping[str, str] = {
    "api.runtime_dir": "/run/afdaemon",
    "api.keys_dir": "/var/lib/afdaemon/keys",
    "journal.path": "/var/lib/afdaemon/journal",
}
"""What the example sets, for a daemon that systemd starts."""
_REFERENCE_HEAD = """\
# Settings

Written by `afdaemon config reference`; don't edit. A setting is given in a TOML file (`afdaemon serve --config FILE`),
as an environment variable (`AFDAEMON_LIMITS__SITE_MIN_UM=8000` for `limits.site_min_um`), or by a flag of the command,
each overriding the one before. `afdaemon config check FILE` says what is wrong with a file, `afdaemon config show`
prints what is in use and where it came from.
"""
_WIDTH = 118


@app.command()
@needs("daemon")
def check(file: Annotated[Path, typer.Argument(help="TOML file", metavar="FILE")]) -> None:
    """Check whether FILE is a valid configuration, for the link's driver too; the environment is ignored."""
    from afdaemon.config import load

    loaded = load(file, environ={})
    _ask_driver(loaded, file)
    for old, new in loaded.renamed.items():
        typer.echo(f"{file}: {old} is now called {new}; the old name still works.")
    for key, path in _absent(loaded):
        typer.echo(f"{file}: {key} is {path}, which does not exist on this machine.")
    typer.echo(f"{file} is good; settings in it: {len(loaded.given)}, all others are the defaults.")


def _ask_driver(loaded: "Loaded", file: Path) -> None:
    """Make the link's driver with its settings; it does not connect. Raises `ConfigError` for what it refuses."""
    from afdaemon.clock import SystemClock
    from afdaemon.drivers.errors import SettingsError
    from afdaemon.drivers.registry import open_microscope

    microscope = loaded.settings.microscope
    try:
        open_microscope(microscope.link, microscope.of_driver, clock=SystemClock())
    except SettingsError as error:
        raise ConfigError(
            f"the link {microscope.link} refuses section [microscope] of {file}: {error}",
            remedy=error.remedy,
        ) from error


def _absent(loaded: "Loaded") -> Iterator[tuple[str, Path]]:
    """Settings that name a file or a folder which somebody else has to provide, and has not."""
    settings = loaded.settings
    named = {
        "microscope.folder": getattr(settings.microscope.driver, "folder", None),
        "calibration.file": settings.calibration.file,
        "models.aenet": settings.models.aenet,
        "models.acnet": settings.models.acnet,
        "models.defocus": settings.models.defocus,
    }
    for key, value in named.items():
        if value not in (None, "default") and not (path := Path(value)).exists():
            yield key, path


@app.command()
@needs("daemon")
def show(
    config: Annotated[Path | None, typer.Option("--config", help="TOML file")] = None,
) -> None:
    """Print every setting in use as TOML, with its meaning and where it came from."""
    from afdaemon.config import load

    typer.echo(render(load(config)), nl=False)


@app.command()
@needs("daemon")
def schema() -> None:
    """Print the JSON schema of the settings."""
    typer.echo(json.dumps(json_schema(), indent=2))


@app.command()
@needs("daemon")
def example() -> None:
    """Print an example TOML file with every setting, its meaning and its default."""
    typer.echo(example_toml(), nl=False)


@app.command()
@needs("daemon")
def reference() -> None:
    """Print the reference of all settings as Markdown."""
    typer.echo(reference_markdown(), nl=False)


def render(loaded: "Loaded") -> str:
    """Settings as a TOML document that `load` reads back; absent values stay comments."""
    from afdaemon.config import sections

    blocks = []
    for name, section in sections(loaded.settings.microscope.link).items():
        lines = [f"[{name}]"]
        for key, held in section.keys.items():
            given = loaded.given.get(f"{name}.{key}")
            value = _value_of(loaded, held, key)
            text = f"{key} = {toml(value)}" if value is not None else f"# {key} ="
            lines += [f"# {held.spec.what} ({given.origin if given else 'default'})", text]
        blocks.append("\n".join(lines) + "\n")
    return "\n".join(blocks)


def _value_of(loaded: "Loaded", held: "Key", name: str) -> object:
    part = getattr(loaded.settings, held.parts[0])
    if held.parts != ("microscope",) or name == "link":
        return getattr(part, name)
    return part.driver if name == "options" else getattr(part.driver, name)


def json_schema() -> dict[str, Any]:
    """All settings as a JSON schema."""
    from afdaemon.config import sections

    properties = {
        name: {
            "type": "object",
            "description": section.about,
            "additionalProperties": False,
            "properties": {
                key: held.spec.json_schema(held.default) for key, held in section.keys.items()
            },
        }
        for name, section in sections().items()
    }
    return {"type": "object", "additionalProperties": False, "properties": properties}


def example_toml() -> str:
    """Every setting, commented out except for those that the systemd unit needs."""
    from afdaemon.config import sections

    blocks = [_EXAMPLE_HEAD]
    for name, section in sections().items():
        lines = [*_comment(section.about), f"[{name}]"]
        for key, held in section.keys.items():
            lines += [
                *_comment(_links_of(name, key) + _sentence(held)),
                _example_line(name, key, held),
            ]
        blocks.append("\n".join(lines) + "\n")
    return "\n".join(blocks)


def _example_line(section: str, key: str, held: "Key") -> str:
    if f"{section}.{key}" in _OF_THE_UNIT:
        return f"{key} = {toml(_OF_THE_UNIT[f'{section}.{key}'])}"
    shown = held.default if held.default is not None else held.spec.example
    return f"# {key} = {toml(shown)}"


def _links_of(section: str, key: str) -> str:
    """Which links have the key, where not all do."""
    from afdaemon.config import sections
    from afdaemon.drivers.registry import link_names, settings_of

    if section != "microscope" or key == "options":
        return ""
    known = [link for link in link_names() if settings_of(link) is not None]
    having = [link for link in known if key in sections(link)["microscope"].keys]
    return "" if having == known else f"({', '.join(having)}) "


def _sentence(held: "Key") -> str:
    """What it is, with what it may be."""
    return held.spec.what + (f" Allowed: {held.spec.words}." if held.spec.allowed else "")


def reference_markdown() -> str:
    """A table for each section; the default of a path that depends on the user is not shown."""
    from afdaemon.config import sections

    blocks = [_REFERENCE_HEAD]
    for name, section in sections().items():
        blocks.append("\n".join(_reference_of(name, section)) + "\n")
    return "\n".join(blocks)


def _reference_of(name: str, section: "Section") -> Iterator[str]:
    yield f"## [{name}]"
    yield ""
    yield section.about
    yield ""
    yield "| key | default | allowed | meaning |"
    yield "|---|---|---|---|"
    for key, held in section.keys.items():
        default = _OF_THE_USER.get(f"{name}.{key}") or _shown_default(held)
        formerly = f" Formerly `{held.spec.formerly}`." if held.spec.formerly else ""
        what = _links_of(name, key) + held.spec.what + formerly
        yield f"| `{key}` | {default} | {held.spec.words} | {what} |"


_OF_THE_USER: Mapping[str, str] = {
    "api.runtime_dir": "the session's runtime folder",
    "api.keys_dir": "in the user's state folder",
    "journal.path": "in the user's state folder",
}


def _shown_default(held: "Key") -> str:
    return "absent" if held.default is None else f"`{toml(held.default)}`"


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(text, _WIDTH - 2)]


def toml(value: object) -> str:
    """One value in TOML."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{toml(str(k))} = {toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    plain = value if isinstance(value, bool | int | float) else str(value)
    return json.dumps(plain, ensure_ascii=False).replace("\x7f", "\\u007f")
