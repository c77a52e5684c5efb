import os
import pwd
from pathlib import Path

import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st
from zmq.utils import z85

from afdaemon.api.access import keys
from afdaemon.api.access.callers import Access, KeyHolders, Users, roles_of
from afdaemon.api.access.guard import DOMAIN, reply
from afdaemon.api.access.roles import Role
from afdaemon.errors import ConfigError

RAW = bytes(range(32))
PUBLIC = z85.encode(RAW).decode()
GOOD = [b"1.0", b"7", DOMAIN, b"127.0.0.1", b"", b"CURVE", RAW]


class Frame:
    """A frame of a message, with what libzmq says of its sender."""

    def __init__(self, **told: str) -> None:
        self._told = {name.replace("_", "-"): value for name, value in told.items()}

    def get(self, name: str) -> str:
        if name not in self._told:
            raise zmq.ZMQError(zmq.EINVAL)
        return self._told[name]


def test_a_known_key_is_let_in_under_its_own_name() -> None:
    assert reply(GOOD, {PUBLIC}.__contains__) == [b"1.0", b"7", b"200", b"", PUBLIC.encode(), b""]
    assert reply(GOOD, set().__contains__)[2:] == [b"400", b"", b"", b""]


def test_a_lookup_that_fails_lets_nobody_in(capsys: pytest.CaptureFixture[str]) -> None:
    def broken(_public: str) -> bool:
        raise RuntimeError("bug")

    assert reply(GOOD, broken)[1:3] == [b"7", b"500"]
    capsys.readouterr()


@given(st.lists(st.binary(max_size=40), max_size=9))
def test_nothing_but_a_well_formed_request_is_let_in(request: list[bytes]) -> None:
    assert reply(request, lambda _public: True)[2] == b"400"


@given(at=st.integers(0, 6).filter(lambda at: at not in (1, 3, 4)), other=st.binary(max_size=31))
def test_each_part_of_a_request_counts(at: int, other: bytes) -> None:
    request = [*GOOD[:at], other, *GOOD[at + 1 :]]
    assert request == GOOD or reply(request, lambda _public: True)[2] == b"400"


def role_of(users: Users, address: str) -> Role:
    return users.of(Frame(Peer_Address=address)).role  # type: ignore[arg-type]


def test_on_ipc_the_user_decides() -> None:
    users = Users(Access(group_role=Role.VIEWER, roles={54321: Role.OPERATOR, 0: Role.VIEWER}))
    assert role_of(users, f"localhost:{os.geteuid()}:5:6") is Role.ADMIN
    assert role_of(users, "localhost:0:5:6") is Role.ADMIN
    assert role_of(users, "localhost:54321:0:6") is Role.OPERATOR
    assert role_of(users, "localhost:54322:0:6") is Role.VIEWER


@pytest.mark.parametrize("address", ["", "localhost", "127.0.0.1", "localhost:0", "localhost::0:0"])
def test_who_is_not_told_by_the_kernel_may_do_nothing(address: str) -> None:
    users = Users(Access(group_role=Role.ADMIN))
    assert role_of(users, address) is Role.NOBODY
    assert users.of(Frame()).role is Role.NOBODY  # type: ignore[arg-type]


def test_users_are_named_or_numbered() -> None:
    name = pwd.getpwuid(0).pw_name
    assert roles_of({name: "viewer", "1234": "operator"}) == {0: Role.VIEWER, 1234: Role.OPERATOR}
    with pytest.raises(ConfigError, match="there is no user nobody-at-all"):
        roles_of({"nobody-at-all": "viewer"})


def test_a_message_without_a_key_is_nobody_s(tmp_path: Path) -> None:
    holders = KeyHolders(tmp_path)
    assert holders.of(Frame()).role is Role.NOBODY  # type: ignore[arg-type]
    assert holders.of(Frame(User_Id="x")).role is Role.NOBODY  # type: ignore[arg-type]


def test_files_are_read_again_when_they_change_and_only_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[Path] = []
    known = keys.known

    def counted(folder: Path) -> keys.Known:
        reads.append(folder)
        return known(folder)

    monkeypatch.setattr(keys, "known", counted)
    holders = KeyHolders(tmp_path)
    keys.hand_out(tmp_path, "anna", Role.OPERATOR, tmp_path / "anna.key")
    key = keys.key_in_use(tmp_path / "anna.key")
    assert key is not None
    for _ in range(3):
        assert holders.holder_of(key.public).name == "key anna"
    assert len(reads) == 1
    keys.revoke(tmp_path, "anna")
    assert holders.holder_of(key.public).role is Role.NOBODY
    assert len(reads) == 2
