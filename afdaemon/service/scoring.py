"""The networks at work: frames in, readings out, one at a time in a thread of their own.

torch is imported in that thread too, so that the event loop answers while it loads.
"""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from afdaemon.control.fast.profile import FAST, FastProfile
from afdaemon.control.published.servo import FocusLaw, StepLaw, acnet_law, defocus_law, no_belief
from afdaemon.control.values import Reading
from afdaemon.drivers.base import Frame
from afdaemon.drivers.errors import FrameInvalid
from afdaemon.drivers.wire.image import GreyPixels, crop_data_bar, decode_grey
from afdaemon.models.errors import ImageError
from afdaemon.models.frames.region import WHOLE, Part, cut
from afdaemon.settings import ModelSettings

T = TypeVar("T")


class Verdict(Protocol):
    """What a scorer says of a frame: see `afdaemon.models.scorers.focus_scorer.Score`."""

    @property
    def score(self) -> float:
        """0 (out of focus) .. 9."""
        ...

    @property
    def variance(self) -> float:
        """Standard deviation / mean."""
        ...

    @property
    def entropy(self) -> float:
        """Bits."""
        ...

    @property
    def saturated(self) -> float:
        """Share of pixels at either end of the grey scale."""
        ...

    @property
    def expected_error(self) -> float:
        """By how much the score may be off."""
        ...

    @property
    def doubt(self) -> str:
        """Why it may mean nothing; "" if nothing speaks against it."""
        ...

    @property
    def streaked(self) -> bool:
        """Whether charging left streaks, without which the frame was judged."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Networks:
    """The scorer, the laws of both procedures, and the hashes of their weights by name.

    `score` judges pixels of shape (height, width) at a magnification, `spectrum` says how their
    power is spread (18 bands); they may be slow and are never called from two threads at once. The
    laws are quick.
    """

    score: Callable[[GreyPixels, float], Verdict]
    law: StepLaw
    hashes: Mapping[str, str]
    belief: FocusLaw = no_belief
    spectrum: Callable[[GreyPixels], tuple[float, ...]] = lambda _pixels: ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """An image file's verdict and its size, in pixels, without a data bar."""

    verdict: Verdict
    width_px: int
    height_px: int


class Judge:
    """Networks behind one worker thread. `load` is called in it by `open`."""

    def __init__(self, load: Callable[[], Networks]) -> None:
        self._load = load
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="judge")
        self._networks: Networks | None = None

    async def open(self) -> Networks:
        """Load and warm up. Raises `ModelError`."""
        self._networks = await self._in_thread(self._load)
        return self._networks

    @property
    def networks(self) -> Networks:
        """What `open` loaded."""
        if self._networks is None:
            raise RuntimeError("the judge is not open")
        return self._networks

    async def read(self, frame: Frame, part: Part = WHOLE) -> Reading:
        """What a part of a frame tells. Raises `ModelError`."""
        verdict, bands = await self._in_thread(lambda: self._look(frame, part))
        return reading_of(frame.wd_um, frame.magnification, verdict, bands)

    async def score_file(self, data: bytes, magnification: float) -> Judged:
        """Judge the bytes of a PNG, TIFF or JPEG file. Raises `ImageError` or another `ModelError`."""
        return await self._in_thread(lambda: self._score_file(data, magnification))

    def close(self) -> None:
        """End the thread; what it works on is finished first."""
        self._thread.shutdown(cancel_futures=True)

    def _look(self, frame: Frame, part: Part) -> tuple[Verdict, tuple[float, ...]]:
        networks = self.networks
        pixels = cut(frame.pixels, part)
        return networks.score(pixels, frame.magnification), networks.spectrum(pixels)

    def _score_file(self, data: bytes, magnification: float) -> Judged:
        try:
            pixels = crop_data_bar(decode_grey(data))
        except FrameInvalid as error:
            raise ImageError(f"the image cannot be scored: {error}") from error
        height, width = pixels.shape
        verdict = self.networks.score(pixels, magnification)
        return Judged(verdict=verdict, width_px=width, height_px=height)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def reading_of(
    wd_um: float, magnification: float, verdict: Verdict, bands: tuple[float, ...]
) -> Reading:
    """What a frame that was taken there told, in control's words."""
    return Reading(
        wd_um=wd_um,
        magnification=magnification,
        score=verdict.score,
        variance=verdict.variance,
        entropy=verdict.entropy,
        saturated=verdict.saturated,
        expected_error=verdict.expected_error,
        bands=bands,
        doubt=verdict.doubt,
        streaked=verdict.streaked,
    )


def load_networks(settings: ModelSettings, fast: FastProfile = FAST) -> Networks:
    """All networks as the settings say, warmed up. Imports torch. Raises `ModelError`."""
    from afdaemon.models.acnet.policy import load_policy
    from afdaemon.models.defocus.network import load_believer
    from afdaemon.models.frames.spectrum import frame_bands
    from afdaemon.models.memory import keep_freed_memory
    from afdaemon.models.scorers.focus_scorer import load_scorer

    keep_freed_memory()
    scorer = load_scorer(settings.device, settings.threads, _file(settings.aenet))
    policy = load_policy(_file(settings.acnet))
    believer = load_believer(_file(settings.defocus))
    scorer.warm_up()
    return Networks(
        score=scorer.score,
        law=acnet_law(policy.propose),
        hashes={
            "aenet": scorer.card.sha256,
            "acnet": policy.card.sha256,
            "defocus": believer.card.sha256,
        },
        belief=defocus_law(believer.believe, fast),
        spectrum=frame_bands,
    )


def _file(weights: str) -> Path | None:
    return None if weights == "default" else Path(weights)
