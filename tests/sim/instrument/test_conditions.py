import math
import tomllib
from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from afdaemon.sim.errors import SettingError
from afdaemon.sim.imaging.scan import FLAWLESS, ScanFlaws
from afdaemon.sim.instrument.age import Ageing
from afdaemon.sim.instrument.conditions import Condition, instrument, keys, settings_from
from afdaemon.sim.instrument.settings import Electrons, FrameMode, InstrumentSettings
from afdaemon.sim.optics import depth_of_focus_um
from afdaemon.spec import Range


def test_without_words_it_is_a_good_instrument() -> None:
    assert settings_from({}) == InstrumentSettings() == instrument(Condition.GOOD)
    assert settings_from({}).scan.flaws((0.0, 0.0), 0.0) == ScanFlaws()


def test_an_ideal_one_has_no_flaws() -> None:
    ideal = settings_from({"condition": "ideal"})
    column = asdict(ideal.column)
    for flaw in ("hysteresis_um", "backlash_um", "drift_um_per_min", "wander_um", "rotation_deg"):
        assert column[flaw] == 0.0
    assert (ideal.wd_noise_um, ideal.detector.read_noise) == (0.0, 0.0)
    flaws = ideal.scan.flaws((0.0, 0.0), 0.3)
    assert flaws == FLAWLESS


@pytest.mark.parametrize("magnification", [200, 2_000, 20_000])
def test_a_poor_one_is_astigmatic_by_up_to_two_depths_of_focus(magnification: int) -> None:
    poor = settings_from({"condition": "poor", "magnification": magnification})
    apart_um = math.hypot(poor.column.astigmatism_x_um, poor.column.astigmatism_y_um)
    dof_um = depth_of_focus_um(magnification, poor.alpha_rad)
    assert dof_um < apart_um <= 2.0 * dof_um
    good = InstrumentSettings()
    for flaw in ("hysteresis_um", "drift_um_per_min", "wander_um"):
        assert getattr(poor.column, flaw) > getattr(good.column, flaw)
    assert poor.scan.jitter_nm > good.scan.jitter_nm
    assert poor.detector.read_noise > good.detector.read_noise


def test_what_is_said_stands_above_the_condition() -> None:
    settings = settings_from({"condition": "poor", "column": {"hysteresis_um": 1.5}})
    assert settings.column.hysteresis_um == 1.5
    assert settings.column.drift_um_per_min == 3.0


def test_tables_dotted_keys_and_texts_mean_the_same() -> None:
    text = """
        condition = "good"
        magnification = 5000
        start_wd_um = 12000
        ageing = "clock"
        mode = "full"
        column.drift_um_per_min = 3
        [detector]
        kind = "bse"
        """
    dotted = {
        "magnification": "5000",
        "start_wd_um": "12000.0",
        "ageing": "clock",
        "mode": "full",
        "column.drift_um_per_min": "3",
        "detector.kind": "bse",
    }
    settings = settings_from(tomllib.loads(text))
    assert settings == settings_from(dotted)
    assert settings.column.drift_um_per_min == 3.0
    assert settings.magnification == 5000
    assert isinstance(settings.magnification, int)
    assert settings.start_wd_um == 12_000.0
    assert settings.ageing is Ageing.CLOCK
    assert settings.mode is FrameMode.FULL
    assert settings.detector.kind is Electrons.BSE


@pytest.mark.parametrize("unset", ["", None])
def test_what_may_be_unset_can_be(unset: str | None) -> None:
    assert settings_from({"column.aperture_um": unset}).column.aperture_um is None
    assert settings_from({"start_wd_um": unset}).start_wd_um is None


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"magnifcation": 2}, "there is no setting magnifcation; did you mean magnification?"),
        (
            {"column": {"drift": 2}},
            "there is no setting column.drift; did you mean column.drift_um_per_min?",
        ),
        ({"colum": {"kv": 2}}, "there is no setting colum; did you mean column?"),
        ({"xyzzy": 1}, "there is no setting xyzzy"),
        ({"column": 3}, "column is a table of settings, not 3"),
        (
            {"column.drift_um_per_min": 1e6},
            "column.drift_um_per_min must be a number from -1000 to 1000 um/min, not 1000000.0",
        ),
        (
            {"column.hysteresis_um": "much"},
            "column.hysteresis_um must be a number from 0 to 1000 um, not 'much'",
        ),
        (
            {"detector.read_noise": math.nan},
            "detector.read_noise must be a number from 0 to 100 grey levels, not nan",
        ),
        ({"scan.hum_hz": True}, "scan.hum_hz must be a number from 1 to 1000 Hz, not True"),
        ({"column.kv": None}, "column.kv must be a number from 1 to 30 kV, not None"),
        ({"detector.gamma": [1]}, r"detector.gamma must be a number from 0.1 to 10, not [1]"),
        (
            {"magnification": 2000.5},
            "the magnification must be a whole number from 20 to 150000, not 2000.5",
        ),
        ({"seed": "-1"}, "the seed must be a whole number from 0 to 4294967295, not '-1'"),
        ({"start_wd_um": 4_999}, "the start WD must be a number from 5000 to 50000 um, not 4999"),
        ({"detector.kind": "xray"}, 'detector.kind must be one of "se", "bse", not \'xray\''),
        ({"condition": "new"}, 'condition must be one of "ideal", "good", "poor", not \'new\''),
        ({"ageing": None}, 'ageing must be one of "work", "clock", not None'),
        ({"specimen": 3}, "specimen must be a text that is not empty, not 3"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(table: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError) as refused:
        settings_from(table)
    assert str(refused.value) == message


def test_every_key_is_listed_with_a_default_that_it_may_have() -> None:
    listed = keys()
    assert len({key.name for key in listed}) == len(listed)
    good = settings_from({key.name: key.default for key in listed})
    assert good == InstrumentSettings()
    for key in listed:
        assert key.spec.what
        assert str(key.spec)


NUMBERS = [key for key in keys() if isinstance(key.spec.allowed, Range)]


@given(key=st.sampled_from(NUMBERS), share=st.floats(0.0, 1.0), data=st.data())
def test_every_number_may_be_what_its_range_says_and_no_more(
    key: Any, share: float, data: st.DataObject
) -> None:
    allowed = key.spec.allowed
    inside = allowed.low + share * (allowed.high - allowed.low)
    inside = min(round(inside) if key.spec.kind is int else inside, allowed.high)
    group, _, name = key.name.rpartition(".")
    settings = settings_from({key.name: inside})
    held = getattr(settings, group) if group else settings
    assert getattr(held, name) == inside
    outside = data.draw(
        st.floats(allowed.high, allow_nan=False, exclude_min=True)
        | st.floats(max_value=allowed.low, allow_nan=False, exclude_max=True)
    )
    with pytest.raises(SettingError, match="must be a"):
        settings_from({key.name: outside})
