"""Image files as specimens: what serves and what is refused."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from afdaemon.sim.errors import SpecimenError
from afdaemon.sim.specimens.catalogue import open_specimen
from afdaemon.sim.specimens.micrograph import load_micrograph
from afdaemon.sim.surface import Patch


def picture(shape: tuple[int, ...] = (200, 300)) -> np.ndarray:
    rng = np.random.default_rng(4)
    return cv2.GaussianBlur(rng.integers(0, 255, shape, dtype=np.uint8), (7, 7), 2)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg"])
@pytest.mark.parametrize("kind", ["grey", "colour", "sixteen"])
def test_formats_depths_and_colour(tmp_path: Path, suffix: str, kind: str) -> None:
    if kind == "sixteen" and suffix == ".jpg":
        kind = "grey"
    image = picture((200, 300, 3) if kind == "colour" else (200, 300))
    if kind == "sixteen":
        image = image.astype(np.uint16) * 200
    path = tmp_path / f"specimen{suffix}"
    assert cv2.imwrite(str(path), image)
    values = load_micrograph(path).values
    assert values.shape == (200, 300)
    assert 0.0 <= values.min() < 0.35
    assert 0.65 < values.max() <= 1.0


def test_a_data_bar_is_cut_off(tmp_path: Path) -> None:
    image = picture((240, 320))
    image[216:] = 0
    cv2.putText(image, "20 kV  WD 12 mm", (10, 234), cv2.FONT_HERSHEY_SIMPLEX, 0.5, 255, 1)
    path = tmp_path / "bar.png"
    cv2.imwrite(str(path), image)
    assert load_micrograph(path).values.shape == (216, 320)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"just some text", "not a PNG"),
        (b"", "not a PNG"),
        (cv2.imencode(".tif", picture())[1].tobytes()[:20000], "cut off"),
        (cv2.imencode(".png", picture())[1].tobytes()[:-40], "cut off"),
        (cv2.imencode(".jpg", picture())[1].tobytes()[:-40], "cut off"),
        (cv2.imencode(".png", picture((20, 30)))[1].tobytes(), "at least 64 x 64"),
        (cv2.imencode(".png", np.full((90, 90), 7, np.uint8))[1].tobytes(), "no contrast"),
        (cv2.imencode(".tif", np.ones((90, 90), np.float32))[1].tobytes(), "no contrast"),
    ],
)
def test_what_cannot_serve_is_refused_in_words(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "specimen.png"
    path.write_bytes(content)
    with pytest.raises(SpecimenError, match=words):
        load_micrograph(path)


def test_a_missing_file_and_an_unknown_name() -> None:
    with pytest.raises(SpecimenError, match="No such file"):
        open_specimen("image:/nowhere/at/all.png", seed=0)
    with pytest.raises(SpecimenError, match="tin_bals"):
        open_specimen("tin_bals", seed=0)


def test_beyond_its_border_it_is_mirrored(tmp_path: Path) -> None:
    path = tmp_path / "specimen.png"
    cv2.imwrite(str(path), picture())
    micrograph = load_micrograph(path)
    step = micrograph.pixel_um
    width_um = 300 * step

    def column(x_um: float) -> np.ndarray:
        patch = Patch(left_um=x_um, top_um=-20 * step, step_um=step, width=1, height=40)
        return micrograph.draw(patch).secondary

    right_edge = width_um / 2
    inside, outside = column(right_edge - 11 * step), column(right_edge + 9 * step)
    assert np.allclose(inside, outside, atol=0.02)
