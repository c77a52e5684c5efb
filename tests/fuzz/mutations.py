"""Inputs like those that are known, but wrong: a fuzzer without coverage, for where atheris is not installed."""

from collections.abc import Iterator

import numpy as np

_MOST_CHANGES = 4
_LONGEST = 65_536


def mutated(
    seeds: tuple[bytes, ...], words: tuple[bytes, ...], rng: np.random.Generator
) -> Iterator[bytes]:
    """Endless. The same for the same state of `rng`."""
    while True:
        data = seeds[rng.integers(len(seeds))]
        for _ in range(rng.integers(1, _MOST_CHANGES + 1)):
            data = _changed(data, seeds, words, rng)
        yield data[:_LONGEST]


def _changed(
    data: bytes, seeds: tuple[bytes, ...], words: tuple[bytes, ...], rng: np.random.Generator
) -> bytes:
    at, end = sorted(int(place) for place in rng.integers(0, len(data) + 1, 2))
    near = min(len(data), at + int(rng.integers(1, 9)))
    other = seeds[rng.integers(len(seeds))]
    match int(rng.integers(7)):
        case 0 if words:
            return data[:at] + words[rng.integers(len(words))] + data[at:]
        case 1 if words:
            return data[:at] + words[rng.integers(len(words))] + data[near:]
        case 2:
            return data[:at] + data[end:]
        case 3:
            return data[:end] + data[at:end] * int(rng.integers(1, 40)) + data[end:]
        case 4:
            return data[:at] + other[rng.integers(len(other) + 1) :]
        case 5:
            return data[:at] + rng.bytes(near - at) + data[near:]
        case _:
            flipped = bytes([data[at] ^ 1 << int(rng.integers(8))]) if at < len(data) else b""
            return data[:at] + flipped + data[at + 1 :]
