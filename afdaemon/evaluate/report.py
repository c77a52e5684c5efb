"""The page, the numbers and the figures of an evaluation, as files."""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from afdaemon.evaluate.section import Bar, Section

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DIGITS = 5


def files(
    name: str, title: str, command: str, model: Mapping[str, Any], sections: Sequence[Section]
) -> dict[str, bytes]:
    """Contents by file name: NAME.md, NAME.json and NAME_FIGURE.png; the page names the command that writes them."""
    report = {
        "command": command,
        "model": dict(model),
        "bars": [asdict(bar) for section in sections for bar in section.bars],
        "sections": {section.key: rounded(section.numbers) for section in sections},
    }
    figures = {key: figure for section in sections for key, figure in section.figures.items()}
    return {
        f"{name}.md": _page(name, title, command, model, sections).encode(),
        f"{name}.json": (json.dumps(report, indent=1) + "\n").encode(),
    } | {f"{name}_{key}.png": _png(figure) for key, figure in figures.items()}


def verdict(bar: Bar) -> str:
    """A bar as a line."""
    return f"{'met' if bar.holds else 'MISSED'}: {bar.name}: {bar.seen}"


def rounded(value: Any) -> Any:
    """The same mapping, list or value with its floats rounded to five decimals."""
    if isinstance(value, float):
        return round(value, _DIGITS)
    if isinstance(value, Mapping):
        return {key: rounded(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(inner) for inner in value]
    return value


def _page(
    name: str, title: str, command: str, model: Mapping[str, Any], sections: Sequence[Section]
) -> str:
    bars = [bar for section in sections for bar in section.bars]
    judge = ", ".join(f"{key} `{value}`" for key, value in model.items())
    head = (
        f"# {title}\n\nWritten by `{command}`; don't edit. Every frame comes from the simulator or from micrographs"
        f" blurred on purpose; no real instrument was involved. Judged by: {judge}.\n\n"
        f"Bars met: {sum(bar.holds for bar in bars)} of {len(bars)}.\n"
    )
    return head + "".join(_part(name, section) for section in sections)


def _part(name: str, section: Section) -> str:
    table = "\n".join(section.lines)
    pictures = "".join(f"\n![{key}]({name}_{key}.png)\n" for key in section.figures)
    bars = "".join(f"- {verdict(bar)}\n" for bar in section.bars)
    return f"\n## {section.title}\n\n```text\n{table}\n```\n{pictures}" + (bars and f"\n{bars}")


def _png(figure: "Figure") -> bytes:
    """Without the program's version, so that the same numbers give the same file."""
    data = io.BytesIO()
    figure.savefig(data, format="png", metadata={"Software": None})
    return data.getvalue()
