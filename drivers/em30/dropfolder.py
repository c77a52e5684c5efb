"""The drop folder: pairs of `ResponseImage.jpg` and `ResponseImage.txt`.

Everything here blocks: call it in a thread. The instrument writes a pair only after the previous
one was taken away. The client may look while it writes, so a pair is complete only when the picture
has its end marker and the text its keys and its last line end. A text that stays the same from one
look to the next is also taken without that line end. ASSUMED: the vendor's text may lack it.
"""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from afdaemon.drivers.errors import DriverError, FrameInvalid, NotConnected, OverCap
from afdaemon.drivers.wire.aisem import MAX_PARAMETER_BYTES, Parameters, decode_parameters
from afdaemon.drivers.wire.jpeg import decode_jpeg

IMAGE_NAME = "ResponseImage.jpg"
TEXT_NAME = "ResponseImage.txt"
_LINE_ENDS = (b"\n", b"\r")
MAX_IMAGE_BYTES = 32 * 1024 * 1024
"""Ten times a noisy full frame at the best quality."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A complete pair.

    `pixels` has shape (height, width), uint8, read-only.
    """

    pixels: NDArray[np.uint8]
    parameters: Parameters


@dataclass(frozen=True, slots=True, kw_only=True)
class Partial:
    """A pair that cannot be used yet, or ever: `why`, and what to do about it if it stays so.

    `text` is what the text held at this look.
    """

    why: str
    text: bytes = b""
    remedy: str = FrameInvalid.remedy


class DropFolder:
    """The folder that both programs share; `strict` is that of `decode_jpeg`."""

    def __init__(self, path: Path, *, strict: bool = True) -> None:
        self._strict = strict
        self._image = path / IMAGE_NAME
        self._text = path / TEXT_NAME
        self._path = path

    def check(self) -> None:
        """Raise `NotConnected` when the folder is not there, or cannot be used."""
        try:
            is_there = stat.S_ISDIR(self._path.stat().st_mode)
        except (FileNotFoundError, NotADirectoryError):
            is_there = False
        except OSError as error:  # a share that has gone
            raise NotConnected(
                f"the drop folder {self._path} cannot be reached: {error.strerror}",
                remedy="check the share that it is on",
            ) from error
        if not is_there:
            raise NotConnected(
                f"the drop folder {self._path} does not exist",
                remedy="create it, or set `folder` to the one the vendor's software writes to",
            )
        if not os.access(self._path, os.R_OK | os.W_OK | os.X_OK):
            raise NotConnected(
                f"the drop folder {self._path} may not be written to by this user",
                remedy="give the daemon the right to read and write there",
            )

    def remove(self) -> bool:
        """Remove what lies there; returns whether anything did.

        Raises `FrameInvalid` when it cannot be removed.
        """
        found = False
        for path in (self._image, self._text):
            try:
                path.unlink()
                found = True
            except FileNotFoundError:
                continue
            except OSError as error:
                raise FrameInvalid(
                    f"{path} cannot be removed: {error.strerror}",
                    remedy="give the daemon the right to write to the drop folder",
                ) from error
        return found

    def take(self, *, last_text: bytes) -> Pair | Partial | None:
        """Read, check and remove a pair; None when none is there yet.

        `last_text` is what the text held at the last look. Raises `OverCap`.
        """
        text = b""
        try:
            if not (self._image.exists() and self._text.exists()):
                return None
            text = _read(self._text, MAX_PARAMETER_BYTES)
            image = _read(self._image, MAX_IMAGE_BYTES)
            if not text.rstrip(b"\0").endswith(_LINE_ENDS) and text != last_text:
                return Partial(why="the text has no end yet", text=text)
            parameters = decode_parameters(text)
            pixels = decode_jpeg(image, strict=self._strict)
            self.remove()
        except OverCap:
            self.remove()
            raise
        except DriverError as error:
            return Partial(why=str(error), text=text, remedy=error.remedy)
        except OSError as error:  # on Windows, the other program still has it open
            return Partial(why=error.strerror or str(error), text=text)
        return Pair(pixels=pixels, parameters=parameters)


def _read(path: Path, cap: int) -> bytes:
    if not stat.S_ISREG(path.stat().st_mode):
        raise OverCap(f"{path} is not a plain file")
    with path.open("rb") as file:
        data = file.read(cap + 1)
    if len(data) > cap:
        raise OverCap(f"{path} is larger than {cap} bytes")
    return data
