"""A short look by each fuzzer; `python -m tests.fuzz` looks for longer."""

import time
from itertools import islice

import numpy as np
import pytest

from tests.fuzz.mutations import mutated
from tests.fuzz.targets import CORPUS, TARGETS

SHORT_S, LEAST, MOST = 0.15, 20, 2000


@pytest.mark.parametrize("name", TARGETS)
def test_whole_inputs_and_former_findings_are_taken(name: str) -> None:
    target = TARGETS[name]
    for data in target.seeds:
        target.take(data)
    for path in (CORPUS / name).glob("*"):
        target.take(path.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_inputs_are_refused_by_name(name: str) -> None:
    target = TARGETS[name]
    until_s = time.monotonic() + SHORT_S
    inputs = mutated(target.seeds, target.words, np.random.default_rng(7))
    for number, data in enumerate(islice(inputs, MOST)):
        if number >= LEAST and time.monotonic() > until_s:
            break
        target.take(data)


def test_every_folder_of_the_corpus_has_its_target() -> None:
    assert {path.name for path in CORPUS.iterdir() if path.is_dir()} <= set(TARGETS)
