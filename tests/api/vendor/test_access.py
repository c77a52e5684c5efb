"""Who may come in: addresses, tokens, and what the door refuses to be opened with."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from afdaemon.api.vendor.access import AllowList, VendorPlace, check_place, read_token
from afdaemon.errors import ConfigError

SECRET = "correct-horse-battery"  # noqa: S105 - of a fake daemon


def test_addresses_and_networks_are_allowed_and_no_others() -> None:
    allow = AllowList("127.0.0.1, 192.168.7.0/24,fe80::/10")
    for inside in ("127.0.0.1", "192.168.7.20", "fe80::1"):
        assert inside in allow
    for outside in ("127.0.0.2", "192.168.8.1", "::1"):
        assert outside not in allow
    assert not allow.is_local
    assert AllowList("127.0.0.1, ::1").is_local


@pytest.mark.parametrize("text", ["", "localhost", "192.168.7.20/24", "1.2.3.4,,"])
def test_what_is_no_list_of_addresses_is_refused(text: str) -> None:
    with pytest.raises(
        ValueError, match=r"does not appear|has host bits|Only decimal|empty|Expected"
    ):
        AllowList(text)


def place(host: str, token: str, allow: str = "127.0.0.1") -> VendorPlace:
    return VendorPlace(host=host, port=0, idle_s=1.0, token=token, allow=AllowList(allow))


def test_without_a_token_it_opens_on_this_machine_alone_and_only_if_told() -> None:
    check_place(place("127.0.0.1", ""), insecure=True)
    check_place(place("192.168.7.1", SECRET, "192.168.7.20"), insecure=False)
    with pytest.raises(ConfigError, match="without a token") as caught:
        check_place(place("127.0.0.1", ""), insecure=False)
    assert "vendor.token_file" in caught.value.remedy
    for open_one in (place("0.0.0.0", ""), place("127.0.0.1", "", "10.0.0.0/8")):  # noqa: S104 - refused
        with pytest.raises(ConfigError, match="open to the network"):
            check_place(open_one, insecure=True)
    with pytest.raises(ConfigError, match="is not an address"):
        check_place(place("microscope.local", SECRET), insecure=False)


@given(st.text(max_size=40))
def test_only_the_token_is_known(text: str) -> None:
    assert place("127.0.0.1", SECRET).knows(text) is (text == SECRET)


def test_the_token_is_not_shown() -> None:
    assert SECRET not in repr(place("127.0.0.1", SECRET))


def secret_file(path: Path, content: str = f"{SECRET}\n", mode: int = 0o600) -> Path:
    path.write_text(content)
    path.chmod(mode)
    return path


def test_a_token_is_read_from_a_file_of_ours(tmp_path: Path) -> None:
    assert read_token(secret_file(tmp_path / "token")) == SECRET
    assert read_token(secret_file(tmp_path / "token", mode=0o400)) == SECRET


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601])
def test_a_token_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(ConfigError, match=rf"others can read .*{mode:04o}") as caught:
        read_token(secret_file(tmp_path / "token", mode=mode))
    assert "chmod 600" in caught.value.remedy


@pytest.mark.parametrize("content", ["", "short", "a" * 300, "two words in one line", "é" * 20])
def test_what_is_no_token_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(ConfigError, match="holds no token"):
        read_token(secret_file(tmp_path / "token", content))


def test_a_file_of_somebody_else_a_folder_and_none_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = secret_file(tmp_path / "token")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_token(tmp_path)
    with pytest.raises(ConfigError, match="No such file"):
        read_token(tmp_path / "none")
    os.mkfifo(tmp_path / "fifo", 0o600)
    theirs = os.stat_result((0o100600, 0, 0, 1, 4242, 0, 0, 0, 0, 0))
    monkeypatch.setattr(os, "fstat", lambda _descriptor: theirs)
    with pytest.raises(ConfigError, match="belongs to user 4242"):
        read_token(file)
