import pytest
from hypothesis import given
from hypothesis import strategies as st

from afdaemon.drivers.reconnect import (
    Action,
    Begin,
    Delay,
    DelayOver,
    Delays,
    Event,
    LinkState,
    Lost,
    NotOpened,
    Open,
    Opened,
    Phase,
    TransitionError,
    Wanted,
    Watch,
    step,
)

DELAYS = Delays(first_s=0.5, cap_s=3.0, good_after_s=5.0)


def play(*events: Event) -> tuple[LinkState, Action | None]:
    state, action = LinkState(), None
    for event in events:
        state, action = step(state, event, DELAYS)
    return state, action


def test_it_opens_first_and_watches_then() -> None:
    assert play(Begin()) == (LinkState(phase=Phase.OPENING), Open())
    assert play(Begin(), Opened()) == (LinkState(phase=Phase.UP), Watch())


def test_delays_double_up_to_the_cap() -> None:
    events: list[Event] = [Begin()]
    seen = []
    for _ in range(5):
        events.append(NotOpened())
        seen.append(play(*events)[1])
        events.append(DelayOver())
    assert seen == [Delay(seconds=s) for s in (0.5, 1.0, 2.0, 3.0, 3.0)]


def test_a_good_link_that_breaks_is_tried_again_at_once_a_flapping_one_is_not() -> None:
    flap = (Opened(), Lost(up_s=0.1), DelayOver())
    assert play(Begin(), *flap, *flap, Opened(), Lost(up_s=0.1))[1] == Delay(seconds=2.0)
    assert play(Begin(), *flap, *flap, Opened(), Lost(up_s=60.0))[1] == Delay(seconds=0.5)


def test_while_somebody_waits_no_delay_is_longer_than_the_first() -> None:
    failed = (NotOpened(), DelayOver()) * 4
    assert play(Begin(), *failed, NotOpened())[1] == Delay(seconds=3.0)
    assert play(Begin(), *failed, NotOpened(is_wanted=True))[1] == Delay(seconds=0.5)
    flap = (Opened(), Lost(up_s=0.1), DelayOver()) * 4
    assert play(Begin(), *flap, Opened(), Lost(up_s=0.1, is_wanted=True))[1] == Delay(seconds=0.5)
    assert play(Begin(), *failed, NotOpened(), Wanted(left_s=2.9))[1] == Delay(seconds=0.5)


def test_waiting_again_and_again_does_not_put_an_attempt_off() -> None:
    waited = Wanted(left_s=0.2), Wanted(left_s=0.1)
    assert play(Begin(), NotOpened(), *waited)[1] == Delay(seconds=0.1)


def test_whoever_waited_changes_nothing_for_later() -> None:
    failed = (NotOpened(is_wanted=True), DelayOver()) * 4
    assert play(Begin(), *failed, NotOpened())[1] == Delay(seconds=3.0)


@pytest.mark.parametrize(
    "events",
    [
        (Opened(),),
        (Begin(), Begin()),
        (Begin(), Lost(up_s=1.0)),
        (Begin(), Opened(), NotOpened()),
        (Begin(), NotOpened(), Opened()),
        (Begin(), DelayOver()),
        (Begin(), Wanted(left_s=1.0)),
    ],
)
def test_an_event_out_of_turn_is_a_named_error(events: tuple[Event, ...]) -> None:
    with pytest.raises(TransitionError):
        play(*events)


@given(st.lists(st.tuples(st.booleans(), st.floats(0.0, 1e6)), max_size=60))
def test_however_it_goes_it_tries_again_within_the_cap(fates: list[tuple[bool, float]]) -> None:
    state, action = step(LinkState(), Begin(), DELAYS)
    for opens, up_s in fates:
        assert action == Open()
        state, action = step(state, Opened() if opens else NotOpened(), DELAYS)
        if opens:
            assert action == Watch()
            state, action = step(state, Lost(up_s=up_s), DELAYS)
        assert isinstance(action, Delay)
        assert DELAYS.first_s <= action.seconds <= DELAYS.cap_s
        state, action = step(state, DelayOver(), DELAYS)


@given(st.integers(1, 10_000))
def test_a_delay_is_finite_after_any_number_of_failures(failures: int) -> None:
    assert 0.0 < DELAYS.after(failures) <= DELAYS.cap_s
