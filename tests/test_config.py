"""Settings: who wins, what is refused, and how that is said."""

import dataclasses
import json
import math
import re
import tomllib
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from afdaemon.cli.config import render, toml
from afdaemon.clock import ManualClock
from afdaemon.config import fields, load, variable_of
from afdaemon.control.fast.profile import FastProfile
from afdaemon.control.published.profile import PaperProfile
from afdaemon.drivers import registry
from afdaemon.drivers.em30.settings import AisemSettings, StreamSettings, UsbSettings
from afdaemon.drivers.registry import open_microscope, setting_names
from afdaemon.errors import ConfigError
from afdaemon.settings import MicroscopeSettings, Settings

LINKS = ("aisem", "stream", "usb")
EXAMPLE = Path(__file__).parents[1] / "systemd" / "afdaemon.toml"


def write(folder: Path, text: str) -> Path:
    path = folder / "afdaemon.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_defaults_stand_alone() -> None:
    settings = load(environ={}).settings
    assert settings.microscope.port == 9025
    assert settings.limits.site_um == (5_000.0, 50_000.0)
    assert settings.control.profile == "fast"


def test_flag_beats_environment_beats_file_beats_default(tmp_path: Path) -> None:
    path = write(tmp_path, "[microscope]\nport = 1\nhost = 'file'\nreply_timeout_s = 1.5\n")
    environ = {"AFDAEMON_MICROSCOPE__PORT": "2", "AFDAEMON_MICROSCOPE__HOST": "environment"}
    microscope = load(path, environ=environ, flags={"microscope.port": 3}).settings.microscope
    assert (microscope.port, microscope.host, microscope.reply_timeout_s) == (
        3,
        "environment",
        1.5,
    )
    assert microscope.poll_s == Settings().microscope.poll_s


REFUSED = {
    "misspelt key": ("[microscope]\nprot = 1", r"no key prot .*did you mean port\?"),
    "misspelt section": (
        "[microscop]\nport = 1",
        r"no section \[microscop\].*did you mean microscope\?",
    ),
    "key of another section": ("[limits]\nport = 1", r"did you mean microscope\.port\?"),
    "no section": ("port = 1", r"no section \[port\]"),
    "value for a section": ("microscope = 1", r"must be a section"),
    "table for a value": ("[log.level]\nx = 1", r"log\.level.*one of .*\"info\""),
    "out of range": ("[microscope]\nport = 70000", r"microscope\.port = 70000 .*1 up to 65535"),
    "text for a number": (
        "[limits]\nhard_min_um = 'low'",
        r"hard_min_um = 'low' .*100 up to 200000",
    ),
    "truth for a number": ("[microscope]\nport = true", r"port = True .*whole number"),
    "fraction": ("[microscope]\nport = 1.5", r"port = 1.5 .*whole number"),
    "nan": ("[limits]\nhard_min_um = nan", r"hard_min_um = nan .*must be a number"),
    "infinite": ("[limits]\nhard_max_um = inf", r"hard_max_um = inf .*must be a number"),
    "unknown choice": ("[models]\ndevice = 'tpu'", r"device = 'tpu' .*\"auto\", \"cpu\", \"cuda\""),
    "empty text": ("[microscope]\nhost = ''", r"host = '' .*not empty"),
    "limits crossed": (
        "[limits]\nhard_min_um = 9e3\nhard_max_um = 8e3",
        r"\[limits\].*below hard_max_um",
    ),
    "site outside hard": (
        "[limits]\nsite_min_um = 1000",
        r"\[limits\].*within.*hard limits 5000 to 50000",
    ),
    "not toml": ("port =", r"is not a TOML file"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_file_is_refused_with_a_sentence_that_names_it(tmp_path: Path, case: str) -> None:
    text, pattern = REFUSED[case]
    path = write(tmp_path, text)
    with pytest.raises(ConfigError, match=f"(?s){pattern}") as caught:
        load(path, environ={})
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value).strip()


def test_a_missing_or_unreadable_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load(tmp_path / "absent.toml", environ={})
    path = tmp_path / "binary.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not a TOML file"):
        load(path, environ={})


@pytest.mark.parametrize(
    ("environ", "pattern"),
    [
        (
            {"AFDAEMON_MICROSCOPE__PROT": "1"},
            r"PROT is no setting; did you mean AFDAEMON_MICROSCOPE__PORT\?",
        ),
        ({"AFDAEMON_MICROSCOPE_PORT": "1"}, r"did you mean AFDAEMON_MICROSCOPE__PORT\?"),
        ({"AFDAEMON_MICROSCOPE__PORT": "0"}, r"PORT is not allowed: .*1 up to 65535"),
        ({"AFDAEMON_LIMITS__HARD_MIN_UM": "nan"}, r"HARD_MIN_UM is not allowed"),
        ({"AFDAEMON_LIMITS__HARD_MAX_UM": "1e999"}, r"HARD_MAX_UM is not allowed"),
    ],
)
def test_a_bad_variable_is_refused_by_name(environ: dict[str, str], pattern: str) -> None:
    with pytest.raises(ConfigError, match=pattern):
        load(environ=environ)


def test_variables_of_single_commands_are_no_settings() -> None:
    assert load(environ={"AFDAEMON_MICROGRAPHS": "/data", "PATH": "/bin"}).given == {}


def test_a_flag_is_checked_like_everything_else() -> None:
    with pytest.raises(ConfigError, match=r"port = 0 in the command line is not allowed"):
        load(environ={}, flags={"microscope.port": 0})


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().microscope.port = 1  # type: ignore[misc]  # that it is frozen is the point


@given(
    st.sampled_from(sorted(fields())),
    st.text(max_size=20) | st.floats().map(str) | st.integers().map(str),
)
def test_any_text_in_any_variable_is_taken_or_refused_in_one_sentence(key: str, text: str) -> None:
    environ = {variable_of(key): text}
    try:
        loaded = load(environ=environ)
    except ConfigError:
        with pytest.raises(ConfigError, match=variable_of(key)):
            load(environ=environ)
        return
    assert loaded.given[key].value == text
    section, name = key.split(".")
    value = getattr(getattr(loaded.settings, section), name)
    assert not (isinstance(value, float) and not math.isfinite(value))


@given(st.sampled_from(sorted(fields())), st.integers(0, 40), st.characters(categories=["Ll"]))
def test_a_key_with_one_wrong_letter_is_never_ignored(key: str, place: int, letter: str) -> None:
    section, name = key.split(".")
    place %= len(name)
    wrong = f"{section}.{name[:place]}{letter}{name[place + 1 :]}"
    if wrong not in fields():
        with pytest.raises(ConfigError, match="there is no key"):
            load(environ={}, flags={wrong: 1})


def test_what_show_prints_loads_to_the_same_settings(tmp_path: Path) -> None:
    loaded = load(
        environ={"AFDAEMON_LIMITS__SITE_MAX_UM": "30000", "AFDAEMON_MODELS__THREADS": "2"}
    )
    shown = render(loaded)
    assert "the environment variable AFDAEMON_MODELS__THREADS" in shown
    assert load(write(tmp_path, shown), environ={}).settings == loaded.settings


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_survives_the_way_through_toml(text: str) -> None:
    assert tomllib.loads(f"key = {toml(text)}")["key"] == text


def test_the_schema_is_json_and_forbids_unknown_keys() -> None:
    schema = json.loads(json.dumps(Settings.model_json_schema()))
    assert schema["additionalProperties"] is False


def of_link(link: str) -> tuple[str, ...]:
    return MicroscopeSettings(link=link).in_use()


@pytest.mark.parametrize("link", LINKS)
def test_the_example_loads_for_each_link(tmp_path: Path, link: str) -> None:
    text = EXAMPLE.read_text(encoding="utf-8").replace('# link = "aisem"', f'# link = "{link}"')
    foreign = set(MicroscopeSettings.model_fields) - set(of_link(link))
    whole = re.sub(r"(?m)^# (?=(\w+) = )", lambda m: m[0] if m[1] in foreign else "", text)
    expected = set(fields()) - {f"microscope.{key}" for key in foreign}
    assert set(load(write(tmp_path, whole), environ={}).given) == expected


def test_the_example_explains_every_key() -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    load(EXAMPLE, environ={})
    for key in (key.split(".")[1] for key in fields()):
        assert re.search(rf"(?m)^# .{{10,}}\n(?:# )?{key} = ", text), key


def test_the_values_that_the_example_suggests_are_the_defaults() -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    suggested = re.sub(r"(?m)^(?!# \w+ = ).*=.*$", "", text)
    suggested = re.sub(r"(?m)^# (?=\w+ = )", "", suggested)
    absent = {"site_min_um", "site_max_um", "threads", "file", "current_pa", "limit_e_nm2"}
    defaults = Settings().model_dump(mode="json")
    sections = tomllib.loads(suggested)
    assert len(sections["fast"]) == len(dataclasses.fields(FastProfile))
    for name, section in sections.items():
        for key, value in section.items():
            assert key in absent or value == defaults[name][key], f"{name}.{key}"


FOREIGN = {
    "usb": ("port = 9025", r"the link usb has no port; besides link, it has vendor_id,"),
    "stream": ("folder = 'x'", r"the link stream has no folder; besides link, it has host, port,"),
    "aisem": ("vendor_id = 1", r"the link aisem has no vendor_id"),
}


@pytest.mark.parametrize("link", FOREIGN)
def test_a_key_of_another_link_is_refused(tmp_path: Path, link: str) -> None:
    text, pattern = FOREIGN[link]
    path = write(tmp_path, f"[microscope]\nlink = '{link}'\n{text}\n")
    with pytest.raises(ConfigError, match=pattern) as caught:
        load(path, environ={})
    assert str(path) in str(caught.value)


def test_a_link_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(ConfigError, match=r'"aisem", .*"stream", "usb"'):
        load(environ={"AFDAEMON_MICROSCOPE__LINK": "serial"})


def test_each_link_has_its_own_port() -> None:
    loaded = load(environ={"AFDAEMON_MICROSCOPE__LINK": "stream"})
    assert loaded.settings.microscope.port == 9030


@pytest.mark.parametrize("link", LINKS)
def test_every_key_of_a_link_is_a_setting_with_the_same_default(tmp_path: Path, link: str) -> None:
    values = MicroscopeSettings(link=link).of_driver()
    assert tuple(values) == of_link(link)[1:]
    assert set(values) == set(setting_names(link) or ())
    opened = open_microscope(link, values, clock=ManualClock())
    assert link in opened.name


def test_what_is_shown_is_what_the_link_has(tmp_path: Path) -> None:
    loaded = load(environ={"AFDAEMON_MICROSCOPE__LINK": "usb"})
    shown = render(loaded)
    assert "vendor_id = " in shown
    assert "folder = " not in shown
    assert load(write(tmp_path, shown), environ={}).settings == loaded.settings


def test_a_link_that_a_package_offers_takes_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offered = EntryPoints([EntryPoint("grabber", "nowhere:open", registry.GROUP)])
    monkeypatch.setattr(registry, "entry_points", offered.select)
    path = write(
        tmp_path, "[microscope]\nlink = 'grabber'\noptions = {device = '/dev/x', gains = [1, 2]}\n"
    )
    loaded = load(path, environ={})
    assert loaded.settings.microscope.of_driver() == {"device": "/dev/x", "gains": [1, 2]}
    assert load(write(tmp_path, render(loaded)), environ={}).settings == loaded.settings
    with pytest.raises(ConfigError, match="the link grabber has no port; besides link, it has opt"):
        load(path, environ={"AFDAEMON_MICROSCOPE__PORT": "1"})
    with pytest.raises(ConfigError, match="must be a table"):
        load(environ={"AFDAEMON_MICROSCOPE__OPTIONS": "{}"})


@pytest.mark.parametrize(
    ("link", "kind"), [("stream", StreamSettings), ("usb", UsbSettings), ("aisem", AisemSettings)]
)
def test_the_drivers_take_the_section_as_it_is(link: str, kind: type) -> None:
    values = MicroscopeSettings(link=link).of_driver()
    own = {"folder": values["folder"]} if link == "aisem" else {}
    assert kind(**values) == kind(**own)


def test_the_profile_takes_its_section_as_it_is() -> None:
    control = Settings().control.model_dump(exclude={"profile", "timeout_s", "approach_um"})
    assert PaperProfile(**control) == PaperProfile()


def test_the_fast_profile_takes_its_section_as_it_is() -> None:
    assert FastProfile(**Settings().fast.model_dump()) == FastProfile()


@pytest.mark.parametrize("key", [key for key in fields() if key.startswith("fast.")])
@given(value=st.floats(-10, 1e6) | st.integers(-2, 200_000))
def test_what_the_fast_section_takes_its_profile_takes(key: str, value: float) -> None:
    try:
        fast = load(environ={}, flags={key: value}).settings.fast
    except ConfigError:
        return
    FastProfile(**fast.model_dump())


@pytest.mark.parametrize("key", [key for key in fields() if key.startswith("control.")])
@given(value=st.floats(-10, 1e6) | st.integers(-2, 200_000))
def test_what_the_section_takes_the_profile_takes(key: str, value: float) -> None:
    try:
        control = load(environ={}, flags={key: value}).settings.control
    except ConfigError:
        return
    PaperProfile(**control.model_dump(exclude={"profile", "timeout_s", "approach_um"}))
