"""What to do with each file: decided from what is there and from what was put there before.

A file is ours as long as it is what we put there. One that somebody has edited is never overwritten or removed.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

NEW = ".new"
"""Ending of what is put beside an edited file."""


class Deed(StrEnum):
    """What is done with a file."""

    WRITE = "write"
    KEEP = "keep"
    BESIDE = "write beside"
    REMOVE = "remove"
    LEAVE = "leave"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What is done with the file at `path`, and its new content."""

    deed: Deed
    path: str
    content: bytes = b""


def digest(content: bytes) -> str:
    """By which a file of ours is known again."""
    return hashlib.sha256(content).hexdigest()


def to_install(
    wanted: Mapping[str, bytes], present: Mapping[str, bytes], ours: Mapping[str, str]
) -> list[Step]:
    """How `wanted` gets there. `ours` are the digests of what was put there before, by path."""
    return [_installed(path, content, present, ours) for path, content in wanted.items()]


def _installed(
    path: str, content: bytes, present: Mapping[str, bytes], ours: Mapping[str, str]
) -> Step:
    there = present.get(path)
    if there == content:
        return Step(deed=Deed.KEEP, path=path)
    if there is None or digest(there) == ours.get(path):
        return Step(deed=Deed.WRITE, path=path, content=content)
    return Step(deed=Deed.BESIDE, path=path + NEW, content=content)


def to_remove(
    present: Mapping[str, bytes], ours: Mapping[str, str], only: str | None = None
) -> list[Step]:
    """How what was put there goes away again: all of it, or `only` this file and what is beside it."""
    return [
        Step(deed=Deed.REMOVE if digest(present[path]) == put else Deed.LEAVE, path=path)
        for path, put in ours.items()
        if path in present and only in (None, path.removesuffix(NEW))
    ]


def ours_after(steps: Sequence[Step], ours: Mapping[str, str]) -> dict[str, str]:
    """What is ours once the steps are done. What was there before, or was edited, does not become ours."""
    now = dict(ours)
    for step in steps:
        match step.deed:
            case Deed.WRITE | Deed.BESIDE:
                now[step.path] = digest(step.content)
            case Deed.REMOVE | Deed.LEAVE:
                del now[step.path]
            case Deed.KEEP:
                continue
    return now


def in_words(steps: Sequence[Step], *, done: bool) -> Iterator[str]:
    """A line for each step, as done or as it would be."""
    would = "" if done else "would "
    for step in steps:
        match step.deed:
            case Deed.WRITE | Deed.REMOVE:
                past = {Deed.WRITE: "wrote", Deed.REMOVE: "removed"}[step.deed]
                yield f"{past if done else would + step.deed} {step.path}"
            case Deed.KEEP:
                yield f"{step.path} is up to date"
            case Deed.BESIDE:
                yield (
                    f"{step.path.removesuffix(NEW)} was edited and is kept;"
                    f" {'the new version is' if done else 'the new version would be'} in {step.path}"
                )
            case Deed.LEAVE:
                yield f"{step.path} was edited and is left"
