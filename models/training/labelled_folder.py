"""Labelled frames of a folder: a written data set, or a user's own pictures with the scores that experts gave.

A picture and the text of the same name beside it make a frame (`SCENE-NUMBER.jpg`, `SCENE-NUMBER.txt`), in any depth
of folders. How their bytes are read is passed in. Labels are scores; what networks learn is the blur that the label
curve 9 / (1 + (b / b0)^2) has at that score.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from afdaemon.models.errors import DatasetError
from afdaemon.models.frames.preprocess import reduction_factor, resampled, to_unit
from afdaemon.models.frames.shot import Shot
from afdaemon.models.optics import blur_of_score

LARGEST_BLUR_PX = 80.0
"""What a score of 0 stands for: further out all frames look alike."""
PARTS = ("train", "validate", "test")
_ENDS = (0.70, 0.85, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """How a frame was taken, and its score 0..9. Units as in `Shot`."""

    score: float
    magnification: float
    wd_um: float
    brightness: float = 0.5
    contrast: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFormat:
    """How the files are read: from a picture's bytes its grey values, uint8 (H, W), from a text's bytes its label.

    Both raise `DatasetError` with a message that need not name the file.
    """

    pixels: Callable[[bytes], NDArray[np.uint8]]
    label: Callable[[bytes], Label]
    picture_suffixes: tuple[str, ...]
    text_suffix: str


@dataclass(frozen=True, slots=True)
class FolderFault:
    """What is wrong with a file; `file` is its path inside the folder."""

    file: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}: {self.message}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A frame on disk. `name` is the picture's path inside the folder; `scene` that name up to the last -number."""

    name: str
    scene: str
    part: str
    label: Label
    picture: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledFrame:
    """A frame with its label: a score 0..9 and the blur radius in pixels of a frame `SAMPLING_WIDTH_PX` wide."""

    name: str
    scene: str
    shot: Shot
    score: float
    blur_px: float


class LabelledFolder(Sequence[LabelledFrame]):
    """The frames of a folder, each read from disk when it is asked for; slices and parts are of the same kind.

    The arrays `pixels`, `magnification`, `brightness`, `contrast`, `wd_um` and `blur_px` hold all of them, at the
    sampling that networks judge: it is an `afdaemon.models.training.batches.Frames`. Read a large folder in slices.
    `left_out` says what was wrong with files that a lenient opening skipped.
    """

    def __init__(
        self, pairs: Sequence[Pair], reading: FileFormat, left_out: Sequence[FolderFault] = ()
    ) -> None:
        self.pairs, self.left_out = tuple(pairs), tuple(left_out)
        self._reading = reading

    def __len__(self) -> int:
        return len(self.pairs)

    @overload
    def __getitem__(self, at: int) -> LabelledFrame: ...

    @overload
    def __getitem__(self, at: slice) -> "LabelledFolder": ...

    def __getitem__(self, at: int | slice) -> "LabelledFrame | LabelledFolder":
        """A frame, or the folder of some. Raises `DatasetError` for a picture that cannot be read."""
        if isinstance(at, slice):
            return LabelledFolder(self.pairs[at], self._reading)
        return self._frame(self.pairs[at])

    def part(self, part: str) -> "LabelledFolder":
        """The frames of `train`, `validate` or `test`.

        Raises:
            DatasetError: no such part, or no scene belongs to it.
        """
        if part not in PARTS:
            raise DatasetError(f"no part is called {part!r}", remedy=f"use {', '.join(PARTS)}")
        chosen = [pair for pair in self.pairs if pair.part == part]
        if not chosen:
            raise DatasetError(
                f"none of the {len(self.scenes)} scenes here belongs to the part {part!r}",
                remedy="name frames SCENE-NUMBER.jpg with some twenty scenes or more: parts are made of whole scenes",
            )
        return LabelledFolder(chosen, self._reading)

    @property
    def scenes(self) -> tuple[str, ...]:
        """Names of the scenes, in order."""
        return tuple(dict.fromkeys(pair.scene for pair in self.pairs))

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """Grey values (n, H, W), reduced to the sampling that networks judge.

        Raises:
            DatasetError: a picture cannot be read, or they differ in size.
        """
        frames = [reduced(self._pixels(pair)) for pair in self.pairs]
        for pair, frame in zip(self.pairs, frames, strict=True):
            if frame.shape != frames[0].shape:
                raise DatasetError(
                    f"{pair.name} is {_size(frame)} pixels, {self.pairs[0].name} {_size(frames[0])} after reduction",
                    remedy="put frames of one size into a folder",
                )
        return np.stack(frames)

    @property
    def magnification(self) -> NDArray[np.float32]:
        """Of each frame."""
        return self._column(lambda label: label.magnification)

    @property
    def brightness(self) -> NDArray[np.float32]:
        """Of the detector, for each frame."""
        return self._column(lambda label: label.brightness)

    @property
    def contrast(self) -> NDArray[np.float32]:
        """Of the detector, for each frame."""
        return self._column(lambda label: label.contrast)

    @property
    def wd_um(self) -> NDArray[np.float32]:
        """Working distance of each frame in um."""
        return self._column(lambda label: label.wd_um)

    @property
    def blur_px(self) -> NDArray[np.float32]:
        """Blur radius in pixels of a frame `SAMPLING_WIDTH_PX` wide."""
        return self._column(lambda label: blur_of(label.score))

    def _column(self, value: Callable[[Label], float]) -> NDArray[np.float32]:
        return np.array([value(pair.label) for pair in self.pairs], np.float32)

    def _frame(self, pair: Pair) -> LabelledFrame:
        label = pair.label
        shot = Shot(
            pixels=self._pixels(pair),
            magnification=label.magnification,
            brightness=label.brightness,
            contrast=label.contrast,
            wd_um=label.wd_um,
        )
        return LabelledFrame(
            name=pair.name,
            scene=pair.scene,
            shot=shot,
            score=label.score,
            blur_px=blur_of(label.score),
        )

    def _pixels(self, pair: Pair) -> NDArray[np.uint8]:
        try:
            return _read_picture(pair, self._reading)
        except DatasetError as error:
            raise DatasetError(f"{pair.picture}: {error}") from error


def open_folder(
    folder: Path,
    reading: FileFormat,
    *,
    parts: Mapping[str, str] | None = None,
    lenient: bool = False,
) -> LabelledFolder:
    """The labelled frames under `folder`. Texts are read at once, pictures when they are asked for.

    `parts` names the part of scenes; that of all others follows from their names. A lenient opening also reads all
    pictures, and leaves out what is wrong.

    Raises:
        DatasetError: no such folder, no labelled frame in it, or (unless lenient) something wrong with a file.
    """
    pairs, faults = survey(folder, reading, parts=parts, pictures=lenient)
    if faults and not lenient:
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise DatasetError(f"{folder / faults[0].file}: {faults[0].message}{more}")
    if not pairs:
        raise DatasetError(f"{folder} holds no labelled frames")
    return LabelledFolder(pairs, reading, faults)


def survey(
    folder: Path,
    reading: FileFormat,
    *,
    parts: Mapping[str, str] | None = None,
    pictures: bool = True,
) -> tuple[list[Pair], list[FolderFault]]:
    """All sound pairs under `folder`, by name, and what is wrong with the others; `pictures` also reads the pictures.

    Raises:
        DatasetError: no such folder.
    """
    if not folder.is_dir():
        raise DatasetError(f"there is no folder {folder}")
    pairs: list[Pair] = []
    faults: list[FolderFault] = []
    for stem, files in _by_stem(folder, reading).items():
        pair = _paired(folder, stem, files, reading, parts or {})
        if isinstance(pair, Pair) and pictures:
            try:
                _read_picture(pair, reading)
            except DatasetError as error:
                pair = FolderFault(pair.name, str(error))
        if isinstance(pair, Pair):
            pairs.append(pair)
        else:
            faults.append(pair)
    return pairs, faults


def _read_picture(pair: Pair, reading: FileFormat) -> NDArray[np.uint8]:
    """Grey values of a frame, uint8 (H, W), as they are on disk. Raises `DatasetError`."""
    try:
        return reading.pixels(pair.picture.read_bytes())
    except OSError as error:
        raise DatasetError(f"it cannot be read ({error.strerror})") from error


def scene_of(name: str) -> str:
    """The scene of a frame: its name up to the last -number (`wing-7-03` is of `wing-7`); without one, all of it."""
    scene, dash, number = name.rpartition("-")
    return scene if dash and scene and number.isdecimal() else name


def part_of(scene: str) -> str:
    """Part of a scene, decided by its name alone, without its folders: 70, 15 and 15 % of them."""
    digest = hashlib.sha256(scene.rpartition("/")[2].encode()).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64
    return next(part for part, end in zip(PARTS, _ENDS, strict=True) if place < end)


def blur_of(score: float) -> float:
    """Blur radius in pixels at which the label curve has this score (0..9), at most `LARGEST_BLUR_PX`."""
    if score <= 0.0:
        return LARGEST_BLUR_PX
    return min(blur_of_score(score), LARGEST_BLUR_PX)


def reduced(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A frame (H, W) at the sampling that networks judge: its blocks' means."""
    factor = reduction_factor(pixels.shape[1])
    if factor == 1.0:
        return pixels
    small = resampled(to_unit(pixels), factor)
    return np.asarray(np.clip(np.rint(255.0 * small), 0.0, 255.0), np.uint8)


def _by_stem(folder: Path, reading: FileFormat) -> dict[str, list[Path]]:
    """Pictures and texts by their path inside the folder without suffix, sorted; hidden files are skipped."""
    known = (*reading.picture_suffixes, reading.text_suffix)
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in known and not path.name.startswith("."):
            found.setdefault(path.relative_to(folder).with_suffix("").as_posix(), []).append(path)
    return found


def _paired(
    folder: Path, stem: str, files: list[Path], reading: FileFormat, parts: Mapping[str, str]
) -> Pair | FolderFault:
    """The frame that a picture and a text make, or why they do not."""
    texts = [path for path in files if path.suffix.lower() == reading.text_suffix]
    pictures = [path for path in files if path not in texts]
    name = files[0].relative_to(folder).as_posix()
    if not texts:
        return FolderFault(name, f"there is no {reading.text_suffix} of that name beside it")
    if not pictures:
        return FolderFault(
            name, f"there is no {reading.picture_suffixes[0]} of that name beside it"
        )
    if len(files) > 2:
        return FolderFault(name, "several pictures or texts have that name")
    try:
        label = reading.label(texts[0].read_bytes())
    except OSError as error:
        return FolderFault(
            texts[0].relative_to(folder).as_posix(), f"it cannot be read ({error.strerror})"
        )
    except DatasetError as error:
        return FolderFault(texts[0].relative_to(folder).as_posix(), str(error))
    scene = scene_of(stem)
    part = parts.get(scene, part_of(scene))
    return Pair(
        name=pictures[0].relative_to(folder).as_posix(),
        scene=scene,
        part=part,
        label=label,
        picture=pictures[0],
    )


def _size(pixels: NDArray[np.uint8]) -> str:
    return f"{pixels.shape[1]} x {pixels.shape[0]}"
