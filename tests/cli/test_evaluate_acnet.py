"""`afdaemon evaluate acnet`: what it writes, prints and refuses."""

import json
from pathlib import Path

import pytest

from afdaemon.cli.daemon import app
from afdaemon.cli.runner import run_app
from afdaemon.evaluate.acnet import run as acnet
from afdaemon.evaluate.section import Section, at_least


def evaluate(*words: str | Path) -> int:
    return run_app(app, program="afdaemon", args=["evaluate", "acnet", *map(str, words)])


@pytest.mark.parametrize(("seen", "code"), [(8.5, 0), (8.3, 1)])
def test_a_page_and_the_bars(
    seen: float,
    code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def measure(_evaluation: acnet.Evaluation) -> Section:
        bars = [at_least("height", seen, 8.4)]
        return Section(key="offline", title="Offline", lines=["a table"], bars=bars)

    sections = {"policies": acnet.Evaluation.policies, "offline": measure}
    monkeypatch.setattr(acnet, "SECTIONS", sections)
    out = tmp_path / "results"
    assert evaluate("--quick", "--seed=4", "--out", out) == code
    assert {path.name for path in out.iterdir()} == {"acnet.md", "acnet.json"}
    numbers = json.loads((out / "acnet.json").read_text())
    assert numbers["command"] == "afdaemon evaluate acnet --quick --seed 4"
    assert set(numbers["sections"]["policies"]) == {"ours"}
    assert "without-score" in (out / "acnet.md").read_text()
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == f"bars met: {1 - code} of 1"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--weights=mine=file"], "mine=file"),
        (["--weights=published"], "NAME=FILE"),
        (["--weights=published=absent.safetensors"], "absent"),
        (["--micrographs=nowhere"], "no micrographs under nowhere"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate("--quick", *words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line
