"""Settings: who wins, what is refused, and how that is said."""

import dataclasses
import json
import math
import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from afdaemon.cli.config import example_toml, json_schema, reference_markdown, render, toml
from afdaemon.clock import ManualClock
from afdaemon.config import fields, load, sections, variable_of
from afdaemon.drivers import registry
from afdaemon.drivers.em30.settings import AisemSettings
from afdaemon.drivers.registry import open_microscope, settings_of
from afdaemon.errors import ConfigError
from afdaemon.settings import Settings

LINKS = ("aisem", "stream", "usb")
EXAMPLE = Path(__file__).parents[1] / "systemd" / "afdaemon.toml"
REFERENCE = Path(__file__).parents[1] / "docs" / "settings.md"


def write(folder: Path, text: str) -> Path:
    path = folder / "afdaemon.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_defaults_stand_alone() -> None:
    settings = load(environ={}).settings
    assert settings.microscope.driver == AisemSettings()
    assert settings.microscope.driver.port == 9025
    assert settings.limits.site_um == (5_000.0, 50_000.0)
    assert settings.control.profile == "fast"


def test_flag_beats_environment_beats_file_beats_default(tmp_path: Path) -> None:
    path = write(tmp_path, "[microscope]\nport = 1\nhost = 'file'\nreply_timeout_s = 1.5\n")
    environ = {"AFDAEMON_MICROSCOPE__PORT": "2", "AFDAEMON_MICROSCOPE__HOST": "environment"}
    microscope = load(
        path, environ=environ, flags={"microscope.port": 3}
    ).settings.microscope.driver
    assert (microscope.port, microscope.host, microscope.reply_timeout_s) == (
        3,
        "environment",
        1.5,
    )
    assert microscope.poll_s == AisemSettings().poll_s


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
    "out of range": ("[microscope]\nport = 70000", r"microscope\.port = 70000 .*1 to 65535"),
    "text for a number": (
        "[limits]\nhard_min_um = 'low'",
        r"hard_min_um = 'low' .*100 to 200000",
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
    "more connections each than all": (
        "[api]\nmost_connections = 10",
        r"\[api\].*most_connections_per_client \(16\).*above most_connections \(10\)",
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
            r"PROT is not a setting; did you mean AFDAEMON_MICROSCOPE__PORT\?",
        ),
        ({"AFDAEMON_MICROSCOPE_PORT": "1"}, r"did you mean AFDAEMON_MICROSCOPE__PORT\?"),
        ({"AFDAEMON_MICROSCOPE__PORT": "0"}, r"PORT is not allowed: .*1 to 65535"),
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
    with pytest.raises(AttributeError, match="cannot assign"):
        Settings().control.timeout_s = 1  # type: ignore[misc]  # that it is frozen is the point


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
    for value in _values(loaded.settings):
        assert not (isinstance(value, float) and not math.isfinite(value))


def _values(settings: Settings) -> Iterator[object]:
    for part in dataclasses.asdict(settings).values():
        yield from part.values()


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
    schema = json.loads(json.dumps(json_schema()))
    assert schema["additionalProperties"] is False
    assert set(schema["properties"]) == set(sections())
    assert schema["properties"]["fast"]["properties"]["confidence"] == {
        "type": "number",
        "description": fields()["fast.confidence"].spec.what,
        "minimum": 0.5,
        "maximum": 0.999,
        "default": 0.94,
    }


def of_link(link: str) -> set[str]:
    return set(sections(link)["microscope"].keys)


def test_example_and_reference_are_those_that_the_commands_print() -> None:
    assert EXAMPLE.read_text(encoding="utf-8") == example_toml()
    assert REFERENCE.read_text(encoding="utf-8") == reference_markdown()


@pytest.mark.parametrize("link", LINKS)
def test_the_example_loads_for_each_link(tmp_path: Path, link: str) -> None:
    text = EXAMPLE.read_text(encoding="utf-8").replace('# link = "aisem"', f'# link = "{link}"')
    foreign = set(sections()["microscope"].keys) - of_link(link)
    own, start, others = text.partition("[limits]")
    own = re.sub(r"(?m)^# (?=(\w+) = )", lambda m: m[0] if m[1] in foreign else "", own)
    whole = own + start + re.sub(r"(?m)^# (?=\w+ = )", "", others)
    expected = set(fields()) - {f"microscope.{key}" for key in foreign}
    assert set(load(write(tmp_path, whole), environ={}).given) == expected


def test_every_setting_is_explained_in_a_sentence_of_its_own() -> None:
    for key, held in fields().items():
        assert re.fullmatch(r"[A-Z0-9].{9,}\.", held.spec.what), key
        assert not re.match(r"(And|But|Nor|Then|So|It|They|Its)\b", held.spec.what), key


SET_FOR_THE_UNIT = ("api.runtime_dir", "api.keys_dir", "journal.path")


def test_the_values_that_the_example_suggests_are_the_defaults() -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    suggested = re.sub(r"(?m)^# (?=\w+ = )", "", text)
    for name, section in tomllib.loads(suggested).items():
        for key, value in section.items():
            held = fields()[f"{name}.{key}"]
            shown = held.default if held.default is not None else held.spec.example
            is_set_for_the_unit = f"{name}.{key}" in SET_FOR_THE_UNIT
            assert is_set_for_the_unit or str(value) == str(shown), f"{name}.{key}"


FOREIGN = {
    "usb": ("port = 9025", r"the link usb has no port; its settings are link, .*vendor_id,"),
    "stream": (
        "folder = 'x'",
        r"the link stream has no folder; its settings are link, .*host, port,",
    ),
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
    assert loaded.settings.microscope.driver.port == 9030


@pytest.mark.parametrize("link", LINKS)
def test_every_key_of_a_link_is_a_setting_with_the_same_default(link: str) -> None:
    kind = settings_of(link)
    assert kind is not None
    microscope = load(environ={}, flags={"microscope.link": link}).settings.microscope
    assert microscope.driver == kind()
    assert set(microscope.of_driver) == of_link(link) - {"link"}
    opened = open_microscope(link, microscope.of_driver, clock=ManualClock())
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
    assert loaded.settings.microscope.of_driver == {"device": "/dev/x", "gains": [1, 2]}
    assert load(write(tmp_path, render(loaded)), environ={}).settings == loaded.settings
    with pytest.raises(
        ConfigError, match="the link grabber has no port; its settings are link, opt"
    ):
        load(path, environ={"AFDAEMON_MICROSCOPE__PORT": "1"})
    with pytest.raises(ConfigError, match="must be a table"):
        load(path, environ={"AFDAEMON_MICROSCOPE__OPTIONS": "{}"})


OLD_NAMES = {
    "fast.sure": ("fast.confidence", 0.9),
    "fast.sure_drop": ("fast.confidence_drop", 0.2),
    "fast.least_sure": ("fast.least_confidence", 0.7),
    "fast.far_dof": ("fast.capture_range_dof", 80.0),
    "fast.most_looks_around": ("fast.most_local_steps", 3),
    "fast.most_close_looks": ("fast.most_close_steps", 5),
    "fast.flat_variance": ("fast.flat_contrast", 0.03),
    "control.flat_variance": ("control.flat_contrast", 0.04),
}


@pytest.mark.parametrize("old", OLD_NAMES)
def test_the_name_of_an_earlier_version_still_works(tmp_path: Path, old: str) -> None:
    new, value = OLD_NAMES[old]
    section, _, key = old.partition(".")
    loaded = load(write(tmp_path, f"[{section}]\n{key} = {value}\n"), environ={})
    assert loaded.renamed == {old: new}
    assert loaded.settings == load(environ={}, flags={new: value}).settings != Settings()
    assert load(environ={variable_of(old): str(value)}).settings == loaded.settings
    assert load(environ={}, flags={old: 0.5, new: value}).settings == loaded.settings


def test_the_convergence_angle_is_that_of_both_procedures() -> None:
    settings = load(environ={}, flags={"fast.alpha_mrad": 3.0, "fast.calibrated": True}).settings
    for profile in (settings.fast, settings.published):
        assert (profile.alpha_mrad, profile.calibrated) == (3.0, True)
    with pytest.raises(ConfigError, match=r"no key alpha_mrad in section \[control\].*fast.alpha"):
        load(environ={}, flags={"control.alpha_mrad": 3.0})
