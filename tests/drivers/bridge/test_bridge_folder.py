"""The bridge's drop folder, with the vendor's software still holding on to its files."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from afdaemon.drivers.bridge import em30_bridge as bridge


def a_picture() -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 40, 3), dtype=np.uint8)
    return cv2.imencode(".jpg", pixels)[1].tobytes()


PICTURE = a_picture()


def a_pair(folder: Path) -> None:
    (folder / bridge.IMAGE_NAME).write_bytes(PICTURE)
    (folder / bridge.TEXT_NAME).write_bytes(b"MAG=2000\r\nWD=12000.0 um\r\n")


class StillOpen:
    """`Path.unlink` of a file that another program has open: it fails `times` times."""

    def __init__(self, times: int) -> None:
        self.left = times
        self.unlink = Path.unlink

    def __call__(self, path: Path) -> None:
        self.left -= 1
        if self.left >= 0:
            raise PermissionError(13, "the file is used by another process")
        self.unlink(path)


def test_a_file_that_is_still_open_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_pair(tmp_path)
    monkeypatch.setattr(bridge, "IN_USE_PAUSE_S", 0.001)
    still_open = StillOpen(times=5)
    monkeypatch.setattr(Path, "unlink", lambda path: still_open(path))
    pair = bridge.DropFolder(tmp_path).take(b"")
    assert isinstance(pair, bridge.Pair)
    assert (pair.width_px, pair.height_px) == (40, 24)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_stays_open_is_trouble_and_no_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_pair(tmp_path)
    monkeypatch.setattr(bridge, "IN_USE_S", 0.01)
    monkeypatch.setattr(bridge, "IN_USE_PAUSE_S", 0.001)
    still_open = StillOpen(times=10**6)
    monkeypatch.setattr(Path, "unlink", lambda path: still_open(path))
    folder = bridge.DropFolder(tmp_path)
    for attempt in (folder.clear, lambda: folder.take(b"")):
        with pytest.raises(bridge.Trouble, match="used by another process"):
            attempt()


def test_a_file_that_cannot_be_read_yet_is_read_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_pair(tmp_path)
    folder = bridge.DropFolder(tmp_path)
    with monkeypatch.context() as patch:

        def locked(path: Path, cap: int) -> bytes:
            raise PermissionError(13, "sharing violation")

        patch.setattr(bridge, "_read", locked)
        looked = folder.take(b"")
        assert isinstance(looked, bridge.Partial)
        assert "sharing violation" in looked.why
        assert not looked.hopeless
    assert isinstance(folder.take(b""), bridge.Pair)


def test_a_folder_that_goes_away_is_no_crash(tmp_path: Path) -> None:
    folder = bridge.DropFolder(tmp_path / "gone")
    assert isinstance(folder.take(b""), bridge.Partial)
    with pytest.raises(bridge.Trouble):
        folder.clear()


def test_a_text_without_line_end_is_taken_when_it_stays_the_same(tmp_path: Path) -> None:
    a_pair(tmp_path)
    (tmp_path / bridge.TEXT_NAME).write_bytes(b"MAG=2000\r\nWD=12000.0 um")
    folder = bridge.DropFolder(tmp_path)
    looked = folder.take(b"")
    assert isinstance(looked, bridge.Partial)
    assert isinstance(folder.take(looked.text), bridge.Pair)


def test_what_is_no_plain_file_is_not_opened(tmp_path: Path) -> None:
    a_pair(tmp_path)
    (tmp_path / bridge.IMAGE_NAME).unlink()
    (tmp_path / bridge.IMAGE_NAME).mkdir()
    assert isinstance(bridge.DropFolder(tmp_path).take(b""), bridge.Partial)
