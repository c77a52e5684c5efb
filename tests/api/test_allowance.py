from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from afdaemon.api.allowance import Allowance, Pace, Seldom
from afdaemon.api.caps import Rate, Share
from afdaemon.api.faults import RpcFault

CLIENTS = st.sampled_from("abc")


@given(st.lists(st.tuples(CLIENTS, st.integers(1, 5), st.booleans()), max_size=60))
def test_nobody_holds_more_than_a_share_and_all_is_given_back(
    wishes: list[tuple[str, int, bool]],
) -> None:
    share = Share(each=6, all=12)
    allowance = Allowance(share, "things")
    held: dict[str, int] = {}
    stacks: list[tuple[str, int, ExitStack]] = []
    for client, amount, gives_back in wishes:
        if gives_back and stacks:
            who, was, stack = stacks.pop(0)
            stack.close()
            held[who] -= was
        stack = ExitStack()
        fits = held.get(client, 0) + amount <= share.each
        fits = fits and sum(held.values()) + amount <= share.all
        if fits:
            stack.enter_context(allowance.held(client, amount))
            held[client] = held.get(client, 0) + amount
            stacks.append((client, amount, stack))
        else:
            with pytest.raises(RpcFault) as refused:
                stack.enter_context(allowance.held(client, amount))
            error = refused.value.error.data
            assert (error.kind, error.retryable, bool(error.remedy)) == ("overloaded", True, True)
    for _who, _was, stack in stacks:
        stack.close()
    with allowance.held("a", share.each), allowance.held("b", share.each):
        pass


def test_a_refusal_says_whose_fault_it_is() -> None:
    allowance = Allowance(Share(each=1, all=2), "requests")
    with allowance.held("a"):
        with pytest.raises(RpcFault, match="this client has 1 requests"), allowance.held("a"):
            pass
        with (
            allowance.held("b"),
            pytest.raises(RpcFault, match="all clients together"),
            allowance.held("c"),
        ):
            pass


@given(st.lists(st.floats(0.0, 0.1), min_size=1, max_size=200))
def test_whoever_waits_as_told_keeps_to_the_rate(pauses_s: list[float]) -> None:
    rate = Rate(per_s=100.0, burst=5)
    pace = Pace(rate)
    now_s, done_s = 0.0, []
    for pause_s in pauses_s:
        now_s += pause_s
        done_s.append(now_s + pace.delay_s("a", now_s))
    done_s.sort()
    for first in range(len(done_s)):
        for last in range(first, len(done_s)):
            most = 1 + rate.burst + (done_s[last] - done_s[first]) * rate.per_s
            assert last - first + 1 <= most + 1e-6


def test_a_pause_is_only_for_whoever_is_too_fast() -> None:
    pace = Pace(Rate(per_s=10.0, burst=2))
    assert [pace.delay_s("a", 0.0) for _ in range(5)] == pytest.approx([0.0, 0.0, 0.0, 0.1, 0.2])
    assert pace.delay_s("b", 0.0) == 0.0
    assert pace.delay_s("a", 10.0) == 0.0


def test_an_amount_counts_as_so_many() -> None:
    pace = Pace(Rate(per_s=10.0, burst=2))
    assert pace.delay_s("a", 0.0, 100.0) == 0.0
    assert pace.delay_s("a", 0.0) == pytest.approx(9.8)


def test_keys_that_have_been_quiet_are_forgotten_and_the_busy_are_not() -> None:
    pace = Pace(Rate(per_s=1.0, burst=1))
    for _ in range(600):
        pace.delay_s("busy", 0.0)
    for number in range(1000):
        pace.delay_s(str(number), 500.0 + 10.0 * (number > 500))
    assert pace.delay_s("busy", 510.0) == pytest.approx(89.0)


@given(st.lists(st.tuples(CLIENTS, st.floats(0.0, 5.0)), max_size=60))
def test_what_is_let_through_seldom_comes_once_an_interval_for_each(
    calls: list[tuple[str, float]],
) -> None:
    seldom = Seldom(10.0)
    through: dict[str, float] = {}
    now_s = 0.0
    for client, pause_s in calls:
        now_s += pause_s
        expected = now_s - through.get(client, -10.0) >= 10.0
        assert seldom.is_due(client, now_s) is expected
        if expected:
            through[client] = now_s
