"""Dataset 1 on disk, in the EM-30's own files: pairs of jpg and txt, one folder per specimen, and a note about the set.

Each file gets its name when it is complete, a frame's text after its picture, and the note says `complete` only at the
very end: an interrupted run continues where it stopped.
"""

import hashlib
import json
import multiprocessing
import shutil
import signal
from collections import Counter
from collections.abc import Generator, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2

from afdaemon.drivers.wire.labelled_files import (
    LISTING_NAME,
    NOTE_NAME,
    PICTURE_SUFFIXES,
    TEXT_SUFFIX,
    Labelled,
    encode_labelled,
)
from afdaemon.sim.datasets.dataset1 import PUBLISHED_MAGNIFICATIONS, Dataset1, Part, part_of
from afdaemon.sim.datasets.scenes import LabelledFrames
from afdaemon.sim.errors import FolderError
from afdaemon.sim.links.aisem import JPEG_QUALITY
from afdaemon.sim.specimens.catalogue import UNSEEN
from afdaemon.sim.truth import HALF_SCORE_RADIUS_PX, TOP_SCORE, focus_score

_FORMAT = "afdaemon labelled frames 1"
_PICTURE = PICTURE_SUFFIXES[0]
_BYTES_PER_PIXEL = 0.7
"""Of a noisy frame as JPEG; .5 to .6 were measured."""
_BYTES_PER_TEXT = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is written: the frames of `dataset` in `parts`; `version` is the simulator's."""

    dataset: Dataset1
    version: str
    parts: tuple[Part, ...] = tuple(Part)
    specimens: tuple[str, ...] = tuple(PUBLISHED_MAGNIFICATIONS)

    def scenes(self) -> list[tuple[str, int]]:
        """Specimen and number of every scene, in the order of writing."""
        return [
            (specimen, number)
            for specimen in self.specimens
            for number in range(self.dataset.scenes_per_specimen)
            if part_of(specimen, number) in self.parts
        ]

    def note(self) -> dict[str, Any]:
        """What is known before the first frame, as JSON."""
        scenes = self.scenes()
        counts = Counter((specimen, str(part_of(specimen, number))) for specimen, number in scenes)
        fields = {
            "format": _FORMAT,
            "simulator": {"version": self.version, **asdict(self.dataset)},
            "label": f"{TOP_SCORE:g} / (1 + (b / {HALF_SCORE_RADIUS_PX:g})^2), b in pixels of 320 a frame",
            "unseen": [name for name in self.specimens if name in UNSEEN],
            "frames": len(scenes) * self.dataset.frames_per_scene,
            "counts": {
                specimen: {
                    part: counts[specimen, part] * self.dataset.frames_per_scene
                    for part in self.parts
                    if counts[specimen, part]
                }
                for specimen in self.specimens
            },
            "parts": {
                f"{specimen}/{specimen}-{number:04}": str(part_of(specimen, number))
                for specimen, number in scenes
            },
        }
        told: dict[str, Any] = json.loads(json.dumps(fields))
        return told


def write_dataset(plan: Plan, folder: Path, *, workers: int = 1) -> Generator[tuple[int, int]]:
    """Write what is missing, with `workers` processes; yields (scenes done, scenes in all) as it goes.

    Raises:
        FolderError: the folder holds something else or cannot be written to, or there is too little disk space.
    """
    scenes = plan.scenes()
    if not scenes:
        raise FolderError(
            f"none of the {plan.dataset.scenes_per_specimen} scenes of a specimen belong to"
            f" {', '.join(plan.parts)}",
            remedy="write more scenes, or another part",
        )
    try:
        _require_own(plan, folder)
        _require_room(plan, folder)
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / NOTE_NAME).exists():
            _put(folder / NOTE_NAME, _as_json({**plan.note(), "complete": False}))
        tasks = [(plan.dataset, folder, *scene) for scene in scenes]
        lines: list[str] = []
        for done, listed in enumerate(_mapped(tasks, workers), start=1):
            lines += listed
            yield done, len(scenes)
        _finish(plan, folder, lines)
    except OSError as error:
        raise FolderError(f"{folder} cannot be written: {error.strerror or error}") from error
    except BrokenProcessPool as error:
        raise FolderError(
            "a process that draws frames was killed",
            remedy="is there enough memory? The same command with fewer --workers continues",
        ) from error


def frame_files(frames: LabelledFrames) -> Iterator[tuple[str, bytes, bytes]]:
    """Name (without suffix), picture and text of each frame of a scene."""
    for index, pixels in enumerate(frames.pixels):
        text = encode_labelled(
            Labelled(
                magnification=round(float(frames.magnification[index])),
                wd_um=float(frames.wd_um[index]),
                score=focus_score(float(frames.blur_px[index])),
                brightness=float(frames.brightness[index]),
                contrast=float(frames.contrast[index]),
            ),
            others={
                "MODEL": "EM-30 (simulated)",
                "WIDTH": str(pixels.shape[1]),
                "HEIGHT": str(pixels.shape[0]),
            },
        )
        encoded = cv2.imencode(_PICTURE, pixels, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
        yield f"{frames.scene}-{index:02}", encoded.tobytes(), text


def _write_scene(dataset: Dataset1, folder: Path, specimen: str, number: int) -> list[str]:
    """Write a scene's frames if they are not all there; returns their lines of the listing. Raises `OSError`."""
    paths = _scene_paths(dataset, folder, specimen, number)
    if not all(path.exists() for path in paths):
        (folder / specimen).mkdir(exist_ok=True)
        for name, picture, text in frame_files(dataset.frames(specimen, number)):
            _put(folder / specimen / f"{name}{_PICTURE}", picture)
            _put(folder / specimen / f"{name}{TEXT_SUFFIX}", text)
    return [_line(path, folder) for path in paths]


def _mapped(tasks: list[tuple[Dataset1, Path, str, int]], workers: int) -> Iterator[list[str]]:
    """`_write_scene` of every task, in order, by `workers` processes (1: in this one)."""
    if workers == 1:
        for task in tasks:
            yield _write_scene(*task)
        return
    # Not forked: a forked copy of a process with threads may hang.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_prepare_worker)
    try:
        yield from pool.map(_write_scene, *zip(*tasks, strict=True))
    finally:
        pool.shutdown(cancel_futures=True)


def _prepare_worker() -> None:
    """Use one core per process, and leave Ctrl-C to the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)


def _require_own(plan: Plan, folder: Path) -> None:
    """Raises `FolderError` unless the folder does not exist, is empty, or holds this data set."""
    path = folder / NOTE_NAME
    if not path.exists():
        held = folder.iterdir() if folder.exists() else ()
        if any(entry.name != f"{NOTE_NAME}.part" for entry in held):
            raise FolderError(f"{folder} holds something else")
        return
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise FolderError(f"{path} is not the note of a data set") from error
    for key, value in plan.note().items():
        if not isinstance(held, dict) or held.get(key) != value:
            raise FolderError(
                f"{folder} holds another data set: its {_difference(held, key, value)}"
            )


def _difference(held: Any, key: str, wanted: Any) -> str:
    """Where two notes differ, in words short enough for a sentence."""
    found = held.get(key) if isinstance(held, dict) else None
    if isinstance(found, dict) and isinstance(wanted, dict):
        keys = [*wanted, *found]
        inner = next(name for name in keys if found.get(name) != wanted.get(name))
        key, found, wanted = f"{key}.{inner}", found.get(inner), wanted.get(inner)
    return f"{key} is {str(found)[:60]}, not {str(wanted)[:60]}"


def _require_room(plan: Plan, folder: Path) -> None:
    """Raises `FolderError` if what is missing would not fit on the disk."""
    dataset = plan.dataset
    missing = sum(
        not path.exists()
        for scene in plan.scenes()
        for path in _scene_paths(dataset, folder, *scene)
        if path.suffix == _PICTURE
    )
    picture = _BYTES_PER_PIXEL * dataset.width_px * dataset.height_px
    needed = missing * (picture + _BYTES_PER_TEXT)
    disk = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(disk).free
    if needed > free:
        raise FolderError(
            f"{missing} frames take about {needed / 1e9:.1f} GB, and {disk} has {free / 1e9:.1f} GB free",
            remedy="make room, write fewer --scenes, one --part, or --fast frames",
        )


def _finish(plan: Plan, folder: Path, lines: list[str]) -> None:
    """Write the listing, and the note with its digest."""
    listing = "".join(f"{line}\n" for line in sorted(lines, key=lambda line: line[66:])).encode()
    _put(folder / LISTING_NAME, listing)
    digest = hashlib.sha256(listing).hexdigest()
    _put(folder / NOTE_NAME, _as_json({**plan.note(), "complete": True, "listing_sha256": digest}))


def _scene_paths(dataset: Dataset1, folder: Path, specimen: str, number: int) -> list[Path]:
    return [
        folder / specimen / f"{specimen}-{number:04}-{index:02}{suffix}"
        for index in range(dataset.frames_per_scene)
        for suffix in (_PICTURE, TEXT_SUFFIX)
    ]


def _line(path: Path, folder: Path) -> str:
    """As `sha256sum` writes it: digest, two spaces, name."""
    return f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder).as_posix()}"


def _as_json(note: dict[str, Any]) -> bytes:
    return (json.dumps(note, indent=1) + "\n").encode()


def _put(path: Path, data: bytes) -> None:
    part = path.with_name(path.name + ".part")
    part.write_bytes(data)
    part.replace(path)
