"""docs/reliability.md is what the results say."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reliability.md"


def test_the_page_is_that_of_the_results(tmp_path: Path) -> None:
    again = tmp_path / "reliability.md"
    command = [sys.executable, str(ROOT / "benchmarks/promises.py"), "--markdown", str(again)]
    subprocess.run(command, check=False, capture_output=True, timeout=60)
    assert again.read_text(encoding="utf-8") == PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("line", PAGE.read_text(encoding="utf-8").splitlines())
def test_what_it_names_is_there(line: str) -> None:
    for name in line.split("`")[1::2]:
        if name.startswith(("tests/", "benchmarks/")) and " " not in name:
            assert (ROOT / name).exists() or "not measured yet" in line, name
