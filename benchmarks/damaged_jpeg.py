"""Damaged JPEGs: how many are found before they are scored, and does an undamaged one ever pass for damaged?

Pictures are frames of the simulator and, with --micrographs, real micrographs at two frame sizes, written as JPEG at
many qualities. Damage counts if more than 1 % of the pixels are off by more than 8 grey levels.

    python benchmarks/damaged_jpeg.py [--quick] [--seed N] [--micrographs DIR] [--json FILE] [--markdown FILE]
"""

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import simplejpeg
from focus_runs import Start, tasks
from numpy.typing import NDArray
from reporting import conclude, parse

from afdaemon.clock import ManualClock
from afdaemon.drivers.errors import FrameInvalid
from afdaemon.drivers.wire.image import decode_grey
from afdaemon.drivers.wire.jpeg import decode_jpeg
from afdaemon.drivers.wire.level_jump import jump_size
from afdaemon.evaluate.section import Bar, at_least, at_most
from afdaemon.sim.instrument.world import World

Grey = NDArray[np.uint8]

SIZES = ((320, 240), (640, 480))
QUALITIES = (60, 75, 85, 95)
MOST_OFF, LEAST_SHARE = 8, 0.01
PAGE = 4096
HEADER_END = b"\xff\xda"


def _flip(data: bytes, begin: int, rng: np.random.Generator, count: int) -> bytes:
    changed = bytearray(data)
    for at in rng.integers(begin, len(data) - 2, count):
        changed[at] ^= int(rng.integers(1, 256))
    return bytes(changed)


def _cut(data: bytes, begin: int, rng: np.random.Generator) -> bytes:
    return data[: rng.integers(begin, len(data) - 2)]


def _run(data: bytes, begin: int, rng: np.random.Generator, length: int) -> tuple[int, int]:
    """Where a run of `length` bytes, at most half of the coded picture, begins and ends."""
    length = min(length, (len(data) - begin) // 2)
    at = int(rng.integers(begin, len(data) - 2 - length))
    return at, at + length


def _replaced(fill: Callable[[np.random.Generator, int], bytes], length: int) -> "Damage":
    def damage(data: bytes, begin: int, rng: np.random.Generator) -> bytes:
        at, end = _run(data, begin, rng, length)
        return data[:at] + fill(rng, end - at) + data[end:]

    return damage


Damage = Callable[[bytes, int, np.random.Generator], bytes]

TRUNCATIONS: dict[str, Damage] = {
    "cut off": _cut,
    "cut off, end marker added": lambda d, b, r: _cut(d, b, r) + b"\xff\xd9",
    "cut off, zeros behind": lambda d, b, r: _cut(d, b, r).ljust(len(d), b"\0"),
    "tail is zeros, end marker": lambda d, b, r: _cut(d, b, r).ljust(len(d) - 2, b"\0") + b"\xff\xd9",
}  # fmt: skip
CHANGES: dict[str, Damage] = {
    "a page of zeros": _replaced(lambda _, n: bytes(n), PAGE),
    "512 zeros": _replaced(lambda _, n: bytes(n), 512),
    "a page of other bytes": _replaced(lambda rng, n: rng.bytes(n), PAGE),
    "512 bytes missing": _replaced(lambda _rng, _n: b"", 512),
    "64 bytes changed": lambda d, b, r: _flip(d, b, r, 64),
    "8 bytes changed": lambda d, b, r: _flip(d, b, r, 8),
    "1 byte changed": lambda d, b, r: _flip(d, b, r, 1),
}


@dataclass
class Seen:
    """What was counted."""

    damaged: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)
    undamaged: int = 0
    alarms: int = 0
    largest_jump: float = 0.0
    times_ms: list[float] = field(default_factory=list)


def simulated(count: int, seed: int) -> Iterator[Grey]:
    """Frames of `count` instruments, in and out of focus."""
    for number, task in enumerate(tasks(count, Start(reach_dof=20.0), [], seed=seed)):
        world = World(task.settings, clock=ManualClock())
        if number % 2:
            focus_um = world.truth().focus_wd_um
            world.command(focus_um, task.settings.magnification)
        yield asyncio.run(world.expose()).pixels


def real(folder: Path) -> Iterator[Grey]:
    """Each micrograph at each frame size, as if the instrument had taken it."""
    for path in sorted(p for p in folder.rglob("*") if p.suffix in {".png", ".jpg", ".tif"}):
        whole = decode_grey(path.read_bytes())
        grey = whole if whole.dtype == np.uint8 else (whole >> 8).astype(np.uint8)
        for width, height in SIZES:
            scale = max(width / grey.shape[1], height / grey.shape[0])
            size = (round(grey.shape[1] * scale), round(grey.shape[0] * scale))
            part = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)[:height, :width]
            yield np.ascontiguousarray(part, np.uint8)


def look_at(picture: Grey, seen: Seen, rng: np.random.Generator, repeats: int) -> None:
    """The picture at each quality: undamaged, with its blocks anywhere, and with each damage."""
    for quality in QUALITIES:
        restarts = int(rng.choice([0, 0, 0, 7, 40]))
        for _ in range(2 * repeats):
            down, right = rng.integers(0, 8, 2)
            _undamaged(_jpeg(picture[down:, right:], quality, restarts), seen)
        data = _jpeg(picture, quality, restarts)
        sound = _undamaged(data, seen)
        for name, damage in (TRUNCATIONS | CHANGES).items():
            for _ in range(repeats):
                _damaged(name, damage(data, data.index(HEADER_END) + 10, rng), sound, seen)


def _jpeg(picture: Grey, quality: int, restarts: int) -> bytes:
    options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_RST_INTERVAL, restarts]
    return bytes(cv2.imencode(".jpg", picture, options)[1].tobytes())


def _undamaged(data: bytes, seen: Seen) -> Grey:
    began_s = time.perf_counter()
    try:
        decode_jpeg(data)
    except FrameInvalid:
        seen.alarms += 1
    seen.times_ms.append(1e3 * (time.perf_counter() - began_s))
    seen.undamaged += 1
    pixels = _decoded_anyhow(data)
    seen.largest_jump = max(seen.largest_jump, jump_size(pixels, (8, 8)))
    return pixels


def _damaged(name: str, data: bytes, sound: Grey, seen: Seen) -> None:
    try:
        decode_jpeg(data)
        is_found = False
    except FrameInvalid:
        is_found = True
    if name not in TRUNCATIONS and not _matters(data, sound):
        return
    seen.damaged[name] += 1
    seen.found[name] += is_found


def _matters(data: bytes, sound: Grey) -> bool:
    """Whether a decoder that takes anything shows another picture; one that shows none has found the damage."""
    try:
        pixels = _decoded_anyhow(data)
    except ValueError:
        return False
    if pixels.shape != sound.shape:
        return False
    off = np.abs(pixels.astype(np.int16) - sound) > MOST_OFF
    return float(off.mean()) > LEAST_SHARE


def _decoded_anyhow(data: bytes) -> Grey:
    pixels: Grey = simplejpeg.decode_jpeg(data, colorspace="GRAY", strict=False)[..., 0]
    return pixels


def main() -> int:
    """Measure."""
    arguments = parse(__doc__ or "", quick="12 simulated frames, every third micrograph")
    rng = np.random.default_rng(arguments.seed)
    pictures = list(simulated(12 if arguments.quick else 96, arguments.seed))
    if arguments.micrographs:
        pictures += list(real(arguments.micrographs))[:: 3 if arguments.quick else 1]
    seen = Seen()
    for picture in pictures:
        look_at(picture, seen, rng, repeats=2 if arguments.quick else 8)
    rows = [
        {"damage": name, "n": count, "found": seen.found[name]}
        for name, count in seen.damaged.items()
    ]
    return conclude(
        arguments, "benchmarks/damaged_jpeg.py", _table(seen, len(pictures)), _bars(seen), rows
    )


def _share(seen: Seen, names: dict[str, Damage]) -> float:
    return sum(seen.found[n] for n in names) / max(1, sum(seen.damaged[n] for n in names))


def _bars(seen: Seen) -> list[Bar]:
    return [
        at_least("share of the truncated that is found", _share(seen, TRUNCATIONS), 0.999),
        at_least("share of the changed that is found", _share(seen, CHANGES), 0.95),
        at_most("undamaged taken for damaged", float(seen.alarms), 0.0),
        at_most("decoding and looking, median, ms", float(np.median(seen.times_ms)), 5.0),
    ]


def _table(seen: Seen, pictures: int) -> str:
    lines = [f"{'damage':<28}{'n':>8}{'found':>8}{'share':>9}"]
    for name, count in seen.damaged.items():
        share = seen.found[name] / count
        lines.append(f"{name:<28}{count:>8}{seen.found[name]:>8}{share:>9.4f}")
    lines += [
        f"{pictures} pictures; undamaged JPEGs: {seen.undamaged}, taken for damaged: {seen.alarms};",
        f"the largest jump that one of them shows: {seen.largest_jump:.1f} standard errors",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
