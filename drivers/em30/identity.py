"""The same instrument, or none: what was connected first is remembered for as long as the driver lives."""

from collections.abc import Mapping

from afdaemon.drivers.errors import AnotherInstrument

_OF_TEXT = {"SERIAL": "serial number", "MODEL": "model"}
"""Keys of the parameter text that tell one instrument from another. ASSUMED: their names."""


class Identity:
    """What the instrument that was connected first told about itself."""

    def __init__(self) -> None:
        self._first: dict[str, str] = {}

    @property
    def is_known(self) -> bool:
        """Whether another instrument would be noticed."""
        return bool(self._first)

    def require(self, what: str, told: str) -> None:
        """Remember what was told first, and raise `AnotherInstrument` for anything else; empty says nothing."""
        first = self._first.setdefault(what, told) if told else told
        if told != first:
            raise AnotherInstrument(
                f"another instrument answers: its {what} is {told!r}, that of the first was {first!r}"
            )

    def is_other(self, others: Mapping[str, str]) -> bool:
        """Whether a frame's text is of another instrument. Nothing is remembered of it: a file may be damaged."""
        return any(
            others.get(key, "") not in ("", self._first.get(what, others.get(key, "")))
            for key, what in _OF_TEXT.items()
        )

    def require_text(self, others: Mapping[str, str]) -> None:
        """The same for the keys of a parameter text that came over the link."""
        for key, what in _OF_TEXT.items():
            self.require(what, others.get(key, ""))
