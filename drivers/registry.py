"""Drivers by the name of their link: the built-in ones, and any that a package offers.

A package offers a driver through the entry point group `afdaemon.drivers`: its name is the link's
name, and its object a function `(settings, clock) -> Microscope`. A built-in name cannot be
overridden.
"""

import asyncio
import importlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from importlib.metadata import entry_points
from typing import Any

from afdaemon.drivers.base import Clock, Microscope
from afdaemon.drivers.em30.settings import AisemSettings, LinkSettings, StreamSettings, UsbSettings
from afdaemon.drivers.errors import SettingsError

__all__ = [
    "GROUP",
    "DriverFactory",
    "kept_up",
    "link_names",
    "open_microscope",
]

GROUP = "afdaemon.drivers"
DriverFactory = Callable[[Mapping[str, Any], Clock], Microscope]

_BUILT_IN: Mapping[str, tuple[str, str, type[LinkSettings]]] = {
    "aisem": ("afdaemon.drivers.em30.aisem", "open_aisem", AisemSettings),
    "stream": ("afdaemon.drivers.em30.stream", "open_stream", StreamSettings),
    "usb": ("afdaemon.drivers.em30.usb", "open_usb", UsbSettings),
}


def link_names() -> tuple[str, ...]:
    """Every link there is a driver for, sorted."""
    return tuple(sorted({*_BUILT_IN, *entry_points(group=GROUP).names}))


def settings_of(link: str) -> type[LinkSettings] | None:
    """The settings class of a built-in `link`; None where a package keeps its settings to itself."""
    return _BUILT_IN[link][2] if link in _BUILT_IN else None


def open_microscope(link: str, settings: Mapping[str, Any], *, clock: Clock) -> Microscope:
    """The driver of `link`.

    It is not connected yet: its `run` does that. Raises `SettingsError`.
    """
    return _factory(link)(settings, clock)


@asynccontextmanager
async def kept_up(microscope: Microscope) -> AsyncIterator[None]:
    """Keep its link up inside: connect, and connect again. Afterwards it is closed, and nothing of it is left.

    Whatever its `run` failed with is raised at the end.
    """
    running = asyncio.create_task(microscope.run(), name="microscope")
    try:
        yield
    finally:
        try:
            await microscope.close()
        finally:
            running.cancel()
            await asyncio.wait({running})
    if not running.cancelled():
        running.result()


def _factory(link: str) -> DriverFactory:
    if link in _BUILT_IN:
        module, name, _ = _BUILT_IN[link]
        factory: DriverFactory = getattr(importlib.import_module(module), name)
        return factory
    for entry in entry_points(group=GROUP, name=link):
        return _load(entry.name, entry.load)
    raise SettingsError(
        f"there is no driver for the link {link!r}; available: {', '.join(link_names())}"
    )


def _load(link: str, load: Callable[[], Any]) -> DriverFactory:
    try:
        factory: DriverFactory = load()
    except (ImportError, AttributeError) as error:
        raise SettingsError(
            f"the driver for the link {link!r} cannot be loaded: {error}",
            remedy="reinstall or remove the package that offers it",
        ) from error
    return factory
