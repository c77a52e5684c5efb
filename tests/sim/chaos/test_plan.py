import pytest
from hypothesis import given
from hypothesis import strategies as st

from afdaemon.sim.chaos.plan import (
    MEANINGS,
    MOST_PIECES,
    Act,
    Chaos,
    Cut,
    Freeze,
    Rule,
    Send,
    Trouble,
    Wait,
    Way,
    parse_rule,
)
from afdaemon.sim.errors import ChaosError

COMMAND, ANSWER = b"WDMAG,12.0,2000", b"OK 1"
messages = st.lists(st.binary(min_size=1, max_size=400), min_size=1, max_size=8)
rules = st.builds(
    Rule,
    trouble=st.sampled_from(Trouble),
    probability=st.floats(0.0, 1.0),
    way=st.sampled_from(Way),
    step=st.none() | st.integers(0, 6),
    from_step=st.integers(0, 3),
    times=st.none() | st.integers(1, 3),
)


def heard(rule: str, *answers: bytes, seed: int = 0) -> list[tuple[Act, ...]]:
    """What becomes of each answer, each to a command of its own."""
    talk = Chaos([parse_rule(rule)], seed=seed).talk()
    acts = []
    for answer in answers:
        assert talk.hear(COMMAND, Way.COMMANDS) == (Send(COMMAND),)
        acts.append(talk.hear(answer, Way.ANSWERS))
    return acts


@pytest.mark.parametrize(
    ("rule", "becomes"),
    [
        ("drop", ()),
        ("double", (Send(ANSWER), Send(ANSWER))),
        ("half", (Send(b"OK", ends=False), Cut())),
        ("half,amount=0", (Send(b"", ends=False), Cut())),
        ("half,amount=1", (Send(b"OK ", ends=False), Cut())),
        ("cut", (Cut(),)),
        ("delay,amount=2.5", (Wait(2.5), Send(ANSWER))),
        ("freeze", (Freeze(10.0), Send(ANSWER))),
        (
            "split,amount=0.1",
            tuple(
                act
                for at, byte in enumerate(ANSWER)
                for act in (Wait(0.1), Send(bytes([byte]), ends=at == 3))
            )[1:],
        ),
    ],
)
def test_each_trouble_does_what_it_says(rule: str, becomes: tuple[Act, ...]) -> None:
    assert heard(rule, ANSWER) == [becomes]


def test_answers_change_places_or_lag_behind() -> None:
    one, two, three = Send(b"1"), Send(b"2"), Send(b"3")
    assert heard("reorder", b"1", b"2", b"3") == [(), (two, one), ()]
    assert heard("shift", b"1", b"2", b"3") == [(), (one,), (two,)]
    assert heard("shift,step=1", b"1", b"2", b"3") == [(), (two, one), (three,)]


def test_a_throttled_message_takes_as_long_as_it_says() -> None:
    [acts] = heard("throttle,amount=1000", bytes(500))
    assert sum(act.seconds for act in acts if isinstance(act, Wait)) == pytest.approx(0.5, abs=0.05)
    assert b"".join(act.data for act in acts if isinstance(act, Send)) == bytes(500)


def test_a_garbled_message_has_so_many_other_bytes() -> None:
    [(act,)] = heard("garble,amount=3", bytes(range(100)))
    assert isinstance(act, Send)
    assert sum(a != b for a, b in zip(act.data, bytes(range(100)), strict=True)) == 3


def test_a_step_is_what_the_driver_says_and_what_answers_it() -> None:
    talk = Chaos([parse_rule("drop,step=2")]).talk()
    for step in (1, 2, 3):
        talk.hear(COMMAND, Way.COMMANDS)
        for _ in range(2):
            passes = (Send(ANSWER),)
            assert talk.hear(ANSWER, Way.ANSWERS) == (() if step == 2 else passes)


def test_times_count_over_all_conversations_and_steps_within_one() -> None:
    chaos = Chaos([parse_rule("cut,way=commands,step=1,times=2")])
    first = [chaos.talk().hear(COMMAND, Way.COMMANDS) for _ in range(3)]
    assert first == [(Cut(),), (Cut(),), (Send(COMMAND),)]
    assert chaos.counts[Trouble.CUT] == 2


def test_troubles_add_up() -> None:
    talk = Chaos([parse_rule("delay,amount=1"), parse_rule("double")]).talk()
    assert talk.hear(ANSWER, Way.ANSWERS) == (Wait(1.0), Send(ANSWER), Send(ANSWER))


@given(rules, messages)
def test_the_same_seed_does_the_same(rule: Rule, told: list[bytes]) -> None:
    def play() -> list[tuple[Act, ...]]:
        talk = Chaos([rule], seed=4).talk()
        return [talk.hear(each, way) for each in told for way in Way]

    assert play() == play()


@given(st.lists(rules, max_size=4), messages)
def test_without_trouble_nothing_is_changed_and_with_it_pieces_stay_few(
    several: list[Rule], told: list[bytes]
) -> None:
    assert [Chaos().talk().hear(each, Way.ANSWERS) for each in told] == [(Send(t),) for t in told]
    chaos = Chaos(several, seed=1)
    talk = chaos.talk()
    for each in told:
        for way in Way:
            acts = talk.hear(each, way)
            assert len(acts) <= 8 * (2 * MOST_PIECES + 2)
            assert all(
                act.data or rule_of_nothing(several) for act in acts if isinstance(act, Send)
            )
    chaos.clear()
    passed = [talk.hear(each, Way.ANSWERS) for each in told]
    assert all(Send(each) in acts for each, acts in zip(told, passed, strict=True))


def rule_of_nothing(several: list[Rule]) -> bool:
    """Whether half a message may be no byte."""
    return any(rule.trouble is Trouble.HALF for rule in several)


@given(rules)
def test_a_rule_is_read_back_from_its_text(rule: Rule) -> None:
    assert parse_rule(str(rule)) == rule


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("hlaf", "did you mean half?"),
        ("drop:2", "probability must be a number from 0 to 1"),
        ("drop,step=-1", "step must be a whole number from 0"),
        ("drop,at=1", "there is no setting at"),
        ("drop,amount=1", "drop has no amount"),
        ("half,amount=3", "share that comes"),
        ("drop,way=up", "way must be one of"),
        ("drop:", "probability"),
        ("", "there is no trouble"),
    ],
)
def test_a_wrong_rule_is_refused_in_words(text: str, why: str) -> None:
    with pytest.raises(ChaosError, match=why.replace("?", r"\?")):
        parse_rule(text)


def test_every_trouble_is_explained() -> None:
    assert set(MEANINGS) == set(Trouble)
