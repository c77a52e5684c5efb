"""The text beside a labelled frame: what is written comes back, and a score is never guessed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from afdaemon.drivers.errors import ProtocolError
from afdaemon.drivers.wire.aisem import decode_parameters
from afdaemon.drivers.wire.labelled_files import Labelled, decode_labelled, encode_labelled

control = st.none() | st.floats(-5.0, 5.0)


@given(
    score=st.floats(0.0, 9.0),
    magnification=st.integers(20, 150_000),
    wd_um=st.floats(1e3, 1e5),
    brightness=control,
    contrast=control,
)
def test_what_is_written_comes_back(
    score: float, magnification: int, wd_um: float, brightness: float | None, contrast: float | None
) -> None:
    sent = Labelled(
        magnification=magnification,
        wd_um=wd_um,
        score=score,
        brightness=brightness,
        contrast=contrast,
    )
    text = encode_labelled(sent, others={"MODEL": "EM-30"})
    got = decode_labelled(text)
    assert got.magnification == magnification
    assert got.wd_um == pytest.approx(wd_um, abs=5.1e-4)
    assert got.score == pytest.approx(score, abs=5.1e-5)
    for mine, theirs in ((brightness, got.brightness), (contrast, got.contrast)):
        assert theirs == (None if mine is None else pytest.approx(mine, abs=5.1e-5))
    assert decode_parameters(text).others["MODEL"] == "EM-30"


@pytest.mark.parametrize(("score", "digit"), [(0.0, 0), (0.49, 0), (2.5, 3), (8.5, 9), (9.0, 9)])
def test_other_readers_find_the_expert_s_digit(score: float, digit: int) -> None:
    text = encode_labelled(Labelled(magnification=500, wd_um=8e3, score=score))
    assert decode_parameters(text).score == digit


def text(*lines: str) -> bytes:
    return "\r\n".join(["MAG=500", "WD=8.5 mm", *lines]).encode()


@pytest.mark.parametrize(
    ("line", "score"), [("SCORE=7", 7.0), ("SCORE=focus 7", 7.0), ("FOCUS_SCORE=6.25", 6.25)]
)
def test_an_expert_s_text_is_read_by_key(line: str, score: float) -> None:
    got = decode_labelled(text(line, "BRIGHTNESS=50 %"))
    assert (got.score, got.wd_um, got.brightness, got.contrast) == (score, 8_500.0, None, None)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("NOTE=7", "neither SCORE nor FOCUS_SCORE, a score from 0 to 9"),
        ("SCORE=12", "SCORE is a digit from 0 to 9, or ends in one, not '12'"),
        ("SCORE=-1", "SCORE is a digit .* not '-1'"),
        ("SCORE=7.5", "SCORE is a digit .* not '7.5'"),
        ("SCORE=good", "SCORE is a digit .* not 'good'"),
        ("SCORE=", "SCORE is a digit .* not ''"),
        ("FOCUS_SCORE=9.01", "FOCUS_SCORE is a number from 0 to 9, not '9.01'"),
        ("FOCUS_SCORE=nan", "FOCUS_SCORE is a number from 0 to 9, not 'nan'"),
        ("FOCUS_SCORE=", "FOCUS_SCORE is a number from 0 to 9, not ''"),
    ],
)
def test_a_score_that_is_none_is_told_with_its_key_and_range(line: str, told: str) -> None:
    with pytest.raises(ProtocolError, match=told):
        decode_labelled(text(line))


@pytest.mark.parametrize("score", [-0.1, 9.1, float("nan")])
def test_no_such_score_is_written(score: float) -> None:
    with pytest.raises(ProtocolError, match="from 0 to 9"):
        encode_labelled(Labelled(magnification=500, wd_um=8e3, score=score))
