"""The few array operations that the simulator's arithmetic is built on.

The physics is written once, over `Ops`; a frame is then computed with numpy here or with torch in
`afdaemon.sim.ops_torch`, one frame or many at a time. In-place arithmetic (`a *= b`) is left to the
arrays themselves: both kinds write it the same way.
"""

from functools import lru_cache
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import fft, signal

Array: TypeAlias = Any
"""A float32 (or, of a spectrum, complex64) array of whichever kind the `Ops` at work makes."""


class Ops(Protocol):
    """Operations that numpy and torch name differently. Those marked "in place" change their argument."""

    def array(self, values: NDArray[np.float32]) -> Array:
        """The same values as an array of this kind."""
        ...

    def rfft2(self, field: Array) -> Array:
        """Half-plane spectrum of the last two axes, complex64."""
        ...

    def irfft2(self, spectrum: Array, shape: tuple[int, int]) -> Array:
        """The field (..., H, W) of a half-plane spectrum, float32."""
        ...

    def sqrt(self, a: Array) -> Array:
        """Square root, in place."""
        ...

    def exp(self, a: Array) -> Array:
        """Exponential, in place."""
        ...

    def floor(self, a: Array) -> Array:
        """The largest whole numbers that are not above `a`; a new array."""
        ...

    def at_least(self, a: Array, low: float) -> Array:
        """The larger of `a` and `low`, in place."""
        ...

    def is_zero(self, a: Array) -> bool:
        """Whether a number, or all of an array, is 0."""
        ...

    def power(self, a: Array, exponent: Array) -> Array:
        """`a` to the `exponent` where `a` is positive, else `a`; in place where it can be."""
        ...

    def lag(self, a: Array, left: Array) -> Array:
        """Each pixel keeps the share `left` (0..1) of what the one before it in its line shows; may change `a`."""
        ...

    def interpolate(self, table: Array, position: Array) -> Array:
        """Linear interpolation in `table` at `position` (in entries, at least 0), in place.

        `table`, shape (2, n), holds values and the steps to the next; past its end the last entry is used.
        """
        ...

    def grey(self, level: Array) -> NDArray[np.uint8]:
        """Levels rounded to 0..255, uint8 in the computer's memory; may change `level`."""
        ...


class NumpyOps:
    """`Ops` on numpy arrays."""

    def array(self, values: NDArray[np.float32]) -> Array:
        """The values themselves."""
        return values

    def rfft2(self, field: Array) -> Array:
        """Half-plane spectrum, complex64."""
        return fft.rfft2(field)

    def irfft2(self, spectrum: Array, shape: tuple[int, int]) -> Array:
        """The field of a spectrum, float32."""
        return fft.irfft2(spectrum, s=shape)

    def sqrt(self, a: Array) -> Array:
        """Square root, in place."""
        return np.sqrt(a, out=a)

    def exp(self, a: Array) -> Array:
        """Exponential, in place."""
        return np.exp(a, out=a)

    def floor(self, a: Array) -> Array:
        """The largest whole numbers that are not above `a`."""
        return np.floor(a)

    def at_least(self, a: Array, low: float) -> Array:
        """The larger of `a` and `low`, in place."""
        return np.maximum(a, np.float32(low), out=a)

    def is_zero(self, a: Array) -> bool:
        """Whether all of it is 0."""
        return not np.any(a)

    def power(self, a: Array, exponent: Array) -> Array:
        """Power of the positive values; nothing to do for an exponent of 1, the usual gamma."""
        if np.ndim(exponent) == 0 and float(exponent) == 1.0:
            return a
        return np.where(a > 0.0, np.maximum(a, np.float32(0.0)) ** np.float32(exponent), a)

    def lag(self, a: Array, left: Array) -> Array:
        """A filter of first order along the last axis, at rest before the line; nothing to do for 0."""
        keep = float(left)
        if keep == 0.0:
            return a
        before = (keep * a[..., :1]).astype(np.float32)
        gains = np.array([[1.0 - keep, 0.0], [1.0, -keep]], np.float32)
        lagged, _ = signal.lfilter(gains[0], gains[1], a, axis=-1, zi=before)
        return np.asarray(lagged, np.float32)

    def interpolate(self, table: Array, position: Array) -> Array:
        """Linear interpolation in a table, in place."""
        index = position.astype(np.intp)
        position -= np.floor(position)
        position *= np.take(table[1], index, mode="clip")
        position += np.take(table[0], index, mode="clip")
        return position

    def grey(self, level: Array) -> NDArray[np.uint8]:
        """Levels rounded to 0..255."""
        np.rint(level, out=level)
        np.clip(level, np.float32(0.0), np.float32(255.0), out=level)
        return np.asarray(level.astype(np.uint8))


NUMPY = NumpyOps()


@lru_cache(maxsize=8)
def frequencies(shape: tuple[int, int]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Frequencies in cycles per pixel on the grid of `rfft2`: along y (H, 1) and along x (1, W // 2 + 1)."""
    f_y = np.fft.fftfreq(shape[0]).astype(np.float32)[:, None]
    f_x = np.fft.rfftfreq(shape[1]).astype(np.float32)[None, :]
    f_y.flags.writeable = f_x.flags.writeable = False
    return f_y, f_x
