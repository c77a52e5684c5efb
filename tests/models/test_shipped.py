"""The list of shipped weights is that of the files that lie there."""

import pytest

from afdaemon.models import shipped
from afdaemon.models.scorers.focus_scorer import DEFAULT_WEIGHTS


def test_the_list_names_every_weight_file_as_it_is() -> None:
    assert shipped.shipped() == shipped.found(), "after a training for a release: make train"
    assert DEFAULT_WEIGHTS.name in shipped.shipped()


def test_others_are_told_apart() -> None:
    assert all(map(shipped.are_shipped, shipped.shipped().values()))
    assert not shipped.are_shipped("0" * 64)


def test_a_new_list_says_what_is_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    target = tmp_path_factory.mktemp("list") / "shipped.json"
    monkeypatch.setattr(shipped, "LIST", target)
    assert shipped.main() == 0
    shipped.shipped.cache_clear()
    try:
        assert shipped.shipped() == shipped.found()
    finally:
        shipped.shipped.cache_clear()
