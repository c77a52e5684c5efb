import json
from pathlib import Path

import pytest

from afdaemon.api.access import keys
from afdaemon.api.access.roles import Role
from afdaemon.cli.afctl import app
from afdaemon.cli.runner import run_app


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AFDAEMON_API__KEYS_DIR", str(tmp_path / "keys"))
    return tmp_path / "keys"


def afctl(*args: str) -> int:
    return run_app(app, program="afctl", args=["keys", *args])


def test_new_list_revoke(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert afctl("list") == 0
    assert capsys.readouterr().out == f"no keys in {place}\n"
    assert afctl("new", "anna", "--role", "operator") == 0
    assert "afctl --key anna.key --endpoint tcp://HOST:60650 status" in capsys.readouterr().out
    grant = keys.known(place).grants["anna"]
    assert grant.role is Role.OPERATOR
    assert afctl("list") == 0
    assert capsys.readouterr().out.split() == ["anna", "operator", grant.public]
    assert afctl("list", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {
        "folder": str(place),
        "keys": {"anna": {"role": "operator", "public": grant.public}},
        "troubles": [],
    }
    assert afctl("revoke", "anna") == 0
    assert keys.known(place).grants == {}


def test_no_secret_is_shown(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    afctl("new", "anna", "--role", "viewer", "--out", "a.key")
    key = keys.key_in_use("a.key")
    assert key is not None
    afctl("list")
    afctl("list", "--json")
    said = capsys.readouterr()
    assert key.secret not in said.out + said.err


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("new", "anna"), "Missing option '--role'"),
        (("new", "anna", "--role", "king"), "there is no role 'king'. Choose one of viewer"),
        (("new", "../x", "--role", "viewer"), "cannot be the name of a key"),
        (("new", "bob", "--role", "viewer", "--out", "no/bob.key"), "cannot be written: No such"),
        (("new", "bob", "--role", "viewer", "--out", "old"), "cannot be written: File exists"),
        (("revoke", "bob"), "there is no key bob"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(
    place: Path, capsys: pytest.CaptureFixture[str], args: tuple[str, ...], said: str
) -> None:
    Path("old").write_text("mine")
    assert afctl(*args) == 2
    assert said in capsys.readouterr().err
    assert Path("old").read_text() == "mine"
    assert keys.known(place).grants == {}


def test_a_file_that_is_of_no_use_is_shown(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    afctl("new", "anna", "--role", "viewer")
    (place / "clients" / "broken.json").write_text("{")
    capsys.readouterr()
    assert afctl("list") == 0
    assert "broken.json is not a file of this kind" in capsys.readouterr().err
