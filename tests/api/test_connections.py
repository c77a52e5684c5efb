from random import Random

from hypothesis import given
from hypothesis import strategies as st

from afdaemon.api.caps import EVICTED_S, TOPICS, Share
from afdaemon.api.connections import Connections, Entrances

CLIENTS = st.sampled_from("abcd")


@given(st.lists(st.tuples(st.integers(0, 9), st.one_of(CLIENTS, st.none())), max_size=100))
def test_the_open_ones_are_counted_whatever_comes_and_goes(
    events: list[tuple[int, str | None]],
) -> None:
    share = Share(each=2, all=5)
    connections = Connections(share)
    open_now: dict[int, str] = {}
    for descriptor, client in events:
        open_now.pop(descriptor, None)
        if client is None:
            connections.closed(descriptor)
        else:
            mine = sum(who == client for who in open_now.values())
            fits = mine < share.each and len(open_now) < share.all
            refused = connections.opened(descriptor, client, 0.0)
            assert (refused is None) == fits
            if fits:
                open_now[descriptor] = client
        assert len(connections) == len(open_now)


def test_one_client_at_its_cap_leaves_room_for_the_others() -> None:
    connections = Connections(Share(each=2, all=3))
    assert [connections.opened(n, "greedy", 0.0) is None for n in range(3)] == [True, True, False]
    assert connections.opened(7, "other", 0.0) is None
    assert "all clients together" in (connections.opened(8, "third", 0.0) or "")


def test_too_many_topics_put_a_client_out_for_a_while() -> None:
    connections = Connections(Share(each=4, all=8))
    connections.opened(1, "greedy", 0.0)
    connections.opened(2, "other", 0.0)
    for number in range(TOPICS):
        assert connections.subscribed(1, b"%d" % number, 0.0) is None
    assert connections.subscribed(1, b"0", 0.0) is None  # the same again takes nothing
    assert connections.subscribed(2, b"x", 0.0) is None
    assert connections.subscribed(1, b"x", 0.0) == "greedy"
    connections.closed(1)
    assert connections.opened(3, "greedy", EVICTED_S - 0.1) == "had too many subscriptions"
    assert connections.opened(3, "other", EVICTED_S - 0.1) is None
    assert connections.opened(4, "greedy", EVICTED_S) is None


def test_topics_that_are_given_up_do_not_count() -> None:
    connections = Connections(Share(each=4, all=8))
    connections.opened(1, "a", 0.0)
    for number in range(10 * TOPICS):
        assert connections.subscribed(1, b"%d" % number, 0.0) is None
        connections.unsubscribed(1, b"%d" % number)
        connections.unsubscribed(1, b"never had")


def test_what_is_said_of_a_connection_that_has_gone_does_not_matter() -> None:
    connections = Connections(Share(each=4, all=8))
    connections.closed(5)
    connections.unsubscribed(5, b"x")
    assert connections.subscribed(5, b"x", 0.0) is None


@given(st.lists(st.integers(1, 6), max_size=60), st.randoms(use_true_random=False))
def test_an_entrance_has_served_when_all_who_came_by_it_have_gone_and_a_later_one_is_used(
    numbers: list[int], order: Random
) -> None:
    entrances = Entrances()
    came: list[int] = []
    for latest in sorted(numbers):
        entrances.came(latest)
        came.append(latest)
        if order.random() < 0.5:
            gone = came.pop(order.randrange(len(came)))
            entrances.went(gone)
        for number in range(1, 7):
            assert entrances.has_served(number) == (number < latest and number not in came)
