"""The same instrument, or none."""

import pytest

from afdaemon.drivers.em30.identity import Identity
from afdaemon.drivers.errors import AnotherInstrument, NotConnected


def test_what_was_told_first_counts() -> None:
    identity = Identity()
    identity.require("serial number", "1")
    identity.require("serial number", "1")
    with pytest.raises(
        AnotherInstrument, match="its serial number is '2', that of the first was '1'"
    ):
        identity.require("serial number", "2")
    identity.require("serial number", "1")


def test_what_says_nothing_is_nobody_else() -> None:
    identity = Identity()
    identity.require("serial number", "")
    identity.require_text({"MODEL": "EM-30"})
    identity.require_text({})
    identity.require_text({"SERIAL": "7", "MODEL": "EM-30"})
    with pytest.raises(NotConnected, match="another instrument answers"):
        identity.require_text({"SERIAL": "8", "MODEL": "EM-30"})


def test_it_is_known_once_something_was_told() -> None:
    assert not Identity().is_known
    identity = Identity()
    identity.require("serial number", "1")
    assert identity.is_known


def test_a_frame_may_be_of_another_one_and_teaches_nothing() -> None:
    identity = Identity()
    assert not identity.is_other({"SERIAL": "7"})
    assert not identity.is_known
    identity.require_text({"SERIAL": "8"})
    assert identity.is_other({"SERIAL": "7"})
    assert not identity.is_other({"SERIAL": "8"})
    assert not identity.is_other({"MODEL": "EM-30"})
    assert not identity.is_other({})
