import json
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from afdaemon.api.access import keys
from afdaemon.api.access.roles import Role
from afdaemon.errors import ConfigError, UsageError


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "keys"


@pytest.fixture
def anna(place: Path, tmp_path: Path) -> Path:
    file = tmp_path / "anna.key"
    keys.hand_out(place, "anna", Role.VIEWER, file)
    return file


def key_in(file: Path) -> keys.ClientKey:
    key = keys.key_in_use(file)
    assert key is not None
    return key


def test_a_client_gets_the_secret_and_the_daemon_the_rest(place: Path, anna: Path) -> None:
    key = key_in(anna)
    assert keys.known(place).grants == {"anna": keys.Grant(role=Role.VIEWER, public=key.public)}
    assert key.server == keys.server_key(place).public
    everything = b"".join(path.read_bytes() for path in place.rglob("*") if path.is_file())
    assert key.secret.encode() not in everything


def test_everything_is_made_for_its_owner_alone(place: Path, anna: Path) -> None:
    for path in (anna, *place.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o610])
def test_a_secret_that_others_may_read_is_refused(place: Path, anna: Path, mode: int) -> None:
    for path, read in (
        (anna, lambda: keys.key_in_use(anna)),
        (place / "server.key", lambda: keys.server_key(place)),
    ):
        path.chmod(mode)
        with pytest.raises(ConfigError, match=rf"open to others \(mode {mode:04o}\)") as refused:
            read()
        assert f"chmod 600 {path}" in refused.value.remedy


def test_a_folder_in_which_others_may_write_is_refused(place: Path, anna: Path) -> None:
    place.chmod(0o770)
    with pytest.raises(ConfigError, match="others may write in") as refused:
        keys.server_key(place)
    assert f"chmod 700 {place}" in refused.value.remedy


def test_the_daemon_s_own_key_stays_the_same(place: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: keys.server_key(place), range(8)))
    assert len(set(made)) == 1
    assert [path.name for path in place.iterdir()] == ["server.key"]


def test_a_name_is_given_once(place: Path, anna: Path, tmp_path: Path) -> None:
    before = keys.known(place)
    with pytest.raises(UsageError, match="there is a key anna already"):
        keys.hand_out(place, "anna", Role.ADMIN, tmp_path / "other.key")
    assert keys.known(place) == before
    assert not (tmp_path / "other.key").exists()


def test_no_client_is_known_whose_key_could_not_be_written(place: Path, anna: Path) -> None:
    for file in (anna, anna / "below", anna.parent):
        with pytest.raises(UsageError, match="cannot be written"):
            keys.hand_out(place, "bob", Role.ADMIN, file)
    assert list(keys.known(place).grants) == ["anna"]


@pytest.mark.parametrize("name", ["", "../anna", ".anna", "a b", "a" * 65, "-a", "anna\n"])
def test_a_name_is_no_path(place: Path, anna: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot be the name of a key"):
        keys.hand_out(place, name, Role.VIEWER, tmp_path / "x.key")
    with pytest.raises(UsageError, match="cannot be the name of a key"):
        keys.revoke(place, name)


def test_who_is_revoked_is_known_no_more(place: Path, anna: Path) -> None:
    before = keys.signature(place)
    keys.revoke(place, "anna")
    assert keys.known(place).grants == {}
    assert keys.signature(place) != before
    with pytest.raises(UsageError, match="there is no key anna") as unknown:
        keys.revoke(place, "anna")
    assert "afctl keys list" in unknown.value.remedy


def test_a_role_that_is_changed_in_the_file_is_noticed(place: Path, anna: Path) -> None:
    before = keys.signature(place)
    file = place / "clients" / "anna.json"
    document = {**json.loads(file.read_text()), "role": "operator"}
    file.write_text(json.dumps(document))
    os.utime(file, ns=(1, 1))  # however coarse the file system's clock is
    assert keys.signature(place) != before
    assert keys.known(place).grants["anna"].role is Role.OPERATOR


def test_a_copied_file_makes_no_second_client(place: Path, anna: Path) -> None:
    clients = place / "clients"
    (clients / "zoe.json").write_bytes((clients / "anna.json").read_bytes())
    found = keys.known(place)
    assert list(found.grants) == ["anna"]
    assert "zoe.json has the key of anna" in found.troubles[0]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(raw=st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_whatever_is_in_a_file_the_others_count(place: Path, anna: Path, raw: bytes) -> None:
    (place / "clients" / "broken.json").write_bytes(raw)
    found = keys.known(place)
    assert list(found.grants) == ["anna"]
    assert len(found.troubles) == 1
    assert "broken.json" in found.troubles[0]


def test_a_folder_or_a_huge_file_in_place_of_one_counts_as_broken(place: Path, anna: Path) -> None:
    (place / "clients" / "a.json").mkdir()
    (place / "clients" / "b.json").write_bytes(b" " * 10**6)
    found = keys.known(place)
    assert list(found.grants) == ["anna"]
    assert len(found.troubles) == 2


def test_a_broken_secret_is_not_shown(anna: Path) -> None:
    secret = key_in(anna).secret
    anna.write_text(anna.read_text().replace(secret, secret + "x"))
    with pytest.raises(ConfigError, match="secret: ") as broken:
        key_in(anna)
    assert secret not in str(broken.value) + broken.value.remedy


def test_which_key_a_client_uses(
    anna: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("AFCTL_KEY", raising=False)
    assert keys.key_in_use() is None
    (tmp_path / "config" / "afdaemon").mkdir(parents=True)
    own = tmp_path / "config" / "afdaemon" / "client.key"
    own.write_bytes(anna.read_bytes())
    own.chmod(0o600)
    assert keys.key_in_use() == key_in(anna)
    assert keys.key_in_use("") is None
    monkeypatch.setenv("AFCTL_KEY", str(tmp_path / "nowhere.key"))
    with pytest.raises(ConfigError, match=r"nowhere\.key cannot be read: No such file"):
        keys.key_in_use()
    monkeypatch.setenv("AFCTL_KEY", "")
    assert keys.key_in_use() is None
    assert keys.key_in_use(str(anna)) == key_in(anna)
