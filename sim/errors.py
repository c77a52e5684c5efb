"""What a simulated instrument can refuse.

SimError
 └─ SpecimenError     no such specimen, or an image that cannot serve as one
"""


class SimError(Exception):
    """A setting that the simulated instrument cannot have. `remedy` says what to do next."""

    remedy = "see `afdaemon sim serve --help`"

    def __init__(self, message: str, *, remedy: str | None = None) -> None:
        super().__init__(message)
        if remedy is not None:
            self.remedy = remedy


class SpecimenError(SimError):
    """No such specimen, or an image file that cannot serve as one."""
