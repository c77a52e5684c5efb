"""The wires: a USB cable pulled and put back in mid-transfer, and a million damaged bytes through each codec."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

import numpy as np
from sim_mutations import CODECS, Endured, endure, endure_drop_folder, endure_stream
from sim_replug import Holdings, Replugged, holdings, replug

from afdaemon.evaluate.section import Bar

CYCLES, QUICK_CYCLES = 500, 60
BYTES, QUICK_BYTES = 1_000_000, 100_000
BACK_S = 1.0
"""The link is up again within this time of being plugged in, on top of the wait between two polls."""
DECODE_S = 0.5
GROWTH_MB = 20.0


def measure(seed: int, quick: bool) -> tuple[list[str], list[Bar], list[dict[str, object]]]:
    """Table lines, bars, and rows for the JSON."""
    replugged = asyncio.run(replug(seed, QUICK_CYCLES if quick else CYCLES))
    before = holdings()
    endured = _endure_all(seed, QUICK_BYTES if quick else BYTES)
    growth_mb = holdings().memory_mb - before.memory_mb
    lines = [*_replug_lines(replugged), "", *_codec_lines(endured)]
    bars = [*_replug_bars(replugged), *_codec_bars(endured, growth_mb)]
    rows: list[dict[str, object]] = [{"part": "usb", **asdict(replugged)}]
    rows += [{"part": "codec", **asdict(each)} for each in endured]
    return lines, bars, rows


def _endure_all(seed: int, size: int) -> list[Endured]:
    with _decoders_are_quiet():
        return [
            *(endure(codec, seed, size) for codec in CODECS),
            endure_drop_folder(seed, size),
            *(asyncio.run(endure_stream(over, seed, size)) for over in ("TCP", "USB")),
        ]


@contextmanager
def _decoders_are_quiet() -> Iterator[None]:
    """The C libraries write their complaints about a damaged image to stderr, past Python."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _replug_lines(found: Replugged) -> list[str]:
    early, late = _both(found)
    back_ms = 1000.0 * np.asarray(found.back_s)
    return [
        f"USB unplugged and plugged in again, {found.cycles} times, most of them in mid-transfer",
        f"  moves acknowledged {found.moves}, of them not carried out {found.moves_lost}",
        f"  frames delivered {found.frames}, of them not as exposed {found.frames_wrong}",
        f"  operations that ended in a typed error {found.errors}",
        f"  link up again after {np.median(back_ms):.0f} ms (median), {back_ms.max():.0f} ms (longest)",
        f"  {'':<24}{'threads':>9}{'files':>8}{'pyusb devices':>15}{'MB':>8}",
        *(
            f"  {name:<24}{h.threads:>9}{h.handles:>8}{h.devices:>15}{h.memory_mb:>8.1f}"
            for name, h in (("after half of them", early), ("after all", late))
        ),
    ]


def _replug_bars(found: Replugged) -> list[Bar]:
    early, late = _both(found)
    same = (early.threads, early.handles, early.devices) == (
        late.threads,
        late.handles,
        late.devices,
    )
    left = found.handles_left + found.threads_left
    return [
        Bar(
            "USB: every acknowledged move was carried out",
            found.moves_lost == 0 and found.moves > found.cycles / 2,
            f"{found.moves_lost} of {found.moves} not",
        ),
        Bar(
            "USB: every frame delivered is as it was exposed",
            found.frames_wrong == 0 and found.frames > found.cycles / 4,
            f"{found.frames_wrong} of {found.frames} not",
        ),
        Bar(
            f"USB: connected within {BACK_S:g} s of being plugged in, every time",
            len(found.back_s) == found.cycles and max(found.back_s) <= BACK_S,
            f"longest {max(found.back_s):.3f} s in {found.cycles} cycles",
        ),
        Bar(
            "USB: threads, open files and pyusb devices stay the same, and none is left",
            same and left == 0,
            f"{late.threads}, {late.handles} and {late.devices}; {left} left at the end",
        ),
        Bar(
            "USB: memory grows by less than 5 % in the second half",
            late.memory_mb < 1.05 * early.memory_mb,
            f"{early.memory_mb:.1f} MB to {late.memory_mb:.1f} MB",
        ),
    ]


def _codec_lines(endured: list[Endured]) -> list[str]:
    head = f"{'damaged bytes through':<24}{'inputs':>9}{'bytes':>11}{'decoded':>9}{'refused':>9}"
    return [
        f"{head}{'forged':>8}{'longest':>11}",
        *(
            f"{e.codec:<24}{e.inputs:>9}{e.mutated_bytes:>11}{e.decoded:>9}{e.refused:>9}"
            f"{e.forged if e.framed else '-':>8}{1000.0 * e.longest_s:>8.2f} ms"
            for e in endured
        ),
        "forged: messages or frames that nobody had sent; only the stream's have a checksum to tell",
    ]


def _codec_bars(endured: list[Endured], growth_mb: float) -> list[Bar]:
    framed = [e for e in endured if e.framed]
    slowest = max(endured, key=lambda e: e.longest_s)
    return [
        Bar(
            "codecs: no exception but the typed ones",
            not any(e.untyped for e in endured),
            f"{sum(len(e.untyped) for e in endured)} others in {sum(e.inputs for e in endured)} inputs",
        ),
        Bar(
            "stream: nothing is delivered that was not sent, and the decoder always finds back",
            not any(e.forged or e.lost_last for e in framed) and all(e.refused for e in framed),
            f"{sum(e.forged for e in framed)} forged, {sum(e.lost_last for e in framed)} not found back",
        ),
        Bar(
            f"codecs: no input takes longer than {DECODE_S:g} s",
            slowest.longest_s <= DECODE_S,
            f"{slowest.codec}: {1000.0 * slowest.longest_s:.1f} ms",
        ),
        Bar(
            f"codecs: memory grows by less than {GROWTH_MB:g} MB",
            growth_mb < GROWTH_MB,
            f"{growth_mb:+.1f} MB",
        ),
    ]


def _both(found: Replugged) -> tuple[Holdings, Holdings]:
    if found.early is None or found.late is None:
        raise ValueError("nothing was measured")
    return found.early, found.late
