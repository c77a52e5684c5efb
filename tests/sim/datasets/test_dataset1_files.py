"""Dataset 1 on disk: the same files from a seed, whole ones only, and nothing of anybody else's touched."""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from afdaemon.drivers.wire.labelled_files import decode_labelled
from afdaemon.sim.datasets.dataset1 import Dataset1, Part
from afdaemon.sim.datasets.dataset1_files import Plan, frame_files, write_dataset
from afdaemon.sim.errors import FolderError
from afdaemon.sim.truth import focus_score

PLAN = Plan(
    dataset=Dataset1(scenes_per_specimen=3, frames_per_scene=2, width_px=64, height_px=48),
    version="1.2.3",
    specimens=("tin_balls", "woven_fabric"),
)


def write(folder: Path, plan: Plan = PLAN, workers: int = 1) -> list[tuple[int, int]]:
    return list(write_dataset(plan, folder, workers=workers))


def content(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("written") / "data"
    assert write(folder) == [(done, 6) for done in range(1, 7)]
    return folder


def test_a_frame_is_a_jpg_and_a_txt() -> None:
    frames = PLAN.dataset.frames("tin_balls", 1)
    files = list(frame_files(frames))
    assert [name for name, _, _ in files] == ["tin_balls-0001-00", "tin_balls-0001-01"]
    for index, (_, picture, text) in enumerate(files):
        pixels = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_UNCHANGED)
        assert pixels is not None
        assert pixels.shape == (48, 64)
        assert np.abs(pixels.astype(float) - frames.pixels[index]).mean() < 4.0
        label = decode_labelled(text)
        assert label.score == pytest.approx(focus_score(frames.blur_px[index]), abs=1e-4)
        assert label.magnification == pytest.approx(frames.magnification[index], abs=0.5)
        assert label.wd_um == pytest.approx(frames.wd_um[index], abs=1e-3)
        assert label.contrast == pytest.approx(frames.contrast[index], abs=1e-4)


def test_a_folder_a_specimen_and_a_note(written: Path) -> None:
    files = content(written)
    pictures = [name for name in files if name.endswith(".jpg")]
    assert len(pictures) == 12
    assert len(files) == 2 * 12 + 2
    assert "woven_fabric/woven_fabric-0002-01.txt" in files
    note = json.loads(files["dataset.json"])
    assert note["complete"] is True
    assert note["frames"] == 12
    assert note["simulator"]["version"] == "1.2.3"
    assert note["simulator"]["seed"] == 1
    assert note["unseen"] == ["woven_fabric"]
    assert note["counts"]["woven_fabric"] == {"test": 6}
    assert sum(note["counts"]["tin_balls"].values()) == 6
    assert set(note["parts"]) == {name.rpartition("-")[0] for name in pictures}
    listing = files["SHA256SUMS"]
    assert note["listing_sha256"] == hashlib.sha256(listing).hexdigest()
    lines = [line.split("  ") for line in listing.decode().splitlines()]
    listed = {name: digest for digest, name in lines}
    assert list(listed) == sorted(name for name in files if "/" in name)
    assert all(hashlib.sha256(files[name]).hexdigest() == listed[name] for name in listed)


def test_a_writing_that_was_cut_off_goes_on_and_ends_the_same(
    written: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "data"
    writing = write_dataset(PLAN, folder)
    assert next(writing) == (1, 6)
    writing.close()
    kept = folder / "tin_balls" / "tin_balls-0000-00.jpg"
    began_ns = kept.stat().st_mtime_ns
    (folder / "tin_balls" / "tin_balls-0001-00.jpg.part").write_bytes(b"half")
    assert json.loads((folder / "dataset.json").read_text())["complete"] is False
    write(folder)
    assert content(folder) == content(written)
    assert kept.stat().st_mtime_ns == began_ns


def test_processes_write_the_same_and_another_seed_does_not(written: Path, tmp_path: Path) -> None:
    write(tmp_path / "two", workers=2)
    assert content(tmp_path / "two") == content(written)
    other = replace(PLAN, dataset=replace(PLAN.dataset, seed=2), specimens=("tin_balls",))
    write(tmp_path / "other", other)
    name = "tin_balls/tin_balls-0000-00.jpg"
    assert content(tmp_path / "other")[name] != content(written)[name]


def test_a_part_alone(tmp_path: Path) -> None:
    write(tmp_path / "data", replace(PLAN, parts=(Part.TRAIN,)))
    note = json.loads((tmp_path / "data" / "dataset.json").read_text())
    assert set(note["parts"].values()) == {"train"}
    assert note["counts"]["woven_fabric"] == {}
    assert not (tmp_path / "data" / "woven_fabric").exists()


def test_folders_that_hold_something_else_are_refused_and_left_as_they_are(
    written: Path, tmp_path: Path
) -> None:
    (tmp_path / "thesis.txt").write_text("42")
    with pytest.raises(FolderError, match="holds something else"):
        write(tmp_path)
    assert content(tmp_path) == {"thesis.txt": b"42"}
    before = content(written)
    other = replace(PLAN, dataset=replace(PLAN.dataset, seed=2))
    with pytest.raises(FolderError, match=r"simulator\.seed is 1, not 2"):
        write(written, other)
    with pytest.raises(FolderError, match=r"simulator\.version is 1\.2\.3, not 1\.3"):
        write(written, replace(PLAN, version="1.3"))
    with pytest.raises(FolderError, match=r"another data set: its "):
        write(written, replace(PLAN, parts=(Part.TEST,)))
    assert content(written) == before


@pytest.mark.parametrize("note", ["no JSON", "[]", "{}"])
def test_a_note_that_is_none(tmp_path: Path, note: str) -> None:
    (tmp_path / "dataset.json").write_text(note)
    with pytest.raises(FolderError, match=r"not the note|another data set"):
        write(tmp_path)
    assert content(tmp_path) == {"dataset.json": note.encode()}


def test_too_little_room_is_told_before_the_first_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1))
    with pytest.raises(FolderError, match=r"12 frames take about 0\.0 GB"):
        write(tmp_path / "data")
    assert list(tmp_path.iterdir()) == []


def test_a_place_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FolderError, match="cannot be written"):
        write(tmp_path / "file")
    with pytest.raises(FolderError, match="none of the 1 scenes of a specimen belong to validate"):
        write(
            tmp_path / "none",
            replace(
                PLAN,
                dataset=replace(PLAN.dataset, scenes_per_specimen=1),
                parts=(Part.VALIDATE,),
            ),
        )
    assert not (tmp_path / "none").exists()
