"""A folder of labelled frames: labels as written, parts of whole scenes, and a sentence for whatever is wrong."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from afdaemon.models.errors import DatasetError
from afdaemon.models.optics import HALF_SCORE_RADIUS_PX
from afdaemon.models.training.batches import batch_of
from afdaemon.models.training.labelled_folder import (
    LARGEST_BLUR_PX,
    PARTS,
    FileFormat,
    Label,
    LabelledFolder,
    blur_of,
    open_folder,
    part_of,
    scene_of,
    survey,
)


def read_pixels(data: bytes) -> NDArray[np.uint8]:
    """A picture of these tests: width, height and grey as text."""
    try:
        width, height, grey = (int(word) for word in data.split())
    except ValueError as error:
        raise DatasetError("it is no picture") from error
    return np.full((height, width), grey, np.uint8)


def read_label(data: bytes) -> Label:
    try:
        return Label(score=float(data), magnification=1_000.0, wd_um=12_000.0)
    except ValueError as error:
        raise DatasetError(f"SCORE is a number from 0 to 9, not {data.decode()!r}") from error


READING = FileFormat(
    pixels=read_pixels, label=read_label, picture_suffixes=(".jpg", ".jpeg"), text_suffix=".txt"
)


def put(folder: Path, name: str, score: str = "4.5", picture: str = "320 240 9") -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_name(path.name + ".jpg").write_text(picture)
    path.with_name(path.name + ".txt").write_text(score)


def opened(folder: Path, scenes: int = 40, each: int = 2) -> LabelledFolder:
    for scene in range(scenes):
        for number in range(each):
            put(folder, f"tin/tin-{scene}-{number}", score=f"{scene % 10}")
    return open_folder(folder, READING)


def test_frames_come_in_order_with_their_labels(tmp_path: Path) -> None:
    put(tmp_path, "b/b-1", score="9")
    put(tmp_path, "a", score="1.8", picture="640 480 7")
    (tmp_path / "dataset.json").write_text("{}")
    (tmp_path / ".hidden.txt").write_text("not a label")
    folder = open_folder(tmp_path, READING)
    assert [frame.name for frame in folder] == ["a.jpg", "b/b-1.jpg"]
    assert [frame.scene for frame in folder] == ["a", "b/b"]
    assert [frame.score for frame in folder] == [1.8, 9.0]
    assert folder[0].shot.pixels.shape == (480, 640)
    assert (folder[0].shot.magnification, folder[0].shot.wd_um) == (1_000.0, 12_000.0)
    assert [frame.blur_px for frame in folder] == pytest.approx([2.0 * HALF_SCORE_RADIUS_PX, 0.0])
    assert folder.left_out == ()


def test_a_folder_is_what_training_takes(tmp_path: Path) -> None:
    put(tmp_path, "large-1", picture="640 480 200")
    put(tmp_path, "small-1", picture="320 240 100", score="9")
    folder = open_folder(tmp_path, READING)
    assert folder.pixels.shape == (2, 240, 320)
    assert [int(frame[0, 0]) for frame in folder.pixels] == [200, 100]
    assert folder.blur_px.tolist() == pytest.approx([HALF_SCORE_RADIUS_PX, 0.0])
    assert folder.brightness.tolist() == [0.5, 0.5]
    batch = batch_of([folder])
    assert batch.x.shape[0] == 2
    assert batch.target[0].item() == pytest.approx(0.0, abs=1e-6)


def test_frames_of_several_sizes_do_not_make_a_batch(tmp_path: Path) -> None:
    put(tmp_path, "a-1")
    put(tmp_path, "a-2", picture="300 240 0")
    with pytest.raises(DatasetError, match=r"a-2\.jpg is 300 x 240 pixels, a-1\.jpg 320 x 240"):
        _ = open_folder(tmp_path, READING).pixels


@given(blur_px=st.floats(0.0, LARGEST_BLUR_PX))
def test_the_blur_of_a_score_is_the_label_curve_read_backwards(blur_px: float) -> None:
    score = 9.0 / (1.0 + (blur_px / HALF_SCORE_RADIUS_PX) ** 2)
    assert blur_of(score) == pytest.approx(blur_px, rel=1e-6, abs=1e-5)


def test_scores_at_the_ends() -> None:
    assert blur_of(9.0) == 0.0
    assert blur_of(0.0) == blur_of(1e-9) == LARGEST_BLUR_PX


@pytest.mark.parametrize(
    ("name", "scene"),
    [
        ("tin/tin_balls-0007-03", "tin/tin_balls-0007"),
        ("wing-7-x", "wing-7-x"),
        ("12", "12"),
        ("-3", "-3"),
        ("a-b/7", "a-b/7"),
    ],
)
def test_a_scene_is_all_before_the_last_number(name: str, scene: str) -> None:
    assert scene_of(name) == scene


def test_parts_are_made_of_whole_scenes(tmp_path: Path) -> None:
    folder = opened(tmp_path)
    parts = [folder.part(name) for name in PARTS]
    assert sum(map(len, parts)) == len(folder)
    scenes = [set(part.scenes) for part in parts]
    assert sum(map(len, scenes)) == len(set().union(*scenes)) == 40
    inner = open_folder(tmp_path / "tin", READING)
    assert [pair.part for pair in inner.pairs] == [pair.part for pair in folder.pairs]


def test_shares_of_the_parts_are_70_15_15() -> None:
    parts = [part_of(f"scene-{number}") for number in range(4_000)]
    shares = [parts.count(name) / len(parts) for name in PARTS]
    assert shares == pytest.approx([0.70, 0.15, 0.15], abs=0.02)


def test_named_parts_overrule_names(tmp_path: Path) -> None:
    put(tmp_path, "wing/wing-1-1")
    folder = open_folder(tmp_path, READING, parts={"wing/wing-1": "test"})
    assert [frame.scene for frame in folder.part("test")] == ["wing/wing-1"]
    with pytest.raises(DatasetError, match="none of the 1 scenes here belongs to the part 'train'"):
        folder.part("train")
    with pytest.raises(DatasetError, match="no part is called 'exam'") as refused:
        folder.part("exam")
    assert "validate" in refused.value.remedy


def test_a_slice_is_a_folder(tmp_path: Path) -> None:
    folder = opened(tmp_path, scenes=6)
    assert [frame.name for frame in folder[3:5]] == [folder[3].name, folder[4].name]
    assert folder[3:5].pixels.shape == (2, 240, 320)
    assert folder[-1].name == folder[11].name


def no_text(folder: Path) -> None:
    (folder / "b-1.txt").unlink()


def no_picture(folder: Path) -> None:
    (folder / "b-1.jpg").unlink()


def two_pictures(folder: Path) -> None:
    (folder / "b-1.jpeg").write_text("320 240 9")


def no_score(folder: Path) -> None:
    (folder / "b-1.txt").write_text("12")


def a_folder_for_a_text(folder: Path) -> None:
    no_text(folder)
    (folder / "b-1.txt").mkdir()


def refuse_twelve(data: bytes) -> Label:
    if data == b"12":
        raise DatasetError("SCORE is a digit from 0 to 9, not '12'")
    return read_label(data)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (no_text, "b-1.jpg: there is no .txt of that name beside it"),
        (no_picture, "b-1.txt: there is no .jpg of that name beside it"),
        (two_pictures, "b-1.jpeg: several pictures or texts have that name"),
        (no_score, "b-1.txt: SCORE is a digit from 0 to 9, not '12'"),
        (a_folder_for_a_text, "b-1.txt: it cannot be read (Is a directory)"),
    ],
)
def test_what_is_wrong_is_told_and_lenience_leaves_it_out(
    tmp_path: Path, spoil: Callable[[Path], None], told: str
) -> None:
    for name in ("a-1", "b-1", "c-1"):
        put(tmp_path, name)
    spoil(tmp_path)
    strict = FileFormat(
        pixels=read_pixels,
        label=refuse_twelve,
        picture_suffixes=(".jpg", ".jpeg"),
        text_suffix=".txt",
    )
    with pytest.raises(DatasetError) as refused:
        open_folder(tmp_path, strict)
    assert str(refused.value) == f"{tmp_path}/{told}"
    folder = open_folder(tmp_path, strict, lenient=True)
    assert [frame.name for frame in folder] == ["a-1.jpg", "c-1.jpg"]
    assert [str(fault) for fault in folder.left_out] == [told]


def test_a_picture_that_cannot_be_read(tmp_path: Path) -> None:
    put(tmp_path, "a-1")
    put(tmp_path, "a-2", picture="spoilt")
    folder = open_folder(tmp_path, READING)
    with pytest.raises(DatasetError, match=r"a-2\.jpg: it is no picture"):
        folder[1]
    pairs, faults = survey(tmp_path, READING)
    assert [pair.name for pair in pairs] == ["a-1.jpg"]
    assert [str(fault) for fault in faults] == ["a-2.jpg: it is no picture"]
    assert len(open_folder(tmp_path, READING, lenient=True)) == 1
    (tmp_path / "a-1.jpg").unlink()
    with pytest.raises(DatasetError, match=r"a-1\.jpg: it cannot be read \(No such file"):
        folder[0]


def test_many_faults_are_counted(tmp_path: Path) -> None:
    for number in range(3):
        put(tmp_path, f"a-{number}", score="much")
    with pytest.raises(DatasetError, match=r"a-0\.txt: SCORE .* \(and 2 more\)"):
        open_folder(tmp_path, READING)


def test_nothing_to_open(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="holds no labelled frames"):
        open_folder(tmp_path, READING)
    with pytest.raises(DatasetError, match="there is no folder"):
        open_folder(tmp_path / "absent", READING)
