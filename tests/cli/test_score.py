"""`afdaemon score`: what it prints, writes, and says of files that it cannot score."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from afdaemon.cli.daemon import app
from afdaemon.cli.runner import run_app
from afdaemon.cli.score import command as score
from afdaemon.cli.score.files import Roi, Wanted, pictures
from afdaemon.cli.score.scorers import frame_scorer, row_scorer
from afdaemon.models.frames.shot import Shot

RNG = np.random.default_rng(1)
NOISE = RNG.normal(0.0, 60.0, (240, 320))


class Contrast:
    """Scores by the spread of the grey values, and remembers what it was shown."""

    name = "contrast"

    def __init__(self) -> None:
        self.shots: list[Shot] = []

    def scores(self, shots: Sequence[Shot]) -> NDArray[np.float64]:
        self.shots += shots
        return np.array([shot.pixels.std() / 10.0 for shot in shots])


@pytest.fixture
def scorer(monkeypatch: pytest.MonkeyPatch) -> Contrast:
    """In place of the network, so that what is tested is the command."""
    contrast = Contrast()
    monkeypatch.setattr(score, "_open_scorer", lambda network: frame_scorer(contrast))
    return contrast


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three pictures of rising contrast, and a text that calls itself one."""
    for name, gain in (("a.png", 0.2), ("b.png", 1.0), ("c.png", 0.5)):
        pixels = np.clip(128.0 + gain * NOISE, 0, 255).astype(np.uint8)
        cv2.imwrite(str(tmp_path / name), pixels)
    (tmp_path / "text.png").write_text("no picture")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*args: str) -> int:
    return run_app(app, program="afdaemon", args=["score", *args])


@pytest.mark.usefixtures("scorer", "folder")
def test_the_table_lists_as_given_or_by_score(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("c.png", "a.png", "b.png", "--magnification=1000") == 0
    given = capsys.readouterr().out
    assert given.index("c.png") < given.index("a.png") < given.index("b.png")
    assert "1000 (given)" in given
    assert run("c.png", "a.png", "b.png", "--magnification=1000", "--sort=score") == 0
    sorted_out = capsys.readouterr().out
    assert sorted_out.index("b.png") < sorted_out.index("c.png") < sorted_out.index("a.png")


@pytest.mark.usefixtures("scorer", "folder")
def test_unreadable_files_do_not_stop_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("absent.png", ".", "--magnification=1000", "--json") == 1
    told, said = capsys.readouterr()
    found = json.loads(told)
    assert [Path(row["file"]).name for row in found["images"]] == ["a.png", "b.png", "c.png"]
    assert len(found["errors"]) == len(said.splitlines()) == 2
    assert "absent.png" in said
    assert "text.png" in said


@pytest.mark.usefixtures("scorer", "folder")
def test_many_files_with_one_trouble_are_told_in_one_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for number in range(9):
        Path(f"note{number}.png").write_text("I am no picture")
    assert run(".", "absent.png", "--magnification=1000") == 1
    no_pictures, absent = capsys.readouterr().err.splitlines()
    assert "note0.png cannot be scored" in no_pictures
    assert "note1.png, note2.png, note3.png and 6 more" in no_pictures
    assert "absent.png" in absent


@pytest.mark.usefixtures("scorer", "folder")
def test_numbers_and_names_make_no_other_trouble(capsys: pytest.CaptureFixture[str]) -> None:
    Path("9").mkdir()
    for number in range(2000):
        Path(f"9/{number}.png").write_bytes(b"")
        text = f"[SemImageFile]\nMagnification={1 + number % 9},000\n"
        if number % 500 == 0:
            Path(f"{number}.png").write_bytes(Path("a.png").read_bytes())
            Path(f"{number}.txt").write_text(text)
    assert run("9", "0.png", "500.png", "1000.png") == 1
    empty, unclear = capsys.readouterr().err.splitlines()
    assert "9/0.png cannot be scored: it is empty; the same is true of 1.png" in empty
    assert "and 1996 more" in empty
    assert "'1,000'; with other numbers, the same is true of 500.png, 1000.png" in unclear


@pytest.mark.usefixtures("scorer", "folder")
def test_names_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    name = "series[red]#2 [1].png"
    Path("a.png").rename(name)
    assert run(name, "--magnification=1000") == 0
    assert name in capsys.readouterr().out


@pytest.mark.usefixtures("folder")
def test_json_has_every_column(scorer: Contrast, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("b.png", "--magnification=1000", "--roi=0,0,100,90", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    (row,) = found["images"]
    assert row["score"] == pytest.approx(scorer.shots[0].pixels.std() / 10.0, abs=1e-3)
    assert (row["width"], row["height"], row["reduction"], row["page"]) == (100, 90, 1, 1)
    assert (row["magnification"], row["magnification_from"]) == (1000.0, "given")
    assert (row["expected_error"], row["confidence"], row["doubt"]) == (None, None, "")
    assert found["model"] == {"network": "contrast"}
    assert found["errors"] == []


@pytest.mark.usefixtures("scorer", "folder")
def test_csv_printed_and_written_are_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("a.png", "b.png", "--magnification=1000", "--csv=-") == 0
    printed = capsys.readouterr().out
    rows = list(csv.DictReader(io.StringIO(printed)))
    assert [row["file"] for row in rows] == ["a.png", "b.png"]
    assert float(rows[1]["score"]) > float(rows[0]["score"])
    assert run("a.png", "b.png", "--magnification=1000", "--csv=out.csv") == 0
    assert Path("out.csv").read_text() == printed
    assert "b.png" in capsys.readouterr().out


@pytest.mark.usefixtures("scorer", "folder")
def test_a_contact_sheet_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    code = run("a.png", "b.png", "c.png", "--magnification=9", "--contact-sheet=sheet.png")
    assert code == 0
    assert "3 of 3" in capsys.readouterr().err
    sheet = cv2.imread("sheet.png", cv2.IMREAD_UNCHANGED)
    assert sheet is not None
    assert sheet.shape[1] > 400


@pytest.mark.usefixtures("folder")
def test_what_the_file_tells_reaches_the_scorer(scorer: Contrast) -> None:
    Path("a.txt").write_text("MAG=5000\nWD=12.5 mm\n")
    assert run("a.png") == 0
    assert (scorer.shots[0].magnification, scorer.shots[0].wd_um) == (5000.0, 12_500.0)


@pytest.mark.usefixtures("scorer", "folder")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["a.png", "--magnification=0"], "from 1"),
        (["a.png", "--roi=1,2,3"], "four whole numbers"),
        (["a.png", "--magnification=9", "--roi=0,0,10,10"], "too small"),
        (["a.png", "--magnification=9", "--contact-sheet=sheet.gif"], ".png"),
        (["a.png", "--magnification=9", "--csv=absent/out.csv"], "absent"),
        (["a.png", "--magnification=9", "--csv=."], "folder"),
        (["a.png", "--magnification=9", "--csv=-", "--json"], "--csv FILE"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    capsys: pytest.CaptureFixture[str], words: list[str], expected: str
) -> None:
    assert run(*words) in (1, 2)
    told, said = capsys.readouterr()
    assert told == ""
    assert len(said.splitlines()) == 1
    assert expected in said


@pytest.mark.usefixtures("folder")
def test_a_network_nobody_knows_is_named_with_those_that_there_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("a.png", "--magnification=1000", "--network=AENet.huge") == 2
    said = capsys.readouterr().err
    assert "AENet.huge" in said
    assert "AENet.compact" in said


def test_the_default_network_says_how_sure_it_is(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blank = np.full((240, 320), 90, np.uint8)
    cv2.imwrite(str(folder / "blank.png"), blank)
    assert run("b.png", "blank.png", "--magnification=1000", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    noise, nothing = found["images"]
    assert 0.0 <= noise["score"] <= 9.0
    assert noise["expected_error"] > 0.0
    assert nothing["doubt"] != ""
    assert nothing["confidence"] <= 0.2
    assert found["model"]["sha256"]


def test_a_region_as_large_as_the_picture_scores_like_it(folder: Path) -> None:
    scorer = row_scorer("AENet.compact")
    small = np.clip(128.0 + NOISE, 0, 255).astype(np.uint8)
    large = cv2.resize(small, (960, 720))
    cv2.imwrite(str(folder / "large.png"), large)
    rows = [
        scorer.row(next(pictures(folder / "large.png", Wanted(magnification=1e3, roi=roi))))
        for roi in (None, Roi(0, 0, 960, 720))
    ]
    assert rows[0].measures.score == pytest.approx(
        rows[1].measures.score, abs=0.15
    )  # a network in 16 bits
    assert rows[0].reduction == rows[1].reduction == 3
    assert (rows[1].width, rows[1].height) == (960, 720)
