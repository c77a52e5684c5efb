"""The networks at work: frames in, readings out, one at a time in a thread of their own.

torch is imported in that thread too, so that the daemon answers while it loads: who is interrupted by a crash wants to
know at once where the lens was left. A job waits for it.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import structlog

from afdaemon.control.fast.law import defocus_law
from afdaemon.control.fast.profile import FAST, FastProfile
from afdaemon.control.procedures import Laws
from afdaemon.control.published.servo import acnet_law
from afdaemon.control.values import Proposal, Reading
from afdaemon.drivers.base import Frame
from afdaemon.drivers.errors import FrameInvalid
from afdaemon.drivers.wire.image import GreyPixels, decode_grey
from afdaemon.grey.data_bar import without_data_bar
from afdaemon.models.errors import ImageError, WeightsError
from afdaemon.models.frames.measures import Measures
from afdaemon.models.frames.region import WHOLE, Region, cut
from afdaemon.models.shipped import are_shipped
from afdaemon.pulse import Part
from afdaemon.service.looks import Looks
from afdaemon.settings import ModelSettings

SCORING_DEADLINE_S = 30.0
"""A frame takes a fraction of a second, the largest image file that the API takes some seconds on a slow processor."""

log = structlog.get_logger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Networks:
    """The scorer, the laws of both procedures, and the hashes of their weights by name.

    `score` measures pixels of shape (height, width) at a magnification; it may be slow and is never called from two
    threads at once. The laws are quick.
    """

    score: Callable[[GreyPixels, float], Measures]
    laws: Laws
    hashes: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredFile:
    """What was measured in an image file, and its size in pixels, without a data bar."""

    measures: Measures
    width_px: int
    height_px: int


class ScoringThread:
    """Networks behind one worker thread. `load` is called in it by `open`."""

    def __init__(self, load: Callable[[], Networks]) -> None:
        self._part = Part("scoring thread", SCORING_DEADLINE_S)
        self._load = load
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="scoring")
        self._networks: Networks | None = None
        self._loaded = asyncio.Event()

    async def open(self) -> Networks:
        """Load and warm up. Raises `ModelError`."""

        def load() -> Networks:
            self._networks = self._load()  # here: whatever waits for this thread finds it
            return self._networks

        loaded = await asyncio.get_running_loop().run_in_executor(self._thread, load)
        _tell_of_others(loaded.hashes)
        self._loaded.set()
        return loaded

    async def wait(self) -> Networks:
        """What `open` loads, as soon as it has."""
        await self._loaded.wait()
        return self.networks

    @property
    def hashes(self) -> Mapping[str, str]:
        """Those of the networks that are loaded, by name."""
        return {} if self._networks is None else self._networks.hashes

    @property
    def laws(self) -> Laws:
        """The laws of the networks, which must be loaded when they are asked."""

        def step(newest_first: Sequence[Reading]) -> float:
            return self.networks.laws.step(newest_first)

        def focus(newest_first: Sequence[Reading]) -> Proposal:
            return self.networks.laws.focus(newest_first)

        return Laws(step=step, focus=focus)

    @property
    def parts(self) -> tuple[Part, ...]:
        """What is to be watched of it: scoring, not loading, which takes as long as the disk does."""
        return (self._part,)

    @property
    def networks(self) -> Networks:
        """What `open` loaded."""
        if self._networks is None:
            raise RuntimeError("the networks are not loaded")
        return self._networks

    async def read(self, frame: Frame, region: Region = WHOLE) -> Reading:
        """Measure a region of a frame. Raises `ModelError`."""
        measures = await self._in_thread(
            lambda: self.networks.score(cut(frame.pixels, region), frame.magnification)
        )
        return Reading(wd_um=frame.wd_um, magnification=frame.magnification, frame=measures)

    async def look(self, frame: Frame, looks: Looks) -> Reading:
        """The reading of a job's next frame. Raises `ModelError`."""
        return await self._in_thread(lambda: looks.read(frame, self.networks.score))

    async def score_file(self, data: bytes, magnification: float) -> ScoredFile:
        """Score the bytes of a PNG, TIFF or JPEG file. Raises `ImageError` or another `ModelError`."""
        return await self._in_thread(lambda: self._score_file(data, magnification))

    def close(self) -> None:
        """End the thread once it has finished its present work."""
        self._thread.shutdown(cancel_futures=True)

    def _score_file(self, data: bytes, magnification: float) -> ScoredFile:
        try:
            pixels = without_data_bar(decode_grey(data))
        except FrameInvalid as error:
            raise ImageError(f"the image cannot be scored: {error}") from error
        height, width = pixels.shape
        measures = self.networks.score(pixels, magnification)
        return ScoredFile(measures=measures, width_px=width, height_px=height)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        def watched() -> T:
            with self._part.busy():
                return work()

        return await asyncio.get_running_loop().run_in_executor(self._thread, watched)


def _tell_of_others(hashes: Mapping[str, str]) -> None:
    for name, sha256 in hashes.items():
        if not are_shipped(sha256):
            log.warning("weights_not_shipped", network=name, sha256=sha256)


def require_weights(settings: ModelSettings) -> None:
    """Raise `WeightsError` at once where a file is missing that the settings name: loading would find it later."""
    for file in filter(None, map(_file, (settings.aenet, settings.acnet, settings.defocus))):
        if not file.is_file():
            raise WeightsError(f"there are no weights at {file}")


def load_networks(settings: ModelSettings, fast: FastProfile = FAST) -> Networks:
    """All networks as the settings say, warmed up. Imports torch. Raises `ModelError`."""
    from afdaemon.models.acnet.policy import load_policy
    from afdaemon.models.defocus.network import load_estimator
    from afdaemon.models.memory import keep_freed_memory
    from afdaemon.models.scorers.focus_scorer import load_scorer

    keep_freed_memory()
    scorer = load_scorer(settings.device, settings.threads, _file(settings.aenet))
    policy = load_policy(_file(settings.acnet))
    estimator = load_estimator(_file(settings.defocus))
    scorer.warm_up()
    return Networks(
        score=scorer.score,
        laws=Laws(step=acnet_law(policy.propose), focus=defocus_law(estimator.infer, fast)),
        hashes={
            "aenet": scorer.card.sha256,
            "acnet": policy.card.sha256,
            "defocus": estimator.card.sha256,
        },
    )


def _file(weights: str) -> Path | None:
    return None if weights == "default" else Path(weights)
