"""How much of something each client has, against what it may have, and how often. Pure: time is passed in."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from afdaemon.api import faults
from afdaemon.api.caps import Rate, Share

_MOST_KEYS = 256
"""Clients whose pace is remembered; those that have been quiet are forgotten first."""


class Allowance:
    """Counts what clients hold of one thing, `what` (a plural), and refuses what exceeds its share."""

    def __init__(self, share: Share, what: str) -> None:
        self._share = share
        self._what = what
        self._held: Counter[str] = Counter()
        self._total = 0

    @contextmanager
    def held(self, client: str, amount: int = 1) -> Iterator[None]:
        """Hold `amount` for `client` until the block ends.

        Raises:
            RpcFault: of kind `overloaded`; nothing is held then.
        """
        self._check(client, amount)
        self._held[client] += amount
        self._total += amount
        try:
            yield
        finally:
            self._total -= amount
            self._held[client] -= amount
            if not self._held[client]:
                del self._held[client]

    def _check(self, client: str, amount: int) -> None:
        if self._held[client] + amount > self._share.each:
            raise faults.overloaded(
                f"this client has {self._held[client]} {self._what} under way;"
                f" at most {self._share.each} are allowed",
                remedy="wait for answers before sending more",
            )
        if self._total + amount > self._share.all:
            raise faults.overloaded(
                f"all clients together have {self._total} {self._what} under way;"
                f" at most {self._share.all} are allowed",
                remedy="try again in a second; abort.sock answers all the same",
            )


class Pace:
    """Keeps each key to a rate. Keys that have been quiet for long are forgotten."""

    def __init__(self, rate: Rate) -> None:
        self._interval_s = 1.0 / rate.per_s
        self._burst_s = rate.burst * self._interval_s
        self._due_s: dict[str, float] = {}

    def delay_s(self, key: str, now_s: float, amount: float = 1.0) -> float:
        """How long the next of `key` has to wait to keep to the rate; it is counted as `amount`."""
        if len(self._due_s) >= _MOST_KEYS and key not in self._due_s:
            self._due_s = {k: due_s for k, due_s in self._due_s.items() if due_s > now_s}
        due_s = max(self._due_s.get(key, 0.0), now_s)
        self._due_s[key] = due_s + amount * self._interval_s
        return max(0.0, due_s - now_s - self._burst_s)


class Seldom:
    """Lets something through for each key, and then not again for `interval_s`."""

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._last_s: dict[str, float] = {}

    def is_due(self, key: str, now_s: float) -> bool:
        """Whether it may come through; then it has."""
        self._last_s = {
            k: at_s for k, at_s in self._last_s.items() if now_s - at_s < self._interval_s
        }
        if key in self._last_s:
            return False
        self._last_s[key] = now_s
        return True
