"""Which parts are stuck: decided from turns and times alone."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from afdaemon.pulse import Part, Work
from afdaemon.service.watch import MOST_TURN_S, Seen, Stuck, look, stuck

DEADLINE_S = 10.0


@pytest.fixture
def part() -> Part:
    return Part("reader", DEADLINE_S)


@pytest.fixture
def work(part: Part) -> Iterator[Work]:
    with part.busy() as under_way:
        yield under_way


def test_an_idle_part_is_never_stuck(part: Part) -> None:
    seen: Seen = {}
    for _ in range(1000):
        seen = look(seen, [part], 1.0)
        assert stuck(seen, [part]) == []


def test_work_without_progress_is_stuck_at_its_deadline_and_not_before(
    part: Part, work: Work
) -> None:
    seen = look({}, [part], 1.0)
    for _ in range(9):
        seen = look(seen, [part], 1.0)
        assert stuck(seen, [part]) == []
    found = stuck(look(seen, [part], 1.0), [part])
    assert found == [Stuck(part="reader", thread=work.thread, still_s=DEADLINE_S)]
    assert str(found[0]) == "the reader has made no progress for 10 s"


def test_progress_begins_the_time_anew(part: Part, work: Work) -> None:
    seen: Seen = {}
    for _ in range(5):
        for _ in range(9):
            seen = look(seen, [part], 1.0)
        work.beat()
        assert stuck(seen, [part]) == []


def test_an_old_thread_that_is_stuck_is_not_hidden_by_its_successor(part: Part, work: Work) -> None:
    seen = look({}, [part], 1.0)
    with part.busy() as successor:
        for _ in range(11):
            successor.beat()
            seen = look(seen, [part], 1.0)
        assert [one.thread for one in stuck(seen, [part])] == [work.thread]


def test_what_ends_is_forgotten(part: Part) -> None:
    with part.busy():
        seen = look({}, [part], 1.0)
    assert look(seen, [part], 1.0) == {}


def test_a_process_that_was_stopped_is_not_stuck(part: Part, work: Work) -> None:
    seen = look(look({}, [part], 1.0), [part], 3600.0)
    assert stuck(seen, [part]) == []
    work.beat()
    assert stuck(look(seen, [part], 3600.0), [part]) == []


@given(
    turns=st.lists(
        st.tuples(st.floats(0.0, 100.0), st.booleans(), st.integers(0, 2)), min_size=1, max_size=60
    ),
    deadlines=st.tuples(*[st.floats(0.5, 30.0)] * 3),
)
def test_stuck_is_exactly_what_stood_still_for_its_deadline(
    turns: list[tuple[float, bool, int]], deadlines: tuple[float, float, float]
) -> None:
    """A model that adds up each part's time without a beat agrees, whatever beats when."""
    parts = [Part(f"part {k}", deadline_s) for k, deadline_s in enumerate(deadlines)]
    still_s = [0.0] * len(parts)
    with ExitStack() as stack:
        works = [stack.enter_context(part.busy()) for part in parts]
        seen: Seen = look({}, parts, 0.0)
        for elapsed_s, beats, which in turns:
            still_s = [each + min(elapsed_s, MOST_TURN_S) for each in still_s]
            if beats:
                works[which].beat()
                still_s[which] = 0.0
            seen = look(seen, parts, elapsed_s)
            late = [f"part {k}" for k, s in enumerate(still_s) if s >= deadlines[k]]
            assert [one.part for one in stuck(seen, parts)] == late
