"""Counting what a link does."""

from dataclasses import replace

from afdaemon.drivers.base import LinkStats


class Tally:
    """Holds the `LinkStats` of a driver over all its connections."""

    def __init__(self) -> None:
        self.stats = LinkStats()

    def connected(self) -> None:
        """One more connection."""
        self.stats = replace(self.stats, connects=self.stats.connects + 1)

    def moved(self) -> None:
        """One more acknowledged move."""
        self.stats = replace(self.stats, moves=self.stats.moves + 1)

    def used(self) -> None:
        """One more usable frame."""
        self.stats = replace(self.stats, frames=self.stats.frames + 1)

    def stale(self) -> None:
        """A frame older than the command was dropped."""
        self.stats = replace(self.stats, dropped_stale=self.stats.dropped_stale + 1)

    def frozen(self) -> None:
        """A frame identical to the one before was dropped."""
        self.stats = replace(self.stats, dropped_frozen=self.stats.dropped_frozen + 1)

    def mismatched(self) -> None:
        """A frame that was not the command's was dropped."""
        self.stats = replace(self.stats, dropped_mismatch=self.stats.dropped_mismatch + 1)

    def invalid(self) -> None:
        """A frame that could not be read was dropped."""
        self.stats = replace(self.stats, dropped_invalid=self.stats.dropped_invalid + 1)
