"""What can go wrong with networks, weights and images.

ModelError
 ├─ WeightsError     a weight file or its card is missing, damaged, or one this version cannot honour
 ├─ ImageError       an image that cannot be read or scored
 ├─ DatasetError     labelled frames of a folder that cannot be used
 └─ TrainingError    a training that cannot begin or continue
"""


class ModelError(Exception):
    """A failure of the models' side. `remedy` says what to do next."""

    remedy = "see the message"

    def __init__(self, message: str, *, remedy: str | None = None) -> None:
        super().__init__(message)
        if remedy is not None:
            self.remedy = remedy


class WeightsError(ModelError):
    """Weights or their card are missing, damaged, or of a kind this version cannot honour."""

    remedy = "train new weights with `afdaemon train`, or reinstall the package"


class ImageError(ModelError):
    """An image that cannot be read or scored."""

    remedy = "give an 8 or 16 bit PNG, TIFF or JPEG of at least 64 x 64 pixels"


class DatasetError(ModelError):
    """Labelled frames of a folder that cannot be used."""

    remedy = "`afdaemon dataset check FOLDER` lists all that is wrong; docs/networks.md says what a folder holds"


class TrainingError(ModelError):
    """A training that cannot begin or continue."""
