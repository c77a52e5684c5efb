"""What a command takes beyond the client, and which extra of the package brings it.

`pip install afdaemon` brings the client alone. The simulator and the daemon take libraries that are ten to fifty times
as large, so they are looked for before a command begins, not where it happens to import them.
"""

from collections.abc import Callable, Mapping
from functools import wraps
from importlib.util import find_spec
from typing import ParamSpec, TypeVar

from afdaemon.errors import NotInstalled

P = ParamSpec("P")
R = TypeVar("R")

_SIM = ("cv2", "numpy", "scipy", "simplejpeg", "usb")
_CALIBRATE = ("matplotlib", "scipy")
MODULES: Mapping[str, tuple[str, ...]] = {
    "sim": _SIM,
    "calibrate": _CALIBRATE,
    "daemon": (*sorted({*_SIM, *_CALIBRATE}), "safetensors", "torch"),
}
"""What each extra brings, by the names that are imported; pyproject.toml has the packages."""


def needs(extra: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let a command begin only where everything that `extra` brings is installed; else it raises `NotInstalled`."""

    def checked(command: Callable[P, R]) -> Callable[P, R]:
        @wraps(command)
        def begun(*args: P.args, **kwargs: P.kwargs) -> R:
            require(extra)
            return command(*args, **kwargs)

        return begun

    return checked


def require(extra: str) -> None:
    """Raise `NotInstalled` unless everything that `extra` brings is installed."""
    missing = [name for name in MODULES[extra] if find_spec(name) is None]
    if missing:
        raise NotInstalled(
            f"this takes {', '.join(missing)}, which {'are' if missing[1:] else 'is'} not installed",
            remedy=f"`pip install 'afdaemon[{extra}]'`",
        )
